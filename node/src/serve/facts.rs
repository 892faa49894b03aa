//! What this node knows of orders and redemptions. A bought grant counts if the ledger's rows say that its order is
//! paid, and that of a voucher if they say for whom it was redeemed.
//!
//! The node asks the ledger once for each, and remembers the answer. Refunds that follow arrive with the
//! blocks, and a redemption never changes. A stranger could name one order after the other, so look-ups are bounded: each
//! peer has one at a time, and after one that gave it nothing it waits for a while.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, Weak},
};

use symbolon_ledger::LedgerError;
use symbolon_protocol::{
    LedgerTime,
    grant::{Authorized, GrantError, PaidOrder, VerifiedGrant},
    id::{AccountId, OrderId, PeerId},
    ledger::rows::{Listings, Orders, Redemption, Redemptions},
    wire::storage::{Refusal, RefusalCode},
};
use tokio::sync::Semaphore;
use tracing::debug;

use super::{Stop, grants::refuse};
use crate::{lru::Lru, options::Limits, shared::Shared};

/// The orders and redemptions that are known, and the peers whose look-ups are bounded.
#[derive(Debug)]
pub(crate) struct KnownFacts {
    memory: Mutex<Memory>,
    /// A place for each look-up under way.
    places: Semaphore,
    pause_ms: u64,
}

#[derive(Debug)]
struct Memory {
    orders: Lru<OrderId, PaidOrder>,
    redemptions: Lru<AccountId, Redemption>,
    failures: Lru<PeerId, Failure>,
    /// The turns of peers that have a look-up, or wait for their next.
    turns: BTreeMap<PeerId, Weak<Turn>>,
}

/// A peer's turn to look something up.
type Turn = tokio::sync::Mutex<()>;

/// What is looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Order(OrderId),
    /// The redemption by a one-time account.
    Redemption(AccountId),
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Order(order) => write!(f, "order {order}"),
            Self::Redemption(once) => write!(f, "the redemption by {once}"),
        }
    }
}

/// What the ledger says of a grant, as far as it is known here.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Facts {
    pub(crate) paid: Option<PaidOrder>,
    pub(crate) redeemed: Option<Redemption>,
}

/// A look-up that gave its peer nothing.
#[derive(Clone, Debug)]
struct Failure {
    what: What,
    refusal: Refusal,
    /// The tick at which the peer may cause another one.
    until_ms: u64,
}

impl KnownFacts {
    pub(crate) fn new(limits: &Limits) -> Self {
        let memory = Memory {
            orders: Lru::new(limits.orders_known_max),
            redemptions: Lru::new(limits.orders_known_max),
            failures: Lru::new(limits.connections_max),
            turns: BTreeMap::new(),
        };
        Self {
            memory: Mutex::new(memory),
            places: Semaphore::new(limits.look_ups_max),
            pause_ms: limits.look_up_pause_ms,
        }
    }

    /// What is known of a grant's order and redemption. Of one whose time has ended nothing is known: its id may stand for
    /// another one now.
    fn find(&self, grant: &VerifiedGrant, now_ms: LedgerTime) -> Facts {
        let mut memory = self.memory();
        let paid = grant.sale().and_then(|sale| memory.orders.find(&sale.order));
        let once = grant.grant().once_account();
        let redeemed = once.and_then(|once| memory.redemptions.find(&once));
        Facts {
            paid: paid.filter(|paid| now_ms < paid.ends_ms),
            redeemed: redeemed.filter(|row| now_ms < row.until_ms),
        }
    }

    fn turn(&self, peer: PeerId) -> Arc<Turn> {
        let mut memory = self.memory();
        if let Some(turn) = memory.turns.get(&peer).and_then(Weak::upgrade) {
            return turn;
        }
        memory.turns.retain(|_, turn| 0 < turn.strong_count());
        let turn = Arc::new(Turn::default());
        memory.turns.insert(peer, Arc::downgrade(&turn));
        turn
    }

    /// Refuses a look-up that comes too soon after one that failed.
    fn may_look_up(&self, peer: PeerId, what: What, tick_ms: u64) -> Result<(), Refusal> {
        match self.memory().failures.find(&peer) {
            Some(failure) if tick_ms < failure.until_ms => Err(match failure.what == what {
                true => failure.refusal,
                false => Refusal::new(
                    RefusalCode::Busy,
                    format!("{} gave no access a moment ago: ask again in a moment", failure.what),
                ),
            }),
            _ => Ok(()),
        }
    }

