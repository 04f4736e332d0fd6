//! Paths as bytes. On Unix a path is any bytes without NUL; elsewhere only UTF-8 has a portable form.

use std::{
    borrow::Cow,
    path::{Path, PathBuf},
};

/// Returns the path that these bytes spell; `None` if the system has no such path.
pub(crate) fn from_bytes(bytes: Vec<u8>) -> Option<PathBuf> {
    if bytes.contains(&0) {
        return None;
    }
    #[cfg(unix)]
    return Some(PathBuf::from(<std::ffi::OsString as std::os::unix::ffi::OsStringExt>::from_vec(bytes)));
    #[cfg(not(unix))]
    return String::from_utf8(bytes).ok().map(PathBuf::from);
}

/// Returns the bytes that spell this path.
pub(crate) fn to_bytes(path: &Path) -> Cow<'_, [u8]> {
    #[cfg(unix)]
    return Cow::Borrowed(std::os::unix::ffi::OsStrExt::as_bytes(path.as_os_str()));
    #[cfg(not(unix))]
    return match path.to_string_lossy() {
        Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
        Cow::Owned(text) => Cow::Owned(text.into_bytes()),
    };
}
