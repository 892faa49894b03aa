//! The demo's story, step by step.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::Read as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use symbolon_client::{
    Client, ErrorKind, GetOptions, ListingFilter, Name, Progress, PutOptions, Readable,
    SellOptions, Sink, Source,
};
use symbolon_net::PeerAddress;
use symbolon_protocol::{
    Amount,
    grant::GrantToken,
    id::{AccountId, ListingId, NodeId},
    identity::Phrase,
    ledger::rows::{Accounts, DealSlot, Deals, OrderState, Table as _},
    wire::storage::{RefusalCode, Request, Response},
};
use symbolon_view::demo::Figures;

use super::{Stage, broken, millis, network::Network};
use crate::{
    context::{self, Context},
    error::Error,
    keys::{self, Protection},
    nodes,
    units::{count, show_amount, show_duration, show_size},
};

/// How long to wait for a step that takes an epoch or two.
const PATIENCE: Duration = Duration::from_secs(30);

/// Time between two checks.
const LOOK: Duration = Duration::from_millis(50);

/// The owner's price of one access.
pub(super) const PRICE: Amount = Amount::credits(25);

/// Nodes that are killed.
const KILLED: usize = 2;

/// The people of the demo, and the network.
struct Cast {
    network: Network,
    owner: Client,
    buyer: Client,
    thief: Client,
    file: PathBuf,
    name: Name,
    length: u64,
    hash: blake3::Hash,
}

/// Plays all of it.
pub(super) async fn all(stage: &mut Stage, file: &Path) -> Result<(), Error> {
    let network = start(stage).await?;
    let mut cast = people(stage, network, file).await?;
    let holders = put(stage, &cast).await?;
    prove(stage, &cast, &holders).await?;
    kill(stage, &mut cast, &holders).await?;
    let before = cast.owner.account().await?.balance;
    let owner = cast.owner.identity().account();
    let listing = sell(stage, &cast).await?;
    let Cast { network, owner: offline, buyer, thief, file, name, length, hash } = cast;
    context::close(offline).await;
    let cast = Audience { network, buyer, thief, file, name, length, hash };
    find(stage, &cast, &listing).await?;
    let token = buy(stage, &cast, &listing, owner, before).await?;
    steal(stage, &cast, &token).await?;
    super::cheat::cheat(stage, &cast.buyer).await?;
    add_up(stage, &cast).await?;
    tokio::join!(context::close(cast.buyer), context::close(cast.thief));
    Ok(())
}

/// The people that are left after the owner has gone offline.
struct Audience {
    network: Network,
    buyer: Client,
    thief: Client,
    file: PathBuf,
    name: Name,
    length: u64,
    hash: blake3::Hash,
}

async fn start(stage: &mut Stage) -> Result<Network, Error> {
    let folder = stage.home.root().parent().unwrap_or(stage.home.root()).to_owned();
    let network = Network::start(&folder, stage.epoch_ms).await?;
    let ticket = network.ticket.parse();
    let ticket = ticket.map_err(|_| broken("start", "the ledger's ticket cannot be read"))?;
    stage.home.set_ticket(&ticket)?;
    let nodes = network.nodes.len();
    let words = [
        format!(
            "{} are running: a ledger and {}.",
            count(nodes + 1, "process"),
            count(nodes, "storage node")
        ),
        format!(
            "Each has its own key, folder and QUIC endpoint; an epoch is {}.",
            show_duration(stage.epoch_ms)
        ),
    ];
    let words = words.map(|line| line.replace("processs", "processes"));
    let figures = Figures::Network { nodes, epoch_ms: stage.epoch_ms };
    stage.held("A network", &words, figures)?;
    Ok(network)
}

