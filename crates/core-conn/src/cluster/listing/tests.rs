use super::*;

fn bulk(text: &str) -> Value {
    Value::Bytes(text.to_owned().into())
}

fn list(items: impl IntoIterator<Item = Value>) -> Value {
    Value::Array(items.into_iter().collect())
}

fn fields(pairs: impl IntoIterator<Item = (&'static str, Value)>) -> Value {
    Value::Map(pairs.into_iter().map(|(name, value)| (bulk(name), value)).collect())
}

fn shard_node(id: &str, endpoint: Value, role: &str, health: &str) -> Value {
    fields([
        ("id", bulk(id)),
        ("port", Value::Int(7000)),
        ("tls-port", Value::Int(8000)),
        ("ip", bulk("10.0.0.1")),
        ("endpoint", endpoint),
        ("role", bulk(role)),
        ("replication-offset", Value::Int(0)),
        ("health", bulk(health)),
    ])
}

fn shards() -> Value {
    let slots = [0, 10, 20, 20].map(Value::Int);
    let nodes = [
        shard_node("r", bulk("b"), "replica", "loading"),
        shard_node("p", bulk("a"), "master", "online"),
    ];
    let spare = [shard_node("s", bulk("?"), "master", "online")];
    list([
        fields([("slots", list(slots)), ("nodes", list(nodes))]),
        fields([("slots", list([])), ("nodes", list(spare))]),
    ])
}

const NODES: &str = "\
p 10.0.0.1:7000@17000,a myself,master - 0 0 4 connected 0-10 20 [20->-s]\n\
r 10.0.0.2:7000@17000,b slave p 0 1 4 connected\n\
f 10.0.0.3:7001@17001 slave,fail p 1 1 4 disconnected\n\
g 2001:db8::1:7002@17002,,shard-id=1 master,fail? - 1 1 5 connected\n\
h :0@0 master,noaddr - 1 1 5 disconnected\n\
i 10.0.0.9:7000@17000 handshake - 1 1 5 connected\n";

const INFO: &str =
    "cluster_state:ok\r\ncluster_slots_assigned:16384\r\ncluster_current_epoch:7\r\n";

fn listing(answers: [Answer; 3], tls: bool) -> Listing {
    let (nodes, details) = read(answers.into(), tls).unwrap();
    details.complete(nodes.unwrap())
}

fn denied() -> Answer {
    Err(LinkError::Server("NOPERM this user has no permissions".into()))
}

#[test]
fn shards_say_who_serves_what_and_nodes_who_else_there_is() {
    let found = listing([Ok(shards()), Ok(bulk(NODES)), Ok(bulk(INFO))], false);
    assert_eq!((found.epoch, found.serves), (7, true));
    let of = |id: &str| found.nodes.iter().find(|node| node.id == id);
    let primary = of("p").unwrap();
    assert_eq!((primary.host.as_deref(), primary.port), (Some("a"), 7000));
    assert_eq!((primary.role, &*primary.slots), (Role::Primary, &[0..=10, 20..=20][..]));
    let replica = of("r").unwrap();
    assert_eq!((replica.role, replica.follows.as_deref()), (Role::Replica, Some("p")));
    assert_eq!((replica.state, replica.slots.is_empty()), (Standing::Loading, true));
    // The host of whoever was asked.
    assert_eq!(of("s").unwrap().host, None);
    let failed = of("f").unwrap();
    assert_eq!((failed.state, failed.linked), (Standing::Failed, false));
    let suspected = of("g").unwrap();
    assert_eq!((suspected.host.as_deref(), suspected.port), (Some("2001:db8::1"), 7002));
    assert_eq!(suspected.state, Standing::Suspected);
    // Those without an address, or that have not met the cluster yet, are none.
    assert!(of("h").is_none() && of("i").is_none());
    assert_eq!(found.nodes.len(), 5);
}

/// Redis 7.2 and later tell of a shard so, when its primary has died.
#[test]
fn a_dead_primary_beside_its_successor_serves_nothing() {
    let nodes = [
        shard_node("new", bulk("a"), "master", "online"),
        shard_node("old", bulk("b"), "master", "fail"),
    ];
    for turned in [false, true] {
        let mut nodes = nodes.to_vec();
        if turned {
            nodes.reverse();
        }
        for given in [list([]), list([0, 16_383].map(Value::Int))] {
            let shards = list([fields([("slots", given.clone()), ("nodes", list(nodes.clone()))])]);
            let told = "new 10.0.0.1:7000@17000,a myself,master - 0 0 4 connected 0-16383\n\
                        old 10.0.0.1:7000@17000,b master,fail - 0 0 3 disconnected\n";
            let found = listing([Ok(shards.clone()), Ok(bulk(told)), Ok(bulk(INFO))], false);
            let of = |found: &Listing, id: &str| {
                found.nodes.iter().find(|node| node.id == id).unwrap().slots.clone()
            };
            assert_eq!((of(&found, "new"), of(&found, "old")), (vec![0..=16_383], vec![]));
            // And as far as it goes where the lines are denied.
            let found = listing([Ok(shards), denied(), denied()], false);
            assert_eq!(of(&found, "old"), []);
        }
    }
}

#[test]
fn a_node_without_an_address_is_left_out() {
    let mut lost = shard_node("h", bulk("c"), "master", "fail");
    if let Value::Map(fields) = &mut lost {
        fields.retain(|(name, _)| !["port", "tls-port"].map(bulk).contains(name));
    }
    let Value::Array(mut all) = shards() else { unreachable!() };
    all.push(fields([("slots", list([])), ("nodes", list([lost]))]));
    let found = listing([Ok(list(all)), Ok(bulk(NODES)), Ok(bulk(INFO))], false);
    assert!(found.nodes.iter().all(|node| node.id != "h"));
    assert_eq!(found.nodes.len(), 5);
}

#[test]
fn each_way_of_speaking_has_its_port() {
    let found = listing([Ok(shards()), denied(), denied()], true);
    assert!(found.nodes.iter().all(|node| node.port == 8000));
    // Who may not ask for more knows at least that much.
    assert_eq!((found.epoch, found.serves, found.nodes.len()), (0, true, 3));
}

#[test]
fn a_node_that_does_not_serve_says_so() {
    let info = "cluster_state:fail\r\ncluster_current_epoch:7\r\n";
    assert!(!listing([Ok(shards()), Ok(bulk(NODES)), Ok(bulk(info))], false).serves);
}

#[test]
fn the_older_question_tells_the_same() {
    let (nodes, details) = read(vec![denied(), Ok(bulk(NODES)), Ok(bulk(INFO))], false).unwrap();
    assert_eq!(nodes, None);
    let node = |host: Value, id: &str| {
        list([host, Value::Int(7000), bulk(id), list([bulk("hostname"), bulk("x")])])
    };
    let range = |first: i64, last: i64| {
        let bounds = [Value::Int(first), Value::Int(last)];
        list(bounds.into_iter().chain([node(bulk("a"), "p"), node(Value::Nil, "r")]))
    };
    let found = details.complete(read_slots(list([range(0, 10), range(20, 20)])).unwrap());
    let of = |id: &str| found.nodes.iter().find(|node| node.id == id).unwrap();
    assert_eq!(of("p").slots, [0..=10, 20..=20]);
    assert_eq!((of("r").host.as_deref(), of("r").follows.as_deref()), (None, Some("p")));
    assert_eq!(of("f").state, Standing::Failed);
}

#[test]
fn what_is_no_such_answer_is_an_error_and_what_is_lost_unknown() {
    let lost = || Err(LinkError::Lost("gone".into()));
    for answers in [
        vec![],
        vec![Ok(Value::Int(1)), Ok(bulk(NODES)), Ok(bulk(INFO))],
        vec![Ok(list([bulk("x")])), Ok(bulk(NODES)), Ok(bulk(INFO))],
        vec![lost(), Ok(bulk(NODES)), Ok(bulk(INFO))],
        vec![Ok(shards()), lost(), Ok(bulk(INFO))],
    ] {
        let error = read(answers, false).unwrap_err();
        assert_eq!(error.outcome(), crate::SendOutcome::Unknown, "{error}");
    }
    let refused = "ERR This instance has cluster support disabled";
    let all = || Err(LinkError::Server(refused.into()));
    let error = read(vec![all(), all(), all()], false).unwrap_err();
    assert!(error.to_string().contains("cluster support disabled"), "{error}");
}

proptest::proptest! {
    #[test]
    fn no_line_is_too_odd(line in "\\PC{0,80}") {
        let _ = Detail::read(&line);
    }
}
