//! What a script's body touches.

use std::collections::BTreeSet;

#[derive(Default)]
pub(super) struct Used {
    pub(super) indices: BTreeSet<u32>,
    /// Whether the array is also used other than by a number: in a loop, or whole.
    pub(super) computed: bool,
}

pub(super) struct Body {
    code: String,
    /// The code with its string literals emptied.
    bare: String,
}

impl Body {
    pub(super) fn parse(text: &str) -> Self {
        let code = text.lines().map(without_comment).collect::<Vec<_>>().join("\n");
        let mut quote = None;
        let bare = code.chars().filter(|char| match quote {
            Some(open) if *char == open => {
                quote = None;
                true
            }
            Some(_) => false,
            None => {
                quote = ['\'', '"'].contains(char).then_some(*char);
                true
            }
        });
        Self { bare: bare.collect(), code }
    }

    /// What no script may do: lose digits, or walk the whole keyspace.
    pub(super) fn banned(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        if words(&self.bare).any(|(_, word)| word == "tostring") {
            wrong.push("tostring loses digits of large numbers; use string.format".to_owned());
        }
        for (at, _) in self.code.match_indices("call") {
            let command = self.code[at + 4..].trim_start_matches([' ', '(', '\'', '"']);
            let command = words(command).next().map(|(_, word)| word.to_uppercase());
            if let Some(command) = command.filter(|name| ["KEYS", "SCAN"].contains(&name.as_str()))
            {
                wrong.push(format!("{command} walks the whole keyspace"));
            }
        }
        wrong
    }

    pub(super) fn used(&self, array: &str) -> Used {
        let mut used = Used::default();
        for (at, _) in words(&self.bare).filter(|(_, word)| *word == array) {
            let after = self.bare[at + array.len()..].trim_start();
            let index = after.strip_prefix('[').and_then(|after| after.split_once(']'));
            match index.map(|(index, _)| index.trim().parse()) {
                Some(Ok(index)) => {
                    used.indices.insert(index);
                }
                _ => used.computed = true,
            }
        }
        used
    }
}

fn words(code: &str) -> impl Iterator<Item = (usize, &str)> {
    let part = |char: char| char.is_alphanumeric() || char == '_';
    let starts = code.char_indices().scan(false, move |inside, (at, char)| {
        let begins = part(char) && !*inside;
        *inside = part(char);
        Some(begins.then_some(at))
    });
    starts.flatten().map(move |at| {
        let word = &code[at..];
        (at, word.split(|char| !part(char)).next().unwrap_or(word))
    })
}

/// The line up to its comment; a `--` inside quotes begins none.
fn without_comment(line: &str) -> &str {
    let mut quote = None;
    for (at, char) in line.char_indices() {
        match quote {
            Some(open) if char == open => quote = None,
            None if char == '\'' || char == '"' => quote = Some(char),
            None if line[at..].starts_with("--") => return &line[..at],
            _ => {}
        }
    }
    line
}
