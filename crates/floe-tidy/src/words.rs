//! Words of comments, messages, pages and file names.

use std::collections::BTreeMap;

use crate::{Finding, Repository, lexer, limits::Exception};

/// Finds banned words and phrases in comments, strings and pages. Each entry of `banned` is a phrase in lower case and
/// the better word; files below a path in `exceptions` are left out.
pub fn banned(repository: &Repository, banned: &[(&str, &str)], exceptions: &[Exception]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in &repository.files {
        if exceptions.iter().any(|e| path.starts_with(e.name)) {
            continue;
        }
        let texts = match path.rsplit('.').next() {
            Some("rs") => lexer::prose(text).into_iter().map(|p| (p.line, p.text)).collect(),
            Some("md") => vec![(1, text.clone())],
            _ => Vec::new(),
        };
        for (line, text) in texts {
            find(path, line, &text, banned, &mut findings);
        }
    }
    findings.sort();
    findings
}

fn find(path: &str, first: usize, text: &str, banned: &[(&str, &str)], findings: &mut Vec<Finding>) {
    let words: Vec<(usize, String)> = text
        .lines()
        .enumerate()
        .flat_map(|(at, line)| words(line).map(move |word| (first + at, word.to_lowercase())))
        .collect();
    for (phrase, better) in banned {
        let phrase: Vec<&str> = phrase.split(' ').collect();
        for window in words.windows(phrase.len()) {
            if window.iter().map(|(_, word)| word.as_str()).eq(phrase.iter().copied()) {
                let message = format!("\"{}\": {better}", phrase.join(" "));
                findings.push(Finding::new(path, window[0].0, message));
            }
        }
    }
}

fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| !c.is_alphanumeric() && c != '-' && c != '_').filter(|word| !word.is_empty())
}

/// Finds comments that open with one of `openers`, in packages where they are `percent` of all comments or more.
pub fn openers(repository: &Repository, openers: &[&str], percent: usize) -> Vec<Finding> {
    let mut comments: BTreeMap<&str, (usize, Vec<Finding>)> = BTreeMap::new();
    for (path, text) in repository.files.iter().filter(|(path, _)| path.ends_with(".rs")) {
        let (count, found) = comments.entry(repository.package_of(path).unwrap_or("")).or_default();
        for comment in lexer::prose(text).into_iter().filter(|p| p.comment) {
            *count += 1;
            let first = words(&comment.text).next().unwrap_or_default();
            if openers.contains(&first) {
                let message = format!("a comment opens with \"{first}\": name the thing it speaks of");
                found.push(Finding::new(path, comment.line, message));
            }
        }
    }
    let too_many = |(count, found): &(usize, Vec<Finding>)| found.len() * 100 >= *count * percent;
    comments.into_values().filter(too_many).flat_map(|(_, found)| found).collect()
}

/// Finds Rust files whose name, or whose folder's name, names no subject.
pub fn file_names(repository: &Repository, banned: &[&str]) -> Vec<Finding> {
    let rust = repository.files.keys().filter(|path| path.ends_with(".rs"));
    rust.filter(|path| path.trim_end_matches(".rs").split('/').any(|part| banned.contains(&part)))
        .map(|path| Finding::new(path, 1, "the name names no subject: name the file after its one subject"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repository::repository;

    const BANNED: &[(&str, &str)] = &[("blorp", "say client"), ("sent anew", "say retried")];

    fn lines(findings: &[Finding]) -> Vec<(&str, usize)> {
        findings.iter().map(|f| (f.path.as_str(), f.line)).collect()
    }

    #[test]
    fn banned_words_are_found_in_comments_strings_and_pages() {
        let repository = repository(&[
            ("a.rs", "// It is sent\n// anew.\nfn blorp() { print(\"A Blorp\") }\n"),
            ("b.md", "x\nblorp, blorps\n"),
            ("c/d.md", "blorp"),
        ]);
        let exceptions = [Exception { name: "c/", reason: "quotes them" }];
        assert_eq!(lines(&banned(&repository, BANNED, &exceptions)), [("a.rs", 1), ("a.rs", 3), ("b.md", 2)]);
    }

    #[test]
    fn openers_are_counted_for_each_package() {
        let many = "// It is.\n\n".repeat(199) + "// Thus it is.\n";
        let few = "// It is.\n\n// Thus\n// it is.\n";
        let repository = repository(&[
            ("a/Cargo.toml", "[package]\nname = \"a\""),
            ("a/src/lib.rs", &many),
            ("b/Cargo.toml", "[package]\nname = \"b\""),
            ("b/src/lib.rs", few),
        ]);
        assert_eq!(lines(&openers(&repository, &["Thus"], 1)), [("b/src/lib.rs", 3)]);
    }

    #[test]
    fn names_without_a_subject_are_found() {
        let repository = repository(&[("a/misc.rs", ""), ("misc/b.rs", ""), ("a/miscellany.rs", "")]);
        assert_eq!(lines(&file_names(&repository, &["misc"])), [("a/misc.rs", 1), ("misc/b.rs", 1)]);
    }
}
