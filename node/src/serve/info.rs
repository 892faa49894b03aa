//! `Info` and `Check`: the node's price and room, and whether it still has a shard.

use std::sync::Arc;

use symbolon_protocol::{grant::Grant, ledger::rows::Access, wire::storage::Response};

use super::{
    ShardPlace, Stop, Stream,
    grants::{self, Need},
    refuse_store,
    store::disk_free,
    terms_of,
};
use crate::shared::Shared;

/// Answers a request for the node's price and room.
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

/// Answers whether the node has a shard. The answer comes from the index, without reading the
/// bytes. To check the bytes, a client reads them.
pub(crate) async fn check(
    shared: &Arc<Shared>,
    stream: &mut Stream,
    (deal, index): ShardPlace,
    grant: Option<&Grant>,
) -> Result<(), Stop> {
    let info = shared.with_store(move |store| store.info(&deal, index)).await;
    let Some(shard) = info.map_err(refuse_store)? else {
        return stream.answer(&Response::Held { length: None, root: None }).await;
    };
    if shard.info.access == Access::Granted {
        let terms = terms_of(&shard)?;
        let wanted = grants::Wanted { shard: (&terms).into(), need: Need::Verify };
        grants::authorize(shared, stream.peer, grant, &wanted).await?;
    }
    let damaged = shared.with_store(move |store| store.is_damaged(&deal, index)).await;
    if damaged.map_err(refuse_store)? {
        return stream.answer(&Response::Held { length: None, root: None }).await;
    }
    let (length, root) = (Some(shard.info.length), Some(shard.root));
    stream.answer(&Response::Held { length, root }).await
}
