//! The URL that decides where topics live.
//!
//! | form | engine |
//! | --- | --- |
//! | `embedded:PATH[?options]` | on-disk log inside the process |
//! | `memory:` | the same log without files; gone with the client |
//! | `fluvio://HOST[:PORT][?options]` | a Fluvio cluster; the host is its controller |
//! | `fluvio+tls://HOST[:PORT][?options]` | the same over TLS |
//! | `fluvio://[?profile=NAME]` | the Fluvio cluster of a profile in Fluvio's own file; see the module `profile` of floe-fluvio |
//! | `walrus://HOST[:PORT][,HOST[:PORT]…][/TOPIC][?options]` | a cluster of distributed Walrus nodes |
//!
//! An IPv6 address is written in brackets: `walrus://[::1]:9091`. The scheme may have capitals, white space around a URL does
//! not count, and `~/` at the start of a path is the home directory.
//!
//! Options follow a `?` as `key=value`, joined by `&`. Bytes that would be misread are written `%XX`. A `-` in the name of an
//! option is read as `_`.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
};

use crate::{Error, ErrorKind, Result, dial::Endpoint, platform::path};

/// The engines that a URL can name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Scheme {
    /// `embedded:PATH`
    Embedded,
    /// `memory:`
    Memory,
    /// `fluvio://HOST:PORT`
    Fluvio,
    /// `fluvio+tls://HOST:PORT`
    FluvioTls,
    /// `walrus://HOST:PORT,…`
    Walrus,
}

impl Scheme {
    const ALL: &'static [Self] = &[Self::Embedded, Self::Memory, Self::Fluvio, Self::FluvioTls, Self::Walrus];

    /// The scheme as written in a URL.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Embedded => "embedded",
            Self::Memory => "memory",
            Self::Fluvio => "fluvio",
            Self::FluvioTls => "fluvio+tls",
            Self::Walrus => "walrus",
        }
    }

    /// Whether the engine is on the network, so that it may be unreachable for a while.
    #[must_use]
    pub fn is_network(self) -> bool {
        self.default_port().is_some()
    }

    /// Default port of an engine on the network.
    fn default_port(self) -> Option<u16> {
        match self {
            Self::Embedded | Self::Memory => None,
            Self::Fluvio | Self::FluvioTls => Some(9003),
            Self::Walrus => Some(9091),
        }
    }
}

/// A parsed URL.
///
/// ```
/// use floe_core::url::{EngineUrl, Scheme};
/// let url: EngineUrl = "embedded:./data?durability=always".parse().unwrap();
/// assert_eq!((url.scheme, url.path.to_str()), (Scheme::Embedded, Some("./data")));
/// assert_eq!(url.options["durability"], "always");
/// ```
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct EngineUrl {
    /// The engine.
    pub scheme: Scheme,
    /// Path of an `embedded:` URL; empty for the others. Bytes that are not UTF-8 are written `%XX`.
    pub path: PathBuf,
    /// The servers, for engines on the network; empty where a profile names them.
    pub hosts: Vec<Endpoint>,
    /// The topic after the servers, if one is named.
    pub topic: Option<String>,
    /// The options after `?`.
    pub options: BTreeMap<String, String>,
}

impl EngineUrl {
    /// Creates a URL without path, servers, topic and options.
    #[must_use]
    pub fn new(scheme: Scheme) -> Self {
        Self { scheme, path: PathBuf::new(), hosts: Vec::new(), topic: None, options: BTreeMap::new() }
    }

    /// Refuses options that are not in `known`.
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

impl EngineUrl {
    /// The whole URL, from which the same can be parsed again. Options may hold private keys, so messages
    /// use `Display`, which leaves the options out.
    #[must_use]
    pub fn with_options(&self) -> String {
        let topic = self.topic.as_deref().map(encode);
        let path = encode_bytes(&path::to_bytes(&self.path)).into();
        let mut text = Self { path, topic, options: BTreeMap::new(), ..self.clone() }.to_string();
        for (index, (key, value)) in self.options.iter().enumerate() {
            let separator = if index == 0 { '?' } else { '&' };
            text.push_str(&format!("{separator}{}={}", encode(key), encode(value)));
        }
        text
    }
}

/// Shows only the names of options: their values may be private keys.
impl fmt::Debug for EngineUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let options: Vec<_> = self.options.keys().collect();
        f.debug_struct("EngineUrl").field("url", &self.to_string()).field("options", &options).finish()
    }
}

