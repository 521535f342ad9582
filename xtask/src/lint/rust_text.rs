//! Just enough of Rust's lexer to tell code from comments and from string literals.

/// A source file, taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct RustText {
    /// The code: comments are blanks, string literals are empty.
    pub(super) code: String,
    /// The contents of the string literals, escapes as written.
    pub(super) literals: Vec<String>,
}

impl RustText {
    pub(super) fn parse(source: &str) -> Self {
        let mut text = Self { code: String::with_capacity(source.len()), literals: Vec::new() };
        let mut rest = source;
        while let Some(char) = rest.chars().next() {
            rest = text.step(rest, char);
        }
        text
    }

    /// Takes one token, or one character where no token of interest begins.
    fn step<'a>(&mut self, rest: &'a str, char: char) -> &'a str {
        if rest.starts_with("//") {
            return rest.find('\n').map_or("", |end| &rest[end..]);
        }
        if rest.starts_with("/*") {
            self.code.push(' ');
            return after_block_comment(rest);
        }
        if char == '"' {
            return self.literal(&rest[1..], "\"", true);
        }
        if let Some((hashes, body)) = raw_string(rest).filter(|_| !self.in_word()) {
            return self.literal(body, &format!("\"{}", "#".repeat(hashes)), false);
        }
        if char == '\''
            && let Some(length) = char_literal(rest)
        {
            self.code.push_str("' '");
            return &rest[length..];
        }
        self.code.push(char);
        &rest[char.len_utf8()..]
    }

    fn literal<'a>(&mut self, body: &'a str, end: &str, escapes: bool) -> &'a str {
        let mut at = 0;
        while !body[at..].is_empty() && !body[at..].starts_with(end) {
            let escaped = escapes && body[at..].starts_with('\\');
            let mut chars = body[at..].chars();
            at += chars.next().map_or(0, char::len_utf8);
            if escaped {
                at += chars.next().map_or(0, char::len_utf8);
            }
        }
        self.literals.push(body[..at].to_owned());
        self.code.push_str("\"\"");
        body.get(at + end.len()..).unwrap_or("")
    }

    fn in_word(&self) -> bool {
        self.code.ends_with(|char: char| char.is_alphanumeric() || char == '_')
    }
}

/// `r"`, `r#"`, `br"`, `cr"`: the number of hashes, and what follows the quote.
fn raw_string(rest: &str) -> Option<(usize, &str)> {
    let body = rest.strip_prefix(['b', 'c']).unwrap_or(rest).strip_prefix('r')?;
    let hashes = body.len() - body.trim_start_matches('#').len();
    Some((hashes, body[hashes..].strip_prefix('"')?))
}

/// The length of a character literal; `None` for a lifetime.
fn char_literal(rest: &str) -> Option<usize> {
    let mut chars = rest.char_indices().skip(1);
    match chars.next()? {
        (_, '\\') => {
            let escaped = chars.next()?.0 + 1;
            rest[escaped..].find('\'').map(|end| escaped + end + 1)
        }
        _ => chars.next().filter(|(_, char)| *char == '\'').map(|(at, _)| at + 1),
    }
}

fn after_block_comment(rest: &str) -> &str {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        if rest[at..].starts_with("/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if rest[at..].starts_with("*/") {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                return &rest[at..];
            }
        } else {
            at += rest[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    ""
}

#[cfg(test)]
mod tests {
    use super::*;

    fn literals(source: &str) -> Vec<String> {
        RustText::parse(source).literals
    }

    #[test]
    fn comments_are_not_code() {
        let text = RustText::parse("a(); // fred::x\n/* fred::y /* z */ */ b(); /// \"no\"\n");
        assert_eq!(text.code, "a(); \n  b(); \n");
        assert!(text.literals.is_empty());
    }

    #[test]
    fn literals_of_every_kind_are_found() {
        assert_eq!(literals(r#"("a\"b", b"c", "// d")"#), [r#"a\"b"#, "c", "// d"]);
        assert_eq!(literals(r###"r#"x "quoted" y"# + br"z""###), [r#"x "quoted" y"#, "z"]);
    }

    #[test]
    fn quotes_in_characters_and_lifetimes_do_not_confuse() {
        let text = RustText::parse(r#"fn f<'a>(x: &'a str) { g('"', '\'', 'é', "s") }"#);
        assert_eq!(text.literals, ["s"]);
        assert!(text.code.starts_with("fn f<'a>(x: &'a str)"), "{}", text.code);
    }
}
