//! What a sentinel tells of the servers that it watches.

use std::collections::HashMap;

use super::ask::Place;
use crate::Standing;

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) place: Place,
    /// Whom it follows, by its own word.
    pub(crate) follows: Option<Place>,
    pub(crate) standing: Standing,
    /// Whether the sentinel has a connection to it.
    pub(crate) linked: bool,
    /// Whether it has its data, and follows.
    in_step: bool,
}

impl Told {
    /// An entry of `SENTINEL REPLICAS`, or the answer to `SENTINEL MASTER`.
    pub(super) fn read(entry: &HashMap<String, String>) -> Option<Self> {
        let field = |name: &str| entry.get(name).map(String::as_str);
        let place = |host: &str, port: &str| -> Option<Place> {
            let port = field(port)?.parse().ok().filter(|&port: &u16| port > 0)?;
            Some((field(host)?.to_owned(), port))
        };
        let flags: Vec<&str> = field("flags")?.split(',').collect();
        let follows = place("master-host", "master-port");
        let in_step = field("master-link-status") == Some("ok") && !flags.contains(&"master_down");
        // One that has been in step before has an offset, also while nobody is there to follow.
        let copied = || field("slave-repl-offset").and_then(|offset| offset.parse().ok());
        let empty = flags.contains(&"slave") && !in_step && copied().unwrap_or(0_u64) <= 1;
        let standing = match () {
            () if flags.contains(&"o_down") => Standing::Failed,
            () if flags.contains(&"s_down") => Standing::Suspected,
            () if empty => Standing::Loading,
            () => Standing::Up,
        };
        let linked = !flags.contains(&"disconnected");
        Some(Self { place: place("ip", "port")?, follows, standing, linked, in_step })
    }

    /// Whether a replica can be read from.
    pub(super) fn is_usable(&self) -> bool {
        self.standing == Standing::Up && self.linked && self.in_step
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replica(flags: &str, link: &str, offset: &str) -> Told {
        let fields = [
            ("ip", "::1"),
            ("port", "7001"),
            ("flags", flags),
            ("master-link-status", link),
            ("master-host", "?"),
            ("master-port", "0"),
            ("slave-repl-offset", offset),
        ];
        Told::read(&fields.map(|(name, value)| (name.to_owned(), value.to_owned())).into()).unwrap()
    }

    #[test]
    fn a_replica_that_is_down_or_cut_off_is_not_usable() {
        let usable = replica("slave", "ok", "900");
        assert!(usable.is_usable());
        assert_eq!((usable.place, usable.follows), (("::1".into(), 7001), None));
        for (flags, link) in [
            ("s_down,slave", "ok"),
            ("slave,disconnected", "ok"),
            ("slave,master_down", "ok"),
            ("slave", "err"),
        ] {
            assert!(!replica(flags, link, "900").is_usable(), "{flags} {link}");
        }
        assert_eq!(Told::read(&HashMap::new()), None);
    }

    #[test]
    fn it_is_told_how_a_server_stands() {
        for (flags, link, offset, standing) in [
            ("slave", "ok", "900", Standing::Up),
            // Its primary is gone.
            ("slave", "err", "900", Standing::Up),
            ("slave", "err", "1", Standing::Loading),
            ("s_down,slave,disconnected", "err", "1", Standing::Suspected),
            ("s_down,o_down,master", "", "", Standing::Failed),
            ("master", "", "", Standing::Up),
        ] {
            assert_eq!(replica(flags, link, offset).standing, standing, "{flags} {link} {offset}");
        }
    }
}
