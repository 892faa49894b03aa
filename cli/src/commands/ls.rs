//! `symbolon ls`: list stored names.

mod all;

use std::{collections::BTreeMap, ffi::OsString};
use symbolon_protocol::LedgerTime;

use symbolon_client::{Client, FileView, Listed, Name, NameKind, NameView, shown};
use symbolon_view::names::{Entry, Names, Within};

use self::all::Listing;
use super::folder::{self, first_few, pattern};
use crate::{
    context::{self, Context},
    error::Error,
    names,
    output::{Align, Report, Table},
    units::{count, show_size, show_time},
};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  symbolon ls
  symbolon ls photos -l
  symbolon ls -r 'photos/**/*.jpg'
  symbolon ls --json

The list of this identity's names is kept on this machine, so ls needs no network. When the ledger
answers, ls adds what your other devices stored. Bytes that are not text are shown as \\xHH, a backslash
as two.")]
pub(crate) struct Args {
    /// A name, folder or pattern: *, ?, [a-z], ** for any number of folders
    name: Option<OsString>,
    /// Show permissions, times and versions
    #[arg(long, short)]
    long: bool,
    /// List folders and everything inside them
    #[arg(long, short)]
    recursive: bool,
    /// List only removed names with kept versions
    #[arg(long)]
    deleted: bool,
    /// Also list the descriptions and previews that are stored for your listings
    #[arg(long)]
    all: bool,
}

/// A line of the list: a name, or a folder with a summary of its content.
enum Line {
    Name(NameView),
    Folder { name: String, within: Within, own: Option<NameView> },
}

pub(crate) async fn run(args: &Args, context: &Context) -> Result<Report, Error> {
    let client = context.client_local().await?;
    let now_ms = names::now_ms(&client, context).await;
    let listed = list(args, &client, now_ms, context).await;
    context::close(client).await;
    listed
}

async fn list(
    args: &Args,
    client: &Client,
    now_ms: LedgerTime,
    context: &Context,
) -> Result<Report, Error> {
    let unfinished = client.unfinished().await?;
    if !unfinished.is_empty() {
        let names = first_few(&unfinished);
        context.out.note(&format!("Unfinished: {names}. The same put goes on, rm gives it up."));
    }
    let public = if args.all { client.public_files().await? } else { Vec::new() };
    let what = name(args);
    let there = match &what {
        Some(Ok(name)) => client.is_there(name).await?,
        Some(Err(_)) => false,
        None => true,
    };
    let what = what.and_then(Result::ok);
    // The matches of a pattern are sorted as a whole. The sums of folders are in the index, most of the time.
    let recursive = args.recursive;
    let streams = match &what {
        _ if args.deleted || !there => false,
        _ if recursive => true,
        Some(name) if !client.is_folder(name).await? => false,
        _ => client.all_is_well(now_ms).await?,
    };
    if streams {
        let listing = Listing { client, what, recursive, public: &public, long: args.long, now_ms };
        let any = listing.print(&context.out).await?;
        return Ok(match any || context.out.is_json() {
            true => Report::nothing(),
            false => Report::new(&Names { files: Vec::new() }).text(nothing(args)),
        });
    }
    let mut lines = lines(args, client, now_ms).await?;
    let mut files = 0;
    let mut bytes = 0;
    for line in &lines {
        let (one, length) = line.counts();
        files += one;
        bytes += length;
    }
    files += public.len() as u64;
    bytes += public.iter().map(|file| file.length).sum::<u64>();
    lines.sort_by_cached_key(Line::name);
    let entries = lines.iter().map(|line| line.entry(now_ms));
    let entries = entries.chain(public.iter().map(|file| Entry::file(file, now_ms)));
    let names: Vec<_> = lines.iter().map(Line::name).collect();
    let report = Report::new(&Names { files: entries.collect() });
    if lines.is_empty() && public.is_empty() {
        return Ok(report.text(nothing(args)));
    }
    let table =
        if args.long { long_table(&lines, &public) } else { table(&lines, &public, now_ms) };
    let total = format!("{}, {}", count(files, "file"), show_size(bytes));
    Ok(report.table(table).text(total).essence(names.join("\n")))
}

