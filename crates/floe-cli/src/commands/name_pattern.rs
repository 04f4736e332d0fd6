//! Patterns of names: `*` stands for any text, `?` for one character.

use std::fmt;

/// A pattern of topic names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NamePattern(String);

impl NamePattern {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("the pattern is empty: * matches all names".to_owned());
        }
        Ok(Self(text.to_owned()))
    }

    /// Whether the text is a pattern rather than a name, which has neither sign.
    pub(crate) fn is_meant_by(text: &str) -> bool {
        text.contains(['*', '?'])
    }

    pub(crate) fn matches(&self, name: &str) -> bool {
        let (pattern, name): (Vec<_>, Vec<_>) = (self.0.chars().collect(), name.chars().collect());
        let (mut at, mut seen) = (0, 0);
        // Where the last star was, and how much of the name it has taken.
        let mut star: Option<(usize, usize)> = None;
        while let Some(letter) = name.get(seen) {
            match pattern.get(at) {
                Some('*') => {
                    star = Some((at, seen));
                    at += 1;
                }
                Some(expected) if *expected == '?' || expected == letter => (at, seen) = (at + 1, seen + 1),
                _ => match &mut star {
                    Some((star, taken)) => {
                        *taken += 1;
                        (at, seen) = (*star + 1, *taken);
                    }
                    None => return false,
                },
            }
        }
        pattern.iter().skip(at).all(|letter| *letter == '*')
    }
}

impl fmt::Display for NamePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_and_question_marks_match() {
        for (pattern, name, expected) in [
            ("*", "", true),
            ("*", "orders", true),
            ("orders", "orders", true),
            ("orders", "orders-dead", false),
            ("orders*", "orders-dead", true),
            ("*-dead", "orders-dead-dead", true),
            ("o?ders", "orders", true),
            ("o?ders", "oders", false),
            ("*a*b", "xaxbxb", true),
            ("*a*b", "xbxa", false),
            ("?", "", false),
        ] {
            assert_eq!(NamePattern::parse(pattern).unwrap().matches(name), expected, "{pattern} {name}");
        }
        assert!(NamePattern::parse("").is_err());
    }
}
