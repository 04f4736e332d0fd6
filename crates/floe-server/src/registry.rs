//! Registry: cluster objects that engines do not store (rules of Fluvio topics, registered data servers,
//! SmartModules, table formats).
//!
//! Each object is one file, `fluvio-registry/KIND/NAME`, so that a change writes no more than what it changes. A file holds
//! the object in its wire encoding, in one fixed version, behind a checksum. Names are in hexadecimal digits. An older
//! server kept all objects in `fluvio-registry.json`, which is converted when it is found.

use std::{
    collections::BTreeMap,
    fs, io,
    io::Write as _,
    ops::Deref,
    path::{Path, PathBuf},
    sync::Arc,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use floe::memory::{MemoryAccount, MemoryReservation};
use floe_wire::fluvio::{CustomSpuSpec, Input, Output, SmartModuleSpec, TableFormatSpec, TopicSpec, Wire};
use parking_lot::{Mutex, RwLock};
use serde::Deserialize;

use crate::platform::{create_private_directory, create_private_file, sync_directory};

/// Name of the folder.
pub(crate) const FOLDER: &str = "fluvio-registry";

/// Name of the file of older servers.
const OLD_FILE: &str = "fluvio-registry.json";

/// Format version of the file of older servers.
const OLD_FORMAT: u32 = 1;

/// Version of the wire encoding in the files.
const LAYOUT: i16 = 19;

/// First bytes of a file.
const MAGIC: &[u8; 8] = b"FLOEOBJ1";

/// Length of the checksum behind the first bytes: CRC-32C of the rest.
const CHECKSUM_LEN: usize = 4;

/// Longest name of an object in bytes. File systems take names of 255 bytes, two digits each.
const MAX_NAME_LEN: usize = 120;

/// Ending of a file that is being written.
const UNFINISHED: &str = ".new";

/// An object, and the memory that it holds.
#[derive(Debug)]
pub(crate) struct StoredObject<T> {
    object: T,
    bytes: usize,
    _room: MemoryReservation,
}

impl<T> Deref for StoredObject<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.object
    }
}

/// Objects of one kind, by name.
type ObjectsByName<T> = BTreeMap<String, Arc<StoredObject<T>>>;

/// The objects, by kind and name.
#[derive(Debug, Default)]
pub(crate) struct Objects {
    pub(crate) topics: ObjectsByName<TopicSpec>,
    pub(crate) custom_spus: ObjectsByName<CustomSpuSpec>,
    pub(crate) smartmodules: ObjectsByName<SmartModuleSpec>,
    pub(crate) table_formats: ObjectsByName<TableFormatSpec>,
    /// Size of all objects.
    bytes: usize,
}

/// A kind of object in the registry.
pub(crate) trait ObjectKind: Wire + Send + Sync + 'static {
    /// Name of its folder.
    const FOLDER: &'static str;

    /// Its objects.
    fn of(objects: &mut Objects) -> &mut ObjectsByName<Self>;
}

macro_rules! kinds {
    ($($kind:ty: $field:ident, $folder:literal;)+) => {$(
        impl ObjectKind for $kind {
            const FOLDER: &'static str = $folder;

            fn of(objects: &mut Objects) -> &mut ObjectsByName<Self> {
                &mut objects.$field
            }
        }
    )+};
}

kinds! {
    TopicSpec: topics, "topics";
    CustomSpuSpec: custom_spus, "custom-spus";
    SmartModuleSpec: smartmodules, "smartmodules";
    TableFormatSpec: table_formats, "table-formats";
}

/// The objects and the folder that holds them.
#[derive(Debug)]
pub(crate) struct Registry {
    folder: Option<PathBuf>,
    objects: RwLock<Objects>,
    /// Held by one change at a time, while it writes. Readers do not wait for it.
    changing: Mutex<()>,
    limit: usize,
    account: MemoryAccount,
}

impl Registry {
    /// Reads the objects below `folder`, if it exists. They may have `limit` bytes together, which `account` pays for.
    pub(crate) async fn open(
        folder: Option<PathBuf>,
        limit: usize,
        account: MemoryAccount,
    ) -> io::Result<Self> {
        let on_disk = folder.is_some();
        off_thread(on_disk, move || Self::open_now(folder.as_deref(), limit, account)).await
    }

