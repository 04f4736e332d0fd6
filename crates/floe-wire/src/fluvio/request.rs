//! [`Request`], the link between a request and its reply.

use super::{version_range::VersionRange, wire::Wire};

/// A request: its number, the versions whose layout this crate knows, and the type of its reply. Client and server
/// code that uses this trait cannot mismatch request and reply.
pub trait Request: Wire {
    /// The reply, with the same version as the request. A streaming request gets any number of replies.
    type Reply: Wire;

    /// The number of the API. Controllers (SC) and data servers (SPU) number independently.
    const KEY: u16;

    /// Name of the API, for error messages.
    const NAME: &'static str;

    /// Versions that this crate encodes and decodes.
    const VERSIONS: VersionRange;

    /// Whether servers announce the API. Official data servers also serve APIs that they do not announce; clients use
    /// the newest version of this crate for them.
    const ANNOUNCED: bool = true;
}

/// Versions of this crate for the controller's APIs. Version 15 is the least that official clients and servers share
/// for lists and watches.
pub const SC_VERSIONS: VersionRange = VersionRange::new(15, 19);

/// Versions of this crate for the data server's APIs.
pub const SPU_VERSIONS: VersionRange = VersionRange::new(0, 25);
