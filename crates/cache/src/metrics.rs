//! The names of what is counted and measured by the `metrics` facade. The crate's docs tell what each is.

pub(crate) const LOOKUPS: &str = "russet_cache_lookups_total";
pub(crate) const BYPASSED: &str = "russet_cache_bypassed_total";
pub(crate) const LOADS: &str = "russet_cache_loads_total";
pub(crate) const LOAD_SECONDS: &str = "russet_cache_load_seconds";
pub(crate) const FILLS: &str = "russet_cache_fills_total";
pub(crate) const FAILOVERS: &str = "russet_cache_failovers_total";
pub(crate) const REPEATED: &str = "russet_cache_repeated_total";
pub(crate) const BEHIND_WRITES: &str = "russet_cache_behind_writes_total";
pub(crate) const BEHIND_ENTITIES: &str = "russet_cache_behind_entities_total";
pub(crate) const BEHIND_COMMIT_SECONDS: &str = "russet_cache_behind_commit_seconds";
