//! A kept breakage: a diff with three lines before it that say where it must be noticed.

use crate::{Result, sh};
use std::{fs, path::PathBuf};

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Patch {
    pub(super) name: String,
    pub(super) file: PathBuf,
    pub(super) package: String,
    pub(super) test: String,
    pub(super) why: String,
}

impl Patch {
    /// All patches, by name.
    pub(super) fn all() -> Result<Vec<Self>> {
        let folder = sh::root().join("tests/planted");
        let mut files = Vec::new();
        for entry in
            fs::read_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?
        {
            files.push(entry?.path());
        }
        files.retain(|file| file.extension().is_some_and(|ending| ending == "patch"));
        files.sort();
        files.into_iter().map(|file| Self::parse(&fs::read_to_string(&file)?, file)).collect()
    }

    fn parse(text: &str, file: PathBuf) -> Result<Self> {
        let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let head = text.lines().take_while(|line| !line.starts_with("diff --git"));
        let head: Vec<_> = head.collect();
        let field = |field: &str| {
            let value = head.iter().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
            let value = value.map(str::trim).filter(|value| !value.is_empty());
            value.map(str::to_owned).ok_or_else(|| format!("{name}: no `{field}:` before the diff"))
        };
        let (package, test, why) = (field("Package")?, field("Test")?, field("Why")?);
        Ok(Self { name, file, package, test, why })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_head_says_where_the_bug_must_be_noticed() {
        let text =
            "Package: russet-cache\nTest: ttl\nWhy: no TTL\n\ndiff --git a/x b/x\n+Test: other\n";
        let patch = Patch::parse(text, "/t/cache-ttl.patch".into()).unwrap();
        assert_eq!((patch.name.as_str(), patch.test.as_str()), ("cache-ttl", "ttl"));
    }

    #[test]
    fn a_head_with_a_gap_is_an_error_that_names_it() {
        let text = "Package: russet-cache\nWhy: no TTL\ndiff --git a/x b/x\n+Test: not here\n";
        let error = Patch::parse(text, "/t/cache-ttl.patch".into()).unwrap_err().to_string();
        assert_eq!(error, "cache-ttl: no `Test:` before the diff");
    }
}
