//! `floe backup` and `floe restore`: copies of an embedded store.
//!
//! Both hold the lock of readers while they copy, so that no process changes the store; [`live`] copies one that another process
//! has open. Segments that another one follows never change again, so a backup on the same file system shares them by hard links;
//! retention removes only a name.

mod live;

use std::{
    ffi::OsStr,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use clap::Args;
use floe::{
    ErrorKind,
    store::{self, CheckReport},
    url::{EngineUrl, Scheme},
};
use serde_json::json;

use self::live::LiveCopy;
use super::{embedded_url, store_directory, with_client};
use crate::{
    exit::{Failure, Outcome},
    global::Global,
    output::{amount, print_document},
};

/// File by which a process holds a store; each store has its own.
const LOCK: &str = "LOCK";

/// Directories of a store. Others are the stores of namespaces.
const DIRECTORIES: [&str; 2] = ["logs", "lost+found"];

#[derive(Debug, Args)]
pub(crate) struct BackupArgs {
    /// Directory to write, which must not exist; it is a store of its own
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// Copy all segments, instead of sharing those that never change by hard links
    #[arg(long)]
    copy: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RestoreArgs {
    /// Directory of the backup; the store is made at --url embedded:PATH, which must not exist
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

/// Numbers of a copied store.
#[derive(Debug, Default)]
struct CopiedStore {
    files: u64,
    linked: u64,
    /// Bytes of the copied files; linked ones take no room.
    bytes: u64,
    /// Whether another process had the store open.
    live: bool,
}

/// Ways to copy a store.
#[derive(Debug, Clone, Copy)]
struct CopyMode {
    /// Shares segments that never change by hard links.
    links: bool,
    /// Copies a store that another process has open.
    live: bool,
}

pub(crate) async fn run(global: &Global, args: BackupArgs) -> Outcome {
    let directory = store_at(global)?;
    let (copied, report) =
        copy_store(global, &directory, &args.directory, CopyMode { links: !args.copy, live: true }).await?;
    tell(global, ("backup", &directory, &args.directory), &copied, &report)?;
    if report.is_whole() {
        return Ok(());
    }
    let message = format!("the store has damage, and so has its backup in {}", args.directory.display());
    Err(Failure::damaged(message).with_hint("`floe check DIR` shows what is damaged"))
}

pub(crate) async fn restore(global: &Global, args: RestoreArgs) -> Outcome {
    let target = store_at(global)?;
    fs::metadata(&args.directory).map_err(|error| no_store(&args.directory, &error))?;
    let before = store::check(&args.directory).await?;
    if !before.is_whole() {
        let message = format!("the backup in {} is damaged: nothing was restored", args.directory.display());
        return Err(Failure::damaged(message).with_hint(
            "`floe check DIR` shows what is damaged; the backup can be opened where it is, with --url embedded:DIR",
        ));
    }
    let (copied, report) =
        copy_store(global, &args.directory, &target, CopyMode { links: false, live: false }).await?;
    tell(global, ("restore", &args.directory, &target), &copied, &report)?;
    if report.is_whole() { Ok(()) } else { Err(Failure::damaged("the restored store is damaged")) }
}

fn store_at(global: &Global) -> Outcome<PathBuf> {
    store_directory(&global.url)?.ok_or_else(|| {
        Failure::usage("only a store in a directory can be backed up: name it with --url embedded:PATH")
    })
}

fn no_store(directory: &Path, error: &io::Error) -> Failure {
    Failure::io(format!("there is no store in {}", directory.display()), error)
}

/// Copies a store and checks the copy. The copy has its name only once it is complete.
async fn copy_store(
    global: &Global,
    from: &Path,
    to: &Path,
    CopyMode { links, live }: CopyMode,
) -> Outcome<(CopiedStore, CheckReport)> {
    fs::metadata(from).map_err(|error| no_store(from, &error))?;
    // Components have no slash at the end.
    let mut partial = to.components().collect::<PathBuf>().into_os_string();
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    for path in [to, &partial] {
        refuse_existing(path)?;
    }
    let reading = Global { url: reading_url(from)?, ..global.clone() };
    let (source, copy) = (from.to_path_buf(), partial.clone());
    let outcome = with_client(&reading, async |_| {
        let (source, copy) = (source.clone(), copy.clone());
        let copying = tokio::task::spawn_blocking(move || copy_files(&source, &copy, links));
        copying.await.map_err(|error| Failure::io("the store was not copied", &error.into()))?
    })
    .await;
    let checked = match outcome {
        Ok(copied) => store::check(&partial).await.map(|report| (copied, report)).map_err(Failure::from),
        Err(failure) if live && failure.code() == ErrorKind::StoreInUse.as_str() => {
            copy_live(LiveCopy::new(from, &partial, links), &partial).await
        }
        Err(failure) => Err(failure),
    };
    let renamed = checked.and_then(|done| {
        if to.is_dir() {
            // It is empty.
            fs::remove_dir(to).map_err(|error| cannot("replace", to, &error))?;
        }
        fs::rename(&partial, to).map_err(|error| cannot("rename", &partial, &error))?;
        sync_directory(
            to.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new(".")),
        )?;
        Ok(done)
    });
    renamed.inspect_err(|_| {
        // Where it cannot be removed, its name tells that it is not complete.
        let _ = fs::remove_dir_all(&partial);
    })
}

/// Copies a store that another process has open, and checks the copy.
async fn copy_live(mut copy: LiveCopy, partial: &Path) -> Outcome<(CopiedStore, CheckReport)> {
    let copying = tokio::task::spawn_blocking(move || copy.run().map(|copied| (copy, copied)));
    let copying = copying.await.map_err(|error| Failure::io("the store was not copied", &error.into()))?;
    let (copy, copied) = copying?;
    let copied = CopiedStore { live: true, ..copied };
    let report = store::check(partial).await?;
    let report = if copy.finish(&report)? { store::check(partial).await? } else { report };
    Ok((copied, report))
}

fn refuse_existing(path: &Path) -> Outcome {
    let is_free = match fs::read_dir(path) {
        Ok(mut files) => files.next().is_none(),
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    };
    if is_free {
        return Ok(());
    }
    let failure = Failure::usage(format!("{} exists: nothing was copied", path.display()));
    Err(match path.extension() {
        Some(ending) if ending == "partial" => {
            failure.with_hint("a copy that was cut short left it behind: remove it")
        }
        _ => failure.with_hint("name a directory that does not exist"),
    })
}

/// Returns the URL that opens the store for reading only.
fn reading_url(directory: &Path) -> Outcome<String> {
    let mut url: EngineUrl = embedded_url(directory).parse()?;
    debug_assert_eq!(url.scheme, Scheme::Embedded);
    url.options.insert("mode".to_owned(), "read".to_owned());
    Ok(url.with_options())
}

fn copy_files(from: &Path, to: &Path, links: bool) -> Outcome<CopiedStore> {
    let mut copied = CopiedStore::default();
    fs::create_dir_all(to).map_err(|error| cannot("create", to, &error))?;
    for file in list(from)? {
        let name = file.file_name().unwrap_or_default().to_owned();
        let is_store = DIRECTORIES.iter().any(|directory| name == *directory);
        if file.is_dir() && is_store {
            copy_directory(&file, &to.join(&name), links && name == "logs", &mut copied)?;
        } else if file.is_file() && name != LOCK {
            copy_file(&file, &to.join(&name), &mut copied)?;
        }
    }
    sync_directory(to)?;
    Ok(copied)
}

fn copy_directory(from: &Path, to: &Path, links: bool, copied: &mut CopiedStore) -> Outcome {
    fs::create_dir(to).map_err(|error| cannot("create", to, &error))?;
    let files = list(from)?;
    let is_segment = |file: &PathBuf| file.extension() == Some(OsStr::new("seg"));
    // The last segment still grows.
    let growing = files.iter().rfind(|file| is_segment(file)).cloned();
    for file in files {
        let target = to.join(file.file_name().unwrap_or_default());
        if file.is_dir() {
            copy_directory(&file, &target, links, copied)?;
            continue;
        }
        let is_sealed = links && is_segment(&file) && Some(&file) != growing.as_ref();
        if is_sealed && fs::hard_link(&file, &target).is_ok() {
            (copied.files, copied.linked) = (copied.files + 1, copied.linked + 1);
        } else {
            copy_file(&file, &target, copied)?;
        }
    }
    sync_directory(to)
}

fn copy_file(from: &Path, to: &Path, copied: &mut CopiedStore) -> Outcome {
    copied.bytes += fs::copy(from, to).map_err(|error| cannot("copy", from, &error))?;
    copied.files += 1;
    // Copies keep permissions, so that of a file for reading only cannot be opened for writing.
    let file = File::options().write(true).open(to).or_else(|_| File::open(to));
    file.and_then(|file| file.sync_all()).map_err(|error| cannot("sync", to, &error))
}

/// Returns the files of a directory, ordered by name.
fn list(directory: &Path) -> Outcome<Vec<PathBuf>> {
    let read = || fs::read_dir(directory)?.map(|file| file.map(|file| file.path())).collect();
    let read: io::Result<Vec<PathBuf>> = read();
    let mut files = read.map_err(|error| cannot("list", directory, &error))?;
    files.sort();
    Ok(files)
}

/// Makes the names in a directory durable, where the system can.
fn sync_directory(directory: &Path) -> Outcome {
    if cfg!(windows) {
        return Ok(());
    }
    let synced = File::open(directory).and_then(|file| file.sync_all());
    synced.map_err(|error| cannot("sync", directory, &error))
}

fn cannot(action: &str, path: &Path, error: &io::Error) -> Failure {
    Failure::io(format!("cannot {action} {}", path.display()), error)
}

fn tell(
    global: &Global,
    (action, from, to): (&str, &Path, &Path),
    copied: &CopiedStore,
    report: &CheckReport,
) -> Outcome {
    let (from, to) = (from.display().to_string(), to.display().to_string());
    let document = json!({
        "action": action,
        "from": from,
        "to": to,
        "files": copied.files,
        "linked_files": copied.linked,
        "copied_bytes": copied.bytes,
        "in_use": copied.live,
        "partitions": report.partitions.len(),
        "whole": report.is_whole(),
    });
    let text = format!(
        "{action} of {from} in {to}: {}, {}, of which {} linked, {} copied{}\n",
        amount::count(report.partitions.len() as u64, "partition"),
        amount::count(copied.files, "file"),
        amount::thousands(copied.linked),
        amount::bytes(copied.bytes),
        if copied.live { ", while another process had the store open" } else { "" },
    );
    print_document(global.output, &document, &text)
}
