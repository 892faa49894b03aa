//! `symbolon ledger doctor`: everything about a machine's ledger that can be checked from there. It writes nothing.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use symbolon_ledger::{Ledger, LedgerTicket, Opened, Remote};
use symbolon_net::{Endpoint, PeerAddress, peer_id};
use symbolon_protocol::{
    id::{AccountId, PeerId},
    ledger::rows::{Chain, DutiesTable, ValidatorRow, ValidatorState, ValidatorsTable},
};
use symbolon_view::operator::{CheckKind, LedgerDiagnosis};

use crate::{
    checks::Checks,
    context::{self, Context},
    error::Error,
    founding::Founded,
    home::{self, Home},
    output::Report,
    stamp,
    units::{count, show_amount, show_duration, show_size, show_time},
};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  symbolon ledger doctor --dir /srv/ledger
  symbolon ledger doctor --dir /srv/validator --ledger @ticket.txt --json
  symbolon ledger doctor --dir /srv/ledger --quick

Stop the ledger to have its file checked too: all rows, and the last blocks. One that runs is asked where it listens.
Nothing is written. If something does not work, the exit code is 15, and the document of the error lists all checks.")]
pub(super) struct Args {
    /// The folder of a ledger, a validator or a mirror
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// Do not read all rows, and check only the last few blocks
    #[arg(long)]
    quick: bool,
}

/// What is known of the machine.
struct Machine<'a> {
    dir: &'a Path,
    own: Option<AccountId>,
    context: &'a Context,
}

/// What was found of its ledger.
struct Found {
    ledger: Ledger,
    chain: Chain,
}

pub(super) async fn run(args: &Args, context: &Context) -> Result<Report, Error> {
    let mut checks = Checks::default();
    let own = key(&args.dir, &mut checks)?;
    let machine = Machine { dir: &args.dir, own, context };
    let ticket = machine.ticket()?.unwrap_or_else(no_ticket);
    let endpoint = context.endpoint(&ticket, context.host.random()).await?;
    let found = match Home::at(args.dir.clone()).running() {
        _ if !args.dir.is_dir() => None,
        Some(pid) => machine.running(pid, &endpoint, &mut checks).await?,
        None => machine.stopped(args.quick, &mut checks).await?,
    };
    machine.room(&mut checks);
    if let Some(found) = &found {
        money(&found.ledger, &mut checks).await;
        machine.place(found, &mut checks).await?;
        machine.others(found, &endpoint, &mut checks).await?;
    }
    context::hang_up(endpoint).await;
    let (healthy, list) = (checks.are_good(), checks.list().to_vec());
    let chain = found.as_ref().map(|found| &found.chain);
    let document = LedgerDiagnosis {
        chain: chain.map(|chain| chain.id.into()),
        validator: own.map(Into::into),
        height: chain.map(|chain| chain.height),
        healthy,
        checks: list,
    };
    checks.end(&document, context)
}

/// A ticket of no ledger, for an endpoint that calls none.
fn no_ticket() -> LedgerTicket {
    LedgerTicket { chain: symbolon_protocol::id::ChainId([0; 32]), peers: Vec::new() }
}

/// The key of the folder, and whether others can read it.
fn key(dir: &Path, checks: &mut Checks) -> Result<Option<AccountId>, Error> {
    if !dir.is_dir() {
        let what = format!("{} is no folder", dir.display());
        let hint = "see that its disk is mounted and that --dir is right";
        checks.bad(CheckKind::Folder, what, hint);
        return Ok(None);
    }
    let Some(bytes) = home::read_if_there(&dir.join("key"))? else {
        let hint = "bring it back from where it is kept; without it this machine is no validator, \
                    and a mirror makes a new one";
        checks.bad(CheckKind::Key, "the folder has no key", hint);
        return Ok(None);
    };
    let Ok(secret) = <[u8; 32]>::try_from(bytes.as_slice()) else {
        checks.bad(
            CheckKind::Key,
            "the key is damaged: it is not 32 bytes",
            "bring it back from where it is kept",
        );
        return Ok(None);
    };
    let own = AccountId::from(peer_id(&secret));
    let open: Vec<&str> = ["key", "salt", "validator.redb"]
        .into_iter()
        .filter(|name| is_open_to_others(&dir.join(name)))
        .collect();
    match open.as_slice() {
        [] => checks.good(CheckKind::Key, format!("{own}, for its owner alone")),
        open => checks.bad(
            CheckKind::Key,
            format!("other users of this machine can read: {}", open.join(", ")),
            "close them with chmod 600; if others had the key, see spec/operating.md, \"A key is stolen\"",
        ),
    }
    match stamp::is_own(dir)? {
        true => checks.good(CheckKind::Copy, "the folder is no copy"),
        false => checks.warn(
            CheckKind::Copy,
            "the folder is a copy: it does not know what its key has signed since",
            "symbolon validator run follows the ledger with it, and votes once that is safe",
        ),
    }
    Ok(Some(own))
}

