//! Which server binary to use: what was asked for, what is here, or what can be installed.

mod install;
mod wheel;

use crate::{Result, sh};
use std::{
    env, fmt,
    path::{Path, PathBuf},
    process::Command,
    str::FromStr,
};

/// A server binary that has said its version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Binary {
    pub(crate) path: PathBuf,
    pub(crate) product: Product,
    pub(crate) version: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Product {
    Redis,
    Valkey,
}

/// What `--server` asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    Any,
    Path(PathBuf),
    Major(Product, u32),
}

/// Finds the server that is wanted, or installs it. There is no third way: a server that was
/// asked for by name and can't be had is an error.
pub(crate) fn find(wanted: &Wanted) -> Result<Binary> {
    if let Wanted::Path(path) = wanted {
        return Binary::ask(path);
    }
    if let Some(path) = env::var_os("RUSSET_SERVER").filter(|path| !path.is_empty()) {
        let binary = Binary::ask(Path::new(&path))
            .map_err(|error| format!("RUSSET_SERVER is set, but {error}"))?;
        if binary.is(wanted) {
            return Ok(binary);
        }
    }
    match here().into_iter().find(|binary| binary.is(wanted)) {
        Some(binary) => Ok(binary),
        None => install::install(wanted),
    }
}

impl Binary {
    /// Asks the binary what it is.
    pub(crate) fn ask(path: &Path) -> Result<Self> {
        let said = sh::output(Command::new(path).arg("--version"))
            .map_err(|error| format!("{} is no server that runs here: {error}", path.display()))?;
        let (product, version) = parse_version(&said)
            .ok_or_else(|| format!("{} is no Redis or Valkey: {said}", path.display()))?;
        // Not the canonical path: Debian's redis-server is a link to a program of another name, and
        // that program goes by the name it was called with.
        Ok(Self { path: std::path::absolute(path)?, product, version })
    }

    fn is(&self, wanted: &Wanted) -> bool {
        match wanted {
            Wanted::Any => true,
            Wanted::Path(path) => std::path::absolute(path).is_ok_and(|path| path == self.path),
            Wanted::Major(product, major) => {
                self.product == *product
                    && self.version.split('.').next() == Some(major.to_string().as_str())
            }
        }
    }
}

/// The binaries on PATH and those of an earlier installation, the usual ones first.
fn here() -> Vec<Binary> {
    let on_path = ["redis-server", "valkey-server"].into_iter().filter_map(sh::on_path);
    let unpacked = wheel::WHEELS.iter().map(wheel::Wheel::binary);
    on_path.chain(unpacked).filter_map(|path| Binary::ask(&path).ok()).collect()
}

fn parse_version(said: &str) -> Option<(Product, String)> {
    let product = match said.split_whitespace().next()? {
        "Redis" => Product::Redis,
        "Valkey" => Product::Valkey,
        _ => return None,
    };
    let version = said.split_whitespace().find_map(|word| word.strip_prefix("v="))?;
    Some((product, version.to_owned()))
}

impl FromStr for Wanted {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let named = text.split_once('-').and_then(|(product, major)| {
            let product = match product {
                "redis" => Product::Redis,
                "valkey" => Product::Valkey,
                _ => return None,
            };
            Some(Self::Major(product, major.parse().ok()?))
        });
        match named {
            Some(named) => Ok(named),
            None if text.contains(std::path::MAIN_SEPARATOR) => Ok(Self::Path(text.into())),
            None => sh::on_path(text).map(Self::Path).ok_or_else(|| {
                "a path or a program on PATH, or redis-7, redis-8, valkey-9".to_owned()
            }),
        }
    }
}

impl fmt::Display for Product {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Redis => "Redis",
            Self::Valkey => "Valkey",
        })
    }
}

impl fmt::Display for Binary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.product, self.version)
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("a Redis or Valkey server"),
            Self::Path(path) => write!(f, "{}", path.display()),
            Self::Major(product, major) => write!(f, "{product} {major}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_what_the_binaries_say() {
        let redis = "Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64";
        assert_eq!(parse_version(redis), Some((Product::Redis, "7.0.15".to_owned())));
        let valkey = "Valkey server v=9.1.2 sha=00000000:1 malloc=libc bits=64";
        assert_eq!(parse_version(valkey), Some((Product::Valkey, "9.1.2".to_owned())));
        assert_eq!(parse_version("PostgreSQL v=16"), None);
    }

    #[test]
    fn a_name_is_a_product_with_its_major_version_and_the_rest_is_a_path() {
        assert_eq!("redis-8".parse(), Ok(Wanted::Major(Product::Redis, 8)));
        assert_eq!("valkey-9".parse(), Ok(Wanted::Major(Product::Valkey, 9)));
        assert_eq!("/opt/redis-8".parse(), Ok(Wanted::Path("/opt/redis-8".into())));
        assert!("keydb-6".parse::<Wanted>().is_err());
    }

    #[test]
    fn another_version_is_not_what_was_wanted() {
        let binary =
            Binary { path: "/x".into(), product: Product::Redis, version: "7.0.15".to_owned() };
        assert!(binary.is(&Wanted::Major(Product::Redis, 7)) && binary.is(&Wanted::Any));
        assert!(!binary.is(&Wanted::Major(Product::Redis, 70)));
        assert!(!binary.is(&Wanted::Major(Product::Valkey, 7)));
    }

    #[test]
    fn a_path_that_is_no_server_is_an_error_and_not_a_skip() {
        let failure = find(&Wanted::Path("/bin/true".into())).unwrap_err().to_string();
        assert!(failure.contains("/bin/true"), "{failure}");
        assert!(find(&Wanted::Path("/nowhere/redis-server".into())).is_err());
    }
}