    fn open_now(folder: Option<&Path>, limit: usize, account: MemoryAccount) -> io::Result<Self> {
        let registry = Self {
            folder: folder.map(|folder| folder.join(FOLDER)),
            objects: RwLock::default(),
            changing: Mutex::default(),
            // Stored objects are read whatever the limit is now.
            limit: usize::MAX,
            account,
        };
        if let Some(folder) = folder {
            registry.load::<TopicSpec>()?;
            registry.load::<CustomSpuSpec>()?;
            registry.load::<SmartModuleSpec>()?;
            registry.load::<TableFormatSpec>()?;
            registry.convert(&folder.join(OLD_FILE))?;
        }
        Ok(Self { limit, ..registry })
    }

    /// Reads the objects. `look` runs under the lock and must not block.
    pub(crate) fn read<T>(&self, look: impl FnOnce(&Objects) -> T) -> T {
        look(&self.objects.read())
    }

    /// Stores an object in place of one of the same kind and name. It is on disk when this returns.
    pub(crate) async fn insert<T: ObjectKind>(self: &Arc<Self>, name: String, object: T) -> io::Result<()> {
        let registry = Arc::clone(self);
        off_thread(self.folder.is_some(), move || registry.put(name, object)).await
    }

    /// Deletes an object, if there is one. The deletion is on disk when this returns.
    pub(crate) async fn remove<T: ObjectKind>(self: &Arc<Self>, name: &str) -> io::Result<()> {
        let (registry, name) = (Arc::clone(self), name.to_owned());
        off_thread(self.folder.is_some(), move || registry.delete::<T>(&name)).await
    }

    pub(crate) fn put<T: ObjectKind>(&self, name: String, object: T) -> io::Result<()> {
        let refuse = |problem: String| io::Error::new(io::ErrorKind::InvalidInput, problem);
        if name.len() > MAX_NAME_LEN {
            return Err(refuse(format!("the name has {} bytes, at most {MAX_NAME_LEN}", name.len())));
        }
        let mut output = Output::new();
        object.encode(&mut output, LAYOUT).map_err(|error| refuse(error.to_string()))?;
        let pieces = output.into_frame().pieces();
        let _changing = self.changing.lock();
        let stored = self.admit(&name, object, pieces.iter().map(Bytes::len).sum::<usize>() + name.len())?;
        if let Some(folder) = &self.folder {
            write(&folder.join(T::FOLDER), &file_name(&name), &pieces)?;
        }
        let mut objects = self.objects.write();
        objects.bytes += stored.bytes;
        let before = T::of(&mut objects).insert(name, Arc::new(stored));
        objects.bytes -= before.map_or(0, |before| before.bytes);
        Ok(())
    }

    /// Checks the limit, and reserves memory for an object.
    fn admit<T: ObjectKind>(&self, name: &str, object: T, bytes: usize) -> io::Result<StoredObject<T>> {
        let full = |problem: String| io::Error::new(io::ErrorKind::QuotaExceeded, problem);
        let mut objects = self.objects.write();
        let replaced = T::of(&mut objects).get(name).map_or(0, |before| before.bytes);
        let total = objects.bytes.saturating_sub(replaced).saturating_add(bytes);
        if total > self.limit {
            return Err(full(format!("the objects have {total} bytes together, at most {}", self.limit)));
        }
        drop(objects);
        match self.account.try_reserve(bytes) {
            Some(room) => Ok(StoredObject { object, bytes, _room: room }),
            // A start with less memory than before must not lose what was stored.
            None if self.limit == usize::MAX => {
                Ok(StoredObject { object, bytes, _room: MemoryReservation::empty(&self.account) })
            }
            None => Err(full(format!("there is no memory for {bytes} bytes"))),
        }
    }

