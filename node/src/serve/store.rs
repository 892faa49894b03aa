//! `Store`: stores a shard. It first checks everything that can be checked before a byte is sent.
//! It signs the acceptance once the bytes are synced to disk.

use std::sync::Arc;

use symbolon_protocol::{
    Amount, Decode, Encode, LedgerTime, Millis,
    content::Scheme,
    id::{DealId, Hash, PeerId},
    ledger::{
        collateral_for,
        rows::{Accounts, Cares, Deal, DealState, Deals, HoldKey, Holds, Nodes},
        slot_rate,
        transaction::{Acceptance, DealTerms},
    },
    limits::{LEAF_BYTES, SHARD_BYTES_MAX},
    wire::storage::{Authority, RefusalCode, Response},
};
use symbolon_store::{Shard, ShardInfo, ShardState, ShardWriter, Shards, StoreError};
use tracing::info;

use super::{
    Stop, Stream, claims, found_damaged,
    grants::{self, Need},
    internal, refuse_store, terms_of, within,
};
use crate::{
    admission::{GivesWay, Offer, Upload, UploadGuard},
    pace::BOUNDED_BYTES,
    shared::Shared,
};

/// The shard that an owner wants to store.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) terms: DealTerms,
    pub(crate) index: u8,
    pub(crate) price: Amount,
}

/// Answers a store request.
pub(crate) async fn answer(
    shared: &Arc<Shared>,
    stream: &mut Stream,
    wanted: Wanted,
    authority: &Authority,
) -> Result<(), Stop> {
    check_terms(shared, &wanted)?;
    let known = authorize(shared, stream.peer, &wanted, authority).await?;
    if let Some(acceptance) = existing(shared, &wanted).await? {
        return stream.answer(&Response::Accepted { acceptance }).await;
    }
    check_pause(shared)?;
    check_price(shared, &wanted)?;
    // A node that hands its shard on is paid for it already: what the next one gets is there.
    if !matches!(authority, Authority::Keeper) {
        check_balance(shared, &wanted, known.as_ref()).await?;
    }
    check_cover(shared, &wanted).await?;
    let offer = Offer {
        peer: stream.peer,
        deal: wanted.terms.deal(),
        index: wanted.index,
        owner: wanted.terms.owner,
        length: wanted.terms.length,
    };
    let guard = place(shared, offer).await?;
    // The deal's place is taken now. This finds a shard that another stream has stored until then.
    if let Some(acceptance) = existing(shared, &wanted).await? {
        return stream.answer(&Response::Accepted { acceptance }).await;
    }
    stream.answer(&Response::Ready).await?;
    let writer = tokio::select! {
        biased;
        writer = receive(shared, stream, (&wanted, known.map(|known| known.root)), guard.upload()) => writer?,
        way = guard.upload().gives_way() => {
            return Err(Stop::Broken(String::from(match way {
                GivesWay::SentAnew => "its owner sends the shard again",
                GivesWay::Slowest => "this upload is the slowest, and others wait",
            })));
        }
    };
    // From here on the shard is stored even if the peer goes away, because it may ask again.
    let keeping = tokio::spawn(keep(Arc::clone(shared), writer, wanted, guard));
    let acceptance = keeping.await.map_err(|error| internal("keeping a shard failed", error))??;
    stream.answer(&Response::Accepted { acceptance }).await
}

/// What the ledger knows of a shard that is sent without its owner.
#[derive(Clone, Copy, Debug)]
struct Known {
    /// The root that it must have.
    root: Hash,
    /// The epochs for which its new node is paid.
    epochs: u64,
}

/// Checks that the peer may send the shard.
async fn authorize(
    shared: &Shared,
    peer: PeerId,
    wanted: &Wanted,
    authority: &Authority,
) -> Result<Option<Known>, Stop> {
    match authority {
        Authority::Grant { grant } => {
            let asked = grants::Wanted { shard: (&wanted.terms).into(), need: Need::Store };
            grants::authorize(shared, peer, Some(grant), &asked).await?;
            Ok(None)
        }
        Authority::Claim => check_claim(shared, peer, wanted).await.map(Some),
        Authority::Keeper => check_keeper(shared, peer, wanted).await.map(Some),
    }
}

