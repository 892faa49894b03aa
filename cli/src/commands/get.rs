//! `symbolon get`: fetch a file, by name or with a grant; `folder::get` fetches a folder.

use std::{ffi::OsString, os::unix::ffi::OsStrExt, path::PathBuf};

use symbolon_client::{
    Client, ClientError, GetOptions, GetOutcome, GetReport, GrantToken, Progress, Readable,
    Replace, Sink, TransferError, shown,
};
use symbolon_protocol::{session::NodeFault, wire::storage::RefusalCode};
use symbolon_view::get::FileFetched;

use super::{
    folder::{self, bytes},
    order,
};
use crate::{
    context::{self, Context},
    error::Error,
    grants,
    interrupt::{self, Interrupt},
    output::{Output, Report},
    progress, target,
    units::{self, ByteRange, show_size},
};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  symbolon get report.pdf
  symbolon get report.pdf -o /tmp/copy.pdf
  symbolon get photos.tar -o - | tar t
  symbolon get @grant.txt -o data.csv
  symbolon get big.iso --range 1MiB-2MiB -o part.bin
  symbolon get log.txt --range -64KiB -o -        the last 64 KiB
  symbolon get photos -o ~/restored          a folder and everything in it
  symbolon get 'photos/**/*.jpg' -o jpgs     every file that matches a pattern
  symbolon get notes.txt --number 3 -o old.txt

After an interruption (Ctrl-C, a crash), run the same command again: a whole file goes on where it stopped.
Every byte is checked before it is written; bytes that fail the check are never written. An existing
file with the same content is left alone.")]
pub(crate) struct Args {
    /// A name, folder or pattern; or a grant: grant1..., @FILE, - for stdin
    what: OsString,
    /// Where to write: a file, or an existing folder; - writes to stdout [default: the last part of the
    /// name, in the current folder]
    #[arg(long, short, value_name = "PATH")]
    output: Option<PathBuf>,
    /// Fetch only these bytes (the end is not included): 1MiB-2MiB, 0..1MiB, 4096- (to the end), -1MiB (the last MiB)
    #[arg(
        long,
        value_name = "RANGE",
        value_parser = units::range,
        allow_hyphen_values = true
    )]
    range: Option<ByteRange>,
    /// Overwrite an existing file
    #[arg(long)]
    replace: bool,
    /// Fetch this version of the file; `symbolon versions` lists them
    #[arg(long, value_name = "NUMBER")]
    number: Option<u64>,
    /// If a bought file is not what was listed, complain to the ledger without asking
    #[arg(long)]
    auto_dispute: bool,
    /// Skip files of a folder that match: *.tmp, build/, photos/**/raw
    #[arg(long, value_name = "GLOB")]
    exclude: Vec<OsString>,
}

pub(crate) async fn run(mut args: Args, context: &Context) -> Result<Report, Error> {
    args.output = args.output.map(target::named);
    let (what, own_name) = readable(&args)?;
    let ahead = async |client: &Client| {
        if let Ok(what) = &what {
            client.ahead_of_get(what).await;
        }
    };
    let client = context.client_synced_ahead(ahead).await?;
    if !matches!(what, Ok(Readable::Token(_) | Readable::Version(..))) {
        let options = folder::options(&args.exclude, None);
        let output = args.output.as_deref();
        let plan = client.plan_get(&folder::pattern(&args.what), output, &options).await?;
        if let Some(plan) = plan {
            if args.range.is_some() || args.output.as_deref().is_some_and(target::is_stdout) {
                return Err(Error::usage("a folder has no range, and cannot go to stdout")
                    .hint("write it somewhere: -o DIR"));
            }
            let bring = folder::get::Bring {
                plan,
                replace: args.replace,
                dry_run: false,
                yes: true,
                from: shown(bytes(&args.what)),
                max_delete: None,
            };
            let report = bring.run(&client, context).await;
            context::close(client).await;
            return report;
        }
    }
    if let Ok(Readable::Token(token)) = &what
        && token.is_folder()
    {
        let report = get_shared(&args, token, &client, context).await;
        context::close(client).await;
        return report;
    }
    let output = match args.output {
        // Into an existing folder, under its own name.
        Some(path) if path.is_dir() => path.join(own_name),
        Some(path) => path,
        None => own_name,
    };
    let fetch = Fetch { what: what?, output, range: args.range, replace: args.replace };
    let order = order::of_grant(&fetch.what);
    let report = fetch.run(&client, &context.out, &mut Interrupt::listen()).await;
    let report = match (report, order) {
        (Err(error), Some(order)) => {
            Err(order::after_failure(&client, order, error, args.auto_dispute, context).await)
        }
        (report, _) => report,
    };
    context::close(client).await;
    report
}

/// Fetches the folder of a grant.
async fn get_shared(
    args: &Args,
    token: &GrantToken,
    client: &Client,
    context: &Context,
) -> Result<Report, Error> {
    if args.range.is_some() || args.output.as_deref().is_some_and(target::is_stdout) {
        return Err(Error::usage(
            "the grant is for a folder, which has no range and cannot go to stdout",
        )
        .hint("write it somewhere: -o DIR"));
    }
    let explained = |error: ClientError| {
        let codes = refusals(&error);
        explain(error.into(), token, &codes)
    };
    let plan = client.plan_get_shared(token, args.output.as_deref()).await.map_err(explained)?;
    let bring = folder::get::Bring {
        plan,
        replace: args.replace,
        dry_run: false,
        yes: true,
        from: String::from("the folder of the grant"),
        max_delete: None,
    };
    bring.run(client, context).await
}

