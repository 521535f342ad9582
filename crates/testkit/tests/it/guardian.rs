//! No server outlives the process that started it, whatever ends that.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use russet_testkit::shared::Topology;
use russet_testkit::{Cluster, Error, Sentinel, Server};
use rustix::process::{Pid, Signal, getpgid, getpgrp, kill_process, test_kill_process};

/// What the processes that the other tests start are to do; unset in an ordinary run.
const ORDER: &str = "RUSSET_TESTKIT_VICTIM";

/// Not a test by itself: the process that is killed.
#[tokio::test]
async fn victim() {
    let Ok(order) = std::env::var(ORDER) else { return };
    if order == "shared" {
        for topology in Topology::ALL {
            let url = topology.url().await.unwrap();
            for mut conn in topology.primaries().await.unwrap() {
                let info = conn.call(&["INFO", "server"]).await.unwrap();
                let mut lines = info.text().unwrap().lines();
                let pid = lines.find_map(|line| line.strip_prefix("process_id:")).unwrap();
                let dir = conn.call(&["CONFIG", "GET", "dir"]).await.unwrap();
                println!("\nserver {pid} {}", dir.items().unwrap()[1].text().unwrap());
            }
            assert_eq!(topology.url().await.unwrap(), url);
        }
        return;
    }
    if order == "cluster" || order == "sentinel" {
        return many(&order).await;
    }
    let replicas = if order == "replicas" { 2 } else { 0 };
    let server = Server::start_with_replicas(replicas).await.unwrap();
    for server in server.replicas().iter().chain([&server]) {
        println!("\nserver {} {}", server.pid().unwrap(), server.dir().display());
    }
    match order.as_str() {
        "wait" => {}
        "replicas" => server.replicas()[0].pause().await.unwrap(),
        "pause" => server.pause().await.unwrap(),
        "kill" => server.kill().await.unwrap(),
        "restart" => {
            server.restart().await.unwrap();
            println!("\nserver {} {}", server.pid().unwrap(), server.dir().display());
        }
        "panic" => panic!("as ordered"),
        "abort" => std::process::abort(),
        "exit" => std::process::exit(0),
        "forget" => return std::mem::forget(server),
        other => panic!("{other}"),
    }
    println!("\nready");
    std::future::pending::<()>().await;
}

/// The victim that has many processes, of which one is paused.
async fn many(order: &str) {
    let (cluster, sentinel);
    let nodes;
    let servers: Vec<&Server> = if order == "cluster" {
        cluster = Cluster::start(1, 1).await.unwrap();
        nodes = cluster.nodes();
        nodes.iter().map(AsRef::as_ref).collect()
    } else {
        sentinel = Sentinel::start(1, 1).await.unwrap();
        sentinel.servers().iter().chain(sentinel.sentinels()).collect()
    };
    for server in &servers {
        println!("\nserver {} {}", server.pid().unwrap(), server.dir().display());
    }
    servers[0].pause().await.unwrap();
    println!("\nready");
    std::future::pending::<()>().await;
}

struct Victim {
    process: Child,
    /// Each with its folder; the last is the one that runs.
    servers: Vec<(Pid, PathBuf)>,
}

impl Victim {
    /// Starts one, and returns when it has done as ordered.
    fn start(order: &str) -> Victim {
        let mut process = Command::new(std::env::current_exe().unwrap());
        for topology in Topology::ALL {
            process.env_remove(topology.variable());
        }
        let mut process = process
            .args(["--exact", "guardian::victim", "--nocapture", "--test-threads=1"])
            .env(ORDER, order)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines().map(Result::unwrap);
        let mut servers = Vec::new();
        for line in lines.take_while(|line| line != "ready") {
            if let Some((pid, dir)) =
                line.strip_prefix("server ").and_then(|line| line.split_once(' '))
            {
                servers.push((Pid::from_raw(pid.parse().unwrap()).unwrap(), PathBuf::from(dir)));
            }
        }
        assert!(!servers.is_empty(), "the victim says where its server is");
        Victim { process, servers }
    }

