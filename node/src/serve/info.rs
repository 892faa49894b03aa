//! `Info` and `Check`: what a node asks and offers, and whether it still has a shard.

use std::sync::Arc;

use symbolon_protocol::{
    grant::{Grant, ability},
    ledger::rows::Access,
    wire::storage::Response,
};

use super::{Stop, Stream, grants, internal, store::disk_free};
use crate::shared::Shared;

/// Answers a request for the node's terms.
pub(crate) async fn answer(shared: &Arc<Shared>, stream: &mut Stream) -> Result<(), Stop> {
    let free = shared.admission.free(disk_free(shared).await?);
    let response = Response::Info {
        chain: shared.chain,
        node: shared.key.id(),
        price: shared.options.price,
        free,
    };
    stream.answer(&response).await
}