/// Checks that a caretaker has claimed to rebuild the shard, and that deal and price are those of the ledger's rows.
async fn check_claim(shared: &Shared, peer: PeerId, wanted: &Wanted) -> Result<Known, Stop> {
    let (terms, deal) = (&wanted.terms, wanted.terms.deal());
    let claim = claims::of(shared, peer, deal).await?;
    let rows = shared.ledger.pair((Deals, &deal), (Cares, &deal)).await;
    let rows = rows.map_err(|error| {
        Stop::refused(RefusalCode::Stale, format!("this node cannot reach its ledger: {error}"))
    })?;
    let not_allowed = |message: &str| Stop::refused(RefusalCode::NotAllowed, message);
    let (Some(row), Some(care)) = rows else {
        return Err(not_allowed("the deal has no caretakers"));
    };
    if !is_of(terms, &row) {
        return Err(not_allowed("these are not the terms of the deal"));
    }
    if !claim.rebuild.contains(&wanted.index) {
        return Err(not_allowed("the claim does not rebuild this shard"));
    }
    if care.price_max < wanted.price {
        return Err(not_allowed("the owner does not pay that much for a rebuilt shard"));
    }
    let shard = row.shards.get(usize::from(wanted.index)).copied().flatten();
    let root = shard.ok_or_else(|| not_allowed("the deal has no such shard"))?.root;
    Ok(Known { root, epochs: epochs_left(shared, &row) })
}

/// Whether terms are those of a deal, but for the number of its epochs.
fn is_of(terms: &DealTerms, row: &Deal) -> bool {
    terms.object == row.object
        && terms.segment == row.segment
        && terms.required == row.required
        && usize::from(terms.total) == row.shards.len()
        && terms.length == row.length
        && terms.access == row.access
}

/// The epochs for which a node that takes a shard now is paid.
fn epochs_left(shared: &Shared, row: &Deal) -> u64 {
    row.end.saturating_sub(shared.view.epoch().saturating_add(1))
}

/// Checks that the peer keeps the shard, and that the terms are those of the deal on the ledger.
async fn check_keeper(shared: &Shared, peer: PeerId, wanted: &Wanted) -> Result<Known, Stop> {
    let (terms, deal) = (&wanted.terms, wanted.terms.deal());
    let row = shared.ledger.row(Deals, &deal).await;
    let row = row.map_err(|error| {
        Stop::refused(RefusalCode::Stale, format!("this node cannot reach its ledger: {error}"))
    })?;
    let kept = row.filter(|row| row.state == DealState::Open && is_of(terms, row));
    let kept = kept.and_then(|row| {
        let (index, shard) = row.kept_by(&peer)?;
        let known = Known { root: shard.root, epochs: epochs_left(shared, &row) };
        (index == wanted.index).then_some(known)
    });
    kept.ok_or_else(|| {
        let message = "the peer does not keep this shard of the deal on these terms";
        Stop::refused(RefusalCode::NotAllowed, message)
    })
}

/// Takes the deal's place. An upload of the same deal that has gone silent gives way: its owner
/// lost the connection and is back before the node has noticed the loss.
async fn place(shared: &Shared, offer: Offer) -> Result<UploadGuard, Stop> {
    let free = disk_free(shared).await?;
    let ask = || shared.admission.upload(offer, free, shared.host.ticks_ms());
    let refusal = match ask() {
        Ok(guard) => return Ok(guard),
        Err(refusal) => refusal,
    };
    let Some(other) = shared.admission.under_way(&offer.deal, &offer.owner) else {
        return Err(refusal.into());
    };
    let last_tick = other.received_tick();
    shared.host.sleep_until_tick(last_tick.saturating_add(SILENT_MS)).await;
    if other.received_tick() != last_tick {
        return Err(refusal.into());
    }
    shared.admission.displace(&other).await;
    Ok(ask()?)
}

fn check_terms(shared: &Shared, wanted: &Wanted) -> Result<(), Stop> {
    let Wanted { terms, index, .. } = wanted;
    let malformed = |message: &str| Err(Stop::refused(RefusalCode::Malformed, message));
    if Scheme::new(terms.required, terms.total).is_err() {
        return malformed("this scheme does not exist");
    }
    if *index >= terms.total {
        return malformed("the scheme has no shard of this index");
    }
    if !terms.length.is_multiple_of(LEAF_BYTES as u64)
        || !(LEAF_BYTES as u64..=SHARD_BYTES_MAX).contains(&terms.length)
    {
        return malformed("no shard has this length");
    }
    if !(1..=shared.params().deal_epochs_max).contains(&terms.epochs) {
        return malformed("no deal lasts that many epochs");
    }
    Ok(())
}