    fn leaves_nothing(mut self) {
        self.process.wait().unwrap();
        let begun = Instant::now();
        loop {
            self.servers.retain(|(server, dir)| test_kill_process(*server).is_ok() || dir.exists());
            if self.servers.is_empty() {
                return;
            }
            if begun.elapsed() > Duration::from_secs(2) {
                // Not for ever, just because a test fails.
                for (server, dir) in &self.servers {
                    let _ = kill_process(*server, Signal::KILL);
                    let _ = std::fs::remove_dir_all(dir);
                }
                panic!("a server still runs, or its folder still exists: {:?}", self.servers);
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

fn killed(order: &str) {
    let mut victim = Victim::start(order);
    let (server, dir) = victim.servers.last().unwrap();
    if order != "kill" {
        assert!(test_kill_process(*server).is_ok());
    }
    assert!(dir.is_dir());
    victim.process.kill().unwrap();
    victim.leaves_nothing();
}

#[test]
fn a_killed_test_leaves_nothing() {
    killed("wait");
}

#[test]
fn a_killed_test_leaves_no_paused_server() {
    // The guardian learns of the end twice, by the end of its pipe and by a signal, in either order.
    (0..20).for_each(|_| killed("pause"));
}

#[test]
fn a_killed_test_leaves_no_folder_of_a_killed_server() {
    killed("kill");
}

#[test]
fn a_killed_test_leaves_no_restarted_server() {
    killed("restart");
}

#[test]
fn a_killed_test_leaves_no_replicas() {
    let mut victim = Victim::start("replicas");
    assert_eq!(victim.servers.len(), 3);
    victim.process.kill().unwrap();
    victim.leaves_nothing();
}

#[test]
fn a_killed_test_leaves_no_cluster_and_no_sentinel() {
    for (order, processes) in [("cluster", 2), ("sentinel", 3)] {
        let mut victim = Victim::start(order);
        assert_eq!(victim.servers.len(), processes);
        victim.process.kill().unwrap();
        victim.leaves_nothing();
    }
}

#[test]
fn a_test_that_panics_leaves_nothing() {
    Victim::start("panic").leaves_nothing();
}

#[test]
fn a_test_that_aborts_leaves_nothing() {
    Victim::start("abort").leaves_nothing();
}

#[test]
fn a_test_that_exits_leaves_nothing() {
    Victim::start("exit").leaves_nothing();
}

#[test]
fn a_forgotten_server_ends_with_the_process() {
    Victim::start("forget").leaves_nothing();
}

#[test]
fn the_shared_servers_end_with_the_process() {
    Victim::start("shared").leaves_nothing();
}

#[tokio::test]
async fn a_terminal_does_not_interrupt_the_server() {
    let server = Server::start().await.unwrap();
    let pid = Pid::from_raw(server.pid().unwrap().try_into().unwrap());
    assert_ne!(getpgid(pid).unwrap(), getpgrp());
}

#[tokio::test]
async fn a_killed_guardian_takes_the_server_with_it() {
    let server = Server::start().await.unwrap();
    let dir = server.dir().to_owned();
    let mut conn = server.conn().await.unwrap();
    let pid = server.pid().unwrap().to_string();
    let parent = Command::new("ps").args(["-o", "ppid=", "-p", &pid]).output().unwrap();
    let guardian = String::from_utf8(parent.stdout).unwrap().trim().parse().unwrap();
    kill_process(Pid::from_raw(guardian).unwrap(), Signal::KILL).unwrap();
    assert_eq!(conn.rest().await.unwrap(), b"");
    assert!(matches!(server.restart().await, Err(Error::GuardianLost)));
    assert!(!server.is_running());
    drop(server);
    assert!(!dir.exists());
}