fn is_open_to_others(path: &Path) -> bool {
    let about = fs::metadata(path);
    about.is_ok_and(|about| {
        std::os::unix::fs::PermissionsExt::mode(&about.permissions()) & 0o077 != 0
    })
}

impl Machine<'_> {
    /// How others are reached, if that is known.
    fn ticket(&self) -> Result<Option<LedgerTicket>, Error> {
        if let Some(ticket) = self.context.named_ticket()? {
            return Ok(Some(ticket));
        }
        if self.dir.join("key").exists()
            && let Some(founded) = Founded::read(self.dir)?
        {
            let peers = founded.addresses.clone();
            return Ok(Some(LedgerTicket { chain: founded.genesis.chain(), peers }));
        }
        self.context.home.ticket()
    }

    /// Asks a ledger that runs.
    async fn running(
        &self,
        pid: u32,
        endpoint: &Endpoint,
        checks: &mut Checks,
    ) -> Result<Option<Found>, Error> {
        checks.good(CheckKind::Running, format!("runs as process {pid}"));
        let hint = "stop the ledger and run this again to have its file checked";
        checks.unknown(CheckKind::Store, "the file is in use", hint);
        let listens = home::read_if_there(&self.dir.join("listen"))?;
        let listens = listens.map(|text| String::from_utf8_lossy(&text).trim().to_owned());
        let (Some(own), Some(ticket), Some(listens)) = (self.own, self.ticket()?, listens) else {
            let hint = "name its ticket with --ledger";
            checks.unknown(CheckKind::Ledger, "its ticket is not known", hint);
            return Ok(None);
        };
        let own = PeerAddress { id: PeerId(own.0), addresses: vec![listens] };
        let ledger = asked(endpoint, &ticket, own);
        let answer = tokio::time::timeout(PATIENCE, context::chain(&ledger)).await;
        let message = match answer {
            Ok(Ok(chain)) => {
                let (height, time) = (chain.height, show_time(chain.time_ms));
                checks.good(CheckKind::Ledger, format!("it answers: block {height} of {time}"));
                return Ok(Some(Found { ledger, chain }));
            }
            Ok(Err(error)) => error.message,
            Err(_) => String::from("it does not answer where it listens"),
        };
        let hint =
            "see its log: its disk may be full or slow, or it is a ledger with another ticket";
        checks.bad(CheckKind::Ledger, message, hint);
        Ok(None)
    }

    /// Checks the file of one that does not run.
    async fn stopped(&self, quick: bool, checks: &mut Checks) -> Result<Option<Found>, Error> {
        let hint = "start it with symbolon ledger run, ledger mirror or validator run";
        checks.warn(CheckKind::Running, "it does not run", hint);
        if !self.dir.join("ledger.redb").exists() {
            let hint = "its first start fetches or makes it; if it was there before, see that its disk is mounted";
            checks.bad(CheckKind::Store, "the folder has no ledger", hint);
            return Ok(None);
        }
        let opened = match Opened::open(&self.context.host, self.dir).await {
            Ok(opened) => opened,
            Err(error) => {
                checks.bad(CheckKind::Store, error.to_string(), LOST);
                return Ok(None);
            }
        };
        let chain = opened.chain().clone();
        let (height, time) = (chain.height, show_time(chain.time_ms));
        checks.good(CheckKind::Store, format!("the file opens: block {height} of {time}"));
        self.file(&opened, quick, checks).await;
        self.signed(&opened, &chain, checks).await;
        Ok(Some(Found { ledger: opened.ledger(), chain }))
    }

    /// Rows and blocks of a file.
    async fn file(&self, opened: &Opened, quick: bool, checks: &mut Checks) {
        let most = if quick { BLOCKS_QUICK } else { BLOCKS };
        match opened.check_blocks(most).await {
            Ok(checked) => {
                let (first, last) = (checked.first, checked.last);
                let what =
                    format!("blocks {first} to {last} are its validators', one on the other");
                checks.good(CheckKind::Blocks, what);
            }
            Err(error) => checks.bad(CheckKind::Blocks, error.to_string(), LOST),
        }
        if quick {
            let hint = "leave out --quick to have them read";
            checks.unknown(CheckKind::Rows, "the rows were not read", hint);
            return;
        }
        let (out, said) = (self.context.out.clone(), AtomicU64::new(0));
        let told = move |rows: u64| {
            let steps = rows / ROWS_SAID;
            if said.swap(steps, Ordering::Relaxed) < steps {
                out.note(&format!("{} were read.", count(rows, "row")));
            }
        };
        match opened.check_rows(told).await {
            Ok(rows) => {
                let rows = count(rows, "row");
                checks
                    .good(CheckKind::Rows, format!("{rows} give the state root of the last block"));
            }
            Err(error) => checks.bad(CheckKind::Rows, error.to_string(), LOST),
        }
    }

    /// What the validator has signed, against the ledger.
    async fn signed(&self, opened: &Opened, chain: &Chain, checks: &mut Checks) {
        let next = chain.height.saturating_add(1);
        match opened.signed(self.dir).await {
            Ok(None) => checks.good(CheckKind::Signed, "nothing was signed together with others yet"),
            Ok(Some(signed)) if signed.height <= next => checks.good(
                CheckKind::Signed,
                format!("it has signed up to height {}, and the next is {next}", signed.height),
            ),
            Ok(Some(signed)) => checks.warn(
                CheckKind::Signed,
                format!("it has signed at height {}, and its ledger ends at {}", signed.height, chain.height),
                "the ledger's file is older than validator.redb: it signs nothing until it has caught up",
            ),
            Err(error) => checks.bad(
                CheckKind::Signed,
                format!("validator.redb cannot be read: {error}"),
                "remove validator.redb: symbolon validator run then follows the ledger, and votes once that is safe",
            ),
        }
    }

    fn room(&self, checks: &mut Checks) {
        let hint = "make room: a ledger whose disk is full stops, and misses its turns";
        match symbolon_store::free_bytes(self.dir) {
            Ok(free) if free < FREE_BAD => {
                checks.bad(CheckKind::Room, format!("{} are free", show_size(free)), hint);
            }
            Ok(free) if free < FREE_LOW => {
                checks.warn(CheckKind::Room, format!("{} are free", show_size(free)), hint);
            }
            Ok(free) => checks.good(CheckKind::Room, format!("{} are free", show_size(free))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                let what = format!("the disk cannot be asked: {}", crate::error::plain(&error));
                checks.bad(CheckKind::Room, what, "see that it is mounted");
            }
        }
    }

    /// What the ledger says of this machine.
    async fn place(&self, found: &Found, checks: &mut Checks) -> Result<(), Error> {
        let (Some(own), chain) = (self.own, &found.chain) else { return Ok(()) };
        let behind_ms = chain.time_ms.0.saturating_sub(self.context.host.now_ms().0);
        match behind_ms {
            CLOCK_MS.. => checks.bad(
                CheckKind::Clock,
                format!("this machine's clock is {} behind the last block", show_duration(behind_ms)),
                "set it by NTP: a validator votes for no block that is two seconds ahead of its clock",
            ),
            _ => checks.good(CheckKind::Clock, "this machine's clock is not behind the last block"),
        }
        let power = chain.validators.power_of(&own);
        let row = found.ledger.row(ValidatorsTable, &own).await?;
        set(power, row.as_ref(), chain, checks);
        if let Some(row) = row.filter(|_| power != 0) {
            let members = &chain.validators.members;
            let at = members.binary_search_by_key(&own, |member| member.key).ok();
            let duties = found.ledger.row(DutiesTable, &()).await?;
            let duty = at.and_then(|at| duties?.members.get(at).copied()).unwrap_or_default();
            turns(&row, duty.missed_in_row, chain, checks);
        }
        Ok(())
    }

    /// Whether other machines answer, and what they have.
    async fn others(
        &self,
        found: &Found,
        endpoint: &Endpoint,
        checks: &mut Checks,
    ) -> Result<(), Error> {
        let ticket = self.ticket()?.filter(|ticket| ticket.chain == found.chain.id);
        let mut known = ticket.map(|ticket| ticket.peers).unwrap_or_default();
        for member in &found.chain.validators.members {
            let id = PeerId(member.key.0);
            let row = found.ledger.row(ValidatorsTable, &member.key).await?;
            let addresses = row.map(|row| row.addresses).unwrap_or_default();
            if !addresses.is_empty() {
                known.retain(|peer| peer.id != id);
                known.push(PeerAddress { id, addresses });
            }
        }
        known.retain(|peer| Some(AccountId::from(peer.id)) != self.own);
        if known.is_empty() {
            return Ok(());
        }
        let (mut newest, mut silent) = (0, Vec::new());
        for peer in &known {
            let ticket = LedgerTicket { chain: found.chain.id, peers: Vec::new() };
            let ledger = asked(endpoint, &ticket, peer.clone());
            match tokio::time::timeout(PATIENCE, ledger.head()).await {
                Ok(Ok(head)) => newest = newest.max(head.header.height),
                _ => silent.push(peer.addresses.join(", ")),
            }
        }
        let answer = known.len().saturating_sub(silent.len());
        let what = format!("{answer} of {} other servers answer", known.len());
        match silent.first() {
            None => checks.good(CheckKind::Reachable, what),
            Some(first) => checks.warn(
                CheckKind::Reachable,
                format!("{what}; not the one at {first}"),
                "see that this machine is online, and ask its operator",
            ),
        }
        let height = found.chain.height;
        match newest.saturating_sub(height) {
            0 => {
                checks.good(CheckKind::Behind, format!("no other has a newer block than {height}"))
            }
            blocks if blocks <= BEHIND => {
                checks.good(CheckKind::Behind, format!("{} behind", count(blocks, "block")));
            }
            blocks => checks.warn(
                CheckKind::Behind,
                format!("{} behind: others are at {newest}", count(blocks, "block")),
                "let it run: it catches up by itself, and says in its log why it cannot",
            ),
        }
        Ok(())
    }
}

