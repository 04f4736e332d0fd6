//! Behaviour on a terminal, tested on a pseudo terminal.
#![cfg(unix)]

use std::{
    fs::{File, OpenOptions},
    io::{Read as _, Write as _},
    process::{Command, Stdio},
    thread,
};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use crate::support::{Dir, numbered_lines};

/// Opens a pseudo terminal and returns its user side and its program side.
fn terminal() -> (File, File) {
    let user = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&user).unwrap();
    unlockpt(&user).unwrap();
    let name = ptsname(&user, Vec::new()).unwrap();
    let program = OpenOptions::new().read(true).write(true).open(name.to_str().unwrap()).unwrap();
    (user.into(), program)
}

/// Runs on a terminal with the input `typed`; returns the screen and the exit code.
fn run_on_terminal(dir: &Dir, args: &[&str], typed: &str) -> (String, Option<i32>) {
    let mut command = dir.command(args);
    command.env("TERM", "xterm").env_remove("NO_COLOR");
    watch(command, typed)
}

fn watch(mut command: Command, typed: &str) -> (String, Option<i32>) {
    let (mut user, program) = terminal();
    command.stdin(program.try_clone().unwrap());
    command.stdout(program.try_clone().unwrap());
    command.stderr(Stdio::from(program));
    let mut child = command.spawn().unwrap();
    // The command holds the program side open, which would hide the end from the reader below.
    drop(command);
    user.write_all(typed.as_bytes()).unwrap();
    let mut screen = user.try_clone().unwrap();
    let reader = thread::spawn(move || {
        let mut shown = Vec::new();
        let mut piece = [0; 4096];
        // Linux reports the closed program side as an error.
        while let Ok(length @ 1..) = screen.read(&mut piece) {
            shown.extend_from_slice(&piece[..length]);
        }
        String::from_utf8_lossy(&shown).into_owned()
    });
    let code = child.wait().unwrap().code();
    (reader.join().unwrap(), code)
}

#[test]
fn unprintable_bytes_are_escaped_with_one_note() {
    let dir = Dir::with_topics(&["t"]);
    dir.feed(&["produce", "t"], b"fine \xc3\xa4\n\x1b[2Jgone\n\xff\n").ok();
    let (screen, code) = run_on_terminal(&dir, &["consume", "t", "-e"], "");
    assert_eq!(code, Some(0), "{screen}");
    assert!(screen.contains("fine ä\r\n"), "{screen:?}");
    assert!(screen.contains("\\x1b[2Jgone\r\n"), "{screen:?}");
    assert!(screen.contains("\\xff\r\n"), "{screen:?}");
    assert!(!screen.contains('\u{1b}'), "{screen:?}");
    assert_eq!(screen.matches("note: bytes that a terminal cannot show").count(), 1, "{screen:?}");
    assert_eq!(dir.read("t"), b"fine \xc3\xa4\n\x1b[2Jgone\n\xff\n", "a pipe gets the exact bytes");
}

#[test]
fn deletion_asks_for_confirmation() {
    let dir = Dir::with_topics(&["t"]);
    let (screen, code) = run_on_terminal(&dir, &["topic", "delete", "t"], "n\n");
    assert_eq!(code, Some(2), "{screen}");
    assert!(
        screen.contains("deleting topic t with all its records cannot be undone. Continue? [y/N] "),
        "{screen:?}"
    );
    assert!(screen.contains("error: not confirmed; nothing was changed"), "{screen:?}");
    dir.run(&["topic", "list"]).ok().prints("t\n");
    let (screen, code) = run_on_terminal(&dir, &["topic", "delete", "t"], "y\n");
    assert_eq!(code, Some(0), "{screen}");
    dir.run(&["topic", "list"]).ok().prints("");
}

#[test]
fn progress_bar_appears_for_files_only() {
    let dir = Dir::with_topics(&["t"]);
    dir.file("input.log", &numbered_lines(50_000));
    let (screen, code) = run_on_terminal(&dir, &["produce", "t", "input.log"], "");
    assert_eq!(code, Some(0), "{screen}");
    assert!(screen.contains("%"), "no bar: {screen:?}");
    assert!(screen.contains("sent 50,000 records"), "{screen:?}");
    let (screen, code) = run_on_terminal(&dir, &["produce", "t"], "typed\n\u{4}");
    assert_eq!(code, Some(0), "{screen}");
    assert!(!screen.contains('%'), "{screen:?}");
    assert!(screen.contains("sent 1 record (5 B)"), "{screen:?}");
}

#[test]
fn no_color_is_honoured() {
    let dir = Dir::new();
    let (screen, code) = run_on_terminal(&dir, &["topic", "--nonsense"], "");
    assert_eq!(code, Some(2));
    assert!(screen.contains('\u{1b}'), "usage errors are coloured on a terminal: {screen:?}");
    for args in [&["topic", "--nonsense"][..], &["--help"], &["consume", "nope"]] {
        let mut command = dir.command(args);
        command.env("TERM", "xterm").env("NO_COLOR", "1");
        let (screen, _) = watch(command, "");
        // Bold and underline are allowed.
        for colour in 30..=37 {
            assert!(!screen.contains(&format!("\u{1b}[{colour}m")), "{args:?}: {screen:?}");
        }
    }
}

#[test]
fn top_shows_a_screen_and_restores_the_terminal() {
    let dir = Dir::with_topics(&["orders"]);
    let (screen, code) = run_on_terminal(&dir, &["top", "--interval", "100ms"], "nlq");
    assert_eq!(code, Some(0), "{screen:?}");
    assert!(screen.contains("TOPIC") && screen.contains("orders") && screen.contains("q quit"), "{screen:?}");
    // The other screen is opened and closed again, and the cursor is shown.
    let (opened, closed) = (screen.find("\u{1b}[?1049h").unwrap(), screen.find("\u{1b}[?1049l").unwrap());
    assert!(opened < closed && screen.contains("\u{1b}[?25h"), "{screen:?}");
}
