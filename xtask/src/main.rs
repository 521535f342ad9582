//! demo, test, bench, lint.
fn main() {}
