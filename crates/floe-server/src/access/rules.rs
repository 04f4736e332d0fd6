//! The rules of a server: which clients may do what, with which topics.

use std::{fmt, path::Path, sync::Arc};

use floe::{Error, ErrorKind, Result};
use serde::Deserialize;

use super::principal::{NameKind, Principal};
use crate::reload::{Reloaded, one_file};

/// Longest topic name that rules are asked about. Valid names are shorter, and matching takes time for each byte.
const MAX_TOPIC: usize = 1024;

/// Longest pattern in bytes.
const MAX_PATTERN: usize = 256;

/// One kind of operation that a rule allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Right {
    /// Read records; store and delete offsets of groups.
    Read,
    /// Append records.
    Write,
    /// Create, change and delete topics; with the topic pattern `*`, also objects of the cluster.
    Admin,
    /// See metrics and the details of health. It concerns no topic.
    Metrics,
}

impl Right {
    fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// Rules of who may do what. A client may do what at least one rule allows, and nothing else.
///
/// ```
/// let rules = floe_server::AccessRules::parse(
///     r#"
///     [[rule]]
///     subjects = ["cn:orders-service", "uri:spiffe://shop.example/orders"]
///     topics = ["orders", "orders-*"]
///     allow = ["read", "write"]
///
///     [[rule]]
///     subjects = ["anonymous"]
///     topics = ["public-*"]
///     allow = ["read"]
///     "#,
/// )?;
/// # let _ = rules;
/// # Ok::<(), floe::Error>(())
/// ```
///
/// Subjects are `anonymous`, which is every client without a certificate, or a name of a client certificate after the
/// kind of the name: `cn:`, `dns:`, `uri:` or `email:`. Rights are `read`, `write` and `admin`, which need topics, and
/// `metrics`. A `*` in subjects and topics stands for any text.
#[derive(Clone)]
pub struct AccessRules(Arc<Reloaded<RuleSet>>);

impl fmt::Debug for AccessRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AccessRules").field(&self.0.current()).finish()
    }
}

impl AccessRules {
    /// Reads rules in TOML.
    ///
    /// # Errors
    /// Returns [`ErrorKind::InvalidConfig`] with the line or the rule, and the problem.
    pub fn parse(text: &str) -> Result<Self> {
        RuleSet::parse(text).map(|rules| Self(Arc::new(Reloaded::fixed(rules))))
    }

    /// Reads rules as [`AccessRules::parse`] from a file. A server reads the file again when it changes; a file with a
    /// mistake leaves the old rules in force.
    ///
    /// # Errors
    /// Returns [`ErrorKind::InvalidConfig`], also for a file that cannot be read, with its path.
    pub fn from_file(path: &Path) -> Result<Self> {
        let make = |contents: &[Vec<u8>]| {
            let text = std::str::from_utf8(one_file(contents)?);
            RuleSet::parse(text.map_err(|error| invalid("the rules are not UTF-8").with_source(error))?)
        };
        Reloaded::from_files(vec![path.to_path_buf()], make).map(|rules| Self(Arc::new(rules)))
    }

    pub(crate) fn current(&self) -> Arc<RuleSet> {
        self.0.current()
    }

    pub(crate) fn reloaded(&self) -> &Reloaded<RuleSet> {
        &self.0
    }
}

/// The rules of one file.
#[derive(Debug)]
pub(crate) struct RuleSet {
    rules: Vec<AccessRule>,
}

#[derive(Debug)]
struct AccessRule {
    subjects: Vec<SubjectPattern>,
    grant: Grant,
}

