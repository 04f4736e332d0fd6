//! Values that are made from files, and made again when the files change.

use std::{
    fs::File,
    io::Read as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use floe::{Error, ErrorKind, Result};
use parking_lot::{Mutex, RwLock};

/// Largest file that is read.
const MAX_FILE: u64 = 1 << 20;

/// Makes a value from the contents of the files, in their order.
type Make<T> = Box<dyn Fn(&[Vec<u8>]) -> Result<T> + Send + Sync>;

/// A value that follows its files. Readers take the value of the moment.
pub(crate) struct Reloaded<T> {
    value: RwLock<Arc<T>>,
    source: Option<FileSource<T>>,
}

struct FileSource<T> {
    files: Vec<PathBuf>,
    make: Make<T>,
    seen: Mutex<SeenFiles>,
}

/// Outcome of the last look at the files. The contents are compared, not times and lengths: a file may be replaced by
/// one of the same length within a tick of the clock, and the files are small.
#[derive(Default)]
struct SeenFiles {
    contents: Vec<Vec<u8>>,
    /// The problem, which is reported once.
    problem: Option<String>,
}

impl<T> Reloaded<T> {
    /// Returns a value that never changes.
    pub(crate) fn fixed(value: T) -> Self {
        Self { value: RwLock::new(Arc::new(value)), source: None }
    }

    /// Reads the files and makes the first value. Blocks.
    ///
    /// # Errors
    /// Returns [`ErrorKind::InvalidConfig`] with the path of a file that cannot be read, or the error of `make` with the
    /// paths.
    pub(crate) fn from_files(
        files: Vec<PathBuf>,
        make: impl Fn(&[Vec<u8>]) -> Result<T> + Send + Sync + 'static,
    ) -> Result<Self> {
        let contents = read_all(&files)?;
        let value = make(&contents).map_err(|error| named(&files, error))?;
        let seen = Mutex::new(SeenFiles { contents, problem: None });
        Ok(Self {
            value: RwLock::new(Arc::new(value)),
            source: Some(FileSource { files, make: Box::new(make), seen }),
        })
    }

    /// Returns the current value.
    pub(crate) fn current(&self) -> Arc<T> {
        Arc::clone(&self.value.read())
    }

    /// Whether the value has files.
    pub(crate) fn has_files(&self) -> bool {
        self.source.is_some()
    }

    /// Reads the files and replaces the value if they have changed. Returns true if it was replaced. Blocks.
    ///
    /// # Errors
    /// As [`Reloaded::from_files`], once for each problem; the value stays.
    pub(crate) fn refresh(&self) -> Result<bool> {
        let Some(FileSource { files, make, seen }) = &self.source else { return Ok(false) };
        let mut seen = seen.lock();
        let outcome = read_all(files).and_then(|contents| {
            if contents == seen.contents {
                return Ok(None);
            }
            // Contents with a mistake are looked at once, too.
            seen.contents.clone_from(&contents);
            make(&contents).map(Some).map_err(|error| named(files, error))
        });
        match outcome {
            Ok(None) => {
                seen.problem = None;
                Ok(false)
            }
            Ok(Some(value)) => {
                seen.problem = None;
                *self.value.write() = Arc::new(value);
                Ok(true)
            }
            Err(error) => {
                let problem = error.to_string();
                if seen.problem.as_ref() == Some(&problem) {
                    return Ok(false);
                }
                seen.problem = Some(problem);
                Err(error)
            }
        }
    }
}

/// Returns the contents of the only file.
///
/// # Errors
/// Returns [`ErrorKind::InvalidConfig`] if there is none.
pub(crate) fn one_file(contents: &[Vec<u8>]) -> Result<&[u8]> {
    let first = contents.first().ok_or_else(|| Error::new(ErrorKind::InvalidConfig, "no file"))?;
    Ok(first)
}

fn read_all(files: &[PathBuf]) -> Result<Vec<Vec<u8>>> {
    files.iter().map(|path| read(path)).collect()
}

fn read(path: &Path) -> Result<Vec<u8>> {
    let failed = |problem: &str| {
        Error::new(ErrorKind::InvalidConfig, format!("cannot read {}{problem}", path.display()))
    };
    let mut contents = Vec::new();
    let read = File::open(path).and_then(|file| file.take(MAX_FILE + 1).read_to_end(&mut contents));
    read.map_err(|error| failed("").with_source(error))?;
    if contents.len() as u64 > MAX_FILE {
        return Err(failed(": it is larger than 1 MiB"));
    }
    Ok(contents)
}

/// Puts the paths before the message of an error.
fn named(files: &[PathBuf], error: Error) -> Error {
    let paths: Vec<_> = files.iter().map(|path| path.display().to_string()).collect();
    let message = format!("{}: {}", paths.join(", "), error.message());
    Error::new(error.kind(), message).with_source(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(contents: &[Vec<u8>]) -> Result<u32> {
        let text = std::str::from_utf8(one_file(contents)?).unwrap();
        text.parse().map_err(|_| Error::new(ErrorKind::InvalidConfig, "not a number"))
    }

    #[test]
    fn value_follows_its_file_and_survives_mistakes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("number");
        std::fs::write(&path, "1").unwrap();
        let value = Reloaded::from_files(vec![path.clone()], number).unwrap();
        assert_eq!((*value.current(), value.refresh().unwrap()), (1, false));
        std::fs::write(&path, "2").unwrap();
        assert_eq!((value.refresh().unwrap(), *value.current()), (true, 2));
        std::fs::write(&path, "x").unwrap();
        let error = value.refresh().unwrap_err().to_string();
        assert!(error.contains("not a number") && error.contains("number"), "{error}");
        assert_eq!((value.refresh().unwrap(), *value.current()), (false, 2), "a problem is reported once");
        std::fs::remove_file(&path).unwrap();
        assert!(value.refresh().is_err());
        assert_eq!((value.refresh().unwrap(), *value.current()), (false, 2));
        std::fs::write(&path, "3").unwrap();
        assert_eq!((value.refresh().unwrap(), *value.current()), (true, 3));
    }

    #[test]
    fn mistakes_at_the_start_name_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("number");
        let start = || Reloaded::from_files(vec![path.clone()], number).err().unwrap().to_string();
        assert!(start().contains("number"));
        std::fs::write(&path, "x").unwrap();
        assert!(start().contains("not a number"));
        std::fs::write(&path, vec![b'1'; MAX_FILE as usize + 1]).unwrap();
        assert!(start().contains("1 MiB"));
    }
}
