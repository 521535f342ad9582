/// Why the sentinels could not tell where to connect to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SentinelError {
    /// More than half of the sentinels know no primary of this name.
    #[error("the sentinels know no primary `{0}`")]
    UnknownPrimary(Box<str>),
    /// Fewer than half name the same primary. Those that are away, or answer too late, are not counted.
    #[error(
        "{agreed} of {listed} sentinels agree, {answered} answered; needed: {needed}; {reason}"
    )]
    NoMajority {
        /// How many are in the URL.
        listed: usize,
        /// How many answered.
        answered: usize,
        /// How many of these gave the same answer.
        agreed: usize,
        /// How many must.
        needed: usize,
        /// What one of the others said.
        reason: String,
    },
    /// There is no replica that the sentinels call usable.
    #[error("no replica of `{0}` can be used")]
    NoReplica(Box<str>),
    /// A server has another role than the sentinels say: they are about to change it, or to notice.
    #[error("{node} is said to be a {said}, and says itself that it is a {is}")]
    OtherRole {
        /// The server.
        node: Box<str>,
        /// Its role by the sentinels.
        said: &'static str,
        /// Its role by its own words.
        is: &'static str,
    },
}
