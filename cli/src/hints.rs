//! Checks that a hint names only existing commands and options: those of the command that ran, or of one that the hint
//! names.

use clap::{ArgMatches, Command};

/// The command that a command line names.
#[derive(Clone, Debug)]
pub(crate) struct Verb {
    all: Command,
    path: Vec<String>,
}

impl Verb {
    /// From the program's commands and what was parsed.
    pub(crate) fn of(mut all: Command, matches: &ArgMatches) -> Self {
        // Gives every command the options that all have.
        all.build();
        let (mut path, mut at) = (Vec::new(), matches);
        while let Some((name, inner)) = at.subcommand() {
            path.push(name.to_owned());
            at = inner;
        }
        Self { all, path }
    }

    fn find(&self, path: &[String]) -> Option<&Command> {
        path.iter().try_fold(&self.all, |at, name| at.find_subcommand(name))
    }

    /// Whether all commands and options in a hint exist.
    pub(crate) fn fits(&self, hint: &str) -> bool {
        let mut meant: Vec<&Command> = self.find(&self.path).into_iter().collect();
        let words: Vec<&str> = hint.split_whitespace().map(bare).collect();
        for (at, word) in words.iter().enumerate() {
            let Some(command) = self.all.find_subcommand(word) else {
                if at > 0 && words[at - 1] == "symbolon" && !word.starts_with('-') {
                    return false;
                }
                continue;
            };
            let inner = words.get(at + 1).and_then(|next| command.find_subcommand(next));
            meant.push(inner.unwrap_or(command));
        }
        let has = |fits: &dyn Fn(&clap::Arg) -> bool| {
            meant.iter().any(|command| command.get_arguments().any(fits))
        };
        words.iter().all(|word| match (word.strip_prefix("--"), word.strip_prefix('-')) {
            (Some("help"), _) | (None, None | Some("")) => true,
            (Some(long), _) => has(&|argument| argument.get_long() == Some(long)),
            (None, Some(short)) => {
                short.chars().all(|letter| has(&|argument| argument.get_short() == Some(letter)))
            }
        })
    }
}

/// A word without the punctuation around it.
fn bare(word: &str) -> &str {
    let word = word.trim_matches(['(', ')', '`', ',', ';', '.', ':']);
    word.split('=').next().unwrap_or(word)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::args::Args;

    fn verb(line: &str) -> Verb {
        let words = ["symbolon"].into_iter().chain(line.split(' '));
        let matches = Args::command().try_get_matches_from(words).unwrap();
        Verb::of(Args::command(), &matches)
    }

    #[test]
    fn options_are_those_of_the_command_or_of_one_that_is_named() {
        let put = verb("put file");
        assert_eq!(put.path, ["put"]);
        for hint in [
            "use --replace, or do without",
            "choose (--scheme); --as NAME",
            "symbolon rm -r NAME",
            "-vv",
            "",
        ] {
            assert!(put.fits(hint), "{hint}");
        }
        for hint in
            ["say --max-price", "use --delete", "symbolon find NAME", "-o PATH", "--recursive"]
        {
            assert!(!put.fits(hint), "{hint}");
        }
        let list = verb("market list");
        assert!(list.fits("--seller, --max-price=5") && !list.fits("--yes"));
        assert!(list.fits("see: symbolon grant attenuate TOKEN --cells 0..16"));
        assert!(list.fits("symbolon --help"));
    }
}