/// Checks that the owner can pay for this shard. It is no guarantee: the owner may spend the money
/// before the deal opens, and then the shard is swept.
async fn check_balance(
    shared: &Shared,
    wanted: &Wanted,
    known: Option<&Known>,
) -> Result<(), Stop> {
    let row = shared.ledger.row(Accounts, &wanted.terms.owner).await;
    let row = row.map_err(|error| {
        Stop::refused(RefusalCode::Stale, format!("this node cannot reach its ledger: {error}"))
    })?;
    let balance = row.map_or(Amount::ZERO, |account| account.balance);
    // A caretaker has nothing but the deal's reserve.
    let balance = if known.is_some() { Amount::ZERO } else { balance };
    // A lost shard of a deal that runs is paid from what the deal has.
    let held = shared.ledger.row(Holds, &HoldKey::Deal { deal: wanted.terms.deal() }).await;
    let held = held.ok().flatten().filter(|hold| hold.payer == wanted.terms.owner);
    let held = held.map_or(Amount::ZERO, |hold| hold.amount);
    let balance = balance.checked_add(held).unwrap_or(balance);
    let rate = slot_rate(wanted.price, wanted.terms.length);
    let epochs = known.map_or(wanted.terms.epochs, |known| known.epochs);
    let cost = rate.and_then(|rate| rate.checked_mul(epochs));
    match cost {
        Some(cost) if Amount::ZERO < balance && cost <= balance => Ok(()),
        _ => {
            let message = "the owner's account cannot pay for this shard";
            Err(Stop::refused(RefusalCode::CannotPay, message))
        }
    }
}

/// Checks that the ledger would give the node this shard, with all those that are not paid yet: it is covered, and not
/// closed. Where nothing needs collateral, this asks no ledger.
async fn check_cover(shared: &Shared, wanted: &Wanted) -> Result<(), Stop> {
    let params = &shared.params();
    if collateral_for(params, Amount(u128::from(u64::MAX)), u64::MAX) == Amount::ZERO {
        return Ok(());
    }
    let row = shared.ledger.row(Nodes, &shared.key.id()).await;
    let row = row.map_err(|error| {
        Stop::refused(RefusalCode::Stale, format!("this node cannot reach its ledger: {error}"))
    })?;
    let bytes = shared.admission.unpaid().saturating_add(wanted.terms.length);
    let rate = slot_rate(wanted.price, bytes);
    let takes = row.as_ref().is_some_and(|row| {
        let covered = rate.is_some_and(|rate| row.covers(params, bytes, rate));
        row.is_open(shared.view.epoch()) && covered
    });
    match takes {
        true => Ok(()),
        false => {
            let message = "this node's collateral covers no more shards, or it takes none for now";
            Err(Stop::refused(RefusalCode::Full, message))
        }
    }
}

/// The acceptance of this same shard if it is stored already. It is renewed if that helps the
/// owner.
async fn existing(shared: &Shared, wanted: &Wanted) -> Result<Option<Acceptance>, Stop> {
    let (deal, index) = (wanted.terms.deal(), wanted.index);
    let stored =
        shared.with_store(move |store| of_deal(store, &deal)).await.map_err(refuse_store)?;
    let Some(shard) = stored.first() else {
        return Ok(None);
    };
    if shard.info.index != index {
        let message = "this node stores another shard of the deal, and may have only one";
        return Err(Stop::refused(RefusalCode::Conflict, message));
    }
    let stored = terms_of(shard)?;
    let longer = stored != wanted.terms && is_but_for_epochs(&stored, &wanted.terms);
    if stored != wanted.terms && !(longer && shard.state == ShardState::Active) {
        let message = "this shard was stored with other terms";
        return Err(Stop::refused(RefusalCode::Conflict, message));
    }
    let acceptance = Acceptance::from_bytes(&shard.acceptance)
        .map_err(|error| internal("a stored acceptance cannot be read", error))?;
    // The acceptance only stands for bytes that are there.
    let there = shared.with_store(move |store| store.open_whole(&deal, index)).await;
    if let Err(error) = there {
        return Err(found_damaged(shared, (deal, index), error).await);
    }
    match shard.state {
        ShardState::Unpaid { .. } => renew(shared, wanted, acceptance).await.map(Some),
        _ if longer => agree_anew(shared, wanted, acceptance.root).map(Some),
        _ => Ok(Some(acceptance)),
    }
}

fn is_but_for_epochs(stored: &DealTerms, wanted: &DealTerms) -> bool {
    DealTerms { epochs: wanted.epochs, ..stored.clone() } == *wanted
}

/// Accepts a shard that it keeps already, at its present price and for as long as it agrees to that now. The owner places the
/// shard anew with it.
fn agree_anew(shared: &Shared, wanted: &Wanted, root: Hash) -> Result<Acceptance, Stop> {
    check_leaving(shared)?;
    check_price(shared, wanted)?;
    Ok(accept(shared, wanted, root, Times::from_now(shared)))
}

