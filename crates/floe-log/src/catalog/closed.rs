//! The catalog as it was closed, which the marker of a clean close holds.

/// Store of a catalog, and the number of its changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CatalogVersion {
    pub(crate) store_id: u64,
    pub(crate) changes: u64,
}

/// The catalog as it was closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ClosedCatalog {
    pub(crate) version: CatalogVersion,
    len: usize,
    checksum: u32,
}

impl ClosedCatalog {
    pub(crate) fn of(version: CatalogVersion, bytes: &[u8]) -> Self {
        Self { version, len: bytes.len(), checksum: crc32c::crc32c(bytes) }
    }

    pub(crate) fn encode(self) -> String {
        let CatalogVersion { store_id, changes } = self.version;
        format!("catalog {store_id} {changes} {} {:08x}\n", self.len, self.checksum)
    }

    /// Finds the line of the catalog in a marker. Releases before it wrote none.
    pub(crate) fn decode(marker: &str) -> Option<Self> {
        let mut fields = marker.lines().find_map(|line| line.strip_prefix("catalog "))?.split(' ');
        let version =
            CatalogVersion { store_id: fields.next()?.parse().ok()?, changes: fields.next()?.parse().ok()? };
        Some(Self {
            version,
            len: fields.next()?.parse().ok()?,
            checksum: u32::from_str_radix(fields.next()?, 16).ok()?,
        })
    }
}
