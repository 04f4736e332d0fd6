//! Registry: cluster objects that engines do not store (rules of Fluvio topics, registered data servers,
//! SmartModules, table formats).
//!
//! The registry is one JSON file, `fluvio-registry.json`, replaced as a whole. Objects are stored in their wire
//! encoding, in one fixed version, so the file needs no schema of its own.

use std::{
    collections::BTreeMap,
    fs, io,
    io::Write as _,
    path::{Path, PathBuf},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use floe_wire::fluvio::{CustomSpuSpec, Input, Output, SmartModuleSpec, TableFormatSpec, TopicSpec, Wire};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::platform::{create_private_directory, create_private_file, sync_directory};

/// Name of the file.
pub(crate) const FILE: &str = "fluvio-registry.json";

/// Version of the wire encoding in the file.
const LAYOUT: i16 = 19;

/// Format version of the file.
const FORMAT: u32 = 1;

/// The objects, by kind and name.
#[derive(Debug, Default, Clone)]
pub(crate) struct Objects {
    pub(crate) topics: BTreeMap<String, TopicSpec>,
    pub(crate) custom_spus: BTreeMap<String, CustomSpuSpec>,
    pub(crate) smartmodules: BTreeMap<String, SmartModuleSpec>,
    pub(crate) table_formats: BTreeMap<String, TableFormatSpec>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    format: u32,
    topics: BTreeMap<String, String>,
    custom_spus: BTreeMap<String, String>,
    smartmodules: BTreeMap<String, String>,
    table_formats: BTreeMap<String, String>,
}

/// The objects and the file that holds them.
#[derive(Debug)]
pub(crate) struct Registry {
    folder: Option<PathBuf>,
    objects: Mutex<Objects>,
}

impl Registry {
    /// Reads the file in `folder`, if both exist.
    pub(crate) fn open(folder: Option<&Path>) -> io::Result<Self> {
        let mut objects = Objects::default();
        if let Some(folder) = folder {
            create_private_directory(folder)?;
            let path = folder.join(FILE);
            match fs::read(&path) {
                Ok(text) => {
                    objects = read(&text).map_err(|problem| {
                        io::Error::new(io::ErrorKind::InvalidData, format!("{}: {problem}", path.display()))
                    })?;
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Self { folder: folder.map(Path::to_path_buf), objects: Mutex::new(objects) })
    }

    /// Reads the objects. `look` runs under the lock and must not block.
    pub(crate) fn read<T>(&self, look: impl FnOnce(&Objects) -> T) -> T {
        look(&self.objects.lock())
    }

    /// Changes the objects. The change is on disk when this returns; a change that cannot be written is rolled back.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut Objects) -> T) -> io::Result<T> {
        let mut objects = self.objects.lock();
        let before = objects.clone();
        let outcome = change(&mut objects);
        if let Err(error) = self.write(&objects) {
            *objects = before;
            return Err(error);
        }
        Ok(outcome)
    }

    fn write(&self, objects: &Objects) -> io::Result<()> {
        let Some(folder) = &self.folder else { return Ok(()) };
        let stored = Stored {
            format: FORMAT,
            topics: encode(&objects.topics)?,
            custom_spus: encode(&objects.custom_spus)?,
            smartmodules: encode(&objects.smartmodules)?,
            table_formats: encode(&objects.table_formats)?,
        };
        let path = folder.join(FILE);
        let temporary = folder.join(format!("{FILE}.new"));
        let mut file = create_private_file(&temporary)?;
        file.write_all(&serde_json::to_vec_pretty(&stored)?)?;
        file.sync_all()?;
        drop(file);
        fs::rename(&temporary, &path)?;
        sync_directory(folder)
    }
}

fn read(text: &[u8]) -> Result<Objects, String> {
    let stored: Stored = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    if stored.format != FORMAT {
        return Err(format!("unsupported format {}, this version reads {FORMAT}", stored.format));
    }
    Ok(Objects {
        topics: decode(&stored.topics)?,
        custom_spus: decode(&stored.custom_spus)?,
        smartmodules: decode(&stored.smartmodules)?,
        table_formats: decode(&stored.table_formats)?,
    })
}

fn encode<T: Wire>(objects: &BTreeMap<String, T>) -> io::Result<BTreeMap<String, String>> {
    objects
        .iter()
        .map(|(name, object)| {
            let mut output = Output::new();
            object
                .encode(&mut output, LAYOUT)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
            Ok((name.clone(), BASE64_STANDARD.encode(output.into_frame().to_bytes())))
        })
        .collect()
}

fn decode<T: Wire>(stored: &BTreeMap<String, String>) -> Result<BTreeMap<String, T>, String> {
    stored
        .iter()
        .map(|(name, text)| {
            let bytes = BASE64_STANDARD.decode(text).map_err(|error| format!("{name:?}: {error}"))?;
            let mut input = Input::new(Bytes::from(bytes));
            let object = T::decode(&mut input, LAYOUT).map_err(|error| format!("{name:?}: {error}"))?;
            if input.remaining() > 0 {
                return Err(format!("{name:?}: {} trailing bytes", input.remaining()));
            }
            Ok((name.clone(), object))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use floe_wire::fluvio::TopicCompression;

    use super::*;

    fn gzip_only() -> TopicSpec {
        TopicSpec { compression: TopicCompression::Gzip, ..TopicSpec::default() }
    }

    #[test]
    fn objects_survive_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let registry = Registry::open(Some(folder.path())).unwrap();
        let module = SmartModuleSpec { payload: Bytes::from_static(b"\0\xff"), ..SmartModuleSpec::default() };
        registry
            .change(|objects| {
                objects.topics.insert("t".to_owned(), gzip_only());
                objects.smartmodules.insert("m".to_owned(), module.clone());
            })
            .unwrap();
        drop(registry);
        let registry = Registry::open(Some(folder.path())).unwrap();
        registry.read(|objects| {
            assert_eq!(objects.topics["t"], gzip_only());
            assert_eq!(objects.smartmodules["m"], module);
            assert!(objects.custom_spus.is_empty());
        });
    }

    #[test]
    fn change_that_cannot_be_written_is_rolled_back() {
        let folder = tempfile::tempdir().unwrap();
        let registry = Registry::open(Some(folder.path())).unwrap();
        // A directory blocks the temporary file.
        fs::create_dir(folder.path().join(format!("{FILE}.new"))).unwrap();
        let outcome = registry.change(|objects| objects.topics.insert("t".to_owned(), gzip_only()));
        assert!(outcome.is_err());
        assert!(registry.read(|objects| objects.topics.is_empty()));
    }

    #[test]
    fn damaged_file_is_refused_with_its_path() {
        let folder = tempfile::tempdir().unwrap();
        for text in [
            "",
            "{}",
            r#"{"format":2,"topics":{},"custom_spus":{},"smartmodules":{},"table_formats":{}}"#,
            r#"{"format":1,"topics":{"t":"AA=="},"custom_spus":{},"smartmodules":{},"table_formats":{}}"#,
            r#"{"format":1,"topics":{"t":"?"},"custom_spus":{},"smartmodules":{},"table_formats":{}}"#,
        ] {
            fs::write(folder.path().join(FILE), text).unwrap();
            let error = Registry::open(Some(folder.path())).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{text}");
            assert!(error.to_string().contains(FILE), "{error}");
        }
    }
}