    fn keep_failure(&self, peer: PeerId, what: What, refusal: &Refusal, tick_ms: u64) {
        debug!(%peer, %what, message = refusal.message, "what the ledger says gives no access");
        let until_ms = tick_ms.saturating_add(self.pause_ms);
        let failure = Failure { what, refusal: refusal.clone(), until_ms };
        self.memory().failures.keep(peer, failure);
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().expect("no code that holds the memory panics")
    }
}

/// Facts that a grant can need: an order, and then a redemption.
const FACTS_MAX: usize = 2;

/// Judges a request by what this node knows, and asks the ledger for what it does not know yet.
pub(crate) async fn judge(
    shared: &Shared,
    peer: PeerId,
    grant: &VerifiedGrant,
    judged: impl Fn(Facts) -> Result<Authorized, GrantError>,
) -> Result<Authorized, Stop> {
    let mut facts = shared.facts.find(grant, shared.now_ms());
    for _ in 0..FACTS_MAX {
        let Some(what) = unknown(&judged(facts)) else { break };
        facts = look_up(shared, (peer, what), grant, facts, &judged).await?;
    }
    judged(facts).map_err(refuse)
}

fn unknown(judged: &Result<Authorized, GrantError>) -> Option<What> {
    match judged {
        Err(GrantError::UnknownOrder { order }) => Some(What::Order(*order)),
        Err(GrantError::UnknownRedemption { once }) => Some(What::Redemption(*once)),
        _ => None,
    }
}

/// Asks the ledger for what a request needs. Gives what is known then, if the request may need no more of this.
async fn look_up(
    shared: &Shared,
    (peer, what): (PeerId, What),
    grant: &VerifiedGrant,
    facts: Facts,
    judged: impl Fn(Facts) -> Result<Authorized, GrantError>,
) -> Result<Facts, Stop> {
    let known = &shared.facts;
    let turn = known.turn(peer);
    let _turn = turn.lock().await;
    // The peer's request before this one may have asked.
    let now = known.find(grant, shared.now_ms());
    if unknown(&judged(now)) != Some(what) {
        return Ok(now);
    }
    known.may_look_up(peer, what, shared.host.ticks_ms())?;
    let answer = {
        let _place = known.places.acquire().await.expect("the semaphore is never closed");
        ask(shared, what, facts).await
    };
    let refusal = match answer {
        Ok(facts) => match judged(facts) {
            Err(error) if unknown(&Err(error)).is_none_or(|next| next == what) => refuse(error),
            _ => return Ok(facts),
        },
        Err(error) => {
            let message = format!("this node cannot ask its ledger for {what}: {error}");
            Stop::refused(RefusalCode::Stale, message)
        }
    };
    if let Stop::Refused(refusal) = &refusal {
        known.keep_failure(peer, what, refusal, shared.host.ticks_ms());
    }
    Err(refusal)
}

/// Adds what the ledger's rows say, and remembers it.
async fn ask(shared: &Shared, what: What, facts: Facts) -> Result<Facts, LedgerError> {
    match what {
        What::Order(order) => {
            let paid = ask_order(shared, &order).await?;
            if let Some(paid) = paid {
                shared.facts.memory().orders.keep(order, paid);
            }
            Ok(Facts { paid, ..facts })
        }
        What::Redemption(once) => {
            let redeemed = shared.ledger.row(Redemptions, &once).await?;
            if let Some(row) = redeemed {
                shared.facts.memory().redemptions.keep(once, row);
            }
            Ok(Facts { redeemed, ..facts })
        }
    }
}

/// What the ledger's rows say of an order; `None` if there is no such order.
async fn ask_order(shared: &Shared, id: &OrderId) -> Result<Option<PaidOrder>, LedgerError> {
    let Some(order) = shared.ledger.row(Orders, id).await? else { return Ok(None) };
    if let Some(listing) = shared.ledger.row(Listings, &order.listing).await? {
        return Ok(Some(PaidOrder::of(&shared.chain, &order, &listing)));
    }
    // Both may have left the state between the two answers.
    match shared.ledger.row(Orders, id).await? {
        None => Ok(None),
        Some(_) => Err(LedgerError::Forged { what: "an order is of no listing" }),
    }
}
