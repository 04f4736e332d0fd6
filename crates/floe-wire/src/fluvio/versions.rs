//! Version negotiation: the versions that two peers share of each API.

use std::{collections::BTreeMap, fmt};

pub use super::version_range::VersionRange;
use super::{api_versions::ApiVersionsReply, request::Request};

/// Reason why an API cannot be used with a server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UnsupportedApi {
    /// The server does not announce the API.
    #[error("the server (platform {platform}) does not serve {api} (key {key})")]
    NotServed {
        /// Name of the API.
        api: &'static str,
        /// Number of the API.
        key: u16,
        /// The server's platform version.
        platform: String,
    },
    /// The server and this crate share no version of the API.
    #[error("the server (platform {platform}) serves {api} in versions {theirs}, floe needs one of {ours}")]
    NoCommonVersion {
        /// Name of the API.
        api: &'static str,
        /// The server's versions.
        theirs: VersionRange,
        /// The versions of this crate.
        ours: VersionRange,
        /// The server's platform version.
        platform: String,
    },
    /// The platform is older than the oldest supported platform.
    #[error("the cluster runs platform {platform}, floe needs at least {minimum}")]
    PlatformTooOld {
        /// The server's platform version.
        platform: String,
        /// The least version.
        minimum: PlatformVersion,
    },
    /// The platform version is not a semantic version.
    #[error("the server's platform version {platform:?} is not a version number")]
    PlatformUnreadable {
        /// The text that the server sent.
        platform: String,
    },
}

/// Announcement of a server: its APIs with their versions, and its platform version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerVersions {
    ranges: BTreeMap<u16, VersionRange>,
    platform: String,
}

impl ServerVersions {
    /// Reads the reply to the handshake. The caller checks its error code.
    #[must_use]
    pub fn new(reply: ApiVersionsReply) -> Self {
        let ranges = reply
            .api_keys
            .iter()
            .map(|key| (key.api_key.cast_unsigned(), VersionRange::new(key.min_version, key.max_version)))
            .collect();
        Self { ranges, platform: reply.platform_version }
    }

    /// Returns the platform version as the server sent it. Only controllers send theirs: data servers send `0.0.0`.
    #[must_use]
    pub fn platform(&self) -> &str {
        &self.platform
    }

    /// Returns the versions that the server announced for an API.
    #[must_use]
    pub fn range(&self, key: u16) -> Option<VersionRange> {
        self.ranges.get(&key).copied()
    }

    /// Returns the newest version of `R` that both peers share.
    ///
    /// # Errors
    /// [`UnsupportedApi::NotServed`] or [`UnsupportedApi::NoCommonVersion`].
    pub fn choose<R: Request>(&self) -> Result<i16, UnsupportedApi> {
        let Some(theirs) = self.range(R::KEY) else {
            if !R::ANNOUNCED {
                return Ok(R::VERSIONS.max);
            }
            return Err(UnsupportedApi::NotServed {
                api: R::NAME,
                key: R::KEY,
                platform: self.platform.clone(),
            });
        };
        theirs.greatest_common(R::VERSIONS).ok_or_else(|| UnsupportedApi::NoCommonVersion {
            api: R::NAME,
            theirs,
            ours: R::VERSIONS,
            platform: self.platform.clone(),
        })
    }

    /// Checks a controller's platform version against [`PlatformVersion::OLDEST`].
    ///
    /// # Errors
    /// [`UnsupportedApi::PlatformTooOld`] or [`UnsupportedApi::PlatformUnreadable`].
    pub fn check_platform(&self) -> Result<PlatformVersion, UnsupportedApi> {
        let Some(version) = PlatformVersion::parse(&self.platform) else {
            return Err(UnsupportedApi::PlatformUnreadable { platform: self.platform.clone() });
        };
        if version < PlatformVersion::OLDEST {
            return Err(UnsupportedApi::PlatformTooOld {
                platform: self.platform.clone(),
                minimum: PlatformVersion::OLDEST,
            });
        }
        Ok(version)
    }
}

/// Numbers of a semantic version. Pre-release and build parts are validated and left out of comparisons: a development
/// build serves the APIs of its release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PlatformVersion {
    /// Major version.
    pub major: u64,
    /// Minor version.
    pub minor: u64,
    /// Patch version.
    pub patch: u64,
}

impl PlatformVersion {
    /// The oldest platform that official clients, and so floe, support.
    pub const OLDEST: Self = Self { major: 0, minor: 9, patch: 0 };