/// Rights on topics.
#[derive(Debug, Clone)]
struct Grant {
    rights: u8,
    topics: Arc<[Pattern]>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RulesFile {
    #[serde(default)]
    rule: Vec<WrittenRule>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenRule {
    subjects: Vec<String>,
    #[serde(default)]
    topics: Vec<String>,
    allow: Vec<Right>,
}

impl RuleSet {
    fn parse(text: &str) -> Result<Self> {
        let file: RulesFile = toml::from_str(text).map_err(|error| {
            let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
            invalid(format!("line {}: {}", before.split('\n').count(), error.message()))
        })?;
        let rule = |(number, written): (usize, WrittenRule)| {
            written.check().map_err(|problem| invalid(format!("rule {number}: {problem}")))
        };
        let rules = (1..).zip(file.rule).map(rule).collect::<Result<_>>()?;
        Ok(Self { rules })
    }

    /// Returns the grants of the rules that name a client.
    pub(super) fn grants(&self, principal: &Principal) -> Grants {
        let named = self.rules.iter().filter(|rule| rule.subjects.iter().any(|s| s.matches(principal)));
        Grants(named.map(|rule| rule.grant.clone()).collect())
    }
}

impl WrittenRule {
    fn check(self) -> std::result::Result<AccessRule, String> {
        if self.subjects.is_empty() || self.allow.is_empty() {
            return Err("subjects and allow must not be empty".to_owned());
        }
        let needs_topics = self.allow.iter().any(|right| *right != Right::Metrics);
        if needs_topics == self.topics.is_empty() {
            return Err("read, write and admin need topics, and metrics alone has none".to_owned());
        }
        let subjects = self.subjects.iter().map(|text| SubjectPattern::parse(text));
        let topics = self.topics.iter().map(|text| Pattern::parse(text));
        Ok(AccessRule {
            subjects: subjects.collect::<std::result::Result<_, _>>()?,
            grant: Grant {
                rights: self.allow.iter().fold(0, |rights, right| rights | right.bit()),
                topics: topics.collect::<std::result::Result<_, _>>()?,
            },
        })
    }
}

/// Rights that the rules give one client.
#[derive(Debug)]
pub(super) struct Grants(Vec<Grant>);

impl Grants {
    /// Whether one of `rights` is granted on a topic.
    pub(super) fn on_topic(&self, rights: &[Right], topic: &str) -> bool {
        topic.len() <= MAX_TOPIC
            && self.with(rights).any(|grant| grant.topics.iter().any(|pattern| pattern.matches(topic)))
    }

    /// Whether one of `rights` is granted on all topics, present and future.
    pub(super) fn on_all(&self, rights: &[Right]) -> bool {
        self.with(rights).any(|grant| {
            grant.topics.iter().any(Pattern::is_any)
                || (grant.rights & Right::Metrics.bit() & bits(rights)) != 0
        })
    }

    fn with(&self, rights: &[Right]) -> impl Iterator<Item = &Grant> {
        let wanted = bits(rights);
        self.0.iter().filter(move |grant| grant.rights & wanted != 0)
    }
}

fn bits(rights: &[Right]) -> u8 {
    rights.iter().fold(0, |bits, right| bits | right.bit())
}

/// Subject of a rule.
#[derive(Debug)]
enum SubjectPattern {
    Anonymous,
    Named(NameKind, Pattern),
}

impl SubjectPattern {
    fn parse(text: &str) -> std::result::Result<Self, String> {
        if text == "anonymous" {
            return Ok(Self::Anonymous);
        }
        let named = text.split_once(':').and_then(|(kind, name)| Some((NameKind::parse(kind)?, name)));
        let (kind, name) = named.ok_or_else(|| {
            format!("subject {text:?}: write anonymous, or a name of a certificate as cn:, dns:, uri: or email:NAME")
        })?;
        Ok(Self::Named(kind, Pattern::parse(&kind.normalized(name))?))
    }

    fn matches(&self, principal: &Principal) -> bool {
        match (self, principal) {
            (Self::Anonymous, Principal::Anonymous) => true,
            (Self::Named(kind, pattern), Principal::Certificate(names)) => {
                names.iter().any(|name| name.kind == *kind && pattern.matches(&name.text))
            }
            _ => false,
        }
    }
}

/// Text in which `*` stands for any text, also none.
#[derive(Debug)]
struct Pattern(Box<str>);

impl Pattern {
    fn parse(text: &str) -> std::result::Result<Self, String> {
        if text.is_empty() || text.len() > MAX_PATTERN {
            return Err(format!("a pattern has 1 to {MAX_PATTERN} bytes"));
        }
        Ok(Self(text.into()))
    }

    fn is_any(&self) -> bool {
        self.0.bytes().all(|byte| byte == b'*')
    }

    /// Whether the pattern matches all of `text`. Takes at most the product of both lengths, without recursion.
    fn matches(&self, text: &str) -> bool {
        let (pattern, text) = (self.0.as_bytes(), text.as_bytes());
        let (mut at, mut read) = (0, 0);
        // The latest star, and where the text that it stands for ends.
        let mut star = None;
        while read < text.len() {
            match pattern.get(at) {
                Some(b'*') => {
                    at += 1;
                    star = Some((at, read));
                }
                byte if byte.is_some() && byte == text.get(read) => (at, read) = (at + 1, read + 1),
                _ => {
                    let Some((after, end)) = star else { return false };
                    (at, read) = (after, end + 1);
                    star = Some((after, end + 1));
                }
            }
        }
        pattern.get(at..).unwrap_or_default().iter().all(|byte| *byte == b'*')
    }
}

fn invalid(problem: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidConfig, problem.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate(names: &[(NameKind, &str)]) -> Principal {
        let names = names.iter().map(|(kind, text)| super::super::principal::CertificateName {
            kind: *kind,
            text: (*text).to_owned(),
        });
        Principal::Certificate(names.collect())
    }

    #[test]
    fn star_stands_for_any_text() {
        for (pattern, matching, other) in [
            ("orders", &["orders"][..], &["orders-1", "order", "", "Orders"][..]),
            ("orders-*", &["orders-", "orders-1", "orders-*"], &["orders", "a-orders-1"]),
            ("*", &["", "a", "a-b"], &[]),
            ("*-dead", &["-dead", "a-dead", "-dead-dead"], &["dead", "a-deadly"]),
            ("a*b*c", &["abc", "axbxc", "abcbc", "a*b*c"], &["ab", "acb", "abcd", "bc"]),
            ("**a", &["a", "ba"], &["", "ab"]),
        ] {
            let pattern = Pattern::parse(pattern).unwrap();
            for text in matching {
                assert!(pattern.matches(text), "{pattern:?} {text:?}");
            }
            for text in other {
                assert!(!pattern.matches(text), "{pattern:?} {text:?}");
            }
        }
    }

    #[test]
    fn rules_are_matched_by_kind_of_name() {
        let rules = RuleSet::parse(
            "[[rule]]\nsubjects = [\"cn:a\", \"dns:*.Shop.example\"]\ntopics = [\"t-*\"]\nallow = [\"read\", \"admin\"]\n\
             [[rule]]\nsubjects = [\"anonymous\"]\ntopics = [\"open\"]\nallow = [\"write\"]\n\
             [[rule]]\nsubjects = [\"email:ops@x\"]\nallow = [\"metrics\"]\n\
             [[rule]]\nsubjects = [\"cn:root\"]\ntopics = [\"*\"]\nallow = [\"admin\"]\n",
        )
        .unwrap();
        let may =
            |principal: &Principal, right, topic: &str| rules.grants(principal).on_topic(&[right], topic);
        let a = certificate(&[(NameKind::Common, "a")]);
        assert!(may(&a, Right::Read, "t-1") && may(&a, Right::Admin, "t-1"));
        assert!(!may(&a, Right::Write, "t-1") && !may(&a, Right::Read, "open"));
        assert!(!may(&certificate(&[(NameKind::Dns, "a")]), Right::Read, "t-1"), "the kind differs");
        assert!(may(&certificate(&[(NameKind::Dns, "x.shop.example")]), Right::Read, "t-1"));
        assert!(!may(&certificate(&[(NameKind::Common, "anonymous")]), Right::Write, "open"));
        assert!(may(&Principal::Anonymous, Right::Write, "open"));
        assert!(!may(&certificate(&[]), Right::Write, "open"), "a certificate is not anonymous");
        assert!(!may(&a, Right::Read, &format!("t-{}", "x".repeat(MAX_TOPIC))));
        let ops = rules.grants(&certificate(&[(NameKind::Email, "ops@x")]));
        assert!(
            ops.on_all(&[Right::Metrics])
                && !ops.on_all(&[Right::Read])
                && !ops.on_topic(&[Right::Metrics], "t")
        );
        assert!(!rules.grants(&a).on_all(&[Right::Admin]), "t-* is not all");
        assert!(rules.grants(&certificate(&[(NameKind::Common, "root")])).on_all(&[Right::Admin]));
        assert!(!RuleSet::parse("").unwrap().grants(&a).on_topic(&[Right::Read], "t-1"), "no rule, no right");
    }

    #[test]
    fn mistakes_are_named() {
        for (text, problem) in [
            ("[[rule]]\nsubjects = [\"cn:a\"]\ntopic = [\"t\"]\nallow = [\"read\"]", "line 3"),
            ("[[rule]]\nsubjects = [\"cn:a\"]\ntopics = [\"t\"]\nallow = [\"raed\"]", "raed"),
            ("[[rules]]", "rules"),
            ("rule = 1", "line 1"),
            ("[[rule]]\nsubjects = []\ntopics = [\"t\"]\nallow = [\"read\"]", "rule 1"),
            ("[[rule]]\nsubjects = [\"a\"]\ntopics = [\"t\"]\nallow = [\"read\"]", "cn:"),
            ("[[rule]]\nsubjects = [\"CN:a\"]\ntopics = [\"t\"]\nallow = [\"read\"]", "cn:"),
            ("[[rule]]\nsubjects = [\"*\"]\ntopics = [\"t\"]\nallow = [\"read\"]", "anonymous"),
            ("[[rule]]\nsubjects = [\"cn:a\"]\nallow = [\"read\"]", "need topics"),
            ("[[rule]]\nsubjects = [\"cn:a\"]\ntopics = [\"t\"]\nallow = [\"metrics\"]", "metrics alone"),
            ("[[rule]]\nsubjects = [\"cn:a\"]\ntopics = [\"t\"]\nallow = []", "must not be empty"),
            ("[[rule]]\nsubjects = [\"cn:\"]\ntopics = [\"t\"]\nallow = [\"read\"]", "1 to 256"),
        ] {
            let error = RuleSet::parse(text).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidConfig);
            assert!(error.to_string().contains(problem), "{problem:?} is not in {error}");
        }
    }
}
