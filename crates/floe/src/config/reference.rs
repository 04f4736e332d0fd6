//! The reference of all settings, for `docs/configuration.md`.

use std::fmt::Write as _;

use super::sections::{SECTIONS, Settings};

/// Returns all settings as Markdown: a heading and a table for each section.
#[must_use]
pub fn reference() -> String {
    let all = Settings::reference();
    let mut out = String::new();
    for (section, about) in SECTIONS {
        let about = about.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ");
        // Writing to a string is infallible.
        let _ = write!(
            out,
            "### `{section}`\n\n{about}\n\n| setting | accepts | default | meaning |\n| --- | --- | --- | --- |\n"
        );
        for info in all.iter().filter(|info| info.section == *section) {
            let _ = writeln!(
                out,
                "| `{}` | {} | `{}` | {} |",
                info.name,
                info.form.replace('|', "\\|"),
                info.default,
                info.meaning
            );
        }
        out.push('\n');
    }
    out.truncate(out.trim_end().len());
    out.push('\n');
    out
}