    fn delete<T: ObjectKind>(&self, name: &str) -> io::Result<()> {
        let _changing = self.changing.lock();
        if let Some(folder) = &self.folder {
            let folder = folder.join(T::FOLDER);
            match fs::remove_file(folder.join(file_name(name))) {
                Ok(()) => sync_directory(&folder)?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        let mut objects = self.objects.write();
        let before = T::of(&mut objects).remove(name);
        objects.bytes -= before.map_or(0, |before| before.bytes);
        Ok(())
    }

    /// Reads the objects of one kind.
    fn load<T: ObjectKind>(&self) -> io::Result<()> {
        let Some(folder) = self.folder.as_ref().map(|folder| folder.join(T::FOLDER)) else { return Ok(()) };
        create_private_directory(&folder)?;
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            let Some(file) = path.file_name().and_then(|name| name.to_str()) else { continue };
            if file.ends_with(UNFINISHED) {
                fs::remove_file(&path)?;
                continue;
            }
            let Some(name) = name_of(file) else { continue };
            let object = read_file::<T>(&path).map_err(|problem| invalid(&path, &problem))?;
            let bytes = usize::try_from(fs::metadata(&path)?.len()).unwrap_or(usize::MAX);
            let stored = self.admit(&name, object, bytes)?;
            let mut objects = self.objects.write();
            objects.bytes = objects.bytes.saturating_add(bytes);
            T::of(&mut objects).insert(name, Arc::new(stored));
        }
        Ok(())
    }

    /// Converts the file of an older server.
    fn convert(&self, path: &Path) -> io::Result<()> {
        let text = match fs::read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        let old = read_old(&text).map_err(|problem| invalid(path, &problem))?;
        old.0.into_iter().try_for_each(|(name, object)| self.put(name, object))?;
        old.1.into_iter().try_for_each(|(name, object)| self.put(name, object))?;
        old.2.into_iter().try_for_each(|(name, object)| self.put(name, object))?;
        old.3.into_iter().try_for_each(|(name, object)| self.put(name, object))?;
        fs::remove_file(path)?;
        path.parent().map_or(Ok(()), sync_directory)
    }
}

/// Runs work that waits for the disk on a blocking thread, where it goes on if the caller is dropped. Work in memory runs at
/// once: another thread would take part in the order of events, which a seed could not reproduce.
async fn off_thread<T: Send + 'static>(
    on_disk: bool,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    if !on_disk {
        return work();
    }
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|stopped| Err(io::Error::other(stopped)))
}

fn invalid(path: &Path, problem: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{}: {problem}", path.display()))
}

/// Writes a file as a whole: after a crash it is there completely or not at all.
fn write(folder: &Path, name: &str, pieces: &[Bytes]) -> io::Result<()> {
    let checksum = pieces.iter().fold(0, |checksum, piece| crc32c::crc32c_append(checksum, piece));
    let temporary = folder.join(format!("{name}{UNFINISHED}"));
    let mut file = create_private_file(&temporary)?;
    file.write_all(MAGIC)?;
    file.write_all(&checksum.to_be_bytes())?;
    pieces.iter().try_for_each(|piece| file.write_all(piece))?;
    file.sync_all()?;
    drop(file);
    fs::rename(&temporary, folder.join(name))?;
    sync_directory(folder)
}

fn read_file<T: Wire>(path: &Path) -> Result<T, String> {
    let bytes = Bytes::from(fs::read(path).map_err(|error| error.to_string())?);
    let Some(rest) = bytes.strip_prefix(MAGIC) else {
        return Err("not an object of the registry".to_owned());
    };
    let Some((checksum, content)) = rest.split_first_chunk::<CHECKSUM_LEN>() else {
        return Err("the file ends within its checksum".to_owned());
    };
    if crc32c::crc32c(content) != u32::from_be_bytes(*checksum) {
        return Err("the checksum is wrong".to_owned());
    }
    decode(bytes.slice_ref(content))
}

fn decode<T: Wire>(bytes: Bytes) -> Result<T, String> {
    let mut input = Input::new(bytes);
    let object = T::decode(&mut input, LAYOUT).map_err(|error| error.to_string())?;
    if input.remaining() > 0 {
        return Err(format!("{} trailing bytes", input.remaining()));
    }
    Ok(object)
}