async fn people(stage: &mut Stage, network: Network, file: &Path) -> Result<Cast, Error> {
    let owner = person(stage, "owner").await?;
    let buyer = person(stage, "buyer").await?;
    let thief = person(stage, "thief").await?;
    let owned = owner.faucet().await?;
    buyer.faucet().await?;
    let words = [format!(
        "An owner and a buyer, with {} of play money each, and a thief with nothing.",
        show_amount(owned)
    )];
    stage.held("People", &words, Figures::People { faucet: owned.into() })?;
    let (hash, length) = digest(file)?;
    let name = file.file_name().and_then(|name| name.to_str()).unwrap_or("file");
    let name = Name::new(name).map_err(|error| Error::usage(error.to_string()))?;
    Ok(Cast { network, owner, buyer, thief, file: file.to_owned(), name, length, hash })
}

pub(super) async fn person(stage: &Stage, name: &str) -> Result<Client, Error> {
    let context: Context = stage.context.of(&stage.home, name);
    let phrase = Phrase::from_entropy(&context.host.random());
    let none = Protection::FilePermissions;
    keys::create(&context.home, name, &phrase, none, &context.out, &context.host)?;
    context.client().await
}

async fn put(stage: &mut Stage, cast: &Cast) -> Result<BTreeSet<NodeId>, Error> {
    let began = Instant::now();
    let epochs = stage.epochs();
    let options = PutOptions { epochs: Some(epochs), ..PutOptions::default() };
    let source = Source::File(cast.file.clone());
    let stored = cast.owner.put(source, &cast.name, &options, &Progress::silent()).await?;
    let took = millis(began);
    let stat = cast.owner.stat(&cast.name).await?;
    let shards: Vec<_> = stat.segments.iter().flat_map(|segment| &segment.shards).collect();
    let holders: BTreeSet<_> = shards.iter().map(|shard| shard.node).collect();
    let scheme = stored.scheme;
    let words = [
        format!(
            "The owner stores {} ({}) in {}.",
            cast.name,
            show_size(cast.length),
            show_duration(took)
        ),
        format!(
            "Encrypted, cut into {} of {} shards: any {} of {} suffice to read it.",
            count(stored.segments, "segment"),
            scheme.total,
            scheme.required,
            scheme.total
        ),
        format!(
            "{} lie on {}, {} in all; paid {} for {epochs} epochs, into escrow.",
            count(shards.len(), "shard"),
            count(holders.len(), "node"),
            show_size(stat.file.stored_bytes),
            show_amount(stored.cost)
        ),
    ];
    let figures = Figures::Put {
        length: cast.length,
        took_ms: took,
        segments: stored.segments,
        required: scheme.required,
        total: scheme.total,
        shards: shards.len(),
        nodes: holders.len(),
        stored_bytes: stat.file.stored_bytes,
        cost: stored.cost.into(),
    };
    stage.held("Put", &words, figures)?;
    Ok(holders)
}

async fn prove(stage: &mut Stage, cast: &Cast, holders: &BTreeSet<NodeId>) -> Result<(), Error> {
    let ledger = cast.owner.ledger();
    let waiting = async {
        loop {
            let known = nodes::all(ledger).await?;
            let proven = |id: &NodeId| known.iter().any(|(node, row)| node == id && row.passed > 0);
            if holders.iter().all(proven) {
                return Ok::<_, Error>(known);
            }
            tokio::time::sleep(LOOK).await;
        }
    };
    let known = tokio::time::timeout(PATIENCE, waiting).await;
    let known =
        known.map_err(|_| broken("Prove", "not every node has proven an epoch in time"))??;
    let mut earned = Amount::ZERO;
    for (id, row) in known.iter().filter(|(id, _)| holders.contains(id)) {
        let account = ledger.row(Accounts, &row.payout).await?;
        let balance = account.map_or(Amount::ZERO, |account| account.balance);
        if balance == Amount::ZERO {
            return Err(broken("Prove", format!("node {id} has proven an epoch and was not paid")));
        }
        earned = earned.checked_add(balance).unwrap_or(earned);
    }
    let epoch = context::chain(ledger).await?.epoch;
    let words = [
        format!(
            "{} have proven to the ledger that they hold their shards (epoch {epoch}).",
            count(holders.len(), "node")
        ),
        format!(
            "The ledger checked every proof and paid them {} from the escrow.",
            show_amount(earned)
        ),
    ];
    let figures = Figures::Prove { nodes: holders.len(), epoch, earned: earned.into() };
    stage.held("Prove", &words, figures)
}