/// The ledger of a ticket, asked at one place only.
fn asked(endpoint: &Endpoint, ticket: &LedgerTicket, at: PeerAddress) -> Ledger {
    let ticket = LedgerTicket { chain: ticket.chain, peers: vec![at] };
    Remote::new(endpoint.clone(), ticket).into()
}

async fn money(ledger: &Ledger, checks: &mut Checks) {
    match context::books(ledger).await {
        Ok(books) if books.sum() == Some(books.issued) => {
            let what = format!("{} were issued, and all of it is somewhere", show_amount(books.issued));
            checks.good(CheckKind::Money, what);
        }
        Ok(books) => checks.bad(
            CheckKind::Money,
            format!("the money does not add up to the {} that were issued", show_amount(books.issued)),
            "the rules have a fault, or the file was changed: stop the ledger, keep the folder and report it",
        ),
        Err(error) => {
            checks.bad(CheckKind::Money, error.message, error.hint.as_deref().unwrap_or(""));
        }
    }
}

fn set(power: u64, row: Option<&ValidatorRow>, chain: &Chain, checks: &mut Checks) {
    let all = chain.validators.power();
    if power != 0 {
        let what = format!("it is in the set, with {power} of {all} of the power");
        return match row.map(|row| row.state) {
            Some(ValidatorState::Leaving) => {
                checks.warn(CheckKind::Set, what + ", and leaves", "let it run until it is out");
            }
            _ => checks.good(CheckKind::Set, what),
        };
    }
    let again = "bring it back with: symbolon validator join --dir DIR";
    match row.map(|row| row.state) {
        None => checks.good(CheckKind::Set, "it is no validator, and follows the ledger"),
        Some(ValidatorState::Waiting) => {
            checks.warn(
                CheckKind::Set,
                "it waits for a place in the set",
                "see how much others have staked: symbolon validator list",
            );
        }
        Some(ValidatorState::Jailed { until_ms }) => {
            let what =
                format!("it is jailed until {}: it missed too many turns", show_time(until_ms));
            checks.bad(CheckKind::Set, what, again);
        }
        Some(ValidatorState::Barred) => checks.bad(
            CheckKind::Set,
            "it is barred: its key has signed two things that exclude each other",
            "no machine may go on with this key: see spec/operating.md, \"A key is stolen\"",
        ),
        Some(_) => {
            checks.warn(CheckKind::Set, "it has left the set, or others were stronger", again)
        }
    }
}

