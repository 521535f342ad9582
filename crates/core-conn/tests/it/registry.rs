//! Named connections: entries and their events. Their health and their end are in the files beside this one.

use std::time::Duration;

use russet_core_conn::{
    EntryEvent, ErrorKind, EventKind, Events, Notice, Redis, Registry, SendOutcome,
};
use russet_testkit::Server;

use crate::close::assert_closed;
use crate::support::{clients, incr, patient, until};

mod close;
mod health;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entries_come_and_go_by_name() {
    let server = Server::builder().password("hunter2").start().await.unwrap();
    let url = format!("redis://:hunter2@{}/3", server.addr());
    let registry = Registry::new();
    assert!(registry.names().is_empty() && registry.state().is_none());
    let state = registry.add(Registry::STATE, patient(&url).connection_name("state")).unwrap();
    let same = registry.clone();
    same.add(Registry::CACHE, patient(&url).connection_name("cache")).unwrap();
    assert_eq!(state.run::<i64>(incr("n")).await.unwrap(), 1);
    let get = |name: &str| registry.get(name);
    assert_eq!(get("state").unwrap().run::<i64>(incr("n")).await.unwrap(), 2);
    assert_eq!(registry.cache().unwrap().run::<i64>(incr("n")).await.unwrap(), 3);
    assert!(get("other").is_none() && registry.config("other").is_none());
    assert!(registry.names().iter().map(|name| &**name).eq(["cache", "state"]));

    // A second of the name is refused, and the first stays.
    let error = registry.add("state", Redis::builder("redis://elsewhere")).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::NameTaken(name) if &**name == "state"), "{error}");
    assert_eq!(error.outcome(), SendOutcome::NotSent);
    for name in ["", &"n".repeat(65), "a\nb"] {
        let error = registry.add(name, Redis::builder("redis://elsewhere")).unwrap_err();
        assert!(error.to_string().starts_with("name: "), "{error}");
    }
    let error = registry.add("bad", Redis::builder("http://elsewhere")).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Config { field: "url", .. }), "{error}");
    assert_eq!(registry.names().len(), 2);

    let config = registry.config("state").unwrap();
    for part in [&server.addr().to_string(), "database: Some(3)", "name: Some(\"state\")"] {
        assert!(config.contains(part), "no {part} in {config}");
    }
    assert!(!format!("{config} {registry:?}").contains("hunter2"), "{config}");

    // Removed it is closed for everybody, and its name is free.
    let mut conn = server.conn().await.unwrap();
    assert_eq!(clients(&mut conn, "state").await.len(), 1);
    assert!(registry.remove("state").await.unwrap().is_clean());
    assert!(registry.remove("state").await.is_none());
    assert!(registry.state().is_none() && registry.config("state").is_none());
    assert_closed(&state.ping().await.unwrap_err());
    until("its connection ends", async || clients(&mut conn, "state").await.is_empty()).await;
    let again = registry.add("state", patient(&url).connection_name("again")).unwrap();
    assert_eq!(again.run::<i64>(incr("n")).await.unwrap(), 4);

    // Dropped with the registry, unless somebody has a handle.
    drop((registry, same));
    until("the connection ends", async || clients(&mut conn, "cache").await.is_empty()).await;
    assert_eq!(again.run::<i64>(incr("n")).await.unwrap(), 5);
}

async fn find(
    events: &mut Events<EntryEvent>,
    entry: &str,
    wanted: impl Fn(&EventKind) -> bool,
) -> EntryEvent {
    let searching = async {
        loop {
            match events.next().await.expect("the events ended") {
                Notice::Event(event) if &*event.entry == entry && wanted(&event.event.kind) => {
                    return event;
                }
                _ => {}
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), searching).await.expect("it never came")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_of_all_entries_carry_their_names_and_end_with_the_last() {
    let (one, two) = (Server::start().await.unwrap(), Server::start().await.unwrap());
    let registry = Registry::new();
    let first = registry.add("one", patient(&one.url())).unwrap();
    let mut events = registry.events();
    let mut own = first.events();
    // Of one that is added after somebody listens, too.
    let second = registry.add("two", patient(&two.url())).unwrap();
    first.ready().await.unwrap();
    second.ready().await.unwrap();
    let is_ready = |kind: &EventKind| matches!(kind, EventKind::Ready(_));
    let event = find(&mut events, "one", is_ready).await;
    assert_eq!(*event.event.node, one.addr().to_string());
    let mut events_of_two = registry.events();
    two.kill().await.unwrap();
    find(&mut events_of_two, "two", |kind| matches!(kind, EventKind::Closed)).await;
    find(&mut events, "two", |kind| matches!(kind, EventKind::Closed)).await;

    registry.remove("one").await.unwrap();
    find(&mut events, "one", |kind| matches!(kind, EventKind::Closed)).await;
    registry.close_all().await;
    while let Some(notice) = events.next().await {
        let Notice::Event(event) = notice else { panic!("{notice:?}") };
        assert_eq!(&*event.entry, "two");
    }
    assert!(own.find(is_ready).await.is_some(), "the handle's own listeners hear it, too");
    assert!(registry.events().next().await.is_none(), "there will be none");
}