async fn kill(stage: &mut Stage, cast: &mut Cast, holders: &BTreeSet<NodeId>) -> Result<(), Error> {
    let victims: Vec<_> = holders.iter().copied().take(KILLED).collect();
    for victim in &victims {
        let process = cast.network.take(victim);
        let process = process
            .ok_or_else(|| broken("Kill", "a shard is on a node that the demo did not start"))?;
        process.cut().await?;
    }
    let out = stage.home.root().join("read-by-owner");
    let began = Instant::now();
    let options = GetOptions::default();
    let what = Readable::from(&cast.name);
    let sink = Sink::File(out.clone());
    cast.owner.get(&what, sink, &options, &Progress::silent()).await?;
    let took = millis(began);
    same(&out, &cast.hash, "Kill")?;
    let names: Vec<_> = victims.iter().map(|id| id.to_string()[..8].to_owned()).collect();
    let words = [
        format!(
            "Nodes {} are killed (SIGKILL); they hold shards of the file.",
            names.join(" and ")
        ),
        format!(
            "The owner can still read it, in {}: the same {}.",
            show_duration(took),
            show_size(cast.length)
        ),
    ];
    stage.held("Kill two nodes", &words, Figures::Kill { killed: names, took_ms: took })
}

async fn sell(stage: &mut Stage, cast: &Cast) -> Result<ListingId, Error> {
    let options = SellOptions {
        title: cast.name.to_string(),
        description: "Shown by symbolon demo.".into(),
        price: PRICE,
        licence_text: "CC0 1.0 Universal".into(),
        epochs: Some(stage.epochs()),
        ..SellOptions::default()
    };
    let listed = cast.owner.sell(&cast.name, &options, &Progress::silent()).await?;
    let words = [
        format!("The owner lists it at {} and goes offline.", show_amount(PRICE)),
        format!(
            "The key is shared among {} as custodians; any {} release it, none of them can read it.",
            count(listed.custodians.len(), "node"),
            listed.threshold
        ),
    ];
    let figures = Figures::Sell {
        listing: listed.listing.into(),
        price: PRICE.into(),
        custodians: listed.custodians.len(),
        threshold: listed.threshold,
    };
    stage.held("Sell", &words, figures)?;
    Ok(listed.listing)
}

async fn find(stage: &mut Stage, cast: &Audience, listing: &ListingId) -> Result<(), Error> {
    let found = cast.buyer.listings(&ListingFilter::default()).await?;
    let view = found.iter().find(|view| view.id == *listing);
    let view = view.ok_or_else(|| broken("Find", "the listing is not in the market"))?;
    let cells = cast.buyer.preview(listing).await?.cells.drawn;
    let cell = cells.first().ok_or_else(|| broken("Find", "the listing has no preview"))?;
    let shown = part(&cast.file, cell.offset, cell.plain.len())?;
    if shown != cell.plain {
        return Err(broken("Find", "the preview is not part of the file"));
    }
    let words = [
        format!(
            "The buyer finds {:?} ({}, {}).",
            view.title,
            show_size(view.length),
            count(view.cells, "cell")
        ),
        format!(
            "Cell {} is open ({} from byte {} on), picked by the ledger's beacon, proven to be part of what is sold.",
            cell.cell,
            show_size(cell.plain.len() as u64),
            cell.offset
        ),
    ];
    let (cells, preview_cell, bytes) = (view.cells, cell.cell, cell.plain.len());
    let figures = Figures::Find { cells, preview_cell, bytes };
    stage.held("Find and preview", &words, figures)
}

