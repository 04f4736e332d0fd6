//! Reads Fluvio's own profile file.
//!
//! The official tools keep the addresses of clusters in `~/.fluvio/config`, or in the file that `FLV_PROFILE_PATH`
//! names. A URL without a host takes the cluster from there: `fluvio://` that of the current profile, `fluvio://?profile=NAME` that
//! of another one. The profile says whether TLS is used. Other options may follow, `fluvio://?profile=NAME&window=4`.
//!
//! | in the file | in the URL |
//! | --- | --- |
//! | `endpoint` (or `addr`) | the host |
//! | `use_spu_local_address` | `spu_local` |
//! | `tls_policy = "disabled"` | `fluvio://` |
//! | `tls_policy = "anonymous"` | `fluvio+tls://` with `verify=false` |
//! | `tls_policy = "verified"` with `domain`, `ca_cert`, `cert`, `key` | `fluvio+tls://` with `domain`, `ca`, `cert`, `key` |
//!
//! Other contents of the file are ignored.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    env, fmt,
    path::{Path, PathBuf},
};

use floe_core::{
    Error, ErrorKind, Result,
    setting::Section,
    url::{EngineUrl, Scheme, nearest, parse_controller},
};
use serde::Deserialize;

use crate::options::FluvioOptions;

/// Environment variable with the path of the file.
const PATH_VARIABLE: &str = "FLV_PROFILE_PATH";

/// The profiles of a file.
#[derive(Clone)]
pub struct ProfileFile {
    path: PathBuf,
    content: Content,
}

#[derive(Clone, Deserialize)]
struct Content {
    current_profile: Option<String>,
    #[serde(default)]
    profile: BTreeMap<String, Profile>,
    #[serde(default)]
    cluster: BTreeMap<String, Cluster>,
}

#[derive(Clone, Deserialize)]
struct Profile {
    cluster: String,
}

#[derive(Clone, Deserialize)]
struct Cluster {
    #[serde(alias = "addr")]
    endpoint: String,
    #[serde(default)]
    use_spu_local_address: bool,
    tls: Option<TlsPolicy>,
}

#[derive(Clone, Deserialize)]
#[serde(tag = "tls_policy")]
enum TlsPolicy {
    #[serde(rename = "disabled", alias = "disable")]
    Disabled,
    #[serde(rename = "anonymous")]
    Anonymous,
    #[serde(rename = "verified", alias = "verify")]
    Verified(Certificates),
}

#[derive(Clone, Deserialize)]
#[serde(tag = "tls_source", content = "certs")]
enum Certificates {
    #[serde(rename = "inline")]
    Inline(Identity),
    #[serde(rename = "files", alias = "file")]
    Files(Identity),
}

/// Expected identity of the server, and identity of the client: PEM texts, or paths to them.
#[derive(Clone, Deserialize)]
struct Identity {
    domain: String,
    key: String,
    cert: String,
    ca_cert: String,
}

impl ProfileFile {
    /// Returns the path of the file: the value of `FLV_PROFILE_PATH`, or `.fluvio/config` in the home directory. `None`
    /// without either.
    #[must_use]
    pub fn default_path() -> Option<PathBuf> {
        match env::var_os(PATH_VARIABLE).filter(|path| !path.is_empty()) {
            Some(path) => Some(path.into()),
            None => Some(env::home_dir()?.join(".fluvio/config")),
        }
    }

    /// Reads the file at [`ProfileFile::default_path`].
    ///
    /// # Errors
    /// As [`ProfileFile::load`].
    pub fn load_default() -> Result<Self> {
        match Self::default_path() {
            Some(path) => Self::load(&path),
            None => Err(invalid(format!(
                "there is no home directory; set {PATH_VARIABLE} to the path of the profile file"
            ))),
        }
    }

