//! Files of the page.

use axum::{
    http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header},
    response::{IntoResponse as _, Response},
};

use super::request_error::RequestError;

/// A file of the page, which lies in the binary.
struct Asset {
    path: &'static str,
    kind: &'static str,
    bytes: &'static [u8],
}

macro_rules! assets {
    ($($kind:literal: $($name:literal)+;)+) => {
        const ASSETS: &[Asset] = &[$($(Asset {
            path: concat!("/assets/", $name),
            kind: $kind,
            bytes: include_bytes!(concat!("../../console/", $name)),
        },)+)+];
    };
}

assets! {
    "text/html; charset=utf-8": "index.html";
    "text/css; charset=utf-8": "app.css";
    "image/svg+xml": "favicon.svg";
    "text/javascript; charset=utf-8":
        "api.js"
        "app.js"
        "bytes.js"
        "charts.js"
        "dom.js"
        "format.js"
        "json.js"
        "keys.js"
        "position.js"
        "results.js"
        "router.js"
        "screens/group.js"
        "screens/groups.js"
        "screens/letters.js"
        "screens/login.js"
        "screens/messages.js"
        "screens/overview.js"
        "screens/panel.js"
        "screens/partitions-picker.js"
        "screens/record.js"
        "screens/reset.js"
        "screens/send.js"
        "screens/server.js"
        "screens/topic-tabs.js"
        "screens/topic.js"
        "screens/topics.js"
        "state.js"
        "theme.js"
        "times.js"
        "ui.js"
        "unlisted.js";
}

/// The page itself.
const INDEX: &str = "/assets/index.html";

/// Answers with a file, or with the page itself for the path of a screen.
pub(super) async fn serve(method: Method, uri: Uri, headers: HeaderMap) -> Response {
    if !matches!(method, Method::GET | Method::HEAD) {
        return RequestError::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "no_such_request",
            "pages are read with GET",
        )
        .into_response();
    }
    let path = uri.path();
    let wanted = if path.starts_with("/assets/") { path } else { INDEX };
    let Some(asset) = ASSETS.iter().find(|asset| asset.path == wanted) else {
        return RequestError::new(StatusCode::NOT_FOUND, "no_such_request", "no such file").into_response();
    };
    // The files change with the binary, and only then.
    let tag = format!("\"{:08x}\"", crc32c::crc32c(asset.bytes));
    let known = headers.get(header::IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == tag.as_bytes());
    let tag = HeaderValue::from_str(&tag).unwrap_or(HeaderValue::from_static("\"\""));
    let caching = [(header::ETAG, tag), (header::CACHE_CONTROL, HeaderValue::from_static("no-cache"))];
    if known {
        return (StatusCode::NOT_MODIFIED, caching).into_response();
    }
    let kind = [(header::CONTENT_TYPE, HeaderValue::from_static(asset.kind))];
    (caching, kind, asset.bytes).into_response()
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, path::Path};

    use super::*;

    /// Largest size of all files together.
    const MOST_BYTES: usize = 300_000;

    fn files(directory: &Path, prefix: &str, found: &mut BTreeSet<String>) {
        for entry in std::fs::read_dir(directory).unwrap() {
            let entry = entry.unwrap();
            let name = format!("{prefix}{}", entry.file_name().into_string().unwrap());
            if entry.path().is_dir() {
                files(&entry.path(), &format!("{name}/"), found);
            } else {
                found.insert(format!("/assets/{name}"));
            }
        }
    }

    #[test]
    fn the_table_holds_every_file_and_all_are_small() {
        let mut found = BTreeSet::new();
        files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("console"), "", &mut found);
        let listed: BTreeSet<_> = ASSETS.iter().map(|asset| asset.path.to_owned()).collect();
        assert_eq!(listed, found);
        let size: usize = ASSETS.iter().map(|asset| asset.bytes.len()).sum();
        assert!(size < MOST_BYTES, "{size} bytes");
    }

    #[test]
    fn scripts_make_no_markup_out_of_data() {
        for asset in ASSETS {
            let text = std::str::from_utf8(asset.bytes).unwrap();
            for banned in
                ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function"]
            {
                assert!(!text.contains(banned), "{} has {banned}", asset.path);
            }
        }
    }
}