fn file_name(name: &str) -> String {
    name.bytes().map(|byte| format!("{byte:02x}")).collect()
}

fn name_of(file: &str) -> Option<String> {
    let digits = file.as_bytes().chunks(2);
    let bytes = digits.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
    String::from_utf8(bytes.collect::<Option<_>>()?).ok()
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct OldFile {
    format: u32,
    topics: BTreeMap<String, String>,
    custom_spus: BTreeMap<String, String>,
    smartmodules: BTreeMap<String, String>,
    table_formats: BTreeMap<String, String>,
}

/// The objects of an older server.
type OldObjects = (
    BTreeMap<String, TopicSpec>,
    BTreeMap<String, CustomSpuSpec>,
    BTreeMap<String, SmartModuleSpec>,
    BTreeMap<String, TableFormatSpec>,
);

fn read_old(text: &[u8]) -> Result<OldObjects, String> {
    let stored: OldFile = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    if stored.format != OLD_FORMAT {
        return Err(format!("unsupported format {}, this version reads {OLD_FORMAT}", stored.format));
    }
    Ok((
        decode_old(&stored.topics)?,
        decode_old(&stored.custom_spus)?,
        decode_old(&stored.smartmodules)?,
        decode_old(&stored.table_formats)?,
    ))
}

fn decode_old<T: Wire>(stored: &BTreeMap<String, String>) -> Result<BTreeMap<String, T>, String> {
    let object = |(name, text): (&String, &String)| {
        let bytes = BASE64_STANDARD.decode(text).map_err(|error| format!("{name:?}: {error}"))?;
        Ok((name.clone(), decode(Bytes::from(bytes)).map_err(|problem| format!("{name:?}: {problem}"))?))
    };
    stored.iter().map(object).collect()
}

#[cfg(test)]
mod tests {
    use floe::memory::MemoryPool;
    use floe_wire::fluvio::TopicCompression;

    use super::*;

    fn gzip_only() -> TopicSpec {
        TopicSpec { compression: TopicCompression::Gzip, ..TopicSpec::default() }
    }

    fn module(payload: &[u8]) -> SmartModuleSpec {
        SmartModuleSpec { payload: Bytes::copy_from_slice(payload), ..SmartModuleSpec::default() }
    }

    fn open(folder: Option<&Path>, limit: usize) -> io::Result<Registry> {
        Registry::open_now(folder, limit, MemoryPool::new(1 << 20).account(usize::MAX))
    }

    #[test]
    fn objects_survive_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let registry = open(Some(folder.path()), 1 << 20).unwrap();
        registry.put("t".to_owned(), gzip_only()).unwrap();
        registry.put("m/\u{e9}".to_owned(), module(b"\0\xff")).unwrap();
        registry.put("gone".to_owned(), gzip_only()).unwrap();
        registry.put("m/\u{e9}".to_owned(), module(b"later")).unwrap();
        registry.delete::<TopicSpec>("gone").unwrap();
        registry.delete::<TopicSpec>("never").unwrap();
        drop(registry);
        // A crash left this behind.
        fs::write(folder.path().join(FOLDER).join("topics/6e.new"), b"half").unwrap();
        let registry = open(Some(folder.path()), 1 << 20).unwrap();
        registry.read(|objects| {
            assert_eq!(objects.topics.keys().collect::<Vec<_>>(), ["t"]);
            assert_eq!(**objects.topics["t"], gzip_only());
            assert_eq!(**objects.smartmodules["m/\u{e9}"], module(b"later"));
            assert!(objects.custom_spus.is_empty());
        });
    }

    #[test]
    fn a_change_writes_its_own_object_only() {
        let folder = tempfile::tempdir().unwrap();
        let registry = open(Some(folder.path()), 1 << 20).unwrap();
        registry.put("large".to_owned(), module(&[7; 100_000])).unwrap();
        let large = folder.path().join(FOLDER).join("smartmodules").join(file_name("large"));
        let written = fs::metadata(&large).unwrap().modified().unwrap();
        for name in ["a", "b", "c"] {
            registry.put(name.to_owned(), gzip_only()).unwrap();
            registry.delete::<TopicSpec>(name).unwrap();
        }
        assert_eq!(fs::metadata(&large).unwrap().modified().unwrap(), written);
    }

    #[test]
    fn limits_hold_and_a_replaced_object_does_not_count() {
        let registry = open(None, 5000).unwrap();
        for _ in 0..10 {
            registry.put("m".to_owned(), module(&[0; 3000])).unwrap();
        }
        let error = registry.put("n".to_owned(), module(&[0; 3000])).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::QuotaExceeded, "{error}");
        registry.delete::<SmartModuleSpec>("m").unwrap();
        registry.put("n".to_owned(), module(&[0; 3000])).unwrap();
        let long = registry.put("x".repeat(MAX_NAME_LEN + 1), gzip_only()).unwrap_err();
        assert_eq!(long.kind(), io::ErrorKind::InvalidInput);
        let poor = Registry::open_now(None, 1 << 20, MemoryPool::new(10_000).account(usize::MAX)).unwrap();
        assert!(poor.put("m".to_owned(), module(&[0; 9000])).is_err());
        assert!(poor.read(|objects| objects.smartmodules.is_empty()));
    }

    #[test]
    fn change_that_cannot_be_written_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let registry = open(Some(folder.path()), 1 << 20).unwrap();
        // A directory blocks the temporary file.
        let blocked =
            folder.path().join(FOLDER).join("topics").join(format!("{}{UNFINISHED}", file_name("t")));
        fs::create_dir(blocked).unwrap();
        assert!(registry.put("t".to_owned(), gzip_only()).is_err());
        assert!(registry.read(|objects| objects.topics.is_empty()));
    }

    #[test]
    fn the_file_of_an_older_server_is_converted() {
        let folder = tempfile::tempdir().unwrap();
        let mut output = Output::new();
        gzip_only().encode(&mut output, LAYOUT).unwrap();
        let object = BASE64_STANDARD.encode(output.into_frame().to_bytes());
        let text = format!(
            r#"{{"format":1,"topics":{{"t":"{object}"}},"custom_spus":{{}},"smartmodules":{{}},"table_formats":{{}}}}"#
        );
        fs::write(folder.path().join(OLD_FILE), text).unwrap();
        for _ in 0..2 {
            let registry = open(Some(folder.path()), 1 << 20).unwrap();
            registry.read(|objects| assert_eq!(**objects.topics["t"], gzip_only()));
            assert!(!folder.path().join(OLD_FILE).exists());
        }
    }

    #[test]
    fn damaged_files_are_refused_with_their_path() {
        let folder = tempfile::tempdir().unwrap();
        for text in [
            "",
            "{}",
            r#"{"format":2,"topics":{},"custom_spus":{},"smartmodules":{},"table_formats":{}}"#,
            r#"{"format":1,"topics":{"t":"AA=="},"custom_spus":{},"smartmodules":{},"table_formats":{}}"#,
            r#"{"format":1,"topics":{"t":"?"},"custom_spus":{},"smartmodules":{},"table_formats":{}}"#,
        ] {
            fs::write(folder.path().join(OLD_FILE), text).unwrap();
            let error = open(Some(folder.path()), 1 << 20).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{text}");
            assert!(error.to_string().contains(OLD_FILE), "{error}");
        }
        fs::remove_file(folder.path().join(OLD_FILE)).unwrap();
        open(Some(folder.path()), 1 << 20).unwrap().put("t".to_owned(), gzip_only()).unwrap();
        let path = folder.path().join(FOLDER).join("topics").join(file_name("t"));
        let good = fs::read(&path).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            fs::write(&path, &bad).unwrap();
            let error = open(Some(folder.path()), 1 << 20).unwrap_err();
            assert!(error.to_string().contains(&file_name("t")), "{error}");
            fs::write(&path, &good[..at]).unwrap();
            assert!(open(Some(folder.path()), 1 << 20).is_err(), "cut at {at}");
        }
    }
}
