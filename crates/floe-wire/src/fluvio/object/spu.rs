//! Data servers (SPUs), managed by the cluster or registered by an administrator.

use crate::{
    WireError,
    fluvio::{
        input::Input,
        output::Output,
        wire::{Wire, wire_enum, wire_open_enum, wire_struct},
    },
};

wire_struct! {
    /// Desired state of a data server.
    #[derive(Default)]
    pub struct SpuSpec {
        /// Id that partitions refer to.
        pub id: i32,
        /// Owner of the server.
        pub spu_type: SpuType,
        /// Address for clients.
        pub public_endpoint: IngressEndpoint,
        /// Address for other servers.
        pub private_endpoint: Endpoint,
        /// Rack of the server.
        pub rack: Option<String>,
        /// Address for clients within the same network.
        pub public_endpoint_local: Option<Endpoint> [1..],
    }
}

wire_enum! {
    /// Owner of a data server.
    #[derive(Copy, Hash, Default)]
    pub enum SpuType {
        /// Managed by the cluster.
        #[default]
        0 => Managed,
        /// Registered by an administrator.
        1 => Custom,
    }
}

wire_struct! {
    /// An address with several alternative hosts. Official clients use the first.
    #[derive(Default)]
    pub struct IngressEndpoint {
        /// Port.
        pub port: u16,
        /// Hosts; may be empty.
        pub ingress: Vec<IngressAddress>,
        /// Ignored by clients.
        pub encryption: Encryption,
    }
}

wire_struct! {
    /// A host. Clients prefer the name.
    #[derive(Default)]
    pub struct IngressAddress {
        /// Name of the host.
        pub hostname: Option<String>,
        /// IP address of the host.
        pub ip: Option<String>,
    }
}

wire_struct! {
    /// A host and port.
    #[derive(Default)]
    pub struct Endpoint {
        /// Port.
        pub port: u16,
        /// Host name or IP address.
        pub host: String,
        /// Ignored by clients.
        pub encryption: Encryption,
    }
}

wire_enum! {
    /// Encryption of an address. Clients ignore it.
    #[derive(Copy, Hash, Default)]
    pub enum Encryption {
        /// Plain TCP.
        #[default]
        0 => Plaintext,
        /// TLS.
        1 => Ssl,
    }
}

wire_open_enum! {
    /// Observed state of a data server.
    #[derive(Default)]
    pub enum SpuStatus {
        /// Connected to the controller.
        0 => Online,
        /// Not connected.
        1 => Offline,
        /// Never connected yet.
        #[default]
        2 => Init,
    }
}

wire_struct! {
    /// A data server that an administrator registers.
    #[derive(Default)]
    pub struct CustomSpuSpec {
        /// Id that partitions refer to.
        pub id: i32,
        /// Address for clients.
        pub public_endpoint: IngressEndpoint,
        /// Address for other servers.
        pub private_endpoint: Endpoint,
        /// Rack of the server.
        pub rack: Option<String>,
        /// Address for clients within the same network.
        pub public_endpoint_local: Option<Endpoint>,
    }
}

/// Key of a registered data server in a delete request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CustomSpuKey {
    /// Name of the object.
    Name(String),
    /// Id of the server.
    Id(i32),
}

/// Encodes the tag as a string, unlike other enums.
impl Wire for CustomSpuKey {
    fn encode(&self, output: &mut Output, version: i16) -> Result<(), WireError> {
        match self {
            Self::Name(name) => {
                output.string("Name")?;
                name.encode(output, version)
            }
            Self::Id(id) => {
                output.string("Id")?;
                id.encode(output, version)
            }
        }
    }

    fn decode(input: &mut Input, version: i16) -> Result<Self, WireError> {
        match input.string()?.as_str() {
            "Name" => String::decode(input, version).map(Self::Name),
            "Id" => i32::decode(input, version).map(Self::Id),
            other => Err(input.malformed(format!("{other:?} is not a kind of data server key"))),
        }
    }
}