impl fmt::Display for EngineUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let slashes = if self.scheme.default_port().is_some() { "//" } else { "" };
        write!(f, "{}:{slashes}{}", self.scheme.as_str(), self.path.display())?;
        for (index, host) in self.hosts.iter().enumerate() {
            write!(f, "{}{host}", if index == 0 { "" } else { "," })?;
        }
        match &self.topic {
            Some(topic) => write!(f, "/{topic}"),
            None => Ok(()),
        }
    }
}

impl FromStr for EngineUrl {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bad = |problem: String| {
            Error::new(ErrorKind::InvalidConfig, format!("URL {:?}: {problem}", masked(text)))
        };
        // Files with secrets, and variables read from them, end in a newline.
        let text = text.trim();
        let Some((scheme, rest)) = text.split_once(':') else {
            return Err(bad("no scheme; write embedded:PATH or memory:".to_owned()));
        };
        let scheme = scheme.to_ascii_lowercase();
        let Some(scheme) = Scheme::ALL.iter().copied().find(|known| known.as_str() == scheme) else {
            if parse_host(text, 0).is_ok() && rest.parse::<u16>().is_ok() {
                return Err(bad(format!("no scheme; write fluvio://{text} or walrus://{text}")));
            }
            let known: Vec<_> = Scheme::ALL.iter().map(|scheme| scheme.as_str()).collect();
            let hint = match nearest(&scheme, &known) {
                Some(near) => format!("did you mean {near:?}?"),
                None => format!("this build knows {}", known.join(", ")),
            };
            return Err(bad(format!("unknown scheme {scheme:?}; {hint}")));
        };
        let (path, query) = rest.split_once('?').map_or((rest, None), |(path, query)| (path, Some(query)));
        let (path, hosts, topic) = match scheme.default_port() {
            // The host comes from a profile, which an option names.
            Some(_) if scheme == Scheme::Fluvio && path == "//" => (PathBuf::new(), Vec::new(), None),
            Some(port) => {
                let (hosts, topic) = parse_hosts(path, port).map_err(|problem| {
                    bad(format!("{problem}; write {}://HOST:{port},HOST:{port}", scheme.as_str()))
                })?;
                (PathBuf::new(), hosts, topic)
            }
            None => (decode_path(expand_home(path).map_err(bad)?.as_ref()).map_err(bad)?, Vec::new(), None),
        };
        match scheme {
            Scheme::Embedded if rest.starts_with("//") => {
                let path = rest.trim_start_matches('/');
                return Err(bad(format!("a path has no host; write embedded:./{path} or embedded:/{path}")));
            }
            Scheme::Embedded if path.as_os_str().is_empty() => {
                return Err(bad("no path; write embedded:./data".to_owned()));
            }
            Scheme::Memory if !path.as_os_str().is_empty() => {
                return Err(bad("memory: has no path".to_owned()));
            }
            Scheme::Embedded | Scheme::Memory | Scheme::Fluvio | Scheme::FluvioTls | Scheme::Walrus => {}
        }
        let mut options = BTreeMap::new();
        for pair in query.into_iter().flat_map(|query| query.split('&')).filter(|pair| !pair.is_empty()) {
            let Some((key, value)) = pair.split_once('=') else {
                // The text may be part of a secret value with an `&`, so the message leaves it out.
                let number = options.len() + 1;
                return Err(bad(format!(
                    "option {number} has no value; an & inside a value is written %26, and a ? inside a path %3F"
                )));
            };
            let (key, value) = (decode(key).map_err(bad)?.replace('-', "_"), decode(value).map_err(bad)?);
            if options.insert(key.clone(), value).is_some() {
                return Err(bad(format!("option {key:?} is given twice")));
            }
        }
        Ok(Self { scheme, path, hosts, topic, options })
    }
}

