/// What is wrong with a key space.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The prefix is empty or too long.
    #[error("prefix: {found} characters; allowed are 1 to 64")]
    PrefixLength {
        /// How many characters it has.
        found: usize,
    },
    /// The prefix has a character that is not allowed.
    #[error("prefix: {found:?} at {at}; allowed are A-Z a-z 0-9 . _ - /")]
    PrefixCharacter {
        /// The first such character.
        found: char,
        /// Its place in bytes, from 0.
        at: usize,
    },
}