fn nothing(args: &Args) -> &'static str {
    match args.deleted {
        true => "No removed names with kept versions.",
        false => "No files yet. Store one: symbolon put PATH",
    }
}

/// The name whose content is listed; `None` for all names. The text may also be a pattern, or no valid name.
fn name(args: &Args) -> Option<Result<Name, Error>> {
    args.name.as_deref().filter(|typed| !typed.is_empty()).map(folder::name)
}

/// The lines to list: the names asked for, and for a folder the names directly in it.
async fn lines(args: &Args, client: &Client, now_ms: LedgerTime) -> Result<Vec<Line>, Error> {
    let views = client.names(args.name.as_deref().map(pattern).as_ref(), args.deleted).await?;
    if args.recursive || args.deleted {
        return Ok(views.into_iter().map(Line::Name).collect());
    }
    // A folder that is named is opened; folders that match a pattern are not.
    let (opened, depth) = match name(args).transpose()? {
        None => (None, 1),
        Some(name) if client.is_folder(&name).await? => {
            let depth = parts(name.as_bytes()) + 1;
            (Some(name), depth)
        }
        Some(pattern) => (None, parts(pattern.as_bytes())),
    };
    let mut lines = Vec::new();
    let mut folders: BTreeMap<Vec<u8>, (Within, Option<NameView>)> = BTreeMap::new();
    for view in views {
        let name = view.name.as_bytes();
        let is_folder = matches!(view.kind, NameKind::Folder);
        if opened.as_ref() == Some(&view.name) && is_folder {
            continue;
        }
        if parts(name) <= depth && !is_folder {
            lines.push(Line::Name(view));
            continue;
        }
        let (within, own) = folders.entry(first_parts(name, depth)).or_default();
        match view.kind {
            NameKind::Folder if parts(name) <= depth => *own = Some(view),
            NameKind::File(file) => {
                within.files += 1;
                within.length += file.length;
                within.over += u64::from(file.paid_until_ms <= now_ms);
            }
            _ => {}
        }
    }
    let folders = folders.into_iter();
    lines.extend(folders.map(|(name, (within, own))| {
        let name = shown(&name);
        Line::Folder { name, within, own }
    }));
    Ok(lines)
}

fn parts(name: &[u8]) -> usize {
    name.split(|byte| *byte == b'/').count()
}

fn first_parts(name: &[u8], count: usize) -> Vec<u8> {
    let parts: Vec<_> = name.split(|byte| *byte == b'/').take(count).collect();
    parts.join(&b'/')
}

fn permissions(view: &NameView) -> String {
    let letter = match view.kind {
        NameKind::File(_) | NameKind::Lost { .. } => '-',
        NameKind::Link { .. } => 'l',
        NameKind::Folder => 'd',
    };
    let mut text = String::from(letter);
    for shift in [6, 3, 0] {
        let bits = view.mode >> shift;
        for (bit, letter) in [(4, 'r'), (2, 'w'), (1, 'x')] {
            text.push(if bits & bit == 0 { '-' } else { letter });
        }
    }
    text
}

fn changed(view: &NameView) -> String {
    show_time(u64::try_from(view.modified_ns / 1_000_000).unwrap_or(0))
}

impl From<Listed> for Line {
    fn from(listed: Listed) -> Self {
        match listed {
            Listed::Name(view) => Self::Name(view),
            Listed::Folder { name, files, bytes, own } => {
                let within = Within { files, length: bytes, over: 0 };
                Self::Folder { name: shown(&name), within, own }
            }
        }
    }
}

impl Line {
    /// The number of files that the line stands for, and their bytes.
    fn counts(&self) -> (u64, u64) {
        match self {
            Self::Folder { within, .. } => (within.files, within.length),
            Self::Name(NameView { kind: NameKind::File(file), .. }) => (1, file.length),
            Self::Name(_) => (0, 0),
        }
    }