    /// Reads a file.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfig`] if it is missing, is not TOML, or lacks a required field. Errors never quote
    /// contents, which may be keys.
    pub fn load(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|error| {
            invalid(format!("the Fluvio profile file {} cannot be read: {error}", path.display()))
                .with_source(error)
        })?;
        let content = toml::from_str(&text).map_err(|error| {
            let line =
                error.span().and_then(|span| text.get(..span.start)).map(|before| before.lines().count());
            let line = line.map_or_else(String::new, |line| format!(", line {}", line.max(1)));
            invalid(format!("the Fluvio profile file {}{line}: {}", path.display(), error.message()))
        })?;
        Ok(Self { path: path.to_owned(), content })
    }

    /// Returns the path of the file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Lists the names of the profiles, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.content.profile.keys().map(String::as_str)
    }

    /// Returns the name of the current profile, which URLs without a name use.
    #[must_use]
    pub fn current(&self) -> Option<&str> {
        self.content.current_profile.as_deref()
    }

    /// Converts a profile, by default the current one, to a URL. Its options may hold a key.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfig`] if there is no such profile, or its cluster is missing or has an invalid
    /// address.
    pub fn url(&self, name: Option<&str>) -> Result<EngineUrl> {
        let bad =
            |problem: String| invalid(format!("the Fluvio profile file {}: {problem}", self.path.display()));
        let Some(name) = name.or(self.current()) else {
            return Err(bad("no profile is current; name one with fluvio://?profile=NAME".to_owned()));
        };
        let Some(profile) = self.content.profile.get(name) else {
            let names: Vec<_> = self.names().collect();
            let hint = match nearest(name, &names) {
                Some(near) => format!("; did you mean {near:?}?"),
                None if names.is_empty() => String::new(),
                None => format!("; there are {}", names.join(", ")),
            };
            return Err(bad(format!("there is no profile {name:?}{hint}")));
        };
        let Some(cluster) = self.content.cluster.get(&profile.cluster) else {
            return Err(bad(format!(
                "profile {name:?} is for cluster {:?}, which is missing",
                profile.cluster
            )));
        };
        let host = parse_controller(&cluster.endpoint)
            .map_err(|problem| bad(format!("the endpoint of cluster {:?}: {problem}", profile.cluster)))?;
        let mut options = BTreeMap::new();
        let mut set = |key: &str, value: &str| options.insert(key.to_owned(), value.to_owned());
        if cluster.use_spu_local_address {
            set("spu_local", "true");
        }
        let scheme = match &cluster.tls {
            None | Some(TlsPolicy::Disabled) => Scheme::Fluvio,
            Some(TlsPolicy::Anonymous) => {
                set("verify", "false");
                Scheme::FluvioTls
            }
            Some(TlsPolicy::Verified(Certificates::Inline(identity) | Certificates::Files(identity))) => {
                for (key, value) in [
                    ("domain", &identity.domain),
                    ("ca", &identity.ca_cert),
                    ("cert", &identity.cert),
                    ("key", &identity.key),
                ] {
                    set(key, value);
                }
                Scheme::FluvioTls
            }
        };
        let mut url = EngineUrl::new(scheme);
        url.hosts.push(host);
        url.options = options;
        Ok(url)
    }

    /// Returns the URL of the profile that the options name, or of the current one, and its options with the given ones over
    /// them.
    fn expand(&self, asked: &EngineUrl, options: &FluvioOptions) -> Result<(EngineUrl, FluvioOptions)> {
        let mut url = self.url(options.profile.as_deref())?;
        let mut all = FluvioOptions::from_url(&url)?;
        options.overlay(&mut all);
        url.topic.clone_from(&asked.topic);
        Ok((url, all))
    }
}

/// Leaves out keys.
impl fmt::Debug for ProfileFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.names().collect();
        f.debug_struct("ProfileFile")
            .field("path", &self.path)
            .field("profiles", &names)
            .field("current", &self.current())
            .finish()
    }
}

/// Returns the URL itself, or that of the profile if it names no host, with the options.
pub(super) fn resolve(
    url: &EngineUrl,
    options: FluvioOptions,
) -> Result<(Cow<'_, EngineUrl>, FluvioOptions)> {
    if url.hosts.is_empty() {
        let (url, options) = ProfileFile::load_default()?.expand(url, &options)?;
        return Ok((Cow::Owned(url), options));
    }
    if options.profile.is_some() {
        return Err(invalid(format!("{url} names a host and a profile; write fluvio://?profile=NAME")));
    }
    Ok((Cow::Borrowed(url), options))
}

