//! A small database in the format that MaxMind has published, for tests:
//! <https://maxmind.github.io/MaxMind-DB/>.

use std::net::IpAddr;

/// Of networks, their countries, and whether these are members of the European Union.
pub(super) fn of(places: &[(&str, &str, bool)]) -> Vec<u8> {
    // Both branches of each node: another node, or what is written at a place of the data.
    let (mut nodes, mut data) = (vec![[None; 2]], Vec::new());
    for (network, country, member) in places {
        let (address, length) = network.split_once('/').unwrap();
        let (bits, mut length) = (bits(address.parse().unwrap()), length.parse().unwrap());
        if !network.contains(':') {
            length += 96;
        }
        let mut node = 0;
        for depth in 0..length {
            let side = usize::from(bits >> (127 - depth) & 1 == 1);
            if depth + 1 == length {
                nodes[node][side] = Some(Branch::Data(data.len()));
            } else if let Some(Branch::Node(next)) = nodes[node][side] {
                node = next;
            } else {
                nodes.push([None; 2]);
                nodes[node][side] = Some(Branch::Node(nodes.len() - 1));
                node = nodes.len() - 1;
            }
        }
        data.extend(map(1));
        data.extend(text("country"));
        data.extend(map(2));
        data.extend([text("iso_code"), text(country), text("is_in_european_union")].concat());
        data.extend([u8::from(*member), 14 - 7]);
    }
    let mut bytes = Vec::new();
    for branch in nodes.iter().flatten() {
        let record = match branch {
            None => nodes.len(),
            Some(Branch::Node(node)) => *node,
            Some(Branch::Data(at)) => nodes.len() + 16 + at,
        };
        bytes.extend_from_slice(&u32::try_from(record).unwrap().to_be_bytes()[1..]);
    }
    bytes.extend([0; 16]);
    bytes.extend(data);
    bytes.extend(b"\xab\xcd\xefMaxMind.com");
    bytes.extend(map(9));
    for (name, number) in [
        ("binary_format_major_version", 2),
        ("binary_format_minor_version", 0),
        ("ip_version", 6),
        ("record_size", 24),
    ] {
        bytes.extend(text(name));
        bytes.extend([5 << 5 | 2, 0, number]);
    }
    bytes.extend(text("node_count"));
    bytes.push(6 << 5 | 4);
    bytes.extend(u32::try_from(nodes.len()).unwrap().to_be_bytes());
    bytes.extend([text("build_epoch"), vec![1, 9 - 7, 1]].concat());
    bytes.extend([text("database_type"), text("Test-Country")].concat());
    bytes.extend([text("description"), map(0).to_vec()].concat());
    bytes.extend([text("languages"), vec![0, 11 - 7]].concat());
    bytes
}

#[derive(Debug, Clone, Copy)]
enum Branch {
    Node(usize),
    Data(usize),
}

/// An address of four bytes is the end of one of sixteen.
fn bits(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => u128::from(u32::from(ip)),
        IpAddr::V6(ip) => u128::from(ip),
    }
}

fn map(pairs: u8) -> [u8; 1] {
    [7 << 5 | pairs]
}

/// Of up to 28 bytes.
fn text(text: &str) -> Vec<u8> {
    [&[2 << 5 | u8::try_from(text.len()).unwrap()], text.as_bytes()].concat()
}
