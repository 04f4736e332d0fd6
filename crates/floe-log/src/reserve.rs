//! File `reserve` of a store: space for the changes that free space.
//!
//! A deletion must note itself in the catalog before it removes files, and the catalog may have to grow for that. On a full
//! disk the store therefore gives this file up and retries the change; once files are removed it writes the file anew.

use std::{io, path::PathBuf, sync::Arc};

use crate::disk::{Disk, Open, write_all_at};

/// Size of the file: more than the pages that a deletion changes in a catalog of thousands of topics.
const LEN: usize = 128 << 10;

#[derive(Debug)]
pub(crate) struct Reserve {
    disk: Arc<dyn Disk>,
    path: PathBuf,
}

impl Reserve {
    pub(crate) fn new(disk: Arc<dyn Disk>, path: PathBuf) -> Self {
        Self { disk, path }
    }

    /// Writes the file if it is missing or incomplete. A disk without room leaves the store without a reserve.
    pub(crate) fn fill(&self) {
        let is_complete = self
            .disk
            .open(&self.path, Open::Read)
            .and_then(|file| file.size())
            .is_ok_and(|size| size == LEN as u64);
        if is_complete {
            return;
        }
        if let Err(error) = self.write() {
            tracing::debug!(path = %self.path.display(), %error, "the store has no reserve");
            self.release();
        }
    }

    fn write(&self) -> io::Result<()> {
        let file = self.disk.open(&self.path, Open::Create)?;
        // Zeros would take no space on some file systems.
        write_all_at(&*file, &vec![0xA5; LEN], 0)
    }

    /// Frees the space; returns whether there was any.
    pub(crate) fn release(&self) -> bool {
        let was_present = self.disk.open(&self.path, Open::Read).is_ok();
        let removed = self.disk.remove_file(&self.path);
        if let Err(error) = &removed {
            tracing::warn!(path = %self.path.display(), %error, "the reserve was not removed");
        }
        was_present && removed.is_ok()
    }
}
