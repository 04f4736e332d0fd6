//! Mirrors: other clusters that topics are copied to or from.

use std::fmt;

use crate::{
    WireError,
    fluvio::{
        input::Input,
        output::Output,
        wire::{Wire, wire_enum, wire_struct},
    },
};

wire_enum! {
    /// Which other cluster.
    pub enum MirrorSpec {
        /// One that copies from or to this one.
        0 => Remote(remote: RemoteCluster),
        /// The one that this one copies from or to.
        1 => Home(home: HomeCluster),
    }
}

wire_struct! {
    /// A remote cluster.
    #[derive(Default)]
    pub struct RemoteCluster {
        /// Its id.
        pub id: String,
    }
}

wire_struct! {
    /// The home cluster.
    #[derive(Default)]
    pub struct HomeCluster {
        /// Its id.
        pub id: String,
        /// Under which id it knows this cluster.
        pub remote_id: String,
        /// Address of its controller.
        pub public_endpoint: String,
        /// How to prove who we are.
        pub client_tls: Option<ClientTls>,
    }
}

/// A client certificate, as PEM texts. The key never shows in `Debug`.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct ClientTls {
    /// Name in the server's certificate.
    pub domain: String,
    /// Certificate of the authority.
    pub ca_cert: String,
    /// Certificate of the client.
    pub client_cert: String,
    /// Key of the client.
    pub client_key: String,
}

impl fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientTls").field("domain", &self.domain).finish_non_exhaustive()
    }
}

impl Wire for ClientTls {
    fn encode(&self, output: &mut Output, _version: i16) -> Result<(), WireError> {
        [&self.domain, &self.ca_cert, &self.client_cert, &self.client_key]
            .into_iter()
            .try_for_each(|text| output.string(text))
    }

    fn decode(input: &mut Input, _version: i16) -> Result<Self, WireError> {
        input.enter("ClientTls");
        Ok(Self {
            domain: input.string()?,
            ca_cert: input.string()?,
            client_cert: input.string()?,
            client_key: input.string()?,
        })
    }
}

wire_struct! {
    /// What the controller reports of a mirror.
    #[derive(Default)]
    pub struct MirrorStatus {
        /// Whether it is connected.
        pub connection: ConnectionStatus,
        /// How the controllers found together.
        pub pairing_sc: PairingStatus,
        /// How the data servers found together.
        pub pairing_spu: PairingStatus,
        /// When it was last seen, in milliseconds since the Unix epoch.
        pub last_seen_ms: u64,
    }
}

wire_enum! {
    /// Whether a mirror is connected.
    #[derive(Copy, Hash, Default)]
    pub enum ConnectionStatus {
        /// It is not.
        #[default]
        0 => Offline,
        /// It is.
        1 => Online,
    }
}

wire_enum! {
    /// How two clusters found together.
    #[derive(Default)]
    pub enum PairingStatus {
        /// Not tried yet.
        #[default]
        0 => Waiting,
        /// They did.
        1 => Successful,
        /// They did not.
        2 => Failed,
        /// Switched off.
        3 => Disabled,
        /// The other cluster refused.
        4 => Unauthorized,
        /// They did not, and this is why.
        5 => DetailFailure(reason: String),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_key_never_shows() {
        let tls = ClientTls {
            domain: "home.example".to_owned(),
            ca_cert: "ca".to_owned(),
            client_cert: "cert".to_owned(),
            client_key: "very-secret".to_owned(),
        };
        let spec = MirrorSpec::Home(HomeCluster { client_tls: Some(tls), ..HomeCluster::default() });
        let shown = format!("{spec:?}");
        assert!(shown.contains("home.example"), "{shown}");
        assert!(!shown.contains("very-secret"), "{shown}");
    }
}
