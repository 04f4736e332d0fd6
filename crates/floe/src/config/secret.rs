//! Values that are never displayed.

use std::fmt;

use crate::{Error, ErrorKind};

/// A value that is masked in all output. A source writes it literally, or as `env:NAME` or `file:PATH` to read it from a
/// variable or a file; trailing white space of the file is removed.
///
/// ```
/// use floe::config::Secret;
///
/// let token = Secret::new("open sesame");
/// assert_eq!(format!("{token} {token:?}"), "*** Secret(***)");
/// assert_eq!(token.expose(), "open sesame");
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a value.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// Returns the value, which must not be displayed.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Parses the value as `name=value,name=value`, with HTTP header names. `None` if it has another form.
    ///
    /// ```
    /// # use floe::config::Secret;
    /// assert_eq!(Secret::new("api-key=a=b, x=y").pairs(), Some(vec![("api-key", "a=b"), ("x", "y")]));
    /// assert_eq!(Secret::new("no pair").pairs(), None);
    /// ```
    #[must_use]
    pub fn pairs(&self) -> Option<Vec<(&str, &str)>> {
        let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        let pairs = self.0.split(',').map(|pair| {
            let (name, value) = pair.split_once('=')?;
            let (name, value) = (name.trim(), value.trim());
            let is_name = !name.is_empty() && name.bytes().all(token);
            let is_value =
                !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
            (is_name && is_value).then_some((name, value))
        });
        pairs.collect()
    }

    /// Reads the notation of a source: the value itself, `env:NAME` or `file:PATH`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfig`] for a variable that is not set, or a file that cannot be read.
    pub fn from_source(text: &str) -> crate::Result<Self> {
        Self::resolve(text).map_err(|problem| Error::new(ErrorKind::InvalidConfig, problem))
    }

    /// As [`Secret::from_source`], with the problem for an error that names the setting.
    pub(super) fn resolve(text: &str) -> Result<Self, String> {
        if let Some(name) = text.strip_prefix("env:") {
            return match std::env::var(name) {
                Ok(value) => Ok(Self(value)),
                Err(std::env::VarError::NotPresent) => Err(format!("the variable {name} is not set")),
                Err(std::env::VarError::NotUnicode(_)) => Err(format!("the variable {name} is not text")),
            };
        }
        if let Some(path) = text.strip_prefix("file:") {
            return match std::fs::read_to_string(path) {
                Ok(value) => Ok(Self(value.trim_end().to_owned())),
                Err(error) => Err(format!("cannot read {path}: {error}")),
            };
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secret_is_read_from_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        std::fs::write(&path, "from a file\n").unwrap();
        let from = |text: &str| Secret::resolve(text).map(|secret| secret.expose().to_owned());
        assert_eq!(from("written out").unwrap(), "written out");
        assert_eq!(from(&format!("file:{}", path.display())).unwrap(), "from a file");
        // Every process has this variable.
        assert_eq!(from("env:PATH").unwrap(), std::env::var("PATH").unwrap());
    }

    #[test]
    fn missing_source_is_named() {
        assert!(Secret::resolve("env:FLOE_NO_SUCH").unwrap_err().contains("FLOE_NO_SUCH is not set"));
        assert!(Secret::resolve("file:/no/such").unwrap_err().contains("/no/such"));
    }
}
