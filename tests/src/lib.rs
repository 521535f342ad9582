//! What crosses crates; see `tests/it`.