/// Placeholder of a hidden value.
const HIDDEN: &str = "HIDDEN";

/// Hides private keys, passwords and tokens of a URL, for messages, logs and `Debug`.
///
/// ```
/// let url = "fluvio+tls://host?domain=fluvio.local&key=-----BEGIN%20PRIVATE%20KEY-----";
/// assert_eq!(floe_core::url::shown(url), "fluvio+tls://host:9003?domain=fluvio.local&key=HIDDEN");
/// assert_eq!(floe_core::url::shown("embedded:./data?durability=os"), "embedded:./data?durability=os");
/// ```
#[must_use]
pub fn shown(text: &str) -> String {
    let Ok(mut url) = text.parse::<EngineUrl>() else { return masked(text) };
    let mut hidden = false;
    for (name, value) in &mut url.options {
        if is_secret(name, value) {
            HIDDEN.clone_into(value);
            hidden = true;
        }
    }
    if hidden { url.with_options() } else { text.to_owned() }
}

fn is_secret(name: &str, value: &str) -> bool {
    value.contains("-----BEGIN")
        || ["token", "secret", "passw", "headers", "auth", "credential"]
            .iter()
            .any(|word| name.contains(word))
}

/// Masks a text that may be no URL: option values and the user are hidden.
fn masked(text: &str) -> String {
    let (place, query) = text.split_once('?').map_or((text, None), |(place, query)| (place, Some(query)));
    let mut out = match (place.split_once("//"), place.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, rest))) => format!("{scheme}//{HIDDEN}@{rest}"),
        _ => place.to_owned(),
    };
    let names = query.into_iter().flat_map(|query| query.split('&')).filter_map(|pair| pair.split_once('='));
    for (index, (name, _)) in names.enumerate() {
        out.push_str(&format!("{}{name}={HIDDEN}", if index == 0 { '?' } else { '&' }));
    }
    out
}

/// Parses `//h1:1,h2:2/topic`.
fn parse_hosts(text: &str, default_port: u16) -> Result<(Vec<Endpoint>, Option<String>), String> {
    let rest = text.strip_prefix("//").ok_or("no // after the scheme")?;
    let (hosts, topic) = rest.split_once('/').map_or((rest, None), |(hosts, topic)| (hosts, Some(topic)));
    if hosts.contains('@') {
        return Err("a URL has no user and no password".to_owned());
    }
    let topic = match topic {
        None | Some("") => None,
        Some(topic) => Some(decode(topic)?),
    };
    let mut found: Vec<Endpoint> = Vec::new();
    for host in hosts.split(',') {
        let endpoint = parse_host(host, default_port)?;
        if found.contains(&endpoint) {
            return Err(format!("{endpoint} is named twice"));
        }
        found.push(endpoint);
    }
    Ok((found, topic))
}

/// The `HOST[:PORT]` of a Fluvio controller, as profiles have it.
///
/// # Errors
/// The reason why the text is no address.
pub fn parse_controller(text: &str) -> Result<Endpoint, String> {
    parse_host(text, 9003)
}

fn parse_host(text: &str, default_port: u16) -> Result<Endpoint, String> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, after) = rest.split_once(']').ok_or("a [ is not closed")?;
            if host.parse::<std::net::Ipv6Addr>().is_err() {
                return Err(format!("[{host}] is no IPv6 address"));
            }
            let port = match after {
                "" => None,
                _ => Some(after.strip_prefix(':').ok_or_else(|| format!("{after:?} follows a ]"))?),
            };
            (host.to_owned(), port)
        }
        None => {
            let (host, port) = text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port)));
            if port.is_some_and(|port| port.contains(':')) {
                return Err(format!(
                    "{text:?} has more than one colon; an IPv6 address is written in brackets"
                ));
            }
            (decode(host)?, port)
        }
    };
    if host.is_empty() {
        return Err("a host has no name".to_owned());
    }
    let port = match port {
        None => default_port,
        Some(port) => match port.parse() {
            Ok(number) if number != 0 => number,
            _ => return Err(format!("port {port:?} is not a number from 1 to 65535")),
        },
    };
    Ok(Endpoint::new(host, port))
}

