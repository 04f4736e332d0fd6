//! The link between a request and its reply.

use super::{version_range::VersionRange, wire::Wire};

/// A request: its number, the versions whose layout this crate knows, and the type of its reply. Client and server
/// code that go through this trait cannot mismatch the two.
pub trait Request: Wire {
    /// The reply, with the same version as the request. Streaming requests get any number of these.
    type Reply: Wire;

    /// The number of the API. Controllers (SC) and data servers (SPU) number independently.
    const KEY: u16;

    /// Name of the API, for messages to people.
    const NAME: &'static str;

    /// Versions that this crate encodes and decodes.
    const VERSIONS: VersionRange;

    /// Whether servers announce the API. Official data servers serve some that they do not announce; those are used
    /// with the newest version that this crate knows.
    const ANNOUNCED: bool = true;
}

/// Versions of this crate for the controller's APIs. Version 15 is the least that official clients and servers agree
/// on for lists and watches.
pub const SC_VERSIONS: VersionRange = VersionRange::new(15, 19);

/// Versions of this crate for the data server's APIs.
pub const SPU_VERSIONS: VersionRange = VersionRange::new(0, 25);
