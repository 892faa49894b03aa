//! Grants, recipients and accounts as they are typed.

use std::{
    fs::{File, OpenOptions},
    io::{ErrorKind, Read as _, Write as _},
    path::Path,
};

use symbolon_protocol::{
    LedgerTime, Millis,
    grant::{Caveat, GrantToken, Voucher, VoucherError, ability},
    id::{AccountId, Hash, LinkId},
    identity::Recipient,
    limits::CELL_PLAIN_BYTES,
    wire::storage::RefusalCode,
};
use zeroize::Zeroizing;

use crate::{
    error::{Error, Kind},
    home::{self, Home},
    output::Output,
    target,
    units::{self, When},
    unseen,
};

/// Bytes read of a file or of stdin for a grant or recipient: several times the longest text.
const TEXT_BYTES_MAX: u64 = 64 * 1024;

/// Checks that a grant can be written to a path. A file that exists there must be a grant too.
pub(crate) fn check_target(path: &Path) -> Result<(), Error> {
    if target::is_stream(path) {
        return Ok(());
    }
    let mut begins = [0; GRANT_BEGINS.len()];
    let is_ours =
        |begins: &[u8]| begins == GRANT_BEGINS || begins == &VOUCHER_BEGINS[..begins.len()];
    let is_other = match path.symlink_metadata() {
        Err(error) => error.kind() != ErrorKind::NotFound,
        Ok(about) if !about.is_file() => true,
        Ok(_) => {
            let read = File::open(path).and_then(|mut file| file.read_exact(&mut begins));
            read.is_err() || !is_ours(&begins)
        }
    };
    if is_other {
        return Err(Error::new(
            Kind::Exists,
            format!("{} is there and is no grant", path.display()),
        )
        .hint("write the grant to another file: -o NAME.grant"));
    }
    target::check(path, 0)
}

/// Writes a grant to a file. Replaces an existing file only if it is a grant too.
pub(crate) fn write(path: &Path, text: &str) -> Result<(), Error> {
    check_target(path)?;
    let line = format!("{text}\n");
    if target::is_stream(path) {
        let written = OpenOptions::new().write(true).open(path);
        let written = written.and_then(|mut stream| stream.write_all(line.as_bytes()));
        return written.map_err(|error| Error::io("write to", path, &error));
    }
    home::write_whole(path, line.as_bytes())
}

const GRANT_BEGINS: &[u8; 6] = b"grant1";
const VOUCHER_BEGINS: &[u8; 8] = b"symbolon";

/// Limits of a grant.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Limits")]
pub(crate) struct Limits {
    /// Until when: 30d, 2026-12-31
    #[arg(long, value_name = "WHEN", value_parser = units::when)]
    until: Option<When>,
    /// From when on: 1h, 2026-12-31
    #[arg(long, value_name = "WHEN", value_parser = units::when)]
    from: Option<When>,
    /// Only these cells of the file, in file order: 0..16. Nodes serve whole rows of cells, as many as
    /// shards suffice, so neighbours in the first and last row are readable too
    #[arg(long, value_name = "RANGE", value_parser = units::cells)]
    cells: Option<(u64, u64)>,
    /// At most this many reads on any one node
    #[arg(long, value_name = "COUNT")]
    reads: Option<u64>,
    /// At most this many bytes from any one node
    #[arg(long, value_name = "SIZE", value_parser = units::size)]
    bytes: Option<u64>,
    /// How often it may be passed on, 0 for never
    #[arg(long, value_name = "TIMES")]
    pass_on: Option<u8>,
    /// Only for the purpose that this text describes: a text, or @FILE. The grant has the text's hash; no node can
    /// check what somebody does with the file
    #[arg(long, value_name = "TEXT")]
    purpose: Option<String>,
    /// Only at nodes that have a block of the ledger not older than this, so that a revocation counts at the latest
    /// then. A quiet ledger makes one block in an epoch: with less than that, nodes refuse while it is quiet
    #[arg(long, value_name = "AGE", value_parser = units::duration)]
    fresh: Option<u64>,
    /// What the holder may do: read, verify, repair, store, delete; without this, read and verify
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    may: Vec<Ability>,
}

/// What a grant may allow.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Ability {
    /// Read the file
    Read,
    /// Ask nodes whether they still have the shards
    Verify,
    /// Read shards to rebuild lost ones
    Repair,
    /// Send shards to nodes; the owner pays
    Store,
    /// Make nodes delete shards at once whose time is over
    Delete,
}

impl Ability {
    fn bit(self) -> u16 {
        match self {
            Self::Read => ability::READ,
            Self::Verify => ability::VERIFY,
            Self::Repair => ability::REPAIR,
            Self::Store => ability::STORE,
            Self::Delete => ability::DELETE,
        }
    }
}

