//! Parameters of requests.

use std::{collections::BTreeMap, fmt::Write as _};

use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;
use floe::{consumer::StartAt, filter::Filter};
use serde::de::DeserializeOwned;

use super::request_error::RequestError;

/// Query parameters of a request; one that does not fit is an error in the shape of the API.
#[derive(Debug)]
pub(super) struct Parameters<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Parameters<T> {
    type Rejection = RequestError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, RequestError> {
        match Query::<T>::from_request_parts(parts, state).await {
            Ok(Query(parameters)) => Ok(Self(parameters)),
            Err(rejection) => Err(RequestError::invalid(rejection.body_text())),
        }
    }
}

/// Reads a JSON body.
pub(super) fn body<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, RequestError> {
    serde_json::from_slice(bytes).map_err(|error| RequestError::invalid(format!("the body: {error}")))
}

/// Reads a start position.
pub(super) fn position(text: &str) -> Result<StartAt, RequestError> {
    let start: StartAt = text.parse()?;
    if start == StartAt::StoredOrBeginning {
        return Err(RequestError::invalid("the position `stored` needs a group"));
    }
    Ok(start)
}

/// Reads a filter; none where the text is missing or blank.
pub(super) fn filter(text: Option<&str>) -> Result<Option<Filter>, RequestError> {
    match text.map(str::trim) {
        None | Some("") => Ok(None),
        Some(_) => Ok(Some(Filter::parse(text.unwrap_or_default())?)),
    }
}

/// Reads a list of partitions such as `0,2`; none for all.
pub(super) fn partitions(text: Option<&str>) -> Result<Option<Vec<u32>>, RequestError> {
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(None) };
    let parsed: Result<Vec<u32>, _> = text.split(',').map(|number| number.trim().parse()).collect();
    parsed.map(Some).map_err(|_| RequestError::invalid("partitions are numbers, separated by commas"))
}

/// Reads offsets by partition such as `0:123,1:55`.
pub(super) fn offsets(text: &str) -> Result<BTreeMap<u32, i64>, RequestError> {
    let pair = |pair: &str| {
        let (partition, offset) = pair.trim().split_once(':')?;
        Some((partition.parse().ok()?, offset.parse().ok()?))
    };
    let parsed: Option<_> = text.split(',').map(pair).collect();
    parsed.ok_or_else(|| RequestError::invalid("offsets are PARTITION:OFFSET, separated by commas"))
}

/// A name in a path. Browsers take `.` and `..` out of addresses, so a `~` in front marks such names, and those that begin
/// with one.
#[derive(Debug, Clone, serde::Deserialize)]
#[serde(from = "String")]
pub(super) struct PathName(pub(super) String);

impl From<String> for PathName {
    fn from(part: String) -> Self {
        Self(part.strip_prefix('~').map(str::to_owned).unwrap_or(part))
    }
}

/// Returns a name as a part of a path, which [`PathName`] reads.
pub(super) fn segment(name: &str) -> String {
    let mut part = String::with_capacity(name.len());
    if name == "." || name == ".." || name.starts_with('~') {
        part.push('~');
    }
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            part.push(char::from(byte));
        } else {
            // Writing to a `String` cannot fail.
            let _ = write!(part, "%{byte:02X}");
        }
    }
    part
}

/// An offset in a body: a number, or a string where a program cannot hold 64 bits.
#[derive(Debug, Clone, Copy, serde::Deserialize)]
#[serde(try_from = "OffsetForm")]
pub(super) struct OffsetParameter(pub(super) i64);

#[derive(serde::Deserialize)]
#[serde(untagged)]
enum OffsetForm {
    Number(i64),
    Text(String),
}

impl TryFrom<OffsetForm> for OffsetParameter {
    type Error = String;

    fn try_from(form: OffsetForm) -> Result<Self, String> {
        let offset = match form {
            OffsetForm::Number(number) => number,
            OffsetForm::Text(text) => text.parse().map_err(|_| format!("{text:?} is not an offset"))?,
        };
        Ok(Self(offset))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_parsed() {
        assert_eq!(partitions(Some("0, 2")).unwrap(), Some(vec![0, 2]));
        assert_eq!(partitions(Some("")).unwrap(), None);
        assert_eq!(partitions(None).unwrap(), None);
        assert_eq!(offsets("0:12,3:4").unwrap(), BTreeMap::from([(0, 12), (3, 4)]));
        for bad in ["x", "1,", "-1", "1:2"] {
            assert!(partitions(Some(bad)).is_err(), "{bad}");
        }
        for bad in ["", "1", "1:", "x:1", "1:2,"] {
            assert!(offsets(bad).is_err(), "{bad}");
        }
        for (name, part) in [("orders", "orders"), ("..", "~.."), ("~a", "~~a"), ("a/ä", "a%2F%C3%A4")] {
            assert_eq!(segment(name), part);
        }
        for (part, name) in [("orders", "orders"), ("~..", ".."), ("~~a", "~a"), ("~", "")] {
            assert_eq!(PathName::from(part.to_owned()).0, name);
        }
        assert!(position("stored").is_err() && position("-5").is_ok() && position("soon").is_err());
        assert!(filter(Some("  ")).unwrap().is_none() && filter(Some("key =")).is_err());
    }
}
