//! Lengths of files and functions.

use crate::{Finding, Repository, limits::Exception};

/// Finds Rust and Markdown files of more than `most` lines.
pub fn files(repository: &Repository, most: usize) -> Vec<Finding> {
    let texts = repository.files.iter().filter(|(path, _)| !path.ends_with(".toml"));
    texts
        .filter_map(|(path, text)| {
            let lines = text.lines().count();
            let message = format!("{lines} lines, at most {most}: split the file by subject");
            (lines > most).then(|| Finding::new(path, most + 1, message))
        })
        .collect()
}

/// Finds functions of more than `most` lines, except those that `exceptions` names.
pub fn functions(repository: &Repository, most: usize, exceptions: &[Exception]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, outline) in repository.rust() {
        for function in outline.functions.iter().filter(|f| f.length > most) {
            if exceptions.iter().any(|e| e.name == function.name) {
                continue;
            }
            let message =
                format!("`{}` has {} lines, at most {most}: split it", function.name, function.length);
            findings.push(Finding::new(path, function.line, message));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repository::repository;

    #[test]
    fn a_file_may_have_the_limit_and_no_line_more() {
        let repository = repository(&[("a.md", "1\n2\n"), ("b.md", "1\n2\n3\n"), ("Cargo.toml", "\n\n\n\n")]);
        let found = files(&repository, 2);
        assert_eq!(found.iter().map(|f| f.path.as_str()).collect::<Vec<_>>(), ["b.md"]);
    }

    #[test]
    fn a_function_may_have_the_limit_and_no_line_more() {
        let repository = repository(&[("a.rs", "fn a() {\n}\nfn b() {\n\n}\nfn c() {\n\n}")]);
        let found = functions(&repository, 2, &[Exception { name: "c", reason: "a table" }]);
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].line, found[0].message.contains("`b` has 3 lines")), (3, true));
    }
}
