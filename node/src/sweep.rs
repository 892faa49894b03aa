//! Deletes shards nobody paid for.

use symbolon_protocol::{
    id::DealId,
    ledger::rows::{Deal, Deals},
};
use tracing::{debug, info, warn};

use crate::{
    admission::Paid,
    serve::Stop,
    shared::{Shared, Stopped},
};

/// Looks for expired unpaid shards until the node stops.
pub(crate) async fn sweep_unpaid(shared: &Shared) {
    loop {
        let next_ms = shared.host.now_ms().saturating_add(shared.options.limits.sweep_ms);
        if shared.sleep_until_ms(next_ms).await == Err(Stopped) {
            return;
        }
        if let Err(why) = sweep(shared).await {
            warn!(why, "expired shards are not looked for");
        }
    }
}
