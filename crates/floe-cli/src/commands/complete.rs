//! `floe __complete`: names of topics, groups and profiles for the completion of a command line.
//!
//! The scripts of `floe completions` pass the words of the line up to the cursor. They get the names that fit there, or
//! nothing where the script itself knows the words, and where the names cannot be had at once: a shell waits for the answer.

use std::{collections::BTreeSet, time::Duration};

use clap::{Arg, ArgAction, Command};
use floe::{
    Client,
    url::{EngineUrl, Scheme},
};

use super::profile;
use crate::{exit::Outcome, global::GlobalArgs, output::stdout};

/// Name of the command. It is none of the commands of `args`, so that help and scripts leave it out, and so that the words
/// of another command can follow it.
pub(crate) const NAME: &str = "__complete";

/// Time after which there is no answer, unless `--within=MILLISECONDS` comes before the words.
const DEADLINE: Duration = Duration::from_millis(150);

/// Most names of one answer.
const MOST: usize = 1000;

/// Kind of names that an argument takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NameKind {
    Topic,
    Group,
    Profile,
}

impl NameKind {
    /// Returns the kind of an argument of a command, given by its path below `floe`.
    pub(super) fn of(path: &[&str], argument: &Arg) -> Option<Self> {
        match (path, argument.get_id().as_str()) {
            (_, "profile") | (["profile", "use" | "show" | "rm"], "name") => Some(Self::Profile),
            // The name of something that does not exist yet.
            (["topic", "create"], "name") => None,
            (["topic", ..], "name")
            | (["copy"], "from" | "to")
            | (["dlq", "replay"], "to")
            | (_, "topic" | "topics") => Some(Self::Topic),
            (_, "group") => Some(Self::Group),
            _ => None,
        }
    }
}

/// Place of the cursor in a command line.
#[derive(Debug, Default, PartialEq, Eq)]
struct CursorPlace {
    /// Kind of the name at the cursor.
    kind: Option<NameKind>,
    /// Beginning of the name.
    prefix: String,
    /// Values of --url and --profile.
    url: Option<String>,
    profile: Option<String>,
}

impl CursorPlace {
    /// Finds the place at the end of the words.
    fn find(root: &Command, words: &[String]) -> Self {
        let mut place = Self::default();
        let Some((last, before)) = words.split_last() else { return place };
        let (mut command, mut path, mut positionals) = (root, Vec::new(), 0);
        let mut option: Option<&Arg> = None;
        for word in before {
            if let Some(argument) = option.take() {
                place.note(argument, word);
            } else if let Some((name, value)) = long_with_value(word) {
                if let Some(argument) = find_option(root, command, name) {
                    place.note(argument, value);
                }
            } else if is_option(word) {
                let found = find_option(root, command, word);
                option = found.filter(|argument| argument.get_action().takes_values());
            } else if let Some(inner) = command.find_subcommand(word) {
                path.push(inner.get_name());
                (command, positionals) = (inner, 0);
            } else {
                positionals += 1;
            }
        }
        place.prefix.clone_from(last);
        let argument = if option.is_some() {
            option
        } else if let Some((name, value)) = long_with_value(last) {
            value.clone_into(&mut place.prefix);
            find_option(root, command, name)
        } else if is_option(last) {
            None
        } else {
            let is_list = |argument: &&Arg| matches!(argument.get_action(), ArgAction::Append);
            let list = command.get_positionals().last().filter(is_list);
            command.get_positionals().nth(positionals).or(list)
        };
        place.kind = argument.and_then(|argument| NameKind::of(&path, argument));
        place
    }

    /// Takes over an option that says where the names are.
    fn note(&mut self, argument: &Arg, value: &str) {
        match argument.get_id().as_str() {
            "url" => self.url = Some(value.to_owned()),
            "profile" => self.profile = Some(value.to_owned()),
            _ => {}
        }
    }
}

fn is_option(word: &str) -> bool {
    word.len() > 1 && word.starts_with('-')
}

/// Splits `--name=value`.
fn long_with_value(word: &str) -> Option<(&str, &str)> {
    word.split_once('=').filter(|(name, _)| name.starts_with("--"))
}

/// Returns the option of this spelling, `--name` or `-n`, of a command or of all commands.
fn find_option<'c>(root: &'c Command, command: &'c Command, word: &str) -> Option<&'c Arg> {
    let mut all = command.get_arguments().chain(root.get_arguments());
    match word.strip_prefix("--") {
        Some(name) => all.find(|argument| {
            let aliases = argument.get_all_aliases().unwrap_or_default();
            argument.get_long() == Some(name) || aliases.contains(&name)
        }),
        None => {
            let mut letters = word.chars().skip(1);
            let letter = letters.next().filter(|_| letters.next().is_none())?;
            all.find(|argument| argument.get_short() == Some(letter))
        }
    }
}