/// How long a voucher lasts if its maker does not say: long enough for a person to answer a message.
const VOUCHER_TERM: Millis = Millis::DAY.saturating_mul(7);

/// Bytes of a purpose's text at most: a licence is shorter.
const PURPOSE_BYTES_MAX: u64 = 1 << 20;

impl Limits {
    /// As caveats.
    pub(crate) fn caveats(&self, now_ms: LedgerTime) -> Result<Vec<Caveat>, Error> {
        let not_after = self.until.map(|when| when.at(now_ms));
        let not_before = self.from.map(|when| when.at(now_ms));
        if not_after.is_some_and(|end| end <= now_ms.max(not_before.unwrap_or(LedgerTime::ZERO))) {
            return Err(Error::usage("the grant would end before it begins"));
        }
        let mut caveats = Vec::new();
        caveats.extend(not_before.map(|time_ms| Caveat::NotBefore { time_ms }));
        caveats.extend(not_after.map(|time_ms| Caveat::NotAfter { time_ms }));
        caveats.extend(self.cells.map(|(first, end)| Caveat::Cells { first, end }));
        caveats.extend(self.reads.map(|count| Caveat::NodeReads { count }));
        caveats.extend(self.bytes.map(|bytes| Caveat::NodeBytes { bytes }));
        caveats.extend(self.pass_on.map(|links| Caveat::Depth { links }));
        caveats.extend(self.fresh.map(|ms| Caveat::Staleness { max_ms: Millis(ms) }));
        if !self.may.is_empty() {
            let set = self.may.iter().fold(0, |set, one| set | one.bit());
            caveats.push(Caveat::Abilities { set });
        }
        if let Some(purpose) = &self.purpose {
            let text = home::text_or_file(purpose, PURPOSE_BYTES_MAX)?;
            caveats.push(Caveat::Purpose { hash: Hash(*blake3::hash(text.as_bytes()).as_bytes()) });
        }
        Ok(caveats)
    }

    /// As caveats of a voucher. It always has an end, and is for one link more: its redeemer's.
    pub(crate) fn of_voucher(&self, now_ms: LedgerTime) -> Result<Vec<Caveat>, Error> {
        let mut caveats = self.caveats(now_ms)?;
        let mut until_ms = now_ms.saturating_add(VOUCHER_TERM);
        for caveat in &mut caveats {
            match caveat {
                Caveat::NotAfter { time_ms } => until_ms = *time_ms,
                Caveat::Depth { links } => *links = links.saturating_add(1),
                _ => {}
            }
        }
        caveats.retain(|caveat| !matches!(caveat, Caveat::NotAfter { .. }));
        caveats.push(Caveat::Once { until_ms });
        Ok(caveats)
    }

    /// Whether only some cells are granted.
    pub(crate) fn names_cells(&self) -> bool {
        self.cells.is_some()
    }
}

/// Why a folder is not limited to cells.
pub(crate) fn no_cells_of_a_folder() -> Error {
    Error::usage("cells are those of one file, and this is a folder")
        .hint("share the file by itself, or the folder without --cells")
}

/// What a grant says about the limit for which nodes refuse with a code, in words; nothing if it says nothing about it.
pub(crate) fn limit(token: &GrantToken, code: RefusalCode) -> Option<String> {
    use Caveat as C;
    let is_meant = |caveat: &&Caveat| match code {
        RefusalCode::OutOfTime => matches!(caveat, C::NotBefore { .. } | C::NotAfter { .. }),
        RefusalCode::QuotaUsed => matches!(caveat, C::NodeReads { .. } | C::NodeBytes { .. }),
        RefusalCode::NotAllowed => {
            matches!(caveat, C::Cells { .. } | C::Abilities { .. } | C::Purpose { .. })
        }
        RefusalCode::Stale => matches!(caveat, C::Staleness { .. }),
        _ => false,
    };
    let caveats = token.grant.links.iter().flat_map(|link| &link.caveats);
    let mut words: Vec<_> = caveats.filter(is_meant).map(ToString::to_string).collect();
    if let (RefusalCode::OutOfTime, Some(sale)) = (code, token.grant.sale) {
        words.push(C::NotAfter { time_ms: sale.ends_ms }.to_string());
    }
    words.dedup();
    (!words.is_empty()).then(|| words.join("; "))
}

/// The bytes of the file that a grant for some cells covers.
pub(crate) fn bytes_of_cells(token: &GrantToken) -> Option<(u64, u64)> {
    let caveats = token.grant.links.iter().flat_map(|link| &link.caveats);
    let cells = caveats.filter_map(|caveat| match caveat {
        Caveat::Cells { first, end } => Some((*first, *end)),
        _ => None,
    });
    let (first, end) = cells.reduce(|(first, end), (from, to)| (first.max(from), end.min(to)))?;
    let byte = |cell: u64| cell.saturating_mul(CELL_PLAIN_BYTES as u64).min(token.manifest.length);
    (byte(first) < byte(end)).then(|| (byte(first), byte(end)))
}

