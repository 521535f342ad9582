use super::*;
use crate::Credentials;

fn refused(builder: RedisBuilder, field: &str) {
    let error = builder.build().unwrap_err().to_string();
    assert!(error.starts_with(field) && error.contains("allowed"), "{error}");
}

#[test]
fn bad_options_are_named() {
    let ok = || RedisBuilder::new("redis://localhost");
    assert!(ok().build().is_ok());
    refused(ok().connections(0), "connections");
    refused(ok().in_flight(0), "in_flight");
    refused(ok().queue(0), "queue");
    refused(ok().dedicated(0), "dedicated");
    refused(ok().attempts(0), "attempts");
    refused(ok().deadline(Duration::ZERO), "deadline");
    refused(ok().probe(Duration::ZERO, Duration::from_secs(1)), "probe.interval");
    refused(ok().connection_name(""), "connection_name");
    refused(ok().connection_name("two words"), "connection_name");
    refused(ok().user("ann"), "password");
    refused(ok().reconnect(Backoff::constant(Duration::ZERO)), "reconnect");
    refused(RedisBuilder::new("http://localhost"), "url");
}

#[test]
fn url_and_options_may_agree_but_not_contradict() {
    let url = || RedisBuilder::new("redis://ann:secret@h/2");
    assert!(url().database(2).user("ann").build().is_ok());
    refused(url().database(3), "database");
    refused(url().user("bob"), "user");
    refused(url().password("other"), "password");
}

#[test]
fn no_password_is_printed() {
    let builder = RedisBuilder::new("redis://h").user("ann").password("hunter2");
    assert!(!format!("{builder:?}").contains("hunter2"));
    assert!(!format!("{:?}", builder.build().unwrap()).contains("hunter2"));
    assert!(!format!("{:?}", RedisBuilder::new("redis://:hunter2@h")).contains("hunter2"));
}

#[test]
fn one_source_of_credentials_is_enough() {
    let told = || tokio::sync::watch::channel(Credentials::new("ann", "hunter2")).1;
    let ok = || RedisBuilder::new("redis://localhost");
    assert!(ok().credentials(told()).build().is_ok());
    refused(ok().credentials(told()).password("x"), "credentials");
    refused(ok().credentials(told()).user("ann"), "credentials");
    refused(RedisBuilder::new("redis://:x@h").credentials(told()), "credentials");
    refused(ok().password("x").password_from_env(), "password");
    refused(RedisBuilder::new("redis://:x@h").password_from_env(), "password");
    refused(ok().password(""), "password");
    assert!(!format!("{:?}", ok().credentials(told())).contains("hunter2"));
}

#[test]
fn a_password_that_the_environment_lacks_is_named() {
    let ok = || RedisBuilder::new("redis://localhost");
    let error = ok().password_from_env_var("RUSSET_NO_SUCH_VARIABLE").build().unwrap_err();
    assert!(error.to_string().contains("`RUSSET_NO_SUCH_VARIABLE` is missing"), "{error}");
    // Cargo sets this one, and not that one.
    assert!(ok().password_from_env_var("CARGO_MANIFEST_DIR").build().is_ok());
    refused(ok().password_from_env_var(""), "password");
    refused(ok().password_from_env_var("A=B"), "password");
}

#[cfg(unix)]
#[test]
fn a_socket_is_named_once() {
    let socket = |url: &str| RedisBuilder::new(url).unix_socket("/s");
    for url in ["redis://", "redis:///3", "unix:///s", "unix:///s?pass=x"] {
        assert!(socket(url).build().is_ok(), "{url}");
    }
    for url in ["redis://h", "redis://localhost:6379", "unix:///other", "rediss://"] {
        refused(socket(url), "unix_socket");
    }
    refused(RedisBuilder::new("redis://").unix_socket("relative"), "unix_socket");
}
