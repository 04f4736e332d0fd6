//! The client of a connection, as its certificate names it.

use std::{borrow::Cow, fmt};

use x509_parser::{
    certificate::X509Certificate,
    extensions::GeneralName,
    prelude::{FromDer as _, X509Error},
};

/// Kind of a name in a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum NameKind {
    /// Common name of the subject.
    Common,
    /// Alternative name: DNS.
    Dns,
    /// Alternative name: URI, for example a SPIFFE id.
    Uri,
    /// Alternative name: email address.
    Email,
}

impl NameKind {
    const ALL: [(Self, &'static str); 4] =
        [(Self::Common, "cn"), (Self::Dns, "dns"), (Self::Uri, "uri"), (Self::Email, "email")];

    pub(super) fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|(_, name)| *name == text).map(|(kind, _)| kind)
    }

    fn prefix(self) -> &'static str {
        Self::ALL.into_iter().find(|(kind, _)| *kind == self).map_or("", |(_, name)| name)
    }

    /// Returns a name in the form in which names of its kind are compared: DNS has no case.
    pub(super) fn normalized(self, name: &str) -> Cow<'_, str> {
        match self {
            Self::Dns => name.to_ascii_lowercase().into(),
            Self::Common | Self::Uri | Self::Email => name.into(),
        }
    }
}

/// One name of a certificate.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct CertificateName {
    pub(crate) kind: NameKind,
    pub(crate) text: String,
}

/// The client of a connection.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Principal {
    /// A client without a certificate.
    Anonymous,
    /// A client with a certificate of a trusted authority. It may have no usable name, and is not anonymous then.
    Certificate(Vec<CertificateName>),
}

impl Principal {
    /// Reads the names of a certificate whose signature has been verified.
    ///
    /// # Errors
    /// Returns an error if the certificate cannot be parsed.
    pub(crate) fn of_certificate(der: &[u8]) -> Result<Self, X509Error> {
        let (_, certificate) = X509Certificate::from_der(der).map_err(|error| match error {
            x509_parser::nom::Err::Error(error) | x509_parser::nom::Err::Failure(error) => error,
            x509_parser::nom::Err::Incomplete(_) => X509Error::InvalidCertificate,
        })?;
        let mut names = Vec::new();
        let mut add = |kind: NameKind, text: &str| {
            // An unprintable name cannot be written in a rule, and must not reach a log.
            if !text.is_empty() && !text.chars().any(char::is_control) {
                names.push(CertificateName { kind, text: kind.normalized(text).into_owned() });
            }
        };
        for common in certificate.subject().iter_common_name() {
            if let Ok(text) = common.as_str() {
                add(NameKind::Common, text);
            }
        }
        if let Some(alternatives) = certificate.subject_alternative_name()? {
            for name in &alternatives.value.general_names {
                match name {
                    GeneralName::DNSName(text) => add(NameKind::Dns, text),
                    GeneralName::URI(text) => add(NameKind::Uri, text),
                    GeneralName::RFC822Name(text) => add(NameKind::Email, text),
                    _ => {}
                }
            }
        }
        Ok(Self::Certificate(names))
    }
}

/// The first name, in the notation of rules.
impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anonymous => f.write_str("anonymous"),
            Self::Certificate(names) => match names.first() {
                Some(CertificateName { kind, text }) => write!(f, "{}:{text}", kind.prefix()),
                None => f.write_str("certificate without a name"),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    use super::*;

    fn named(common: Option<&str>, alternatives: Vec<SanType>) -> Principal {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        if let Some(common) = common {
            params.distinguished_name.push(DnType::CommonName, common);
        }
        params.subject_alt_names = alternatives;
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        Principal::of_certificate(certificate.der()).unwrap()
    }

    #[test]
    fn names_of_all_kinds_are_read() {
        let principal = named(
            Some("orders"),
            vec![
                SanType::DnsName("Orders.Example".try_into().unwrap()),
                SanType::URI("spiffe://x/Orders".try_into().unwrap()),
                SanType::Rfc822Name("ops@x".try_into().unwrap()),
                SanType::IpAddress("10.0.0.1".parse().unwrap()),
            ],
        );
        let expected = [
            (NameKind::Common, "orders"),
            (NameKind::Dns, "orders.example"),
            (NameKind::Uri, "spiffe://x/Orders"),
            (NameKind::Email, "ops@x"),
        ];
        let expected = expected.map(|(kind, text)| CertificateName { kind, text: text.to_owned() });
        assert_eq!(principal, Principal::Certificate(expected.into()));
        assert_eq!(principal.to_string(), "cn:orders");
    }

    #[test]
    fn unprintable_names_do_not_count() {
        let principal = named(Some("a\nrefused=no"), Vec::new());
        assert_eq!(principal, Principal::Certificate(Vec::new()));
        assert_eq!(principal.to_string(), "certificate without a name");
        assert_eq!(Principal::Anonymous.to_string(), "anonymous");
    }

    #[test]
    fn damaged_certificates_are_errors() {
        for der in [&b""[..], b"\x30\x03\x02\x01\x01", &[0x30; 100]] {
            assert!(Principal::of_certificate(der).is_err(), "{der:?}");
        }
    }
}
