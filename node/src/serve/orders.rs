//! What this node knows of orders. A bought grant counts if the ledger's rows say that its order is paid.
//!
//! The node asks the ledger once for an order, and remembers the answer. Refunds that follow arrive with the
//! blocks. A stranger could name one order after the other, so look-ups are bounded: each peer has one at a
//! time, and after one that gave it nothing it waits for a while.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, Weak},
};

use symbolon_ledger::LedgerError;
use symbolon_protocol::{
    LedgerTime,
    grant::{Authorized, GrantError, PaidOrder},
    id::{OrderId, PeerId},
    ledger::rows::{Listings, Orders},
    wire::storage::{Refusal, RefusalCode},
};
use tokio::sync::Semaphore;
use tracing::debug;

use super::{Stop, grants::refuse};
use crate::{lru::Lru, options::Limits, shared::Shared};

/// The orders that are known, and the peers whose look-ups are bounded.
#[derive(Debug)]
pub(crate) struct KnownOrders {
    memory: Mutex<Memory>,
    /// A place for each look-up under way.
    places: Semaphore,
    pause_ms: u64,
}

#[derive(Debug)]
struct Memory {
    orders: Lru<OrderId, PaidOrder>,
    failures: Lru<PeerId, Failure>,
    /// The turns of peers that have a look-up, or wait for their next.
    turns: BTreeMap<PeerId, Weak<Turn>>,
}

/// A peer's turn to look up an order.
type Turn = tokio::sync::Mutex<()>;

/// A look-up that gave its peer nothing.
#[derive(Clone, Debug)]
struct Failure {
    order: OrderId,
    refusal: Refusal,
    /// The tick at which the peer may cause another one.
    until_ms: u64,
}

impl KnownOrders {
    pub(crate) fn new(limits: &Limits) -> Self {
        let memory = Memory {
            orders: Lru::new(limits.orders_known_max),
            failures: Lru::new(limits.connections_max),
            turns: BTreeMap::new(),
        };
        Self {
            memory: Mutex::new(memory),
            places: Semaphore::new(limits.look_ups_max),
            pause_ms: limits.look_up_pause_ms,
        }
    }

    /// What is known of an order. Of one whose access has ended nothing is known: its id may stand for another order
    /// now.
    pub(crate) fn find(&self, order: &OrderId, now_ms: LedgerTime) -> Option<PaidOrder> {
        self.memory().orders.find(order).filter(|paid| now_ms < paid.ends_ms)
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
    fn may_look_up(&self, peer: PeerId, order: OrderId, tick_ms: u64) -> Result<(), Refusal> {
        match self.memory().failures.find(&peer) {
            Some(failure) if tick_ms < failure.until_ms => Err(match failure.order == order {
                true => failure.refusal,
                false => Refusal::new(
                    RefusalCode::Busy,
                    "the order before this one gave no access: ask again in a moment",
                ),
            }),
            _ => Ok(()),
        }
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().expect("no code that holds the memory panics")
    }
}

/// Judges a request by an order that this node does not know yet.
pub(crate) async fn look_up(
    shared: &Shared,
    peer: PeerId,
    order: OrderId,
    judged: impl Fn(Option<PaidOrder>) -> Result<Authorized, GrantError>,
) -> Result<Authorized, Stop> {
    let known = &shared.orders;
    let turn = known.turn(peer);
    let _turn = turn.lock().await;
    // The peer's request before this one may have asked.
    if let Some(paid) = known.find(&order, shared.now_ms()) {
        return judged(Some(paid)).map_err(refuse);
    }
    known.may_look_up(peer, order, shared.host.ticks_ms())?;
    let answer = {
        let _place = known.places.acquire().await.expect("the semaphore is never closed");
        ask(shared, &order).await
    };
    let answer = match answer {
        Ok(paid) => {
            if let Some(paid) = paid {
                known.memory().orders.keep(order, paid);
            }
            judged(paid).map_err(refuse)
        }
        Err(error) => {
            let message = format!("this node cannot ask its ledger for order {order}: {error}");
            Err(Stop::refused(RefusalCode::Stale, message))
        }
    };
    if let Err(Stop::Refused(refusal)) = &answer {
        debug!(%peer, %order, message = refusal.message, "an order gives no access");
        let until_ms = shared.host.ticks_ms().saturating_add(known.pause_ms);
        let failure = Failure { order, refusal: refusal.clone(), until_ms };
        known.memory().failures.keep(peer, failure);
    }
    answer
}

/// What the ledger's rows say of an order; `None` if there is no such order.
async fn ask(shared: &Shared, id: &OrderId) -> Result<Option<PaidOrder>, LedgerError> {
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