/// Signs the acceptance again over the same root if less than half of its time is left or the price
/// has changed.
async fn renew(
    shared: &Shared,
    wanted: &Wanted,
    acceptance: Acceptance,
) -> Result<Acceptance, Stop> {
    let life_ms = shared.options.limits.acceptance_ms;
    let left = acceptance.expires_ms.saturating_since(shared.now_ms());
    let lives = Millis(life_ms / 2) <= left;
    if lives && wanted.price == acceptance.price {
        return Ok(acceptance);
    }
    check_price(shared, wanted)?;
    let times = Times::from_now(shared);
    let renewed = accept(shared, wanted, acceptance.root, times);
    let until_ms = times.until_ms;
    let (deal, index, bytes) = (wanted.terms.deal(), wanted.index, renewed.to_bytes());
    let written = shared.with_store(move |store| store.renew(&deal, index, until_ms, &bytes)).await;
    match written.map_err(refuse_store)? {
        true => Ok(renewed),
        // The deal was opened meanwhile, with the old acceptance.
        false => Ok(acceptance),
    }
}

fn check_leaving(shared: &Shared) -> Result<(), Stop> {
    match shared.settings().leaving {
        true => Err(Stop::refused(RefusalCode::Full, "this node leaves, and takes no new shards")),
        false => Ok(()),
    }
}

/// A pause is for the operator's own work on the machine, so it goes by the machine's clock.
fn check_pause(shared: &Shared) -> Result<(), Stop> {
    check_leaving(shared)?;
    match shared.settings().pause {
        Some(times) if times.contains(shared.host.now_ms()) => {
            let message = format!("this node takes no new shards every day at {times} UTC");
            Err(Stop::refused(RefusalCode::Busy, message))
        }
        _ => Ok(()),
    }
}

fn check_price(shared: &Shared, wanted: &Wanted) -> Result<(), Stop> {
    if wanted.price < shared.options.price {
        let message = format!("this node's price is {} per GiB and epoch", shared.options.price);
        return Err(Stop::refused(RefusalCode::PriceTooLow, message));
    }
    Ok(())
}

/// How long an acceptance and its shard are kept.
#[derive(Clone, Copy)]
struct Times {
    /// The latest time of a block that may open the deal.
    expires_ms: LedgerTime,
    /// The node keeps the shard at least until this time, even if no deal is opened.
    until_ms: LedgerTime,
}

impl Times {
    fn from_now(shared: &Shared) -> Self {
        let limits = &shared.options.limits;
        let expires_ms = shared.now_ms().saturating_add(Millis(limits.acceptance_ms));
        Self { expires_ms, until_ms: expires_ms.saturating_add(Millis(limits.unpaid_grace_ms)) }
    }
}

fn accept(shared: &Shared, wanted: &Wanted, root: Hash, times: Times) -> Acceptance {
    let shard = (wanted.index, root);
    let epoch = shared.view.epoch();
    // The deal may be opened an epoch or two later than the node sees now.
    let needed = epoch.saturating_add(wanted.terms.epochs).saturating_add(TERM_SPARE);
    let until = epoch.saturating_add(shared.options.limits.agreed_epochs).max(needed);
    let price = (wanted.price, until);
    shared.key.accept(&shared.chain, &wanted.terms, shard, price, times.expires_ms)
}

/// The stored shard of a deal, if any.
fn of_deal(store: &Shards, deal: &DealId) -> Result<Vec<Shard>, StoreError> {
    if let Some(first) = store.info(deal, 0)? {
        return Ok(vec![first]);
    }
    let mut next = store.list(Some((*deal, 0)), 1)?;
    next.retain(|shard| shard.info.deal == *deal);
    Ok(next)
}

/// Free bytes on the disk.
pub(crate) async fn disk_free(shared: &Shared) -> Result<u64, Stop> {
    shared.with_store(Shards::free_bytes).await.map_err(refuse_store)
}

