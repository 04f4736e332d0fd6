//! The catalog's database on a [`Disk`](crate::disk::Disk), so that an injected disk holds it too.

use std::{io, sync::Arc};

use crate::disk::{DiskFile, read_full_at, write_all_at};

/// One file as redb wants it.
#[derive(Debug)]
pub(crate) struct DatabaseFile {
    pub(crate) file: Arc<dyn DiskFile>,
}

impl redb::StorageBackend for DatabaseFile {
    fn len(&self) -> io::Result<u64> {
        self.file.size()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let filled = read_full_at(&*self.file, out, offset)?;
        if filled < out.len() { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        write_all_at(&*self.file, data, offset)
    }
}