fn turns(row: &ValidatorRow, in_row: u32, chain: &Chain, checks: &mut Checks) {
    let most = chain.params.turns_missed_max;
    let what = format!("{in_row} turns missed in a row, of the {most} that jail a validator");
    let hint =
        "see its log, its connections (peers in its figures) and the checks of disk and clock here";
    match in_row {
        0 => {
            let (missed, turns) = (row.missed, row.turns);
            let what =
                format!("{missed} of {turns} turns missed up to this epoch, none of the last ones");
            checks.good(CheckKind::Turns, what);
        }
        in_row if most / 2 <= in_row => checks.bad(CheckKind::Turns, what, hint),
        _ => checks.warn(CheckKind::Turns, what, hint),
    }
}

/// What to do about a file that is damaged.
const LOST: &str = "see the disk's health with smartctl. Remove ledger.redb, and nothing else, and run it with \
                    symbolon validator run or ledger mirror: it fetches the state anew. One that orders its ledger \
                    alone has no other copy than its mirrors and backups";

/// How long one machine may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Blocks that are checked.
const BLOCKS: u64 = 10_000;
const BLOCKS_QUICK: u64 = 100;
/// After how many rows a line says how far it is.
const ROWS_SAID: u64 = 1_000_000;
/// Blocks that a machine may be behind while it works.
const BEHIND: u64 = 10;
/// Milliseconds that the machine's clock may be behind the last block.
const CLOCK_MS: u64 = 2_000;
/// Free bytes with which a ledger soon stops, and with which it should be looked after.
const FREE_BAD: u64 = 256 << 20;
const FREE_LOW: u64 = 2 << 30;
