//! `symbolon completions`: a completion script for a shell.

use std::io::Write as _;

use clap::CommandFactory as _;
use clap_complete::Shell;
use symbolon_view::shell::Completions;

use crate::{args, context::Context, error::Error, output::stdout_failed};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  symbolon completions bash > ~/.local/share/bash-completion/completions/symbolon
  symbolon completions zsh > ~/.zfunc/_symbolon
  symbolon completions fish > ~/.config/fish/completions/symbolon.fish")]
pub(crate) struct Args {
    /// The shell
    shell: Shell,
}

pub(crate) fn run(args: &Args, context: &Context) -> Result<(), Error> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut args::Args::command(), "symbolon", &mut script);
    if context.out.is_json() {
        let script = String::from_utf8_lossy(&script).into_owned();
        return context.out.event(&Completions { shell: args.shell.to_string(), script });
    }
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(&script).and_then(|()| stdout.flush()).or_else(stdout_failed)
}