/// Resolves `~/` at the start of an encoded path, which a shell does not do behind a scheme.
fn expand_home(path: &str) -> Result<Cow<'_, str>, String> {
    let Some(rest) = path.strip_prefix("~/").or_else(|| (path == "~").then_some("")) else {
        return Ok(Cow::Borrowed(path));
    };
    match std::env::var_os("HOME").filter(|home| !home.is_empty()) {
        Some(home) => Ok(Cow::Owned(format!(
            "{}/{rest}",
            encode_bytes(&path::to_bytes(Path::new(&home))).trim_end_matches('/')
        ))),
        None => Err("~ stands for the home directory, which the variable HOME does not name".to_owned()),
    }
}

fn decode(text: &str) -> Result<String, String> {
    String::from_utf8(decode_percent(text)?).map_err(|_| "%XX spells bytes that are not UTF-8".to_owned())
}

fn decode_path(text: &str) -> Result<PathBuf, String> {
    path::from_bytes(decode_percent(text)?).ok_or_else(|| "%XX spells bytes that no path has".to_owned())
}

/// The inverse of [`decode`]: characters with a meaning in a URL are written `%XX`.
fn encode(text: &str) -> String {
    encode_bytes(text.as_bytes())
}

fn encode_bytes(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len()), |mut out, byte| {
        match *byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                out.push(char::from(*byte))
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
        out
    })
}

/// Resolves `%XX`. Fails where a `%` is not followed by two hex digits.
fn decode_percent(text: &str) -> Result<Vec<u8>, String> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    let digit = |rest: &mut std::str::Bytes<'_>| {
        let digit = rest.next().and_then(|byte| char::from(byte).to_digit(16));
        digit.and_then(|digit| u8::try_from(digit).ok()).ok_or("a % is not followed by two hex digits")
    };
    while let Some(byte) = rest.next() {
        out.push(if byte == b'%' { digit(&mut rest)? * 16 + digit(&mut rest)? } else { byte });
    }
    Ok(out)
}

