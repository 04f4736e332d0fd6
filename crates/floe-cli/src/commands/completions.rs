//! `floe completions`: the completion script of a shell.
//!
//! `clap_complete` writes a script that knows commands, options and fixed values. The scripts of bash, zsh and fish then
//! ask [`complete`](super::complete) for the names of topics, groups and profiles.

use std::{collections::BTreeSet, fmt::Write as _};

use clap::{Args, Command};
use clap_complete::Shell;

use super::complete::NameKind;
use crate::{exit::Outcome, output::stdout};

/// Follows the script of bash. The words are taken from the line: bash splits its own at `:` and `=`.
const BASH: &str = r#"
_floe_names() {
    local line="${COMP_LINE:0:COMP_POINT}" words name names=()
    read -r -a words <<<"$line"
    [[ "$line" == *[[:space:]] ]] && words+=("")
    while IFS= read -r name; do
        names+=("$name")
    done < <("${words[0]}" __complete "${words[@]:1}" 2>/dev/null)
    if [[ ${#names[@]} -gt 0 ]]; then
        COMPREPLY=("${names[@]}")
    else
        _floe "$@"
    fi
}
complete -F _floe_names -o bashdefault -o default floe
"#;

/// Begins the function of the script of zsh.
const ZSH: &str = r#"_floe() {
    local -a floe_names
    floe_names=(${(f)"$(_call_program names ${(q)words[1]} __complete ${(q)words[2,CURRENT]} 2>/dev/null)"})
    if (( $#floe_names )); then
        compadd -a floe_names
        return
    fi
"#;

/// Follows the script of fish.
const FISH: &str = r#"
function __fish_floe_names
    set -l words (commandline -opc) (commandline -ct)
    $words[1] __complete $words[2..] 2>/dev/null
end
complete -c floe -a "(__fish_floe_names)"
"#;

#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// Shell to complete in
    shell: Shell,
}

/// Prints the script that completes `cli`.
pub(crate) fn run(args: &CompletionsArgs, cli: &mut Command) -> Outcome {
    stdout::print(script(args.shell, cli).as_bytes())
}

fn script(shell: Shell, cli: &mut Command) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, cli, "floe", &mut script);
    let mut script = String::from_utf8_lossy(&script).into_owned();
    match shell {
        Shell::Bash => script += BASH,
        Shell::Zsh => script = script.replacen("_floe() {\n", ZSH, 1),
        Shell::Fish => {
            script += FISH;
            let mut options = BTreeSet::new();
            options_with_names(cli, &mut Vec::new(), &mut options);
            for option in options {
                // Files are no values of these options.
                let _ = writeln!(script, "complete -c floe -l {option} -x -a \"(__fish_floe_names)\"");
            }
        }
        _ => {}
    }
    script
}

/// Collects the long options of a command and its subcommands that take names.
fn options_with_names<'c>(command: &'c Command, path: &mut Vec<&'c str>, options: &mut BTreeSet<&'c str>) {
    let named = command.get_arguments().filter(|argument| NameKind::of(path, argument).is_some());
    options.extend(named.filter_map(clap::Arg::get_long));
    for inner in command.get_subcommands() {
        path.push(inner.get_name());
        options_with_names(inner, path, options);
        path.pop();
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::args::Cli;

    #[test]
    fn scripts_ask_for_names() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let script = script(shell, &mut Cli::command());
            assert_eq!(script.matches("__complete").count(), 1, "{shell}");
        }
        let fish = script(Shell::Fish, &mut Cli::command());
        for option in ["group", "profile"] {
            assert!(fish.contains(&format!("complete -c floe -l {option} -x -a ")), "{option}");
        }
    }
}