async fn buy(
    stage: &mut Stage,
    cast: &Audience,
    listing: &ListingId,
    owner: AccountId,
    before: Amount,
) -> Result<GrantToken, Error> {
    let began = Instant::now();
    let bought = cast.buyer.buy(listing, PRICE, &Progress::silent()).await?;
    let keyed = millis(began);
    let out = stage.home.root().join("read-by-buyer");
    let options = GetOptions::default();
    let what = Readable::Token(bought.token.clone());
    let began = Instant::now();
    let got = cast.buyer.get(&what, Sink::File(out.clone()), &options, &Progress::silent()).await?;
    let fetched = millis(began);
    same(&out, &cast.hash, "Buy")?;
    if got.acknowledged.is_none() {
        cast.buyer.acknowledge(&bought.order).await?;
    }
    let orders = cast.buyer.orders().await?;
    let settled = orders.iter().find(|order| order.id == bought.order);
    if !settled.is_some_and(|order| order.state == OrderState::Settled) {
        return Err(broken("Buy", "the order is not settled"));
    }
    let row = cast.buyer.ledger().row(Accounts, &owner).await?;
    let after = row.map_or(Amount::ZERO, |row| row.balance);
    // The bond of the listing is still the owner's, and comes back when the listing has ended.
    let bond = cast.buyer.listing_view(listing).await?.bond;
    let income = after.checked_add(bond).and_then(|whole| whole.checked_sub(before));
    let income = income.unwrap_or_default();
    if income == Amount::ZERO {
        return Err(broken("Buy", "the owner was not paid"));
    }
    let words = [
        format!(
            "The buyer pays {} into escrow; custodians release the key in {}.",
            show_amount(bought.paid),
            show_duration(keyed)
        ),
        format!(
            "With the ledger's grant the nodes serve {}, in {}: the same {}.",
            cast.name,
            show_duration(fetched),
            show_size(cast.length)
        ),
        format!(
            "The buyer acknowledges; the owner, offline, is {} richer than before listing, with a bond of {} that comes back.",
            show_amount(income),
            show_amount(bond)
        ),
    ];
    let figures = Figures::Buy {
        order: bought.order.into(),
        paid: bought.paid.into(),
        key_ms: keyed,
        fetch_ms: fetched,
        income: income.into(),
    };
    stage.held("Buy", &words, figures)?;
    Ok(*bought.token)
}

async fn steal(stage: &mut Stage, cast: &Audience, token: &GrantToken) -> Result<(), Error> {
    let out = stage.home.root().join("read-by-thief");
    let options = GetOptions::default();
    let what = Readable::Token(Box::new(token.clone()));
    let tried = cast.thief.get(&what, Sink::File(out.clone()), &options, &Progress::silent()).await;
    match tried {
        Err(error) if error.kind() == ErrorKind::NotAllowed => {}
        Err(error) => return Err(broken("Steal", format!("refused for another reason: {error}"))),
        Ok(_) => return Err(broken("Steal", "the thief could read the file")),
    }
    if out.exists() {
        return Err(broken("Steal", "the thief has a file"));
    }
    let answers = knock(stage, cast, token).await?;
    let refused = answers.iter().filter(|code| **code == Some(RefusalCode::NotYourGrant)).count();
    if refused == 0 || refused < answers.len() {
        return Err(broken("Steal", format!("nodes did not all refuse the thief: {answers:?}")));
    }
    let words = [
        "A thief has a copy of the buyer's grant. It cannot open the key in it,".to_owned(),
        format!(
            "and {} asked directly refuse: the grant is bound to the buyer's key.",
            count(refused, "node")
        ),
    ];
    stage.held("Steal", &words, Figures::Steal { refused })
}