/// The voucher in a file, on stdin, or as the user types it unseen. An argument would show it to other users.
pub(crate) fn read_voucher(from: Option<&str>, out: &Output) -> Result<Voucher, Error> {
    let text = match from {
        Some(text) if text != "-" && !text.starts_with('@') => {
            return Err(in_a_command());
        }
        Some(text) => Zeroizing::new(home::text_or_file(text, TEXT_BYTES_MAX)?),
        None if out.can_ask() => unseen::ask("Voucher (not shown): ", out)?,
        None => Zeroizing::new(home::text_or_file("-", TEXT_BYTES_MAX)?),
    };
    Voucher::parse(&text).map_err(|error| no_voucher(&error))
}

fn in_a_command() -> Error {
    let message =
        "a voucher is a secret, and other users of this machine can see what stands in a command";
    Error::usage(message).hint("put it into a file, and give @FILE; or give it on stdin: -")
}

fn no_voucher(error: &VoucherError) -> Error {
    Error::new(Kind::Corrupt, format!("this is not a voucher: {error}")).hint(
        "a voucher is one line that begins with symbolon://redeem/; check that it was copied whole",
    )
}

/// Whether a text names a grant rather than a file.
pub(crate) fn looks_like_one(text: &str) -> bool {
    text == "-" || text.starts_with('@') || text.starts_with("grant1")
}

/// The grant in a text, a file or stdin.
pub(crate) fn parse(text: &str) -> Result<GrantToken, Error> {
    let token = home::text_or_file(text, TEXT_BYTES_MAX)?;
    if Voucher::looks_like_one(&token) {
        let message = "this is a voucher: it allows nothing before it is redeemed";
        return Err(
            Error::new(Kind::NotAllowed, message).hint("redeem it with: symbolon redeem @FILE")
        );
    }
    parsed(&token)
}

/// The same for one that is only looked at or revoked: a voucher in a file or on stdin will do.
pub(crate) fn parse_given(text: &str) -> Result<GrantToken, Error> {
    let read = Zeroizing::new(home::text_or_file(text, TEXT_BYTES_MAX)?);
    if !Voucher::looks_like_one(&read) {
        return parsed(&read);
    }
    // Refuses one that stands in the command, and does not repeat it.
    if text != "-" && !text.starts_with('@') {
        return Err(in_a_command());
    }
    let voucher = Voucher::parse(&read).map_err(|error| no_voucher(&error))?;
    Ok(voucher.token().clone())
}

fn parsed(token: &str) -> Result<GrantToken, Error> {
    GrantToken::parse(token).map_err(|error| {
        Error::new(Kind::Corrupt, format!("this is not a grant: {error}"))
            .hint("a grant is one line that begins with grant1; check that it was copied whole")
    })
}

/// The recipient in a text, a file, stdin, or of an identity in this home.
pub(crate) fn recipient(text: &str, home: &Home) -> Result<Recipient, Error> {
    let text = if text == "-" || text.starts_with('@') {
        home::text_or_file(text, TEXT_BYTES_MAX)?
    } else {
        text.to_owned()
    };
    if text.starts_with("recipient1") {
        return Recipient::parse(&text).map_err(|error| {
            Error::new(Kind::Corrupt, format!("this is not a recipient: {error}"))
                .hint("it is one line, printed by: symbolon id")
        });
    }
    let local = home.identity(&text).map(|folder| folder.join("recipient"));
    match local.and_then(|path| home::read_if_there(&path)) {
        Ok(Some(bytes)) => Recipient::parse(&String::from_utf8_lossy(&bytes)).map_err(|error| {
            Error::new(Kind::Corrupt, format!("the recipient file of {text} is damaged: {error}"))
                .hint(format!("run: symbolon id --as {text}"))
        }),
        _ => {
            let message = format!("{text:?} is neither a recipient nor an identity of this home");
            Err(Error::new(Kind::NotFound, message)
                .hint("give the recipient1... text that `symbolon id` prints on their machine"))
        }
    }
}

/// The account in a text: 64 hexadecimal digits, or a recipient in any of its forms.
pub(crate) fn account(text: &str, home: &Home) -> Result<AccountId, Error> {
    match text.parse() {
        Ok(account) => Ok(account),
        Err(_) => recipient(text, home).map(|recipient| recipient.account),
    }
}

/// The last link of a grant, which names its holder. To revoke it ends this grant and all grants made from it.
pub(crate) fn last_link(token: &GrantToken) -> LinkId {
    let ids = token.verify().map(|verified| verified.link_ids()).unwrap_or_default();
    ids.last().copied().unwrap_or(LinkId([0; 16]))
}
