//! Data servers (SPUs), managed by the controller or registered by hand.

use crate::{
    WireError,
    fluvio::{
        input::Input,
        output::Output,
        wire::{Wire, wire_enum, wire_open_enum, wire_struct},
    },
};

wire_struct! {
    /// What a data server is.
    #[derive(Default)]
    pub struct SpuSpec {
        /// Its id, which partitions refer to.
        pub id: i32,
        /// Who runs it.
        pub spu_type: SpuType,
        /// Where clients reach it.
        pub public_endpoint: IngressEndpoint,
        /// Where other servers reach it.
        pub private_endpoint: Endpoint,
        /// The rack it is in.
        pub rack: Option<String>,
        /// Where clients within the same network reach it.
        pub public_endpoint_local: Option<Endpoint> [1..],
    }
}

wire_enum! {
    /// Who runs a data server.
    #[derive(Copy, Hash, Default)]
    pub enum SpuType {
        /// The cluster.
        #[default]
        0 => Managed,
        /// An administrator.
        1 => Custom,
    }
}

wire_struct! {
    /// An address that clients reach through any of several hosts. Official clients take the first.
    #[derive(Default)]
    pub struct IngressEndpoint {
        /// Port.
        pub port: u16,
        /// Hosts; may be empty.
        pub ingress: Vec<IngressAddress>,
        /// Not looked at by clients.
        pub encryption: Encryption,
    }
}

wire_struct! {
    /// A host. The name is preferred.
    #[derive(Default)]
    pub struct IngressAddress {
        /// Its name.
        pub hostname: Option<String>,
        /// Its address.
        pub ip: Option<String>,
    }
}

wire_struct! {
    /// A host and port.
    #[derive(Default)]
    pub struct Endpoint {
        /// Port.
        pub port: u16,
        /// Name or address.
        pub host: String,
        /// Not looked at by clients.
        pub encryption: Encryption,
    }
}

wire_enum! {
    /// Whether an address is encrypted, which nobody relies on.
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
    /// Whether a data server is alive.
    #[derive(Default)]
    pub enum SpuStatus {
        /// It is connected to the controller.
        0 => Online,
        /// It is not.
        1 => Offline,
        /// It never was.
        #[default]
        2 => Init,
    }
}

wire_struct! {
    /// A data server that an administrator registers.
    #[derive(Default)]
    pub struct CustomSpuSpec {
        /// Its id, which partitions refer to.
        pub id: i32,
        /// Where clients reach it.
        pub public_endpoint: IngressEndpoint,
        /// Where other servers reach it.
        pub private_endpoint: Endpoint,
        /// The rack it is in.
        pub rack: Option<String>,
        /// Where clients within the same network reach it.
        pub public_endpoint_local: Option<Endpoint>,
    }
}

/// What names a registered data server that is to be deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CustomSpuKey {
    /// The name of the object.
    Name(String),
    /// The id of the server.
    Id(i32),
}

/// Unlike other enums, tagged with a string.
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
            other => Err(input.malformed(format!("a data server cannot be named by {other:?}"))),
        }
    }
}
