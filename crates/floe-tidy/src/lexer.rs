//! Comments and strings of Rust sources, which the syntax tree does not keep.

/// A comment, whose lines follow each other, or a string.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prose {
    /// Line of the first word.
    pub line: usize,
    /// Whether it is a comment.
    pub comment: bool,
    /// The text without the marks around it.
    pub text: String,
}

/// Returns the comments and strings of `source` in order.
pub fn prose(source: &str) -> Vec<Prose> {
    let mut lexer = Lexer { rest: source, line: 1, found: Vec::new(), joined: None };
    while lexer.step() {}
    lexer.found
}

struct Lexer<'a> {
    rest: &'a str,
    line: usize,
    found: Vec<Prose>,
    /// Mark and line of a comment that the next line may continue.
    joined: Option<(&'static str, usize)>,
}

impl<'a> Lexer<'a> {
    fn step(&mut self) -> bool {
        let Some(first) = self.rest.chars().next() else { return false };
        if self.rest.starts_with("//") {
            self.line_comment();
        } else if self.rest.starts_with("/*") {
            self.block_comment();
        } else if let Some((before, hashes)) = self.raw_string() {
            self.take(before);
            let end = format!("\"{}", "#".repeat(hashes));
            let length = self.rest.find(&end).unwrap_or(self.rest.len());
            self.string(length, end.len());
        } else if first == '"' {
            self.take(1);
            let length = end_of_string(self.rest);
            self.string(length, 1);
        } else if first == '\'' {
            self.take(end_of_quote(self.rest));
        } else {
            if !first.is_whitespace() {
                self.joined = None;
            }
            // A word as a whole, so that the `r` at its end begins no raw string.
            let word = self.rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(self.rest.len());
            self.take(word.max(first.len_utf8()));
        }
        true
    }

    /// Returns what stands before the text of a raw string that begins here, and the number of its hashes.
    fn raw_string(&self) -> Option<(usize, usize)> {
        let prefix = ["r", "br", "cr"].into_iter().find(|p| {
            self.rest.strip_prefix(p).is_some_and(|rest| rest.trim_start_matches('#').starts_with('"'))
        })?;
        let hashes = self.rest[prefix.len()..].chars().take_while(|c| *c == '#').count();
        Some((prefix.len() + hashes + 1, hashes))
    }

    fn take(&mut self, length: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(length.min(self.rest.len()));
        self.line += taken.matches('\n').count();
        self.rest = rest;
        taken
    }

    fn string(&mut self, length: usize, mark: usize) {
        self.joined = None;
        let line = self.line;
        let text = self.take(length).to_owned();
        self.take(mark);
        self.found.push(Prose { line, comment: false, text });
    }

    fn line_comment(&mut self) {
        let mark = ["///", "//!", "//"].into_iter().find(|mark| self.rest.starts_with(mark)).unwrap_or("//");
        let line = self.line;
        let length = self.rest.find('\n').unwrap_or(self.rest.len());
        let text = self.take(length)[mark.len()..].to_owned();
        match self.found.last_mut() {
            Some(last) if self.joined == Some((mark, line - 1)) => {
                last.text.push('\n');
                last.text.push_str(&text);
            }
            _ => self.found.push(Prose { line, comment: true, text }),
        }
        self.joined = Some((mark, line));
    }

    fn block_comment(&mut self) {
        let (mut depth, mut at) = (0, 0);
        while at < self.rest.len() {
            let rest = &self.rest[at..];
            if rest.starts_with("/*") {
                depth += 1;
                at += 2;
            } else if rest.starts_with("*/") {
                depth -= 1;
                at += 2;
                if depth == 0 {
                    break;
                }
            } else {
                at += rest.chars().next().map_or(1, char::len_utf8);
            }
        }
        let line = self.line;
        let text = self.take(at);
        let text = text.trim_start_matches(['/', '*', '!']).trim_end_matches(['/', '*']).to_owned();
        self.joined = None;
        self.found.push(Prose { line, comment: true, text });
    }
}

fn end_of_string(rest: &str) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices() {
        match c {
            '"' if !escaped => return at,
            '\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    rest.len()
}

/// Returns the length of the character or of the mark of a lifetime with which `rest` begins.
fn end_of_quote(rest: &str) -> usize {
    let mut chars = rest.char_indices().skip(1);
    match chars.next() {
        Some((_, '\\')) => {
            let escaped = chars.next().map_or(rest.len(), |(at, c)| at + c.len_utf8());
            rest[escaped..].find('\'').map_or(rest.len(), |at| escaped + at + 1)
        }
        Some((at, c)) if rest[at + c.len_utf8()..].starts_with('\'') => at + c.len_utf8() + 1,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(source: &str) -> Vec<(usize, bool, String)> {
        prose(source).into_iter().map(|p| (p.line, p.comment, p.text)).collect()
    }

    #[test]
    fn lines_of_one_comment_are_joined() {
        let source = "// one\n// two\n\n/// three\n//! four\nlet a = 1; // five\n// six\n";
        let texts: Vec<_> = prose(source).into_iter().map(|p| p.text).collect();
        assert_eq!(texts, [" one\n two", " three", " four", " five\n six"]);
    }

    #[test]
    fn strings_are_told_from_comments() {
        assert_eq!(
            found("let a = \"// no\\\" b\"; /* yes /* in */ */"),
            [(1, false, "// no\\\" b".into()), (1, true, " yes /* in */ ".into())]
        );
        assert_eq!(
            found("for\n r#\"a \" b\"# br\"c\""),
            [(2, false, "a \" b".into()), (2, false, "c".into())]
        );
    }

    #[test]
    fn quotes_of_characters_and_lifetimes_begin_no_string() {
        assert_eq!(found("a('\"', '\\'', '\\u{22}', &'a x) // c"), [(1, true, " c".into())]);
        assert_eq!(found("let separator\"x\""), [(1, false, "x".into())]);
    }
}