    fn name(&self) -> String {
        match self {
            Self::Name(view) => match &view.kind {
                NameKind::Folder => format!("{}/", view.name),
                _ => view.name.to_string(),
            },
            Self::Folder { name, .. } => format!("{name}/"),
        }
    }

    fn view(&self) -> Option<&NameView> {
        match self {
            Self::Name(view) => Some(view),
            Self::Folder { own, .. } => own.as_ref(),
        }
    }

    fn entry(&self, now_ms: LedgerTime) -> Entry {
        match self {
            Self::Name(view) => Entry::name(view, now_ms),
            Self::Folder { name, within, own } => Entry::folder(name, *within, own.as_ref()),
        }
    }
}

fn size(line: &Line) -> String {
    match line {
        Line::Name(NameView { kind: NameKind::File(file), .. }) => show_size(file.length),
        Line::Folder { within, .. } => show_size(within.length),
        Line::Name(NameView { kind: NameKind::Lost { .. }, .. }) => "lost".to_owned(),
        Line::Name(_) => String::new(),
    }
}

/// Until when a file is paid for, or since when it is over.
fn paid(file: &FileView, now_ms: LedgerTime) -> String {
    let time = show_time(file.paid_until_ms);
    if file.paid_until_ms <= now_ms { format!("over since {time}") } else { time }
}

fn columns() -> [(&'static str, Align); 5] {
    [
        ("SIZE", Align::Right),
        ("STORED", Align::Left),
        ("PAID UNTIL", Align::Left),
        ("SHARDS", Align::Right),
        ("NAME", Align::Left),
    ]
}

fn file_row(file: &FileView, now_ms: LedgerTime) -> Vec<String> {
    vec![
        show_size(file.length),
        show_time(file.stored_ms),
        paid(file, now_ms),
        format!("{} of {}", file.scheme.required, file.scheme.total),
        file.name.to_string(),
    ]
}

fn row(line: &Line, now_ms: LedgerTime) -> Vec<String> {
    let other = |over| vec![size(line), String::new(), over, String::new(), line.name()];
    match line {
        Line::Name(NameView { kind: NameKind::File(file), .. }) => file_row(file, now_ms),
        Line::Folder { within, .. } if within.over > 0 => {
            other(format!("{} over", count(within.over, "file")))
        }
        _ => other(String::new()),
    }
}

fn table(lines: &[Line], public: &[FileView], now_ms: LedgerTime) -> Table {
    let mut table = Table::new(&columns());
    for line in lines {
        table.row(row(line, now_ms));
    }
    for file in public {
        table.row(file_row(file, now_ms));
    }
    table
}

fn long_columns() -> [(&'static str, Align); 5] {
    [
        ("MODE", Align::Left),
        ("SIZE", Align::Right),
        ("VERSIONS", Align::Right),
        ("CHANGED", Align::Left),
        ("NAME", Align::Left),
    ]
}

fn long_file_row(file: &FileView) -> Vec<String> {
    let stored = show_time(file.stored_ms);
    vec![String::new(), show_size(file.length), String::new(), stored, file.name.to_string()]
}

fn long_row(line: &Line) -> Vec<String> {
    let view = line.view();
    let target = match view.map(|view| &view.kind) {
        Some(NameKind::Link { target }) => format!(" -> {}", shown(target)),
        _ => String::new(),
    };
    vec![
        view.map_or_else(String::new, permissions),
        size(line),
        view.map_or_else(String::new, |view| view.versions.to_string()),
        view.map_or_else(String::new, changed),
        line.name() + &target,
    ]
}

fn long_table(lines: &[Line], public: &[FileView]) -> Table {
    let mut table = Table::new(&long_columns());
    for line in lines {
        table.row(long_row(line));
    }
    for file in public {
        table.row(long_file_row(file));
    }
    table
}
