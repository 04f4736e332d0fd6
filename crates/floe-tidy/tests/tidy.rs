//! The rules of style, run over this repository.

use std::{path::PathBuf, process::Command, sync::LazyLock};

use floe_tidy::{
    Finding, Repository, arrows, graph, length,
    limits::{self, open},
    links, manifests, names, signatures, tree, words,
};

static ROOT: LazyLock<PathBuf> = LazyLock::new(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../.."));
static REPOSITORY: LazyLock<Repository> = LazyLock::new(|| Repository::read(&ROOT).unwrap());

/// Fails with all findings if there are more than `open`.
#[track_caller]
fn check(findings: &[Finding], open: usize) {
    let lines: Vec<_> = findings.iter().map(|finding| format!("  {finding}\n")).collect();
    assert!(findings.len() <= open, "{} findings, at most {open}\n{}", findings.len(), lines.concat());
}

#[test]
fn the_repository_is_found() {
    assert!(REPOSITORY.files.contains_key("README.md"));
    assert!(REPOSITORY.outlines.contains_key("crates/floe-tidy/src/limits.rs"));
}

#[test]
fn files_are_short() {
    check(&length::files(&REPOSITORY, limits::FILE_LINES), open::FILES);
}

#[test]
fn functions_are_short() {
    check(&length::functions(&REPOSITORY, limits::FUNCTION_LINES, limits::LONG_FUNCTIONS), open::FUNCTIONS);
}

#[test]
fn words_are_plain() {
    check(&words::banned(&REPOSITORY, limits::WORDS, limits::WORDS_QUOTED), open::WORDS);
}

#[test]
fn comments_name_their_subject() {
    check(&words::openers(&REPOSITORY, limits::OPENERS, limits::OPENERS_PERCENT), open::OPENERS);
}

#[test]
fn file_names_name_a_subject() {
    check(&words::file_names(&REPOSITORY, limits::FILE_NAMES), 0);
}

#[test]
fn type_names_say_of_what() {
    check(&names::vague(&REPOSITORY, limits::VAGUE_TYPES), open::VAGUE_TYPES);
}

#[test]
fn public_type_names_are_unique() {
    check(&names::colliding(&REPOSITORY, limits::SHARED_NAMES), open::COLLISIONS);
}

#[test]
fn public_signatures_name_no_inner_types() {
    check(&signatures::leaks(&REPOSITORY, limits::INNER_CRATES, limits::EXPOSED), 0);
}

#[test]
fn every_file_belongs_to_a_target() {
    check(&tree::orphans(&REPOSITORY), 0);
}

#[test]
fn no_path_attribute_leaves_its_crate() {
    check(&tree::foreign_paths(&REPOSITORY, limits::FOREIGN_PATHS), open::FOREIGN_PATHS);
}

#[test]
fn modules_form_no_circle() {
    check(&graph::circles(&REPOSITORY), open::CIRCLES);
}

#[test]
fn crates_depend_on_what_they_may() {
    check(&arrows::forbidden(&REPOSITORY, limits::ARROWS), 0);
}

#[test]
fn links_in_pages_lead_somewhere() {
    check(&links::broken(&REPOSITORY, |path| ROOT.join(path).exists()), 0);
}

#[test]
fn tests_that_pages_name_exist() {
    check(&links::missing_tests(&REPOSITORY), 0);
}

#[test]
fn manifests_of_published_crates_are_complete() {
    check(&manifests::incomplete(&REPOSITORY, limits::MANIFEST_KEYS), open::MANIFESTS);
}

#[test]
fn dependencies_ask_for_no_newer_compiler() {
    let mut metadata = Command::new(env!("CARGO"));
    metadata.current_dir(&*ROOT).args(["metadata", "--format-version", "1", "--locked"]);
    let output = metadata.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata = String::from_utf8(output.stdout).unwrap();
    check(&manifests::too_new(&metadata, env!("CARGO_PKG_RUST_VERSION")).unwrap(), 0);
}
