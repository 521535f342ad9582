//! The errors of the server, by their codes.

/// An error reply of the server, by its code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// `NOSCRIPT`: the server does not have the script.
    #[error("the server does not know the script (NOSCRIPT)")]
    NoScript,
    /// `OOM`: over `maxmemory`, and the policy evicts nothing for this command.
    #[error("the server is over its maxmemory (OOM)")]
    Oom,
    /// `WRONGTYPE`: the key holds another type.
    #[error("the key holds another type (WRONGTYPE)")]
    WrongType,
    /// `NOPERM`: the user may not run this command, or not on this key or channel.
    #[error("the user lacks the permission: {0}")]
    NoPerm(String),
    /// `WRONGPASS`: wrong user or password.
    #[error("wrong user name or password (WRONGPASS)")]
    WrongPass,
    /// `NOAUTH`: the server asks for a password.
    #[error("the server asks for a password (NOAUTH)")]
    NoAuth,
    /// `BUSY`: a script has run for longer than the server's limit.
    #[error("the server is busy with a script (BUSY)")]
    Busy,
    /// `NOREPLICAS`: fewer good replicas than `min-replicas-to-write`.
    #[error("too few good replicas to write (NOREPLICAS)")]
    NoReplicas,
    /// `MISCONF`: the server can't persist, and therefore refuses writes.
    #[error("the server can't persist and refuses writes (MISCONF)")]
    MisConf,
    /// `READONLY`: a replica, or a demoted primary.
    #[error("the server is a read-only replica (READONLY)")]
    ReadOnly,
    /// `LOADING`: the server is still loading its data.
    #[error("the server is loading its data (LOADING)")]
    Loading,
    /// `MASTERDOWN`: a replica whose link to its primary is down.
    #[error("the replica's primary is down (MASTERDOWN)")]
    MasterDown,
    /// `MOVED`: the slot lives on another node.
    #[error("slot {slot} lives on {node} (MOVED)")]
    Moved {
        /// The slot.
        slot: u16,
        /// The node that owns it, as the server wrote it: `host:port`, or `:port`.
        node: String,
    },
    /// `ASK`: the slot is being moved, and the key is already there.
    #[error("slot {slot} is being moved to {node} (ASK)")]
    Ask {
        /// The slot.
        slot: u16,
        /// The node to ask, as the server wrote it.
        node: String,
    },
    /// `TRYAGAIN`: the keys of one command are spread over both ends of a move.
    #[error("the keys are being moved (TRYAGAIN)")]
    TryAgain,
    /// `CROSSSLOT`: the keys of one command live in different slots.
    #[error("the keys live in different slots (CROSSSLOT)")]
    CrossSlot,
    /// `CLUSTERDOWN`: the cluster, or this slot, is not served.
    #[error("the cluster does not serve this slot (CLUSTERDOWN)")]
    ClusterDown,
    /// `EXECABORT`: the transaction was refused as a whole.
    #[error("the transaction was refused before it ran (EXECABORT)")]
    ExecAbort,
    /// The server has as many clients as it allows.
    #[error("the server has reached its maximum number of clients")]
    MaxClients,
    /// Any other code, with the server's words, but for what these quote: keys and arguments.
    #[error("{0}")]
    Other(String),
}

impl ServerError {
    /// Reads the server's words.
    pub(crate) fn parse(text: &str) -> Self {
        let mut words = text.split_whitespace();
        let code = words.next().unwrap_or_default();
        let mut redirect = || {
            let slot = words.next()?.parse().ok()?;
            Some((slot, words.next()?.to_owned()))
        };
        match code {
            "NOSCRIPT" => Self::NoScript,
            "OOM" => Self::Oom,
            "WRONGTYPE" => Self::WrongType,
            "NOPERM" => Self::NoPerm(text.to_owned()),
            "WRONGPASS" => Self::WrongPass,
            "NOAUTH" => Self::NoAuth,
            "BUSY" => Self::Busy,
            "NOREPLICAS" => Self::NoReplicas,
            "MISCONF" => Self::MisConf,
            "READONLY" => Self::ReadOnly,
            "LOADING" => Self::Loading,
            "MASTERDOWN" => Self::MasterDown,
            "TRYAGAIN" => Self::TryAgain,
            "CROSSSLOT" => Self::CrossSlot,
            "CLUSTERDOWN" => Self::ClusterDown,
            "EXECABORT" => Self::ExecAbort,
            "MOVED" => match redirect() {
                Some((slot, node)) => Self::Moved { slot, node },
                None => Self::Other(text.to_owned()),
            },
            "ASK" => match redirect() {
                Some((slot, node)) => Self::Ask { slot, node },
                None => Self::Other(text.to_owned()),
            },
            "ERR" if text.contains("max number of clients") => Self::MaxClients,
            // What a script ran for a user who may not; 7.0 says the one, later servers the other.
            "ERR" if text.starts_with("ERR The user executing the script can't") => {
                Self::NoPerm(text.to_owned())
            }
            "ERR" if text.starts_with("ERR ACL failure in script") => Self::NoPerm(text.to_owned()),
            _ => Self::Other(unquoted(text)),
        }
    }

    /// Whether the same call may be answered later without anybody's help.
    pub(super) fn is_transient(&self) -> bool {
        matches!(
            self,
            Self::Busy
                | Self::Loading
                | Self::MasterDown
                | Self::TryAgain
                | Self::ClusterDown
                | Self::ReadOnly
                | Self::NoReplicas
                | Self::MaxClients
                | Self::Moved { .. }
                | Self::Ask { .. }
        )
    }
}

/// Without what stands in quotes, from the first to the last: the server quotes keys and arguments.
fn unquoted(text: &str) -> String {
    match (text.find('\''), text.rfind('\'')) {
        (Some(first), Some(last)) if first < last => {
            format!("{}…{}", &text[..=first], text[last..].trim_end())
        }
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_errors_are_typed_by_their_code() {
        assert_eq!(ServerError::parse("NOSCRIPT No matching script."), ServerError::NoScript);
        assert_eq!(
            ServerError::parse("MOVED 3999 127.0.0.1:6381"),
            ServerError::Moved { slot: 3999, node: "127.0.0.1:6381".into() }
        );
        assert_eq!(
            ServerError::parse("ERR max number of clients reached"),
            ServerError::MaxClients
        );
        assert_eq!(ServerError::parse("MOVED x"), ServerError::Other("MOVED x".into()));
        assert_eq!(
            ServerError::parse("ERR unknown command 'X', with args beginning with: 'secret' "),
            ServerError::Other("ERR unknown command '…'".into())
        );
        assert_eq!(
            ServerError::parse("NOGROUP No such key 'a's' or consumer group 'g' in XPENDING"),
            ServerError::Other("NOGROUP No such key '…' in XPENDING".into())
        );
        assert_eq!(
            ServerError::parse("ERR can't do that"),
            ServerError::Other("ERR can't do that".into())
        );
    }
}
