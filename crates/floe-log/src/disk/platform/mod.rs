//! The calls of [`RealDisk`](super::RealDisk) that differ between operating systems, one file for each.
//!
//! Every file offers the same functions. Linux has vectored writes and reads that never wait for the device. The
//! other systems write through `gather` and have no cached read, so a reader takes the path that may block. Unit
//! tests on Linux run the Unix implementation and the native one against the same cases.

#[cfg(any(test, not(target_os = "linux")))]
mod gather;
#[cfg(target_os = "linux")]
mod linux;
#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

#[cfg(target_os = "linux")]
pub(super) use linux::{
    identity, is_out_of_files, is_same_file, is_unlinked, lock_directory, open_file_limit, out_of_files,
    private_directories, private_options, raise_file_limit, read_at, read_cached_at, space, sync_dir,
    write_vectored_at,
};
#[cfg(all(unix, not(target_os = "linux")))]
pub(super) use unix::{
    identity, is_out_of_files, is_same_file, is_unlinked, lock_directory, open_file_limit, out_of_files,
    private_directories, private_options, raise_file_limit, read_at, read_cached_at, space, sync_dir,
    write_vectored_at,
};
#[cfg(windows)]
pub(super) use windows::{
    identity, is_out_of_files, is_same_file, is_unlinked, lock_directory, open_file_limit, out_of_files,
    private_directories, private_options, raise_file_limit, read_at, read_cached_at, space, sync_dir,
    write_vectored_at,
};

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::{
        fs::File,
        io::{self, IoSlice},
    };

    use super::{gather::GATHER_BYTES, *};

    type Write = fn(&File, &[IoSlice<'_>], u64) -> io::Result<usize>;
    type Read = fn(&File, &mut [u8], u64) -> io::Result<usize>;

    const IMPLEMENTATIONS: [(&str, Write, Read); 2] =
        [("native", write_vectored_at, read_at), ("unix", unix::write_vectored_at, unix::read_at)];

    fn write_all(write: Write, file: &File, parts: &[Vec<u8>], mut position: u64) {
        let mut slices: Vec<_> = parts.iter().map(|part| IoSlice::new(part)).collect();
        let mut slices = slices.as_mut_slice();
        IoSlice::advance_slices(&mut slices, 0);
        while !slices.is_empty() {
            let written = write(file, slices, position).unwrap();
            assert!(written > 0);
            position += written as u64;
            IoSlice::advance_slices(&mut slices, written);
        }
    }

    fn read_all(read: Read, file: &File, len: usize, position: u64) -> Vec<u8> {
        let mut bytes = vec![0; len];
        let mut filled = 0;
        while filled < len {
            match read(file, &mut bytes[filled..], position + filled as u64).unwrap() {
                0 => break,
                more => filled += more,
            }
        }
        bytes.truncate(filled);
        bytes
    }

    #[test]
    fn implementations_store_and_read_the_same_bytes() {
        let part = |len: usize, seed: usize| (0..len).map(|i| (i * 31 + seed) as u8).collect::<Vec<u8>>();
        let many: Vec<_> = (0..1500).map(|i| part(i % 40, i)).collect();
        let cases = [
            vec![],
            vec![part(0, 0), part(0, 0)],
            vec![part(16, 1), part(100, 2)],
            vec![part(16, 1), part(0, 0), part(3 * GATHER_BYTES, 2), part(16, 3)],
            vec![part(GATHER_BYTES - 8, 1), part(16, 2), part(GATHER_BYTES, 3)],
            many,
        ];
        for (name, write, read) in IMPLEMENTATIONS {
            for (number, parts) in cases.iter().enumerate() {
                let file = tempfile::tempfile().unwrap();
                write_all(write, &file, parts, 7);
                let expected = parts.concat();
                assert_eq!(read_all(read, &file, expected.len() + 5, 7), expected, "{name}, case {number}");
                assert_eq!(read(&file, &mut [0; 8], 7 + expected.len() as u64).unwrap(), 0, "{name}");
            }
        }
    }

    #[test]
    fn writes_keep_the_bytes_around_them() {
        for (name, write, read) in IMPLEMENTATIONS {
            let file = tempfile::tempfile().unwrap();
            write_all(write, &file, &[vec![b'a'; 10]], 0);
            write_all(write, &file, &[b"bb".to_vec(), b"c".to_vec()], 4);
            assert_eq!(read_all(read, &file, 20, 0), b"aaaabbcaaa", "{name}");
        }
    }

    #[test]
    fn cached_reads_return_the_stored_bytes_or_nothing() {
        let file = tempfile::tempfile().unwrap();
        write_all(write_vectored_at, &file, &[b"cached".to_vec()], 0);
        let mut bytes = [0; 6];
        match read_cached_at(&file, &mut bytes, 0).unwrap() {
            Some(read) => assert_eq!(bytes[..read], b"cached"[..read]),
            // The file system of the temporary directory has no such read.
            None => assert_eq!(bytes, [0; 6]),
        }
        assert_eq!(unix::read_cached_at(&file, &mut bytes, 0).unwrap(), None);
    }

    #[test]
    fn created_files_and_directories_are_those_of_the_owner() {
        use std::os::unix::fs::PermissionsExt as _;

        let directory = tempfile::tempdir().unwrap();
        let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let inner = directory.path().join("outer").join("inner");
        private_directories().create(&inner).unwrap();
        private_directories().create(&inner).unwrap();
        let file = inner.join("file");
        private_options().write(true).create(true).truncate(true).open(&file).unwrap();
        for (path, expected) in
            [(directory.path().join("outer").as_path(), 0o700), (&inner, 0o700), (&file, 0o600)]
        {
            // The mask of the process takes bits away, and adds none.
            assert_eq!(mode(path) & !expected, 0, "{}", path.display());
        }
    }

    #[test]
    fn directories_are_synced_and_missing_ones_are_reported() {
        let directory = tempfile::tempdir().unwrap();
        sync_dir(directory.path()).unwrap();
        let missing = sync_dir(&directory.path().join("missing"));
        assert_eq!(missing.unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