/// The word in `known` nearest to `word`, if it is near enough for a suggestion.
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
            ("Embedded:./data\n", Scheme::Embedded, "./data", vec![]),
            (" MEMORY: ", Scheme::Memory, "", vec![]),
            ("embedded:./~/x", Scheme::Embedded, "./~/x", vec![]),
        ];
        for (text, scheme, path, options) in table {
            let url: EngineUrl = text.parse().unwrap();
            assert_eq!((url.scheme, url.path.to_str()), (scheme, Some(path)), "{text}");
            let found: Vec<_> = url.options.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
            assert_eq!(found, options, "{text}");
        }
    }

    #[test]
    fn a_path_in_the_home_directory_is_expanded() {
        let home = std::env::var("HOME").unwrap();
        let url: EngineUrl = "embedded:~/floe".parse().unwrap();
        assert_eq!(url.path, format!("{}/floe", home.trim_end_matches('/')));
    }

    #[test]
    fn bad_urls_say_why() {
        let table = [
            ("data", "no scheme"),
            ("embeded:./x", "did you mean \"embedded\"?"),
            ("kafka://h", "unknown scheme"),
            ("127.0.0.1:9003", "write fluvio://127.0.0.1:9003"),
            ("localhost:9003", "write fluvio://localhost:9003"),
            ("embedded://data", "write embedded:./data or embedded:/data"),
            ("embedded:", "no path"),
            ("memory:x", "has no path"),
            ("embedded:x?a", "option 1 has no value; an & inside a value is written %26"),
            ("walrus://ada:sesame@host", "a URL has no user and no password"),
            ("embedded:x?a=1&a=2", "twice"),
            ("embedded:x?a-b=1&a_b=2", "twice"),
            ("embedded:%zz", "hex digits"),
        ];
        for (text, expected) in table {
            let error = text.parse::<EngineUrl>().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidConfig);
            assert!(error.to_string().contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn hosts_and_topic() {
        let table = [
            ("walrus://h1:9091,h2:9092?x=1", vec![("h1", 9091), ("h2", 9092)], None),
            ("walrus://h1", vec![("h1", 9091)], None),
            ("walrus://[::1]:7,[fe80::2]/orders", vec![("::1", 7), ("fe80::2", 9091)], Some("orders")),
            ("walrus://10.0.0.1:1/a%20b", vec![("10.0.0.1", 1)], Some("a b")),
            ("walrus://h/", vec![("h", 9091)], None),
        ];
        for (text, hosts, topic) in table {
            let url: EngineUrl = text.parse().unwrap();
            let expected: Vec<_> = hosts.into_iter().map(|(host, port)| Endpoint::new(host, port)).collect();
            assert_eq!(
                (url.scheme, url.hosts.clone(), url.topic.as_deref()),
                (Scheme::Walrus, expected, topic)
            );
            if topic.is_none() {
                let shown: EngineUrl = url.to_string().parse().unwrap();
                assert_eq!(shown.hosts, url.hosts, "{url}");
            }
        }
        let url: EngineUrl = "walrus://[::1]:7,h/orders".parse().unwrap();
        assert_eq!(url.to_string(), "walrus://[::1]:7,h:9091/orders");
    }

    #[test]
    fn bad_hosts_say_why() {
        let table = [
            ("walrus:h", "no //"),
            ("walrus://", "no name"),
            ("walrus://h1,,h2", "no name"),
            ("walrus://h:0", "not a number"),
            ("walrus://h:70000", "not a number"),
            ("walrus://::1", "in brackets"),
            ("walrus://[::1", "not closed"),
            ("walrus://[h]:1", "no IPv6"),
            ("walrus://[::1]9", "follows a ]"),
            ("walrus://h:1,h:1", "twice"),
            ("walrus://h/%zz", "hex digits"),
        ];
        for (text, expected) in table {
            let error = text.parse::<EngineUrl>().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidConfig);
            assert!(error.to_string().contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn a_fluvio_host_may_be_left_to_a_profile() {
        let url: EngineUrl = "fluvio://?profile=local".parse().unwrap();
        assert_eq!((url.scheme, url.hosts.len()), (Scheme::Fluvio, 0));
        assert_eq!(url.options["profile"], "local");
        assert_eq!(url.to_string(), "fluvio://");
        for other in ["fluvio+tls://", "walrus://"] {
            assert!(other.parse::<EngineUrl>().is_err(), "{other}");
        }
    }

    #[test]
    fn a_url_survives_being_written_and_shows_no_values() {
        for text in [
            "fluvio+tls://h:9003?key=-----BEGIN%20KEY-----%0A%3D%26%3F%25&ca=/a%20b/c.pem",
            "embedded:/a%3Fb%25c?durability=os",
            "memory:",
            "walrus://[::1]:7,h:9091/odd%20%3F?window=3",
        ] {
            let url: EngineUrl = text.parse().unwrap();
            assert_eq!(url.with_options().parse::<EngineUrl>().unwrap(), url, "{text}");
            assert!(!format!("{url:?}").contains("BEGIN"), "{url:?}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn paths_are_bytes() {
        let path = path::from_bytes(b"d\xff/%?\xc3\xa4".to_vec()).unwrap();
        let url = EngineUrl { path, ..EngineUrl::from_str("embedded:x").unwrap() };
        assert_eq!(url.with_options(), "embedded:d%FF/%25%3F%C3%A4");
        assert_eq!(url.with_options().parse::<EngineUrl>().unwrap(), url);
        assert!("embedded:a%00b".parse::<EngineUrl>().is_err(), "no path has a NUL");
        assert!("walrus://h/%ff".parse::<EngineUrl>().is_err(), "a topic is text");
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
