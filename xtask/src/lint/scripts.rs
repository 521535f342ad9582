//! Lua scripts: the header says what the body does, and the body does nothing that is banned.

mod body;
mod header;

use super::{own_files, read, verdict};
use crate::Result;
use body::Body;
use header::Header;

pub(super) fn check() -> Result<String> {
    let mut findings = Vec::new();
    let scripts: Vec<_> =
        own_files(".lua")?.into_iter().filter(|file| file.contains("/src/scripts/")).collect();
    let sources = own_files(".rs")?;
    for script in &scripts {
        let source = read(script)?;
        let mut wrong = judge(&source);
        if !is_embedded(script, &sources)? {
            wrong.push("no include_str! names it".to_owned());
        }
        findings.extend(wrong.into_iter().map(|what| format!("{script}: {what}")));
    }
    verdict(&findings, format!("{} scripts", scripts.len()))
}

/// All that is wrong with one script.
fn judge(source: &str) -> Vec<String> {
    let (header, body) = header::split(source);
    let (header, body) = (Header::parse(&header), Body::parse(&body));
    let mut wrong = header.incomplete();
    wrong.extend(body.banned());
    for array in ["KEYS", "ARGV"] {
        let (documented, used) = (header.documented(array), body.used(array));
        for index in used.indices.iter().filter(|index| !documented.covers(**index)) {
            wrong.push(format!("{array}[{index}] is used and not in the header"));
        }
        for index in documented.indices.iter().filter(|index| !used.indices.contains(index)) {
            wrong.push(format!("{array}[{index}] is in the header and not used"));
        }
        match (documented.from, used.computed) {
            (Some(from), false) if !documented.any => {
                wrong.push(format!("{array}[{from}..] is in the header and no loop uses it"));
            }
            (None, true) => wrong.push(format!(
                "{array} is used by a computed index; say so in the header as {array}[n] or {array}[2..]"
            )),
            _ => {}
        }
    }
    wrong
}

/// Whether a source file of the same crate embeds it.
fn is_embedded(script: &str, sources: &[String]) -> Result<bool> {
    let Some((crate_folder, name)) = script.split_once("/src/scripts/") else { return Ok(true) };
    let embedding = format!("scripts/{name}\"");
    for source in
        sources.iter().filter(|source| source.starts_with(&format!("{crate_folder}/src/")))
    {
        if read(source)?.contains(&embedding) {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::judge;

    const GOOD: &str = "\
-- Adds to a counter that ends by itself.
--
-- KEYS[1]   the counter
-- ARGV[1]   its life in milliseconds
-- ARGV[2..] what to add, any number
-- Returns   {0, sum}
-- Idempotent: no
local sum = 0
for i = 2, #ARGV do sum = redis.call('INCRBY', KEYS[1], ARGV[i]) end
redis.call('PEXPIRE', KEYS[1], ARGV[1]) -- not KEYS[2]
return {0, sum}
";

    #[test]
    fn a_good_script_passes() {
        assert_eq!(judge(GOOD), [""; 0]);
    }

    #[test]
    fn each_part_of_the_header_is_asked_for() {
        for (line, complaint) in [
            ("-- Adds to a counter that ends by itself.\n", "says nothing of what it does"),
            ("-- KEYS[1]   the counter\n", "KEYS[1] is used and not in the header"),
            ("-- ARGV[1]   its life in milliseconds\n", "ARGV[1] is used and not in the header"),
            ("-- ARGV[2..] what to add, any number\n", "ARGV is used by a computed index"),
            ("-- Returns   {0, sum}\n", "no `Returns`"),
            ("-- Idempotent: no\n", "no `Idempotent: yes` or `Idempotent: no`"),
        ] {
            let wrong = judge(&GOOD.replace(line, "")).join("\n");
            assert!(wrong.contains(complaint), "without {line:?}: {wrong:?}");
        }
    }

    #[test]
    fn what_the_header_promises_must_be_in_the_body() {
        let wrong =
            judge(&GOOD.replace("-- Returns", "-- KEYS[2]   a ghost\n-- Returns")).join("\n");
        assert!(wrong.contains("KEYS[2] is in the header and not used"), "{wrong:?}");
        let wrong =
            judge(&GOOD.replace("for i = 2, #ARGV do", "for i = 1, 1 do").replace("ARGV[i]", "1"));
        assert!(wrong.join("\n").contains("no loop uses it"), "{wrong:?}");
    }

    #[test]
    fn banned_calls_are_found_and_their_names_in_comments_are_not() {
        for bad in ["local s = tostring(n)", "redis.call('keys', '*')", "redis.pcall(\"SCAN\", 0)"]
        {
            assert_eq!(judge(&format!("{GOOD}{bad}\n")).len(), 1, "{bad}");
        }
        assert_eq!(judge(&format!("{GOOD}-- no tostring here\nlocal s = 'it -- KEYS'\n")), [""; 0]);
    }

    #[test]
    fn any_number_of_keys_may_be_declared_for_routing_alone() {
        let script = "-- Runs it.\n-- KEYS[n]: its keys\n-- ARGV[n]: all of it\n-- Returns: it\n\
                      -- Idempotent: no\nreturn redis.call(unpack(ARGV))\n";
        assert_eq!(judge(script), [""; 0]);
    }

    #[test]
    fn idempotent_is_yes_or_no() {
        for bad in ["mostly", "yes, by its token"] {
            let wrong = judge(&GOOD.replace("Idempotent: no", &format!("Idempotent: {bad}")));
            assert_eq!(wrong.len(), 1, "{wrong:?}");
        }
        assert_eq!(judge(&GOOD.replace("Idempotent: no", "Idempotent: no (it counts)")), [""; 0]);
    }
}
