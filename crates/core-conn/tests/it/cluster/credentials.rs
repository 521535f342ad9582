//! Credentials that change, on all nodes at once.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::SeqCst;

use russet_core_conn::{Cmd, Credentials, ErrorKind, EventKind};
use russet_testkit::{Cluster, Conn, Server};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::{conns, key};
use crate::support::{clients, patient, until};

async fn rule(conn: &mut Conn, rule: &str) {
    assert!(conn.call(&["ACL", "SETUSER", "shop", rule]).await.unwrap().is_ok(), "{rule}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_that_changes_costs_no_call_on_any_node() {
    let all = "~* &* +@all";
    let acl = format!("user default on nopass {all}\nuser shop on >first {all}\n");
    let server = Server::builder().acl_file(acl);
    let cluster = Cluster::builder().primaries(3).server(server).start().await.unwrap();
    let (tell, told) = watch::channel(Credentials::new("shop", "first"));
    let redis =
        patient(&cluster.url()).credentials(told).connection_name("rotated").build().unwrap();
    redis.ready().await.unwrap();
    let mut events = redis.events();
    let answers = Arc::new(AtomicU64::new(0));
    let mut tasks = JoinSet::new();
    for task in 0..9 {
        let (redis, answers) = (redis.clone(), answers.clone());
        tasks.spawn(async move {
            loop {
                match redis.run::<i64>(Cmd::write("INCR").key(&key(task))).await {
                    Ok(_) => answers.fetch_add(1, SeqCst),
                    Err(error) if matches!(error.kind(), ErrorKind::Closed) => return,
                    Err(error) => panic!("{error}"),
                };
            }
        });
    }
    let answered = async || {
        let before = answers.load(SeqCst);
        until("answers", async || answers.load(SeqCst) > before + 200).await;
    };
    answered().await;
    let mut conns = conns(&cluster).await;
    for conn in &mut conns {
        let connections = clients(conn, "rotated").await;
        assert!(!connections.is_empty());
        assert!(connections.iter().all(|line| line.contains(" user=shop ")), "{connections:?}");
    }
    for conn in &mut conns {
        rule(conn, ">second").await;
    }
    tell.send_replace(Credentials::new("shop", "second"));
    let mut logged_in = HashSet::new();
    while logged_in.len() < 3 {
        let event = events.find(|kind| matches!(kind, EventKind::LoggedIn)).await.unwrap();
        logged_in.insert(event.node);
    }
    for conn in &mut conns {
        rule(conn, "<first").await;
    }
    answered().await;
    // A node that is found later is come to with what holds by then.
    let added = cluster.add_node().await.unwrap();
    let mut conn = added.conn().await.unwrap();
    rule(&mut conn, ">second").await;
    rule(&mut conn, "<first").await;
    let from = cluster.primary_of(key(0).slot()).await.unwrap();
    cluster.reshard([key(0).slot()], &from, &added).await.unwrap();
    until("it is used", async || clients(&mut conn, "rotated").await.len() == 1).await;
    answered().await;
    redis.close().await;
    tasks.join_all().await;
    let plain = patient(&cluster.url()).build().unwrap();
    let mut applied = 0;
    for task in 0..9 {
        applied += plain.run::<u64>(Cmd::read("GET").key(&key(task))).await.unwrap();
    }
    assert_eq!(applied, answers.load(SeqCst));
}