/// Shows the grant, over the thief's connections, to every remaining node with a shard of the file. Returns the code
/// with which each node refuses.
async fn knock(
    stage: &Stage,
    cast: &Audience,
    token: &GrantToken,
) -> Result<Vec<Option<RefusalCode>>, Error> {
    let ledger = cast.thief.ledger();
    let alive: BTreeSet<_> = cast.network.nodes.iter().map(|(id, _)| *id).collect();
    let rows: BTreeMap<_, _> = nodes::all(ledger).await?.into_iter().collect();
    let ticket = stage.home.ticket()?.ok_or_else(|| broken("Steal", "the ticket is gone"))?;
    let secret = cast.thief.identity().access_key().to_bytes();
    let endpoint = stage.context.endpoint(&ticket, secret).await?;
    let mut answers = Vec::new();
    for (key, deal) in ledger.scan_all(Deals, &[]).await? {
        let Some(id) = Deals::parse(&key).filter(|_| deal.object == token.manifest.object) else {
            continue;
        };
        for (index, slot) in (0_u8..).zip(&deal.shards) {
            let node = slot.filter(DealSlot::is_kept).map(|slot| slot.node);
            let Some(node) = node.filter(|node| alive.contains(node)) else {
                continue;
            };
            let addresses = rows.get(&node).map_or_else(Vec::new, |row| row.addresses.clone());
            let grant = Some(token.grant.clone());
            let request = Request::Read { deal: id, index, first: 0, count: 1, grant };
            let answer =
                nodes::ask(&endpoint, &PeerAddress { id: node, addresses }, &request).await?;
            answers.push(match answer {
                Response::Refused { refusal } => Some(refusal.code),
                _ => None,
            });
        }
    }
    context::hang_up(endpoint).await;
    Ok(answers)
}

async fn add_up(stage: &mut Stage, cast: &Audience) -> Result<(), Error> {
    let books = context::books(cast.buyer.ledger()).await?;
    if books.sum() != Some(books.issued) {
        return Err(broken("Add up", "the money in all places is not what was issued"));
    }
    let words = [
        format!(
            "{} in {}, {} in escrow, {} for proofs to come, {} for repair, {} in the treasury:",
            books.accounts,
            count(books.account_count, "account"),
            books.holds,
            books.storage,
            books.repair,
            books.treasury
        ),
        format!("together {}, exactly what the faucet gave.", show_amount(books.issued)),
    ];
    let figures = Figures::AddUp {
        accounts: books.accounts.into(),
        holds: books.holds.into(),
        storage: books.storage.into(),
        repair: books.repair.into(),
        treasury: books.treasury.into(),
        deposits: books.deposits.into(),
        collateral: books.collateral.into(),
        issued: books.issued.into(),
    };
    stage.held("Add up", &words, figures)
}

/// The hash and length of a file, read in pieces.
fn digest(path: &Path) -> Result<(blake3::Hash, u64), Error> {
    const PIECE: usize = 1 << 20;
    let problem = |error| Error::io("read", path, &error);
    let mut file = File::open(path).map_err(problem)?;
    let mut hasher = blake3::Hasher::new();
    let mut piece = vec![0; PIECE];
    let mut length = 0;
    loop {
        let count = file.read(&mut piece).map_err(problem)?;
        if count == 0 {
            return Ok((hasher.finalize(), length));
        }
        hasher.update(&piece[..count]);
        length += count as u64;
    }
}

fn same(path: &Path, hash: &blake3::Hash, step: &str) -> Result<(), Error> {
    if digest(path)?.0 == *hash {
        return Ok(());
    }
    Err(broken(step, "what was read is not what was stored"))
}

/// Some bytes of a file; fewer when it ends before.
fn part(path: &Path, offset: u64, length: usize) -> Result<Vec<u8>, Error> {
    use std::io::{Seek as _, SeekFrom};
    let read = || {
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(offset))?;
        let mut bytes = Vec::new();
        file.take(length as u64).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    read().map_err(|error| Error::io("read", path, &error))
}
