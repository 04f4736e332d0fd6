//! Operating-system differences. No other file of the crate depends on the platform.

use std::{io, path::Path};

/// Makes the names in a directory survive a power loss, which a renamed file needs after it was synced itself.
///
/// Only Unix opens a directory as a file; elsewhere the file system's own journal has to do.
pub(crate) fn sync_directory(directory: &Path) -> io::Result<()> {
    #[cfg(unix)]
    std::fs::File::open(directory)?.sync_all()?;
    #[cfg(not(unix))]
    let _ = directory;
    Ok(())
}
