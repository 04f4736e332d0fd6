//! The options of a Fluvio cluster.

use std::time::Duration;

use floe_core::{
    Error, ErrorKind, Result, section,
    setting::{Contradiction, any, between, positive},
};

use crate::pem::Pem;

section! {
    /// Options of a Fluvio cluster.
    fluvio: FluvioOptions {
        /// Name of the client in requests.
        client_id: String = "floe".to_owned(), short;
        /// Time for a connection with its handshakes.
        connect_timeout: Duration = Duration::from_secs(5), positive;
        /// Time for any reply; a connection without one is closed. Stay well below `producer.timeout`, so that there is time
        /// left to look up a batch and to resend it.
        request_timeout: Duration = Duration::from_secs(10), positive;
        /// Time for a partition to get a leader.
        metadata_timeout: Duration = Duration::from_secs(15), positive;
        /// Time that a leader waits for its replicas with `Acks::Committed`.
        commit_timeout: Duration = Duration::from_secs(5), positive;
        /// Silence after which the client sends a heartbeat request.
        idle: Duration = Duration::from_secs(20), positive;
        /// Appends of one partition in flight; a producer with a larger `producer.max_in_flight` keeps to it.
        window: u32 = 8, between(1, 1024);
        /// Size at which no further batch joins a request.
        request_bytes: u64 = 1024 * 1024, between(1024, 64 << 20);
        /// Whether to connect to the data servers by their addresses inside the cluster.
        spu_local: bool = false, any;
        /// Profile of the official tools that names the cluster, for a URL without a host; `none` is the current one.
        profile: Option<String> = None, any;
        /// Certificate authorities for the servers of `fluvio+tls:`; `none` are those that the system trusts.
        ca: Option<Pem> = None, any;
        /// Certificate of the client, with `key`.
        cert: Option<Pem> = None, any;
        /// Private key of the certificate.
        key: Option<Pem> = None, any;
        /// Name in the controller's certificate, in place of the host. Data servers show `<name>.<domain>`.
        domain: Option<String> = None, any;
        /// Whether certificates of servers are verified. Without, anyone on the way reads and changes everything.
        verify: bool = true, any;
    }
    where tls_fits
}

impl FluvioOptions {
    /// Refuses options of TLS on a connection without it: a certificate that is not used protects nothing.
    pub(super) fn check_plain(&self) -> Result<()> {
        let set = [
            ("ca", self.ca.is_some()),
            ("cert", self.cert.is_some()),
            ("key", self.key.is_some()),
            ("domain", self.domain.is_some()),
            ("verify", !self.verify),
        ];
        match set.iter().find(|(_, set)| *set) {
            None => Ok(()),
            Some((name, _)) => {
                let message = format!("{name} is for TLS: write fluvio+tls:// in place of fluvio://");
                Err(Error::new(ErrorKind::InvalidConfig, message))
            }
        }
    }
}

fn short(text: &str) -> Option<String> {
    (text.len() > 1000).then(|| "it must have at most 1000 bytes".to_owned())
}

fn tls_fits(options: &FluvioOptions) -> Option<Contradiction> {
    if options.ca.is_some() && !options.verify {
        return Some(Contradiction::new("ca", "verify", "without verification, ca has no effect"));
    }
    match (&options.cert, &options.key) {
        (Some(_), None) => Some(Contradiction::new("cert", "key", "cert needs key")),
        (None, Some(_)) => Some(Contradiction::new("key", "cert", "key needs cert")),
        (None, None) | (Some(_), Some(_)) => None,
    }
}

#[cfg(test)]
mod tests {
    use floe_core::setting::Section;

    use super::*;

    fn parse(url: &str) -> Result<FluvioOptions> {
        FluvioOptions::from_url(&url.parse().unwrap())
    }

    #[test]
    fn a_url_and_a_program_set_the_same_options() {
        let url = "fluvio+tls://h?window=3&request-bytes=64KiB&idle=5s&spu-local=true&ca=ca.pem&domain=fluvio.local";
        let typed = FluvioOptions::default()
            .window(3_u32)
            .request_bytes(65_536_u64)
            .idle(Duration::from_secs(5))
            .spu_local(true)
            .ca(Pem::file("ca.pem"))
            .domain("fluvio.local".to_owned());
        assert_eq!(parse(url).unwrap(), typed);
        assert_eq!(parse("fluvio://h").unwrap(), FluvioOptions::default());
    }

    #[test]
    fn invalid_options_are_refused_with_the_accepted_values() {
        for (options, expected) in [
            ("window=0", "from 1 to 1024"),
            ("window=x", "whole number"),
            ("request-bytes=1", "from 1KiB"),
            ("idle=0", "more than 0"),
            ("idle=5", "write a duration"),
            ("spu-local=perhaps", "true or false"),
            ("windw=3", "did you mean \"window\""),
            ("ca=x&verify=false", "ca and verify contradict each other"),
            ("cert=x", "cert needs key"),
        ] {
            let error = parse(&format!("fluvio+tls://h?{options}")).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidConfig);
            assert!(error.to_string().contains(expected), "{options}: {error}");
        }
        let typed = FluvioOptions::default().window(0_u32).check().unwrap_err();
        assert!(typed.to_string().contains("window is 0: it must be from 1 to 1024"), "{typed}");
    }

    #[test]
    fn options_of_tls_need_tls() {
        assert!(FluvioOptions::default().window(3_u32).check_plain().is_ok());
        let error = FluvioOptions::default().verify(false).check_plain().unwrap_err();
        assert!(error.to_string().contains("verify is for TLS: write fluvio+tls://"), "{error}");
    }
}
