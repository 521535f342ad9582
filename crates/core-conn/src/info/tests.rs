use super::*;

fn text(text: &str) -> Value {
    Value::Bytes(text.to_owned().into())
}

fn hello(fields: &[(&str, Value)]) -> Option<Value> {
    Some(Value::Map(fields.iter().map(|(name, value)| (text(name), value.clone())).collect()))
}

#[test]
fn who_tells_nothing_is_known_for_nothing() {
    let info = ServerInfo::read(None, None);
    assert_eq!((&info.product, info.version), (&Product::Unknown, None));
    assert_eq!((info.evicts(), info.has_module("search")), (None, None));
    assert!(!info.supports(Feature::WaitAof));
    // Nor who tells what can't be read.
    let info = ServerInfo::read(hello(&[("version", text("unstable")), ("mode", text("?"))]), None);
    assert_eq!((info.version, info.topology), (None, None));
}

#[test]
fn hello_is_enough_for_most() {
    let module = [(text("name"), text("ReJSON")), (text("ver"), Value::Int(80_200))];
    let info = ServerInfo::read(
        hello(&[
            ("server", text("redis")),
            ("version", text("8.2.3")),
            ("proto", Value::Int(3)),
            ("mode", text("cluster")),
            ("role", text("replica")),
            ("modules", Value::Array(vec![Value::Map(module.to_vec())])),
        ]),
        None,
    );
    assert_eq!(info.version.unwrap().to_string(), "8.2.3");
    assert_eq!((info.topology, info.role), (Some(Topology::Cluster), Some(Role::Replica)));
    assert_eq!(info.has_module("rejson"), Some(true));
    assert_eq!(info.modules.as_ref().unwrap()[0].version, 80_200);
    assert!(info.supports(Feature::StreamAckDelete) && !info.supports(Feature::DeleteIfEqual));
}

#[test]
fn valkey_is_told_from_what_it_stands_for() {
    let said = "# Server\r\nredis_version:7.2.4\r\nserver_name:valkey\r\nvalkey_version:9.1.2\r\n\
                run_id:0a\r\n\r\n# Memory\r\nmaxmemory:1048576\r\nmaxmemory_policy:allkeys-lru\r\n";
    // As it says when it is told to be compatible.
    let compatible = hello(&[("server", text("redis")), ("version", text("7.2.4"))]);
    let info = ServerInfo::read(compatible, Some(said));
    assert_eq!((&info.product, info.version.unwrap().major), (&Product::Valkey, 9));
    assert_eq!((info.run_id.as_deref(), info.max_memory), (Some("0a"), Some(1_048_576)));
    assert_eq!(info.evicts(), Some(true));
}

#[test]
fn a_feature_is_in_every_later_version_of_the_product_that_has_it() {
    let has = |product: Product, version: &str, feature: Feature| {
        feature.is_in(&product, version.parse().unwrap())
    };
    for (feature, redis, valkey) in [
        (Feature::WaitAof, "7.2.0", "7.2.0"),
        (Feature::HashFieldTtl, "7.4.0", "9.0.0"),
        (Feature::HashFieldGetEx, "8.0.0", "9.0.0"),
        (Feature::StreamAckDelete, "8.2.0-rc1", "99.0"),
        (Feature::DeleteIfEqual, "99.0", "9.0.1"),
    ] {
        assert!(!has(Product::Redis, "7.0.15", feature));
        assert_eq!(has(Product::Redis, redis, feature), feature != Feature::DeleteIfEqual);
        assert_eq!(has(Product::Valkey, valkey, feature), feature != Feature::StreamAckDelete);
        assert!(!has(Product::Other("dragonfly".into()), "99.0", feature));
    }
}
