//! The servers that a suite shares, on each topology.

use russet_testkit::shared::Topology;
use russet_testkit::{Conn, Error, contract, prefix};

/// A connection to each server that holds data, the replicas too, and how many of them are primaries.
async fn servers(at: Topology) -> (Vec<Conn>, usize) {
    let mut all = at.primaries().await.unwrap();
    let primaries = all.len();
    let mut replicas = Vec::new();
    for primary in &mut all {
        let role = primary.call(&["ROLE"]).await.unwrap();
        for replica in role.items().unwrap()[2].items().unwrap() {
            let place: Vec<_> =
                replica.items().unwrap()[..2].iter().map(|part| part.text().unwrap()).collect();
            replicas.push(Conn::open(&format!("redis://{}", place.join(":"))).await.unwrap());
        }
    }
    all.extend(replicas);
    (all, primaries)
}

contract!(there_are_as_many_as_the_topology_has);
async fn there_are_as_many_as_the_topology_has(at: Topology) {
    let (all, primaries) = servers(at).await;
    let expected = match at {
        Topology::Server => (1, 1),
        Topology::Sentinel => (2, 1),
        Topology::Cluster => (6, 3),
    };
    assert_eq!((all.len(), primaries), expected);
}

contract!(a_key_is_found_where_it_is);
async fn a_key_is_found_where_it_is(at: Topology) {
    let prefix = prefix("where");
    for n in 0..20 {
        let key = format!("{prefix}:{n}");
        let set = at.conn(&key).await.unwrap().call(&["SET", &key, "v", "PX", "60000"]).await;
        assert!(set.unwrap().is_ok(), "{key}");
    }
}

contract!(users_have_their_rights_on_every_server);
async fn users_have_their_rights_on_every_server(at: Topology) {
    let line = "user ann on >PASSWORD ~{PREFIX:* -@all +set\n";
    let (one, other) = (prefix("one"), prefix("o:t/h@er"));
    for prefix in [&one, &other] {
        let url = at.url_as(line, prefix, &["+acl|whoami"]).await.unwrap();
        let (scheme, shared) = (url.split_once("://").unwrap().0, at.url().await.unwrap());
        assert!(shared.starts_with(&format!("{scheme}://")), "{url} {shared}");
        let login = url.split_once("://").unwrap().1.rsplit_once('@').unwrap().0;
        let key = format!("{{{prefix}:1}}:k");
        let home = at.conn(&key).await.unwrap().call(&["CONFIG", "GET", "port"]).await.unwrap();
        let home = home.items().unwrap()[1].text().unwrap().to_owned();
        for server in &mut servers(at).await.0 {
            let port = server.call(&["CONFIG", "GET", "port"]).await.unwrap();
            let port = port.items().unwrap()[1].text().unwrap();
            let mut ann = Conn::open(&format!("redis://{login}@127.0.0.1:{port}")).await.unwrap();
            let name = ann.call(&["ACL", "WHOAMI"]).await.unwrap();
            assert_eq!(name.text(), Some(&*format!("ann-{prefix}")));
            let set = ann.call(&["SET", &key, "v", "PX", "60000"]).await.unwrap();
            assert_eq!(set.is_ok(), port == home, "{set:?}");
            for refused in [vec!["SET", "outside", "v"], vec!["GET", &key]] {
                let reply = ann.call(&refused).await.unwrap();
                assert!(reply.error().unwrap().starts_with("NOPERM"), "{refused:?}: {reply:?}");
            }
        }
    }
    let unknown = at.url_as("user ann +nosuchcommand", &one, &[]).await;
    assert!(matches!(unknown, Err(Error::Refused(_))), "{unknown:?}");
    let nobody = at.url_as("ann on", &one, &[]).await;
    assert!(matches!(nobody, Err(Error::Config { field: "line", .. })), "{nobody:?}");
}
