//! A copy of the working tree to break. Files that have not changed are left alone, so that cargo
//! builds again only what a patch touches.

use super::patch::Patch;
use crate::{Result, sh};
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

pub(super) struct Tree {
    root: PathBuf,
    target: PathBuf,
}

impl Tree {
    /// Brings the copy in line with the working tree, uncommitted changes included.
    pub(super) fn copy() -> Result<Self> {
        let planted = sh::target().join("planted");
        let tree = Self { root: planted.join("tree"), target: planted.join("target") };
        fs::create_dir_all(&tree.root)?;
        tree.restore()?;
        Ok(tree)
    }

    /// Undoes what a patch did.
    pub(super) fn restore(&self) -> Result<()> {
        let listed = ["ls-files", "-z", "--cached", "--others", "--exclude-standard"];
        let listed = sh::output(sh::command("git").args(listed))?;
        let files = listed.split('\0').filter(|file| !file.is_empty());
        let files: BTreeSet<_> =
            files.map(PathBuf::from).filter(|f| sh::root().join(f).is_file()).collect();
        for stray in self.present(Path::new(""))?.difference(&files) {
            fs::remove_file(self.root.join(stray))?;
        }
        for file in &files {
            let wanted = fs::read(sh::root().join(file))?;
            let copy = self.root.join(file);
            if fs::read(&copy).ok().as_ref() != Some(&wanted) {
                fs::create_dir_all(copy.parent().unwrap_or(&self.root))?;
                fs::write(copy, wanted)?;
            }
        }
        Ok(())
    }

    pub(super) fn apply(&self, patch: &Patch) -> Result<()> {
        let mut git = Command::new("git");
        git.current_dir(&self.root).args(["apply", "--whitespace=nowarn"]).arg(&patch.file);
        // Were git to find the repository above the copy, it would skip every path outside of it
        // and call that a success.
        git.env("GIT_CEILING_DIRECTORIES", self.root.parent().unwrap_or(&self.root));
        sh::output(&mut git).map(drop)
    }

    /// cargo in the copy, with a target folder that outlives the run.
    pub(super) fn cargo(&self) -> Command {
        let mut cargo = sh::cargo();
        cargo.current_dir(&self.root).env("CARGO_TARGET_DIR", &self.target);
        // Set by the cargo that runs us, and about another manifest.
        cargo.env_remove("CARGO_MANIFEST_DIR").env_remove("CARGO_MANIFEST_PATH");
        cargo
    }

    fn present(&self, folder: &Path) -> Result<BTreeSet<PathBuf>> {
        let mut files = BTreeSet::new();
        for entry in fs::read_dir(self.root.join(folder))? {
            let entry = entry?;
            let path = folder.join(entry.file_name());
            if entry.file_type()?.is_dir() {
                files.extend(self.present(&path)?);
            } else {
                files.insert(path);
            }
        }
        Ok(files)
    }
}
