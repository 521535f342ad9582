//! The end of all entries.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use russet_core_conn::{ErrorKind, Redis, Registry};
use russet_testkit::Server;

use crate::close::signal::{CALLS, line, signal, start_as};
use crate::close::{assert_closed, behind_proxy, calls};
use crate::support::{clients, ms, patient, poll_once, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_hangs_does_not_keep_the_others_from_a_clean_end() {
    let (fine, fine_proxy) = behind_proxy().await;
    let (hung, hung_proxy) = behind_proxy().await;
    let registry = Registry::new();
    let brief = |url: &str| patient(url).close_deadline(ms(400));
    let one = registry.add("fine", brief(&fine_proxy.url())).unwrap();
    let two = registry.add("hung", brief(&hung_proxy.url())).unwrap();
    let hung_too = ["hung 2", "hung 3", "hung 4"];
    for name in hung_too {
        registry.add(name, brief(&hung_proxy.url())).unwrap().ready().await.unwrap();
    }
    let unused = registry.add("unused", brief(&fine_proxy.url())).unwrap();
    one.ready().await.unwrap();
    two.ready().await.unwrap();
    hung.pause().await.unwrap();
    let lost = calls(&two, "lost", 5);
    hung_proxy.until(|now| now.requests("INCR") == 5).await.unwrap();
    fine_proxy.stall();
    let answered = calls(&one, "answered", 5);
    fine_proxy.until(|now| now.requests("INCR") == 5).await.unwrap();

    let started = Instant::now();
    let mut closing = Box::pin(registry.close_all());
    assert!(poll_once(closing.as_mut()).await.is_none());
    let late = registry.add("late", brief(&fine_proxy.url())).unwrap_err();
    assert!(matches!(late.kind(), ErrorKind::RegistryClosed), "{late}");
    fine_proxy.unstall();
    let report = closing.await;
    let took = started.elapsed();
    assert!(took >= ms(400) && took < ms(1_500), "{took:?}");
    assert!(!report.is_clean());
    let (fine_report, hung_report) = (report.get("fine").unwrap(), report.get("hung").unwrap());
    assert!(fine_report.is_clean() && fine_report.took < ms(400), "{fine_report:?}");
    assert_eq!((hung_report.not_sent, hung_report.unknown), (0, 5));
    assert!(report.get("unused").unwrap().is_clean());
    answered.join_all().await.into_iter().for_each(|reply| assert_eq!(reply.unwrap(), 1));
    lost.join_all().await.into_iter().for_each(|reply| assert!(reply.is_err()));

    // Again it is the same, and still nothing can be added.
    assert_eq!(registry.close_all().await, report);
    let late = registry.add("late", brief(&fine_proxy.url())).unwrap_err();
    assert!(matches!(late.kind(), ErrorKind::RegistryClosed), "{late}");
    for redis in [one, two, unused] {
        assert_closed(&redis.ping().await.unwrap_err());
    }
    assert_eq!(registry.names().len(), 3 + hung_too.len());
    fine_proxy.until(|now| now.open == 0).await.unwrap();
    hung.resume().await.unwrap();
    drop(fine);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_entry_that_is_added_meanwhile_escapes() {
    let server = Server::start().await.unwrap();
    let mut conn = server.conn().await.unwrap();
    for round in 0..20 {
        let registry = Registry::new();
        let started = Arc::new(AtomicUsize::new(0));
        let tasks: Vec<_> = (0..8)
            .map(|task| {
                let (registry, url, started) = (registry.clone(), server.url(), started.clone());
                tokio::spawn(async move {
                    let mut handles = Vec::new();
                    loop {
                        let name = format!("{task}-{}", handles.len());
                        let builder = patient(&url).connection_name("race");
                        match registry.add(&name, builder) {
                            Ok(redis) => handles.push(redis),
                            Err(error) => {
                                assert!(
                                    matches!(error.kind(), ErrorKind::RegistryClosed),
                                    "{error}"
                                );
                                return handles;
                            }
                        }
                        started.fetch_add(1, SeqCst);
                        if handles.len() % 8 == 0 {
                            // Some of them connect.
                            let _ = poll_once(std::pin::pin!(handles[0].ping())).await;
                        }
                        tokio::task::yield_now().await;
                    }
                })
            })
            .collect();
        until("some entries", async || started.load(SeqCst) > 20).await;
        let report = registry.close_all().await;
        let mut handles: Vec<Redis> = Vec::new();
        for task in tasks {
            handles.extend(task.await.unwrap());
        }
        assert_eq!(report.iter().count(), handles.len(), "round {round}");
        for redis in &handles {
            assert_closed(&redis.ping().await.unwrap_err());
        }
    }
    until("no connection is left", async || clients(&mut conn, "race").await.is_empty()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_being_removed_is_closed_too_also_when_nobody_waits_for_it() {
    let (_server, proxy) = behind_proxy().await;
    let registry = Registry::new();
    let redis = registry.add("one", patient(&proxy.url())).unwrap();
    redis.ready().await.unwrap();
    proxy.stall();
    let sent = calls(&redis, "sent", 3);
    proxy.until(|now| now.requests("INCR") == 3).await.unwrap();
    let mut removing = Box::pin(registry.remove("one"));
    assert!(poll_once(removing.as_mut()).await.is_none());
    assert!(registry.get("one").is_none());
    drop(removing);
    until("its closing begins", async || {
        matches!(redis.ready().await, Err(error) if matches!(error.kind(), ErrorKind::Closed))
    })
    .await;
    let mut closing = Box::pin(registry.close_all());
    assert!(poll_once(closing.as_mut()).await.is_none(), "it does not wait for what is removed");
    proxy.unstall();
    let report = closing.await;
    assert!(report.get("one").unwrap().is_clean(), "{report:?}");
    for reply in sent.join_all().await {
        assert_eq!(reply.unwrap(), 1);
    }
    proxy.until(|now| now.open == 0).await.unwrap();
    assert_eq!(proxy.requests("QUIT"), 1);
}

/// A service with two entries; calls are in flight on one of them. Says `closing` and then what the report says.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the process that others send signals to"]
async fn service() {
    let Ok(url) = std::env::var("RUSSET_TEST_SERVICE") else { return };
    let registry = Registry::new();
    let minute = Duration::from_secs(60);
    let builder = || patient(&url).deadline(minute).close_deadline(minute);
    let busy = registry.add("busy", builder()).unwrap();
    let idle = registry.add("idle", builder()).unwrap();
    busy.ready().await.unwrap();
    idle.ready().await.unwrap();
    let mut shutdown = Box::pin(registry.shutdown_on_signal());
    // From here on signals are heard.
    assert!(poll_once(shutdown.as_mut()).await.is_none());
    println!("\nready");
    std::io::stdin().read_line(&mut String::new()).unwrap();
    let calls = calls(&busy, "service", CALLS);
    let ear = busy.without_waiting();
    let closing = async {
        until("it closes", async || {
            matches!(ear.ready().await, Err(error) if matches!(error.kind(), ErrorKind::Closed))
        })
        .await;
        println!("\nclosing");
    };
    let (report, ()) = tokio::join!(shutdown, closing);
    let report = report.unwrap();
    let answered = calls.join_all().await.iter().filter(|reply| reply.is_ok()).count();
    let left = |name| report.get(name).map(|left| (left.not_sent, left.unknown)).unwrap();
    println!("\nreport {:?} {:?} {answered}", left("busy"), left("idle"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signal_closes_all_and_a_second_one_cuts() {
    for second in [false, true] {
        let (_server, proxy) = behind_proxy().await;
        let (mut child, mut lines) = start_as(&proxy, "registry::close::service").await;
        signal(&child, "TERM").await;
        line(&mut lines, "closing").await;
        let expected = if second {
            // Their close deadline is a minute.
            signal(&child, "TERM").await;
            format!("report (0, {CALLS}) (0, 0) 0")
        } else {
            proxy.unstall();
            format!("report (0, 0) (0, 0) {CALLS}")
        };
        assert_eq!(line(&mut lines, "report").await, expected);
        assert!(child.wait().await.unwrap().success());
    }
}