/// Prints the names that fit at the end of the words, one on each line: those of the command line behind `floe`, up to the
/// cursor. The last word may be empty.
pub(crate) async fn run(root: &Command, mut global: GlobalArgs, words: &[String]) -> Outcome {
    let (deadline, words) = match words.split_first() {
        Some((first, rest)) if first.starts_with("--within=") => {
            let given = first.trim_start_matches("--within=").parse().map(Duration::from_millis);
            (given.unwrap_or(DEADLINE), rest)
        }
        _ => (DEADLINE, words),
    };
    let place = CursorPlace::find(root, words);
    let Some(kind) = place.kind else { return Ok(()) };
    (global.url, global.profile) = (place.url, place.profile);
    // On a thread of its own, since opening a store may wait for the disk.
    let runtime = tokio::runtime::Handle::current();
    let names = tokio::task::spawn_blocking(move || runtime.block_on(names(&global, kind)));
    let Ok(Ok(Some(names))) = tokio::time::timeout(deadline, names).await else { return Ok(()) };
    stdout::print(answer(names, &place.prefix).as_bytes())
}

/// Returns the lines of the answer.
fn answer(names: BTreeSet<String>, prefix: &str) -> String {
    // A name goes into the line as it is, so one that the shell would take for more than a word is left out.
    let is_word = |name: &str| {
        !name.starts_with('-') && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.@/+".contains(c))
    };
    let fitting = names.into_iter().filter(|name| name.starts_with(prefix) && is_word(name));
    fitting.take(MOST).map(|name| name + "\n").collect()
}

/// Returns all names of a kind; None where they cannot be had.
async fn names(global: &GlobalArgs, kind: NameKind) -> Option<BTreeSet<String>> {
    if kind == NameKind::Profile {
        return profile::names().ok();
    }
    let global = global.resolve_silently().ok()?;
    let mut url: EngineUrl = global.url.parse().ok()?;
    if url.scheme == Scheme::Embedded {
        // Looking changes nothing, and leaves a store without a name alone.
        url.options.insert("mode".to_owned(), "read".to_owned());
    }
    let client = Client::builder(&url.with_options()).config(global.config).connect().await.ok()?;
    match kind {
        NameKind::Topic => {
            let topics = client.admin().topics().await.ok()?;
            Some(topics.into_iter().map(|info| info.name.to_string()).collect())
        }
        _ => {
            let admin = client.admin();
            let groups = client.groups();
            let (stored, shared) = tokio::join!(admin.committed_offsets(None), groups.list());
            let stored = stored.into_iter().flatten().map(|stored| stored.group.to_string());
            Some(stored.chain(shared.into_iter().flatten().map(|group| group.name.to_string())).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::args::Cli;

    fn place(line: &str) -> CursorPlace {
        let mut root = Cli::command();
        root.build();
        CursorPlace::find(&root, &line.split(' ').map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn names_are_completed_where_they_belong() {
        for (line, expected) in [
            ("consume ", Some(NameKind::Topic)),
            ("consume orders pay", Some(NameKind::Topic)),
            ("consume -B orders --group ", Some(NameKind::Group)),
            ("consume orders -g bil", Some(NameKind::Group)),
            ("consume orders --group=bil", Some(NameKind::Group)),
            ("consume orders -n ", None),
            ("consume orders --gr", None),
            ("produce ", Some(NameKind::Topic)),
            ("produce orders ", None),
            ("topic ", None),
            ("topic describe ", Some(NameKind::Topic)),
            ("topic rm or", Some(NameKind::Topic)),
            ("topic set ", Some(NameKind::Topic)),
            ("topic create ", None),
            ("copy orders ", Some(NameKind::Topic)),
            ("dlq replay dead --to ", Some(NameKind::Topic)),
            ("offsets reset ", Some(NameKind::Group)),
            ("offsets reset billing ", Some(NameKind::Topic)),
            ("group describe ", Some(NameKind::Group)),
            ("--profile ", Some(NameKind::Profile)),
            ("profile use ", Some(NameKind::Profile)),
            ("profile add ", None),
            ("", None),
            ("nothing ", None),
        ] {
            assert_eq!(place(line).kind, expected, "{line:?}");
        }
        assert_eq!(CursorPlace::find(&Cli::command(), &[]), CursorPlace::default());
    }

    #[test]
    fn options_of_the_line_say_where_the_names_are() {
        let found = place("--url embedded:./a consume --profile=blue or");
        assert_eq!(found.url.as_deref(), Some("embedded:./a"));
        assert_eq!((found.profile.as_deref(), found.prefix.as_str()), (Some("blue"), "or"));
        assert_eq!(place("consume x --group=bil").prefix, "bil");
    }

    #[test]
    fn names_that_a_shell_would_act_on_are_left_out() {
        let names = ["orders", "order-2", "pay", "o$(x)", "o;x", "o x", "-o", "o\n"];
        assert_eq!(answer(names.map(str::to_owned).into(), "o"), "order-2\norders\n");
    }
}
