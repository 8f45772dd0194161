//! What a package installs beside the program: completions for shells, and man pages. Both are made
//! from the command line's own description, so they have every command and every option.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Command, CommandFactory as _};
use clap_complete::Shell;

use super::{Arguments, COULD_NOT_START, print_line};

#[derive(Debug, Args)]
pub(super) struct CompletionArguments {
    /// The shell to complete for
    shell: Shell,
}

#[derive(Debug, Args)]
pub(super) struct ManArguments {
    /// The folder to write the pages to; made if it is not there
    dir: PathBuf,
}

/// Returns the command line. The version is one line: a man page has it in its first line.
fn command() -> Command {
    Arguments::command().version(env!("CARGO_PKG_VERSION"))
}

/// Prints the completions for a shell.
pub(super) fn completions(arguments: &CompletionArguments) -> ExitCode {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut command(), "spandrel", &mut script);
    // If stdout is closed, nobody reads the script.
    io::stdout().lock().write_all(&script).unwrap_or_default();
    ExitCode::SUCCESS
}

/// Writes a man page for the program and one for each command.
pub(super) fn man(ManArguments { dir }: &ManArguments) -> ExitCode {
    let written =
        std::fs::create_dir_all(dir).and_then(|()| clap_mangen::generate_to(command(), dir));
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let dir = dir.display();
            print_line(&format!("cannot write the man pages to {dir}: {error}"));
            ExitCode::from(COULD_NOT_START)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns each command with the name of its page: `spandrel-plugin-swap`.
    fn commands(command: &Command, name: &str, found: &mut Vec<(String, Command)>) {
        found.push((name.to_owned(), command.clone()));
        for sub in command.get_subcommands() {
            if sub.get_name() != "help" {
                commands(sub, &format!("{name}-{}", sub.get_name()), found);
            }
        }
    }

    fn all() -> Vec<(String, Command)> {
        let mut root = command();
        root.build();
        let mut found = Vec::new();
        commands(&root, "spandrel", &mut found);
        assert!(found.len() > 15, "only {} commands", found.len());
        found
    }

    fn options(command: &Command) -> impl Iterator<Item = String> {
        let shown = command.get_arguments().filter(|it| !it.is_hide_set());
        shown.filter_map(|it| it.get_long().map(|long| format!("--{long}")))
    }

    /// Each command has a man page, with its name and every option that `--help` shows.
    #[test]
    fn man_pages_are_complete() {
        let folder = tempfile::tempdir().expect("a folder");
        let dir = folder.path().join("share/man/man1");
        let arguments = ManArguments { dir: dir.clone() };
        assert_eq!(man(&arguments), ExitCode::SUCCESS);
        for (name, command) in all() {
            let page = std::fs::read_to_string(dir.join(format!("{name}.1"))).expect(&name);
            let title = format!(".TH {name} 1 ");
            assert!(
                page.lines().any(|line| line.starts_with(&title)),
                "{name}: {page}"
            );
            // In a page a hyphen that is no end of a line is written `\-`.
            let plain = page.replace('\\', "");
            for option in options(&command) {
                assert!(plain.contains(&option), "{name} lacks {option}");
            }
        }
    }

    /// Each shell's script has every command, and every option where the shell has them by name.
    #[test]
    fn completions_are_complete() {
        for shell in [
            Shell::Bash,
            Shell::Zsh,
            Shell::Fish,
            Shell::Elvish,
            Shell::PowerShell,
        ] {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut command(), "spandrel", &mut script);
            let script = String::from_utf8(script).expect("text");
            for (name, command) in all() {
                let short = name.rsplit('-').next().expect("a name");
                assert!(script.contains(short), "{shell}: {name}");
                for option in options(&command) {
                    // fish writes `-l config` for `--config`.
                    let bare = option.trim_start_matches('-');
                    assert!(script.contains(bare), "{shell}: {name} {option}");
                }
            }
        }
    }
}