fn invalid(problem: String) -> Error {
    Error::new(ErrorKind::InvalidConfig, problem)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"
version = "2.0"
current_profile = "local"
client_id = "me"

[profile.local]
cluster = "local"

[profile.far]
cluster = "cloud"
topic = "orders"

[profile.inline]
cluster = "inline"

[profile.anonymous]
cluster = "anonymous"

[profile.lost]
cluster = "gone"

[profile.odd]
cluster = "odd"

[cluster.local]
endpoint = "127.0.0.1:9103"

[cluster.cloud]
addr = "sc.example"
use_spu_local_address = true

[cluster.cloud.tls]
tls_policy = "verified"
tls_source = "files"

[cluster.cloud.tls.certs]
domain = "fluvio.example"
key = "/secret/key.pem"
cert = "/secret/cert.pem"
ca_cert = "/ca.pem"

[cluster.cloud.metadata.installation]
type = "cloud"

[cluster.inline]
endpoint = "sc.example:9003"

[cluster.inline.tls]
tls_policy = "verify"
tls_source = "inline"

[cluster.inline.tls.certs]
domain = "fluvio.example"
key = "-----BEGIN PRIVATE KEY-----\nsecret\n-----END PRIVATE KEY-----\n"
cert = "-----BEGIN CERTIFICATE-----\nus\n-----END CERTIFICATE-----\n"
ca_cert = "-----BEGIN CERTIFICATE-----\nthem\n-----END CERTIFICATE-----\n"

[cluster.anonymous]
endpoint = "[::1]:9003"
tls = { tls_policy = "anonymous" }

[cluster.odd]
endpoint = "h:port"
"#;

    fn load(text: &str) -> Result<ProfileFile> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config");
        std::fs::write(&path, text).unwrap();
        ProfileFile::load(&path)
    }

    #[test]
    fn every_kind_of_cluster_becomes_a_url() {
        let file = load(FILE).unwrap();
        let names: Vec<_> = file.names().collect();
        assert_eq!(names, ["anonymous", "far", "inline", "local", "lost", "odd"]);
        assert_eq!(file.current(), Some("local"));
        for (name, expected) in [
            (None, "fluvio://127.0.0.1:9103"),
            (Some("local"), "fluvio://127.0.0.1:9103"),
            (Some("anonymous"), "fluvio+tls://[::1]:9003?verify=false"),
            (
                Some("far"),
                "fluvio+tls://sc.example:9003?ca=/ca.pem&cert=/secret/cert.pem&domain=fluvio.example\
                 &key=/secret/key.pem&spu_local=true",
            ),
        ] {
            assert_eq!(file.url(name).unwrap().with_options(), expected);
        }
        let inline = file.url(Some("inline")).unwrap();
        assert!(inline.options["key"].starts_with("-----BEGIN PRIVATE KEY-----\n"));
        assert!(inline.options["ca"].contains("them"));
        assert!(!format!("{file:?} {inline:?}").contains("secret\n"), "{file:?} {inline:?}");
    }

    #[test]
    fn url_may_add_options() {
        let file = load(FILE).unwrap();
        let asked: EngineUrl = "fluvio://?profile=far&window=3".parse().unwrap();
        let (url, options) = file.expand(&asked, &FluvioOptions::from_url(&asked).unwrap()).unwrap();
        assert_eq!((url.scheme, url.hosts[0].port), (Scheme::FluvioTls, 9003));
        assert_eq!((options.window, options.spu_local), (3, true));
        assert_eq!(options.domain.as_deref(), Some("fluvio.example"));
        let both: EngineUrl = "fluvio://h?profile=far".parse().unwrap();
        let error = resolve(&both, FluvioOptions::from_url(&both).unwrap()).unwrap_err();
        assert!(error.message().contains("names a host"), "{error}");
    }

    #[test]
    fn errors_name_what_is_missing() {
        let file = load(FILE).unwrap();
        for (name, expected) in [
            ("locl", "did you mean \"local\"?"),
            ("something-else", "there are anonymous, far, inline"),
            ("lost", "cluster \"gone\", which is missing"),
            ("odd", "port \"port\" is not a number"),
        ] {
            let error = file.url(Some(name)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidConfig);
            assert!(error.message().contains(expected), "{error}");
        }
        let error = load("version = \"2.0\"").unwrap().url(None).unwrap_err();
        assert!(error.message().contains("no profile is current"), "{error}");
        let error = ProfileFile::load(Path::new("/no/such/file")).unwrap_err();
        assert!(error.message().contains("/no/such/file cannot be read"), "{error}");
    }

    #[test]
    fn error_of_a_damaged_file_has_the_line_and_not_the_text() {
        for (text, line) in [
            ("version = \"2.0\"\n[cluster.a]\nkey = \"top secret", ", line 3"),
            ("[cluster.a]\nendpoint = 7\n", ", line 2"),
            ("[cluster.a]\nendpoint = \"h\"\ntls = { tls_policy = \"trust me\" }\n", ": "),
        ] {
            let error = load(text).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidConfig);
            assert!(error.message().contains(line), "{error}");
            assert!(!error.message().contains("top secret"), "{error}");
        }
    }
}