    /// Parses `MAJOR.MINOR.PATCH[-PRERELEASE][+BUILD]`; returns `None` for anything else. Controllers require this
    /// form of a client's version.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (text, build) = split_suffix(text, '+');
        let (numbers, prerelease) = split_suffix(text, '-');
        for suffix in [build, prerelease].into_iter().flatten() {
            let identifier_is_valid = |identifier: &str| {
                !identifier.is_empty()
                    && identifier.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            };
            if !suffix.split('.').all(identifier_is_valid) {
                return None;
            }
        }
        let leading_zero = |identifier: &str| {
            identifier.len() > 1
                && identifier.starts_with('0')
                && identifier.bytes().all(|byte| byte.is_ascii_digit())
        };
        if prerelease.is_some_and(|prerelease| prerelease.split('.').any(leading_zero)) {
            return None;
        }
        let mut parts = numbers.split('.').map(|part| {
            let is_number = part.bytes().all(|byte| byte.is_ascii_digit()) && !leading_zero(part);
            if is_number { part.parse().ok() } else { None }
        });
        let version = Self { major: parts.next()??, minor: parts.next()??, patch: parts.next()?? };
        parts.next().is_none().then_some(version)
    }
}

impl fmt::Display for PlatformVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

fn split_suffix(text: &str, separator: char) -> (&str, Option<&str>) {
    match text.split_once(separator) {
        Some((front, suffix)) => (front, Some(suffix)),
        None => (text, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fluvio::{
        ApiVersionRange, ErrorCode, FetchConsumerOffsetsRequest, FetchOffsetsRequest, ProduceRequest,
        StreamFetchRequest,
    };

    fn server(ranges: &[(i16, i16, i16)], platform: &str) -> ServerVersions {
        ServerVersions::new(ApiVersionsReply {
            error_code: ErrorCode::None,
            api_keys: ranges
                .iter()
                .map(|&(api_key, min_version, max_version)| ApiVersionRange {
                    api_key,
                    min_version,
                    max_version,
                })
                .collect(),
            platform_version: platform.to_owned(),
        })
    }

    #[test]
    fn the_newest_common_version_is_chosen() {
        let server = server(&[(0, 0, 30), (1003, 0, 18), (1002, 25, 25)], "0.18.2");
        assert_eq!(server.choose::<ProduceRequest>(), Ok(25));
        assert_eq!(server.choose::<StreamFetchRequest>(), Ok(18));
        assert_eq!(server.choose::<FetchOffsetsRequest>(), Ok(25));
    }

    #[test]
    fn an_api_without_a_common_version_is_refused_with_both_ranges() {
        let newer = server(&[(0, 26, 30)], "0.99.0");
        assert_eq!(
            newer.choose::<ProduceRequest>().unwrap_err().to_string(),
            "the server (platform 0.99.0) serves Produce in versions 26..=30, floe needs one of 0..=25"
        );
        assert_eq!(
            newer.choose::<StreamFetchRequest>().unwrap_err().to_string(),
            "the server (platform 0.99.0) does not serve StreamFetch (key 1003)"
        );
    }

    #[test]
    fn unannounced_apis_use_the_newest_version_of_this_crate() {
        assert_eq!(server(&[], "0.0.0").choose::<FetchConsumerOffsetsRequest>(), Ok(25));
    }

    #[test]
    fn platform_versions_are_parsed_and_compared() {
        assert!(server(&[], "0.18.2-dev-1").check_platform().is_ok());
        assert!(server(&[], "0.9.0").check_platform().is_ok());
        assert_eq!(
            server(&[], "0.8.5").check_platform().unwrap_err().to_string(),
            "the cluster runs platform 0.8.5, floe needs at least 0.9.0"
        );
        let version = |major, minor, patch| Some(PlatformVersion { major, minor, patch });
        for (text, expected) in [
            ("1.2.3", version(1, 2, 3)),
            ("0.18.2-dev-1", version(0, 18, 2)),
            ("1.0.0-alpha.1+build.7", version(1, 0, 0)),
            ("1.0.0+a-b", version(1, 0, 0)),
            ("", None),
            ("1.2", None),
            ("1.2.3.4", None),
            ("1.2.x", None),
            ("01.2.3", None),
            ("1.2.3-", None),
            ("1.2.3-a..b", None),
            ("1.2.3-01", None),
            ("1.2.3+", None),
            ("+1.2.3", None),
            ("99999999999999999999.0.0", None),
        ] {
            assert_eq!(PlatformVersion::parse(text), expected, "{text:?}");
        }
    }
}
