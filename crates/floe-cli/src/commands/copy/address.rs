//! The two ends of a copy, as written on the command line.

use std::{
    fs,
    path::{self, Component, Path, PathBuf},
};

use floe::url::{EngineUrl, Scheme, shown};

use crate::{
    commands::store_directory,
    exit::{Failure, Outcome},
};

/// Engine and topic of one end of a copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CopyEnd {
    pub(super) url: String,
    pub(super) topic: String,
}

impl CopyEnd {
    /// Parses `TOPIC` or `URL#TOPIC`.
    pub(super) fn parse(text: &str, default_url: &str) -> Outcome<Self> {
        let (url, topic) = match text.rsplit_once('#') {
            Some((url, topic)) => (url, topic),
            None if text.contains(':') => {
                return Err(Failure::usage(format!("{:?} names no topic: write URL#TOPIC", shown(text))));
            }
            None => (default_url, text),
        };
        if url.is_empty() || topic.is_empty() {
            return Err(Failure::usage(format!("{text:?} has a side without text: write URL#TOPIC")));
        }
        Ok(Self { url: url.to_owned(), topic: topic.to_owned() })
    }
}

/// Parses an end of a copy of many topics.
pub(super) fn parse_url(text: &str) -> Outcome<String> {
    if text.contains('#') || !text.contains(':') {
        let message = format!("{text:?}: with --all, FROM and TO are URLs without a topic");
        return Err(
            Failure::usage(message).with_hint("topics keep their names; TOPIC at --url needs no --all")
        );
    }
    Ok(text.to_owned())
}

/// Returns a text that is the same for all URLs of an engine: absolute paths, servers in order, no options.
pub(super) fn engine_of(url: &str) -> Outcome<String> {
    if let Some(directory) = store_directory(url)? {
        return Ok(format!("embedded:{}", whole_path(&directory).display()));
    }
    let url: EngineUrl = url.parse()?;
    let scheme = if url.scheme == Scheme::FluvioTls { Scheme::Fluvio } else { url.scheme };
    let mut hosts: Vec<_> = url.hosts.iter().map(ToString::to_string).collect();
    hosts.sort();
    let profile = url.options.get("profile").map_or("", String::as_str);
    Ok(format!("{}://{}{profile}", scheme.as_str(), hosts.join(",")))
}

/// Returns the one path of a directory, whether or not it exists.
fn whole_path(directory: &Path) -> PathBuf {
    if let Ok(whole) = fs::canonicalize(directory) {
        return whole;
    }
    // A directory that the engine will create has no links on the way, so that `..` undoes the name before it.
    let mut whole = PathBuf::new();
    for part in path::absolute(directory).unwrap_or_else(|_| directory.to_path_buf()).components() {
        if part == Component::ParentDir {
            whole.pop();
        } else {
            whole.push(part);
        }
    }
    fs::canonicalize(&whole).unwrap_or(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_parsed() {
        let end = |text: &str| CopyEnd::parse(text, "memory:").map(|end| (end.url, end.topic)).ok();
        let pair = |url: &str, topic: &str| Some((url.to_owned(), topic.to_owned()));
        assert_eq!(end("orders"), pair("memory:", "orders"));
        assert_eq!(end("embedded:./a?mode=read#orders"), pair("embedded:./a?mode=read", "orders"));
        assert_eq!(end("embedded:./a#b#orders"), pair("embedded:./a#b", "orders"));
        for bad in ["embedded:./a", "#orders", "embedded:./a#", "", "#"] {
            assert_eq!(end(bad), None, "{bad}");
        }
        assert!(parse_url("embedded:./a").is_ok());
        assert!(parse_url("embedded:./a#t").is_err() && parse_url("orders").is_err());
    }

    #[test]
    fn one_engine_has_one_text() {
        let engine = |url: &str| engine_of(url).unwrap();
        assert_eq!(engine("embedded:./a/../b?durability=os"), engine("embedded:b"));
        assert_eq!(engine("walrus://b:1,a:1"), engine("walrus://a:1,b:1?window=1"));
        assert_eq!(engine("fluvio://h"), engine("fluvio+tls://h:9003"));
        assert_ne!(engine("fluvio://h"), engine("fluvio://g"));
        assert_ne!(engine("embedded:a?namespace=x"), engine("embedded:a"));
        assert!(engine_of("nonsense").is_err());
    }
}
