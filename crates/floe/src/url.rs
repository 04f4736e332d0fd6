//! The URL that decides where topics live.
//!
//! | form | engine |
//! | --- | --- |
//! | `embedded:PATH[?options]` | on-disk log inside the process |
//! | `memory:` | the same log without files; gone with the client |
//!
//! Options follow a `?` as `key=value`, joined by `&`. Bytes that would be misread are written `%XX`.

use std::{collections::BTreeMap, fmt, str::FromStr};

use crate::{Error, ErrorKind, Result};

/// The engines that a URL can name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Scheme {
    /// `embedded:PATH`
    Embedded,
    /// `memory:`
    Memory,
}

impl Scheme {
    const ALL: &'static [Self] = &[Self::Embedded, Self::Memory];

    /// The scheme as written in a URL.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Embedded => "embedded",
            Self::Memory => "memory",
        }
    }
}

/// A URL taken apart.
///
/// ```
/// use floe::url::{EngineUrl, Scheme};
/// let url: EngineUrl = "embedded:./data?durability=always".parse().unwrap();
/// assert_eq!((url.scheme, url.path.as_str()), (Scheme::Embedded, "./data"));
/// assert_eq!(url.options["durability"], "always");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineUrl {
    /// Which engine.
    pub scheme: Scheme,
    /// What follows the scheme: a path for `embedded:`, nothing for `memory:`.
    pub path: String,
    /// The options after `?`.
    pub options: BTreeMap<String, String>,
}

impl EngineUrl {
    /// Fails if an option is none of `known`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfig`] that names the option and the nearest known one.
    pub fn check_options(&self, known: &[&str]) -> Result<()> {
        match self.options.keys().find(|key| !known.contains(&key.as_str())) {
            None => Ok(()),
            Some(key) => Err(Error::new(
                ErrorKind::InvalidConfig,
                format!(
                    "unknown option {key:?} in {self}: {}",
                    match nearest(key, known) {
                        Some(near) => format!("did you mean {near:?}?"),
                        None if known.is_empty() => "it takes no options".to_owned(),
                        None => format!("known options are {}", known.join(", ")),
                    }
                ),
            )),
        }
    }
}

impl fmt::Display for EngineUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.scheme.as_str(), self.path)
    }
}

impl FromStr for EngineUrl {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bad = |problem: String| Error::new(ErrorKind::InvalidConfig, format!("URL {text:?}: {problem}"));
        let Some((scheme, rest)) = text.split_once(':') else {
            return Err(bad("no scheme; write embedded:PATH or memory:".to_owned()));
        };
        let Some(scheme) = Scheme::ALL.iter().copied().find(|known| known.as_str() == scheme) else {
            let known: Vec<_> = Scheme::ALL.iter().map(|scheme| scheme.as_str()).collect();
            let hint = match nearest(scheme, &known) {
                Some(near) => format!("did you mean {near:?}?"),
                None => format!("this build knows {}", known.join(", ")),
            };
            return Err(bad(format!("unknown scheme {scheme:?}; {hint}")));
        };
        let (path, query) = rest.split_once('?').map_or((rest, None), |(path, query)| (path, Some(query)));
        let path =
            decode_percent(path).ok_or_else(|| bad("a % is not followed by two hex digits".to_owned()))?;
        match scheme {
            Scheme::Embedded if path.is_empty() => {
                return Err(bad("no path; write embedded:./data".to_owned()));
            }
            Scheme::Memory if !path.is_empty() => {
                return Err(bad("memory: has no path".to_owned()));
            }
            Scheme::Embedded | Scheme::Memory => {}
        }
        let mut options = BTreeMap::new();
        for pair in query.into_iter().flat_map(|query| query.split('&')).filter(|pair| !pair.is_empty()) {
            let (key, value) =
                pair.split_once('=').ok_or_else(|| bad(format!("option {pair:?} has no value")))?;
            let decoded = decode_percent(key).zip(decode_percent(value));
            let (key, value) =
                decoded.ok_or_else(|| bad("a % is not followed by two hex digits".to_owned()))?;
            if let Some(earlier) = options.insert(key.clone(), value) {
                return Err(bad(format!("option {key:?} is given twice, first as {earlier:?}")));
            }
        }
        Ok(Self { scheme, path, options })
    }
}

/// Resolves `%XX`; `None` where a `%` is not followed by two hex digits or the result is not UTF-8.
fn decode_percent(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let high = char::from(rest.next()?).to_digit(16)?;
            let low = char::from(rest.next()?).to_digit(16)?;
            out.push(u8::try_from(high * 16 + low).ok()?);
        } else {
            out.push(byte);
        }
    }
    String::from_utf8(out).ok()
}

/// The word in `known` that differs least from `word`, if it is near enough to be what was meant.
#[must_use]
pub fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    known
        .iter()
        .map(|candidate| (edit_distance(word, candidate), *candidate))
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len() / 4)
        .min()
        .map(|(_, candidate)| candidate)
}

/// Levenshtein distance, one row at a time.
fn edit_distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, l) in left.chars().enumerate() {
        let mut diagonal = i;
        let mut before = i + 1;
        let mut next = vec![before];
        for (j, r) in right.iter().enumerate() {
            let above = row.get(j + 1).copied().unwrap_or(usize::MAX - 1);
            before = (diagonal + usize::from(l != *r)).min(before + 1).min(above + 1);
            diagonal = above;
            next.push(before);
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_urls() {
        let table = [
            ("embedded:./data", Scheme::Embedded, "./data", vec![]),
            (
                "embedded:/var/lib/floe?durability=os",
                Scheme::Embedded,
                "/var/lib/floe",
                vec![("durability", "os")],
            ),
            ("embedded:a%20b?x=%3D&y=", Scheme::Embedded, "a b", vec![("x", "="), ("y", "")]),
            ("memory:", Scheme::Memory, "", vec![]),
        ];
        for (text, scheme, path, options) in table {
            let url: EngineUrl = text.parse().unwrap();
            assert_eq!((url.scheme, url.path.as_str()), (scheme, path), "{text}");
            let found: Vec<_> = url.options.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
            assert_eq!(found, options, "{text}");
        }
    }

    #[test]
    fn bad_urls_say_why() {
        let table = [
            ("data", "no scheme"),
            ("embeded:./x", "did you mean \"embedded\"?"),
            ("kafka://h", "unknown scheme"),
            ("embedded:", "no path"),
            ("memory:x", "has no path"),
            ("embedded:x?a", "has no value"),
            ("embedded:x?a=1&a=2", "twice"),
            ("embedded:%zz", "hex digits"),
        ];
        for (text, expected) in table {
            let error = text.parse::<EngineUrl>().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidConfig);
            assert!(error.to_string().contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn unknown_options_get_a_suggestion() {
        let url: EngineUrl = "embedded:x?durabilty=os".parse().unwrap();
        let error = url.check_options(&["durability", "namespace"]).unwrap_err();
        assert!(error.to_string().contains("did you mean \"durability\"?"), "{error}");
        assert!(url.check_options(&["durabilty"]).is_ok());
    }

    #[test]
    fn distances() {
        assert_eq!(edit_distance("", "abc"), 3);
        assert_eq!(edit_distance("kitten", "sitting"), 3);
        assert_eq!(edit_distance("same", "same"), 0);
    }
}
