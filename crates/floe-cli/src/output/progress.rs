//! Progress bar on standard error.

use std::io::{self, IsTerminal as _};

use indicatif::{ProgressBar, ProgressStyle};

/// Returns a visible bar if standard error is a terminal and the end is known. `counts` is the part of the template between
/// the share and the time left.
pub(crate) fn bar(total: Option<u64>, counts: &str) -> ProgressBar {
    let Some(total) = total.filter(|_| io::stderr().is_terminal()) else { return ProgressBar::hidden() };
    let bar = ProgressBar::new(total);
    if let Ok(style) =
        ProgressStyle::with_template(&format!("[{{bar:40}}] {{percent}}% {counts} {{eta}} left"))
    {
        bar.set_style(style.progress_chars("=> "));
    }
    bar
}
