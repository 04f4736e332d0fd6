//! Escapes: of bytes that a terminal cannot show, and in command-line arguments.

use std::borrow::Cow;

/// Whether a terminal shows these bytes without side effects: UTF-8 without control characters other than tabs and line
/// ends.
pub(crate) fn is_printable(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let text = text.strip_suffix('\r').unwrap_or(text);
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        let fine = match c {
            '\t' | '\n' => true,
            // A lone carriage return would overwrite the line.
            '\r' => rest.peek() == Some(&'\n'),
            _ => !c.is_control(),
        };
        if !fine {
            return false;
        }
    }
    true
}

/// Returns the bytes, with `\xNN` for those that a terminal cannot show.
pub(crate) fn for_terminal(bytes: &[u8]) -> Cow<'_, [u8]> {
    if is_printable(bytes) { Cow::Borrowed(bytes) } else { Cow::Owned(escape(bytes).into_bytes()) }
}

/// Returns the bytes on one line, for a table cell.
pub(crate) fn for_cell(bytes: &[u8]) -> String {
    escape(bytes)
}

fn escape(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() + 16);
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\\' => out.push_str("\\\\"),
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '\t' => out.push_str("\\t"),
                c if c.is_ascii_control() => out.push_str(&format!("\\x{:02x}", u32::from(c))),
                c if c.is_control() => out.extend(c.escape_unicode()),
                c => out.push(c),
            }
        }
        for byte in chunk.invalid() {
            out.push_str(&format!("\\x{byte:02x}"));
        }
    }
    out
}

/// Resolves the escapes `\n`, `\t`, `\r`, `\0`, `\\` and `\xNN`; any other `\` stays.
pub(crate) fn unescape(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let (byte, used) = match (first, after) {
            (b'\\', [b'x', high, low, ..]) => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) => (high * 16 + low, 4),
                _ => (b'\\', 1),
            },
            (b'\\', [next, ..]) => match simple_escape(*next) {
                Some(byte) => (byte, 2),
                None => (b'\\', 1),
            },
            _ => (*first, 1),
        };
        out.push(byte);
        rest = rest.get(used..).unwrap_or_default();
    }
    out
}

/// Returns the byte of a one-letter escape.
fn simple_escape(letter: u8) -> Option<u8> {
    match letter {
        b'n' => Some(b'\n'),
        b't' => Some(b'\t'),
        b'r' => Some(b'\r'),
        b'0' => Some(0),
        b'\\' => Some(b'\\'),
        _ => None,
    }
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn printable_bytes_are_recognised() {
        for fine in ["", "plain", "tab\there", "two\nlines", "dos\r\nlines\r", "äöü 語"] {
            assert!(is_printable(fine.as_bytes()), "{fine:?}");
        }
        for bad in
            [b"\xff".as_slice(), b"a\0b", b"\x1b[31mred", b"back\rspace", b"\x07", "\u{9b}1m".as_bytes()]
        {
            assert!(!is_printable(bad), "{bad:?}");
        }
    }

    #[test]
    fn escapes_are_reversible() {
        assert_eq!(for_terminal(b"a\\b").as_ref(), b"a\\b");
        assert_eq!(for_terminal(b"a\\b\xff\0\n").as_ref(), br"a\\b\xff\x00\n");
        assert_eq!(for_terminal("ä\u{9b}".as_bytes()).as_ref(), "ä\\u{9b}".as_bytes());
        for bytes in [b"a\\b\xff\0\n\r\t".as_slice(), b"\\x41", b"\x7f"] {
            assert_eq!(unescape(&for_cell(bytes)), bytes);
        }
    }

    #[test]
    fn escapes_in_arguments_are_resolved() {
        assert_eq!(unescape(r"\t"), b"\t");
        assert_eq!(unescape(r"a\n\\n\x00\xFf"), b"a\n\\n\0\xff");
        assert_eq!(unescape(r"\q \x1 \"), br"\q \x1 \");
    }
}
