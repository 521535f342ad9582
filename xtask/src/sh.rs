//! Running other programs: shown, captured, or streamed line by line.

use crate::Result;
use std::{
    env,
    io::{BufRead, BufReader, IsTerminal, Read, Write},
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    sync::mpsc,
    thread,
};

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    let xtask = env::var("CARGO_MANIFEST_DIR");
    let xtask = PathBuf::from(xtask.unwrap_or_else(|_| env!("CARGO_MANIFEST_DIR").to_owned()));
    xtask.parent().map_or(xtask.clone(), Path::to_path_buf)
}

/// Where builds go, also when the user has moved it.
pub(crate) fn target() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// A program that runs at the root of the repository.
pub(crate) fn command(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(root());
    command
}

/// The cargo that started us, at the root of the repository.
pub(crate) fn cargo() -> Command {
    command(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// Runs with our own terminal; anything but success is an error that names the command.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command.status().map_err(|error| cannot_start(command, &error))?;
    if status.success() { Ok(()) } else { Err(format!("{} ({status})", shown(command)).into()) }
}

/// Runs and gives back what was printed to stdout; a failure carries stderr.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let out = command.output().map_err(|error| cannot_start(command, &error))?;
    if out.status.success() {
        return Ok(String::from_utf8_lossy(&out.stdout).into_owned());
    }
    let stderr = String::from_utf8_lossy(&out.stderr);
    Err(format!("{} ({})\n{}", shown(command), out.status, stderr.trim_end()).into())
}

/// Runs, shows all that is printed as it comes, and hands each line (without colours) to `line`.
pub(crate) fn tee(command: &mut Command, mut line: impl FnMut(&str)) -> Result<ExitStatus> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    if std::io::stderr().is_terminal() {
        command.env("CARGO_TERM_COLOR", "always");
    }
    let mut child = command.spawn().map_err(|error| cannot_start(command, &error))?;
    let (sender, lines) = mpsc::channel();
    let readers = [
        child.stdout.take().map(|pipe| forward(pipe, std::io::stdout(), sender.clone())),
        child.stderr.take().map(|pipe| forward(pipe, std::io::stderr(), sender)),
    ];
    for text in lines {
        line(&without_colours(&text));
    }
    for reader in readers.into_iter().flatten() {
        reader.join().map_err(|_| "a reader of the output panicked")?;
    }
    Ok(child.wait()?)
}

/// Runs in silence and gives back how it ended and all that it printed, in no promised order.
pub(crate) fn captured(command: &mut Command) -> Result<(ExitStatus, String)> {
    let out = command.stdin(Stdio::null()).output();
    let out = out.map_err(|error| cannot_start(command, &error))?;
    let both = [String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr)];
    Ok((out.status, without_colours(&both.concat())))
}

/// Whether the program can be started and likes these arguments.
pub(crate) fn works(program: &str, args: &[&str]) -> bool {
    let mut command = Command::new(program);
    let quiet = command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    quiet.status().is_ok_and(|status| status.success())
}

/// The program's place on PATH.
pub(crate) fn on_path(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())
}

/// The command as one would type it.
pub(crate) fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or(command.get_program());
    let words = std::iter::once(program).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

fn cannot_start(command: &Command, error: &std::io::Error) -> String {
    format!("cannot start `{}`: {error}", shown(command))
}

fn forward(
    pipe: impl Read + Send + 'static,
    mut to: impl Write + Send + 'static,
    sender: mpsc::Sender<String>,
) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        let mut pipe = BufReader::new(pipe);
        let mut bytes = Vec::new();
        while pipe.read_until(b'\n', &mut bytes).is_ok_and(|read| read > 0) {
            // A closed terminal must not stop the count of what the runner says.
            let _ = to.write_all(&bytes).and_then(|()| to.flush());
            if sender.send(String::from_utf8_lossy(&bytes).into_owned()).is_err() {
                return;
            }
            bytes.clear();
        }
    })
}

fn without_colours(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(char) = rest.next() {
        if char == '\u{1b}' {
            rest.by_ref().find(char::is_ascii_alphabetic);
        } else {
            plain.push(char);
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_removed_and_text_is_kept() {
        assert_eq!(without_colours("\u{1b}[32;1m  PASS\u{1b}[0m [1s] a::b"), "  PASS [1s] a::b");
    }

    #[test]
    fn a_failure_is_an_error_that_names_the_command() {
        let failure = run(Command::new("sh").args(["-c", "exit 3"])).unwrap_err().to_string();
        assert!(failure.contains("sh -c exit 3") && failure.contains('3'), "{failure}");
    }

    #[test]
    fn every_line_is_heard_from_both_streams() {
        let mut heard = Vec::new();
        let mut command = Command::new("sh");
        command.args(["-c", "echo out; echo err >&2; exit 4"]);
        let status = tee(&mut command, |line| heard.push(line.trim().to_owned())).unwrap();
        heard.sort();
        assert_eq!((status.code(), heard.join(" ")), (Some(4), "err out".to_owned()));
    }
}
