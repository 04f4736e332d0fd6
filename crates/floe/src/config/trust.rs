//! Whether the project's file may be used: a file that another user planted must not redirect a command.
//!
//! Only Unix shows owners and modes; elsewhere every file is used.

use std::path::Path;

/// Accepts every file.
///
/// # Errors
/// None here.
#[cfg(not(unix))]
pub(super) fn check(_path: &Path) -> Result<(), String> {
    Ok(())
}

/// Checks that the user of this process, or root, controls the file that a command finds in its working directory. A
/// missing file needs no check.
///
/// # Errors
/// Returns the reason and the remedy.
#[cfg(unix)]
pub(super) fn check(path: &Path) -> Result<(), String> {
    match foreign(path, rustix::process::geteuid().as_raw()) {
        None => Ok(()),
        Some(reason) => Err(format!(
            "{} is not used, because {reason}: it could redirect the command. If you trust it, name it in FLOE_CONFIG, \
             or change its owner or mode",
            path.display()
        )),
    }
}

/// Returns why `user` does not control the file, if so.
#[cfg(unix)]
fn foreign(path: &Path, user: u32) -> Option<String> {
    use std::{fs, os::unix::fs::MetadataExt as _};

    const WRITABLE_BY_ALL: u32 = 0o002;
    const STICKY: u32 = 0o1000;

    // An error of the file itself is reported by the reader of the file.
    let entry = fs::symlink_metadata(path).ok()?;
    let target = fs::metadata(path).ok()?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let folder = fs::metadata(folder).ok()?;
    let is_foreign = |owner: u32| owner != user && owner != 0;
    // A link is checked as well: its owner chooses the file that it names.
    for (named, metadata) in [("it", &target), ("it is a link that", &entry), ("its folder", &folder)] {
        if is_foreign(metadata.uid()) {
            return Some(format!("{named} belongs to another user ({})", metadata.uid()));
        }
    }
    if target.mode() & WRITABLE_BY_ALL != 0 {
        return Some("every user may write it".to_owned());
    }
    // In a sticky folder, such as /tmp, others cannot replace the file.
    if folder.mode() & WRITABLE_BY_ALL != 0 && folder.mode() & STICKY == 0 {
        return Some("every user may replace it in its folder".to_owned());
    }
    None
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::{
        fs,
        os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink},
    };

    use super::*;

    #[test]
    fn only_files_under_control_of_the_user_are_used() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("floe.toml");
        let owner = fs::metadata(folder.path()).unwrap().uid();
        let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        assert_eq!(foreign(&path, owner), None, "there is no file");
        fs::write(&path, "url = \"memory:\"").unwrap();
        mode(&path, 0o664);
        assert_eq!(foreign(&path, owner), None);
        check(&path).unwrap();
        // As root runs these tests, files of root are the user's own.
        if owner != 0 {
            assert!(foreign(&path, owner + 1).unwrap().contains("another user"));
        }
        mode(&path, 0o666);
        assert!(foreign(&path, owner).unwrap().contains("may write it"));
        mode(&path, 0o600);
        mode(folder.path(), 0o777);
        assert!(foreign(&path, owner).unwrap().contains("replace it"));
        let error = check(&path).unwrap_err();
        assert!(error.contains("FLOE_CONFIG") && error.contains("floe.toml"), "{error}");
        mode(folder.path(), 0o1777);
        assert_eq!(foreign(&path, owner), None, "others cannot replace it");
        mode(folder.path(), 0o700);
        let linked = folder.path().join("link.toml");
        symlink(&path, &linked).unwrap();
        assert_eq!(foreign(&linked, owner), None);
        mode(&path, 0o602);
        assert!(foreign(&linked, owner).is_some(), "the mode is that of the target");
    }
}
