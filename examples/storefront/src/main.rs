//! The storefront.
fn main() {}
