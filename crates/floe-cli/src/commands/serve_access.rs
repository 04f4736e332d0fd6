//! Options of `floe serve` about who may do what.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use floe_server::{AccessRules, ServeOptions, ServerTls};

use crate::exit::{Failure, Outcome};

/// Address that disables a protocol.
pub(crate) const OFF: &str = "off";

/// Whether an address disables a protocol.
pub(crate) fn is_off(address: &str) -> bool {
    address.eq_ignore_ascii_case(OFF)
}

/// Address of Walrus unless an option names another.
const WALRUS: &str = "127.0.0.1:9091";

/// Listener that can be left without TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum PlainDoor {
    /// Walrus, although clients must have certificates
    Walrus,
    /// Health and metrics, although TLS is configured
    Http,
}

#[derive(Debug, Args)]
pub(crate) struct AccessArgs {
    /// Certificate chain (PEM) of the Fluvio and HTTP addresses; read again when it changes
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// Private key (PEM) of the certificate
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Require clients to present a certificate of this authority (PEM); turns Walrus off, which has no TLS
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_client_ca: Option<PathBuf>,
    /// Listeners that stay without TLS and certificates, separated by commas
    #[arg(long, value_name = "LISTENER", value_delimiter = ',', requires = "tls_cert")]
    allow_plain: Vec<PlainDoor>,
    /// Rules (TOML) of which subjects of certificates may read, write and administer which topics; read again when they
    /// change
    #[arg(long, value_name = "FILE")]
    access: Option<PathBuf>,
    /// Host name under which the console, health and metrics are served, besides the address and localhost; may be repeated
    #[arg(long, value_name = "NAME", visible_alias = "console-host")]
    http_host: Vec<String>,
}

impl AccessArgs {
    fn allows_plain(&self, door: PlainDoor) -> bool {
        self.allow_plain.contains(&door)
    }

    /// Returns the address of Walrus: the given one, else the default. With certificates of clients there is none unless
    /// --allow-plain asks for it.
    ///
    /// # Errors
    /// Fails for an address that would let clients past the certificates.
    pub(crate) fn walrus(&self, given: Option<&str>) -> Outcome<String> {
        let is_closed = self.tls_client_ca.is_some() && !self.allows_plain(PlainDoor::Walrus);
        match given {
            None if is_closed => Ok(OFF.to_owned()),
            None => Ok(WALRUS.to_owned()),
            Some(address) if is_closed && !is_off(address) => {
                Err(Failure::usage("Walrus has no TLS: its clients would get past --tls-client-ca")
                    .with_hint("add --allow-plain walrus if they may, or leave out --walrus"))
            }
            Some(address) => Ok(address.to_owned()),
        }
    }

    /// Puts the options into those of the server. Reads the files.
    ///
    /// # Errors
    /// Fails for a file that cannot be read or has a mistake.
    pub(crate) fn apply(self, options: &mut ServeOptions) -> Outcome {
        if let (Some(certificate), Some(key)) = (&self.tls_cert, &self.tls_key) {
            options.tls = Some(ServerTls::from_pem_files(certificate, key, self.tls_client_ca.as_deref())?);
        }
        options.plain_walrus = self.allows_plain(PlainDoor::Walrus);
        options.plain_http = self.allows_plain(PlainDoor::Http);
        options.access = self.access.as_deref().map(AccessRules::from_file).transpose()?;
        options.http_hosts = self.http_host;
        Ok(())
    }
}
