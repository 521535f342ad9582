//! A network of one's own, in which packets get lost.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use crate::port::random;
use crate::{Error, Result};

/// The network of the thread that looks.
const OURS: &str = "/proc/thread-self/ns/net";

/// What is lost goes out by one end of a cable that nobody listens to. The rules of a cut come before that of local
/// addresses, which is the first by itself and can't be preceded.
const SINK: &str = "link set lo up
link add sink type veth peer name drain
link set sink arp off up
link set drain arp off up
rule add pref 100 lookup local
rule del pref 0
route add default dev sink table 77
";

/// Without this, packets of loopback addresses leave by no other interface.
const LOCALNET: &str = "/proc/sys/net/ipv4/conf/sink/route_localnet";

/// A network namespace, in which packets between two addresses can be lost: see
/// [`ClusterBuilder::partitions_in`](crate::ClusterBuilder::partitions_in).
///
/// It has loopback addresses only, and sees nothing of the rest of the machine. It is gone when no thread and no
/// process is in it any more.
#[derive(Debug)]
pub struct Network {
    /// Its number in the system.
    inode: u64,
    rules: Mutex<Vec<String>>,
}

impl Network {
    /// Moves the thread that calls this into a new network, and with it the threads and processes that it starts from
    /// then on. So a test calls it before it makes its runtime, and all that it connects is in there:
    ///
    /// ```no_run
    /// # fn main() -> russet_testkit::Result<()> {
    /// use russet_testkit::{Clients, Cluster, Network};
    ///
    /// let network = Network::enter()?;
    /// let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    /// runtime.block_on(async {
    ///     let cluster = Cluster::builder().replicas(1).partitions_in(network).start().await?;
    ///     let primary = cluster.primary_of(0).await?;
    ///     cluster.cut_off(&[&primary], Clients::AreCutOffToo)?;
    ///     cluster.promoted(0).await?;
    ///     cluster.heal()
    /// })
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Network`] where it can't be made: that takes Linux, root, and `ip` of iproute2. The thread may be in a
    /// network without anything by then.
    pub fn enter() -> Result<Network> {
        let name = format!("russet-{}-{:x}", std::process::id(), random());
        ip(&format!("netns add {name}\n"))?;
        let entered = enter(&format!("/run/netns/{name}"));
        // From here on it lives as long as somebody is in it.
        ip(&format!("netns del {name}\n"))?;
        entered?;
        ip(SINK)?;
        fs::write(LOCALNET, "1").map_err(|error| refused(format!("write {LOCALNET}: {error}")))?;
        Ok(Network { inode: ours()?, rules: Mutex::default() })
    }

    /// Loses the packets from one address to another of each pair, and no others any more. A pair in `kept` passes
    /// whatever `lost` says. Connections stay, and send again what was lost when packets pass again.
    pub(crate) fn lose(&self, kept: &[[String; 2]], lost: &[[String; 2]]) -> Result<()> {
        if ours()? != self.inode {
            return Err(refused("this thread is in another one".to_owned()));
        }
        let rules = |pairs: &[[String; 2]], pref: u8, table: &str| -> Vec<String> {
            let rule = |[from, to]: &[String; 2]| {
                format!("pref {pref} from {from} to {to} lookup {table}")
            };
            pairs.iter().map(rule).collect()
        };
        let new = [rules(kept, 10, "local"), rules(lost, 20, "77")].concat();
        let mut old = self.rules.lock().unwrap_or_else(PoisonError::into_inner);
        let mut batch = String::new();
        for (verb, rules) in [("del", &*old), ("add", &new)] {
            batch.extend(rules.iter().map(|rule| format!("rule {verb} {rule}\n")));
        }
        ip(&batch)?;
        *old = new;
        Ok(())
    }
}

#[cfg(target_os = "linux")]
fn enter(path: &str) -> Result<()> {
    use std::os::fd::AsFd as _;

    use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

    let failed = |error: String| refused(format!("enter {path}: {error}"));
    let file = File::open(path).map_err(|error| failed(error.to_string()))?;
    move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
        .map_err(|error| failed(error.to_string()))
}

#[cfg(not(target_os = "linux"))]
fn enter(_: &str) -> Result<()> {
    Err(refused("only Linux has them".to_owned()))
}

fn ours() -> Result<u64> {
    let found = fs::metadata(OURS).map(|found| found.ino());
    found.map_err(|error| refused(format!("read {OURS}: {error}")))
}

/// Runs commands of `ip`, up to the first that fails.
fn ip(batch: &str) -> Result<()> {
    let run = || {
        let mut child = Command::new("ip")
            .args(["-batch", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(batch.as_bytes())?;
        }
        child.wait_with_output()
    };
    let output = run().map_err(|error| refused(format!("run ip: {error}")))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(refused(format!("ip {batch:?} says {:?}", said.trim())))
}

fn refused(reason: String) -> Error {
    Error::Network(reason)
}