/// The file that was named, by its name or a grant, and the local file name it would get.
fn readable(args: &Args) -> Result<(Result<Readable, Error>, PathBuf), Error> {
    if let Some(text) = args.what.to_str()
        && grants::looks_like_one(text)
    {
        let token = grants::parse(text)?;
        let object = token.manifest.object.to_string();
        let own = PathBuf::from(format!("grant-{}", &object[..8]));
        return Ok((Ok(token.into()), own));
    }
    let name = bytes(&args.what);
    let last = name.rsplit(|byte| *byte == b'/').next().unwrap_or(name);
    let own = PathBuf::from(std::ffi::OsStr::from_bytes(last));
    let name = folder::name(&args.what);
    let what = name.map(|name| match args.number {
        Some(number) => Readable::Version(name, number),
        None => Readable::Name(name),
    });
    Ok((what, own))
}

/// A fetch to be done; `buy` does one too.
#[derive(Debug)]
pub(crate) struct Fetch {
    pub(crate) what: Readable,
    pub(crate) output: PathBuf,
    pub(crate) range: Option<ByteRange>,
    pub(crate) replace: bool,
}

impl Fetch {
    /// Fetches it and reports.
    pub(crate) async fn run(
        self,
        client: &Client,
        out: &Output,
        interrupt: &mut Interrupt,
    ) -> Result<Report, Error> {
        let stdout = target::is_stdout(&self.output);
        let (document, sentence) = self.run_told(client, out, interrupt).await?;
        if stdout {
            out.note(&sentence);
            // Nothing may follow the file's bytes on stdout.
            return Ok(Report::nothing());
        }
        Ok(Report::new(&document).text(sentence))
    }

    /// Fetches it; returns the result as a document and as a sentence.
    pub(crate) async fn run_told(
        self,
        client: &Client,
        out: &Output,
        interrupt: &mut Interrupt,
    ) -> Result<(FileFetched, String), Error> {
        let stdout = target::is_stdout(&self.output);
        if stdout && out.is_json() {
            return Err(Error::usage("stdout cannot take both the file and a JSON document")
                .hint("write the file somewhere: -o PATH"));
        }
        let sink = match stdout {
            true => Sink::writer("standard output", tokio::io::stdout()),
            false => Sink::File(self.output.clone()),
        };
        let range = match self.range {
            Some(range) => {
                let silent = Progress::silent();
                let opened = interrupt.or(client.open(&self.what, &silent)).await;
                let opened = opened.ok_or_else(|| {
                    let message = String::from("get stopped before it began");
                    interrupt::stopped(message, "the same command again starts from the beginning")
                })??;
                Some(range.within(opened.length()))
            }
            None => None,
        };
        let options = GetOptions {
            range,
            replace: if self.replace { Replace::Overwrite } else { Replace::Refuse },
        };
        let bar = progress::bar(out, "fetching");
        let got = interrupt.or(client.get(&self.what, sink, &options, &bar.progress())).await;
        bar.finish();
        let Some(got) = got else {
            let message = format!("get stopped at {}", bar.so_far());
            let goes_on = !stdout && range.is_none();
            return Err(interrupt::stopped(
                message,
                match goes_on {
                    true => "run the same command again to go on from here",
                    false => "the same command again starts from the beginning",
                },
            ));
        };
        let got = got.map_err(|error| self.explained(error))?;
        for fault in got.faults.iter().filter(|fault| fault.fault == NodeFault::Corrupt) {
            let node = &fault.node.to_string()[..16];
            out.note(&format!(
                "Node {node} sent damaged bytes of shard {}; other nodes sent what was needed.",
                fault.index
            ));
        }
        let path = if stdout { "stdout".into() } else { self.output.display().to_string() };
        Ok((FileFetched::new(&path, &got), sentence(&got, &path)))
    }
}

impl Fetch {
    /// The error, with what the grant says of the limit that ended the access.
    fn explained(&self, error: ClientError) -> Error {
        let codes = refusals(&error);
        let explained = Error::from(error);
        match &self.what {
            Readable::Token(token) => explain(explained, token, &codes),
            _ => explained,
        }
    }
}

/// The codes with which nodes refused a read.
fn refusals(error: &ClientError) -> Vec<RefusalCode> {
    let ClientError::Transfer(TransferError::NotEnoughShards { faults, .. }) = error else {
        return Vec::new();
    };
    let code = |fault: &NodeFault| match fault {
        NodeFault::Refused { code } => Some(*code),
        _ => None,
    };
    faults.iter().filter_map(|(_, fault)| code(fault)).collect()
}

/// Adds what a grant says of the limit for which nodes refused.
pub(crate) fn explain(mut error: Error, token: &GrantToken, codes: &[RefusalCode]) -> Error {
    if let Some(limit) = codes.iter().find_map(|code| grants::limit(token, *code)) {
        error.message = format!("{}; the grant says: {limit}", error.message);
    }
    if codes.contains(&RefusalCode::NotAllowed)
        && let Some((from, to)) = grants::bytes_of_cells(token)
    {
        error.hint = Some(format!("fetch what the grant covers with: --range {from}..{to}"));
    }
    error
}

fn sentence(got: &GetReport, path: &str) -> String {
    if got.outcome == GetOutcome::Already {
        let paid = if got.acknowledged.is_some() { " The purchase is acknowledged." } else { "" };
        let size = show_size(got.length);
        return format!("{path} already has all {size} as stored; nothing was fetched.{paid}");
    }
    let checked = if got.checked_root { ", checked against its content root" } else { "" };
    let paid = match got.acknowledged {
        Some(_) => "; the purchase is acknowledged",
        None => "",
    };
    let kept = match got.kept {
        0 => String::new(),
        kept => format!(" ({} of it from an earlier get)", show_size(kept)),
    };
    format!("Wrote {} to {path}{kept}{checked}{paid}.", show_size(got.length))
}
