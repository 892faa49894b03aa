//! Reads all shards again and again, slowly, and checks each against its root. So a node knows its damaged shards
//! before the ledger or a reader asks for them.
//!
//! The position is in the store: after a restart the node goes on with the next shard.

use symbolon_net::Host;
use symbolon_protocol::{MachineTime, Millis};
use symbolon_store::{Damage, Scrub, Shard, Shards, StoreError};
use tracing::{error, info, warn};

use crate::{
    alert::Alert,
    pace::Pace,
    settings::{RATE_MIN, ScrubRate},
    shared::{Shared, Stopped},
};

/// Scrubs until the node stops.
pub(crate) async fn scrub_shards(shared: &Shared) {
    let mut settings = shared.settings.subscribe();
    let mut rate = settings.borrow_and_update().scrub;
    let mut at_once = false;
    loop {
        tokio::select! {
            biased;
            () = shared.stopped() => return,
            // With another rate it goes on at the same position. If all is read, it begins again: the operator asks.
            changed = settings.wait_for(|settings| settings.scrub != rate) => match changed {
                Ok(settings) => (rate, at_once) = (settings.scrub, true),
                Err(_) => return,
            },
            () = run(shared, rate, at_once) => return,
        }
    }
}

/// Makes pass after pass. Returns when the node stops.
async fn run(shared: &Shared, rate: ScrubRate, mut at_once: bool) {
    if rate == ScrubRate::Off {
        return std::future::pending().await;
    }
    loop {
        let passed = pass(shared, rate, at_once).await;
        at_once = false;
        let wait_ms = match passed {
            Ok(wait_ms) => wait_ms,
            Err(error) => {
                warn!(%error, "shards cannot be checked now");
                RETRY_MS
            }
        };
        if shared.sleep_ms(wait_ms).await == Err(Stopped) {
            return;
        }
    }
}

/// Goes on with a pass to its end. Returns the milliseconds until the next one may begin.
async fn pass(shared: &Shared, rate: ScrubRate, at_once: bool) -> Result<u64, StoreError> {
    let mut scrub = shared.with_store(Shards::scrub).await?;
    if scrub.after.is_none() {
        let since_ms = shared.host.now_ms().0.saturating_sub(scrub.began_ms);
        if scrub.passes != 0 && since_ms < PASS_MS_MIN && !at_once {
            return Ok(PASS_MS_MIN - since_ms);
        }
        let Scrub { passes, ended_ms, .. } = scrub;
        scrub = Scrub { passes, ended_ms, began_ms: shared.host.now_ms().0, ..Scrub::default() };
    }
    shared.scrub.set(Some(match rate {
        ScrubRate::Bytes(rate) => rate,
        _ => (shared.admission.used() / WEEKS_S).max(RATE_MIN),
    }));
    let mut saved_tick = shared.host.ticks_ms();
    loop {
        let after = scrub.after.map(|deal| (deal, scrub.after_index));
        let page = shared.with_store(move |store| store.list(after, PAGE)).await?;
        if page.is_empty() {
            break;
        }
        for shard in page {
            check(shared, &shard).await?;
            (scrub.after, scrub.after_index) = (Some(shard.info.deal), shard.info.index);
            scrub.shards += 1;
            scrub.bytes += shard.info.length;
            let now_tick = shared.host.ticks_ms();
            if saved_tick.saturating_add(SAVE_MS) <= now_tick {
                shared.with_store(move |store| store.set_scrub(&scrub)).await?;
                saved_tick = now_tick;
            }
        }
    }
    scrub =
        Scrub { after: None, passes: scrub.passes + 1, ended_ms: shared.host.now_ms().0, ..scrub };
    shared.with_store(move |store| store.set_scrub(&scrub)).await?;
    info!(shards = scrub.shards, bytes = scrub.bytes, "all shards were checked");
    Ok(PASS_MS_MIN)
}

/// Reads one shard and notes whether it is whole. An error that says nothing about the shard is returned.
pub(crate) async fn check(shared: &Shared, shard: &Shard) -> Result<(), StoreError> {
    let (deal, index) = (shard.info.deal, shard.info.index);
    match read_whole(&shared.store, &shared.host, &shared.scrub, shard).await? {
        Verdict::Whole => {
            if shared.with_store(move |store| store.note_whole(&deal, index)).await? {
                info!(%deal, index, "a shard that was found damaged is whole again");
            }
        }
        Verdict::Damaged(why) => damaged(shared, shard, why.to_string()).await,
        Verdict::Gone => {}
    }
    Ok(())
}

/// What reading a shard has shown.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// Its bytes are those that were stored.
    Whole,
    /// They are not.
    Damaged(Damage),
    /// It was deleted meanwhile.
    Gone,
}

/// Reads all bytes of a shard, at a pace.
pub(crate) async fn read_whole(
    store: &Shards,
    host: &Host,
    pace: &Pace,
    shard: &Shard,
) -> Result<Verdict, StoreError> {
    let (store, deal, index) = (store.clone(), shard.info.deal, shard.info.index);
    let mut checking = match host.blocking(move || store.open_shard(&deal, index)).await {
        Ok(file) => file.checking(),
        Err(error) => return verdict(error),
    };
    loop {
        pace.take(checking.next_bytes(), host, |_| {}).await;
        let stepped = host.blocking(move || {
            let stepped = checking.step();
            (checking, stepped)
        });
        match stepped.await {
            (_, Ok(0)) => return Ok(Verdict::Whole),
            (next, Ok(_)) => checking = next,
            (_, Err(error)) => return verdict(error),
        }
    }
}

fn verdict(error: StoreError) -> Result<Verdict, StoreError> {
    match error {
        StoreError::Damaged { why, .. } => Ok(Verdict::Damaged(why)),
        StoreError::NotFound { .. } => Ok(Verdict::Gone),
        other => Err(other),
    }
}

/// Puts a shard on the list of damaged ones, and tells the operator if it is new there.
pub(crate) async fn damaged(shared: &Shared, shard: &Shard, why: String) {
    let (deal, index, root) = (shard.info.deal, shard.info.index, shard.root);
    let (reason, now_ms): (_, MachineTime) = (why.clone(), shared.host.now_ms());
    let noted =
        shared.with_store(move |store| store.note_damage((&deal, index), &root, &reason, now_ms));
    match noted.await {
        Ok(true) => {
            error!(%deal, index, why, "a shard is damaged; it is not served any more");
            shared.alerts.raise(Alert::Damaged { deal, index, why });
        }
        Ok(false) => {}
        Err(error) => {
            error!(%deal, index, why, %error, "a shard is damaged, and that cannot be noted")
        }
    }
}

/// Seconds of four weeks: the default rate reads all shards in that time.
const WEEKS_S: u64 = 28 * Millis::DAY.0 / 1_000;
/// The shortest time between the beginnings of two passes, in milliseconds: a week. A store of a few shards is read in
/// moments.
const PASS_MS_MIN: u64 = 7 * Millis::DAY.0;
/// Milliseconds until the next attempt when the store fails.
const RETRY_MS: u64 = 60_000;
/// Shards that are listed together.
const PAGE: usize = 64;
/// Milliseconds after which the position is noted.
const SAVE_MS: u64 = 5_000;
