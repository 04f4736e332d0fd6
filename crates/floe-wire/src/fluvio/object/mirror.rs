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
    /// The other cluster of a mirror.
    pub enum MirrorSpec {
        /// A remote cluster, which copies from or to this one.
        0 => Remote(remote: RemoteCluster),
        /// The home cluster, which this one copies from or to.
        1 => Home(home: HomeCluster),
    }
}

wire_struct! {
    /// A remote cluster.
    #[derive(Default)]
    pub struct RemoteCluster {
        /// Id of the cluster.
        pub id: String,
    }
}

wire_struct! {
    /// The home cluster.
    #[derive(Default)]
    pub struct HomeCluster {
        /// Id of the cluster.
        pub id: String,
        /// Id of this cluster on the home cluster.
        pub remote_id: String,
        /// Address of the home cluster's controller.
        pub public_endpoint: String,
        /// Client certificate for the connection.
        pub client_tls: Option<ClientTls>,
    }
}

/// A client certificate, as PEM texts. `Debug` leaves the key out.
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
    /// Observed state of a mirror.
    #[derive(Default)]
    pub struct MirrorStatus {
        /// State of the connection.
        pub connection: ConnectionStatus,
        /// Pairing of the controllers.
        pub pairing_sc: PairingStatus,
        /// Pairing of the data servers.
        pub pairing_spu: PairingStatus,
        /// Time of the last contact, in milliseconds since the Unix epoch.
        pub last_seen_ms: u64,
    }
}

wire_enum! {
    /// State of the connection to a mirror.
    #[derive(Copy, Hash, Default)]
    pub enum ConnectionStatus {
        /// Not connected.
        #[default]
        0 => Offline,
        /// Connected.
        1 => Online,
    }
}

wire_enum! {
    /// State of the pairing of two clusters.
    #[derive(Default)]
    pub enum PairingStatus {
        /// Not tried yet.
        #[default]
        0 => Waiting,
        /// The clusters are paired.
        1 => Successful,
        /// The pairing failed.
        2 => Failed,
        /// Switched off.
        3 => Disabled,
        /// The other cluster refused.
        4 => Unauthorized,
        /// The pairing failed for a reason.
        5 => DetailFailure(reason: String),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_leaves_the_client_key_out() {
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