/// Receives the bytes of a shard. One batch is written and hashed while the next one arrives, in
/// two buffers that take turns. So a slow disk slows the sender down, and every shard takes the
/// same memory.
async fn receive(
    shared: &Shared,
    stream: &mut Stream,
    (wanted, root): (&Wanted, Option<Hash>),
    upload: &Upload,
) -> Result<ShardWriter, Stop> {
    let terms = &wanted.terms;
    let info = ShardInfo {
        deal: terms.deal(),
        index: wanted.index,
        owner: terms.owner,
        object: terms.object,
        access: terms.access,
        length: terms.length,
        terms: terms.to_bytes(),
    };
    let begun = shared.with_store(move |store| store.begin(info)).await;
    let mut writer = begun.map_err(refuse_store)?;
    if let Some(root) = root {
        writer.want(root);
    }
    let mut left = terms.length;
    // The number of uploads is limited, so even a slow one must end.
    let longest_ms = UPLOAD_MS + terms.length / BYTES_PER_MS_MIN;
    let until = (shared, shared.host.ticks_ms().saturating_add(longest_ms), upload);
    let mut batch = vec![0; BATCH_BYTES];
    let mut filled = gather(stream, until, &mut batch, &mut left).await?;
    let mut spare = vec![0; BATCH_BYTES];
    while filled > 0 {
        let writing = shared.host.blocking(move || {
            writer.write(&batch[..filled])?;
            Ok((writer, batch))
        });
        let (written, next) = tokio::join!(writing, gather(stream, until, &mut spare, &mut left));
        (writer, batch) = written.map_err(refuse_store)?;
        std::mem::swap(&mut batch, &mut spare);
        filled = next?;
    }
    Ok(writer)
}

/// Fills the batch with the shard's next bytes. Returns their number, which is smaller at the end
/// of the shard.
async fn gather(
    stream: &mut Stream,
    (shared, until_tick, upload): (&Shared, u64, &Upload),
    batch: &mut [u8],
    left: &mut u64,
) -> Result<usize, Stop> {
    let wanted = usize::try_from(*left).unwrap_or(usize::MAX).min(batch.len());
    let mut filled = 0;
    while filled < wanted {
        // `stream.idle()` limits silence. This limits slow uploads.
        let until_tick = until_tick.saturating_add(upload.held_ms());
        if until_tick < shared.host.ticks_ms() || upload.is_trickle() {
            return Err(Stop::Broken(String::from("the shard arrived too slowly")));
        }
        let idle = stream.idle();
        // Where bandwidth is bounded, many uploads take turns, so each gets little at a time.
        let end = match shared.receive.is_bounded() {
            true => wanted.min(filled + BOUNDED_BYTES),
            false => wanted,
        };
        match within(idle, stream.receiver.read_into(&mut batch[filled..end])).await? {
            0 => return Err(Stop::Broken(format!("the shard ended {left} bytes too early"))),
            count => {
                upload.received(count as u64, shared.host.ticks_ms());
                stream.progress(count);
                let held = |ms| {
                    upload.was_held(ms, shared.host.ticks_ms());
                    stream.was_held(ms);
                };
                shared.receive.take(count as u64, &shared.host, held).await;
                filled += count;
                *left -= count as u64;
            }
        }
    }
    Ok(filled)
}

/// Syncs the shard, enters it in the index with its acceptance, and counts it.
async fn keep(
    shared: Arc<Shared>,
    writer: ShardWriter,
    wanted: Wanted,
    guard: UploadGuard,
) -> Result<Acceptance, Stop> {
    let (deal, index, length) = (wanted.terms.deal(), wanted.index, wanted.terms.length);
    let here = Arc::clone(&shared);
    let stored = shared.host.blocking(move || {
        let times = Times::from_now(&here);
        let state = ShardState::Unpaid { until_ms: times.until_ms };
        let stored = writer
            .finish_accepted(state, |root| accept(&here, &wanted, *root, times).to_bytes())?;
        // Count the shard before its owner can learn of it and pay for it.
        guard.keep();
        Ok(stored)
    });
    let stored = stored.await.map_err(refuse_store)?;
    info!(%deal, index, length, "stored");
    Acceptance::from_bytes(&stored.acceptance)
        .map_err(|error| internal("an acceptance cannot be read back", error))
}

/// Epochs for which a node agrees to its price beyond the term that it is asked for.
const TERM_SPARE: u64 = 4;

/// How long an upload must have been silent, in milliseconds, before a new upload of the same deal
/// replaces it.
const SILENT_MS: u64 = 1_500;

/// The longest time of an upload, in milliseconds, on top of the time for its bytes at
/// [`BYTES_PER_MS_MIN`].
const UPLOAD_MS: u64 = 60_000;
/// The slowest allowed rate in bytes per millisecond. At 16 kB/s the largest shard takes 70
/// minutes.
const BYTES_PER_MS_MIN: u64 = 16;

/// Bytes that are written and hashed in one step: many of BLAKE3's groups of 16 KiB, and few task
/// switches.
const BATCH_BYTES: usize = 512 * 1024;
