//! The keys of a claim: from the releases of the custodians of the owner's vault.

use std::{collections::BTreeMap, time::Duration};

use symbolon_protocol::{
    content::mask::IndexKeys,
    custody::{self, ClaimRequest, DeliveryKey, Release},
    id::{DealId, Hash},
    ledger::rows::{Claim, Vault, Vaults},
    wire::storage::{Request, Response},
};
use symbolon_transfer::Network;
use tokio::task::JoinSet;
use tracing::debug;
use zeroize::Zeroizing;

use super::{CareError, rows::Rows};
use crate::{
    custodian::{self, ReleaseError},
    shared::Shared,
};

/// The keys of the masks of the shards of a claim, from the releases of enough custodians.
pub(super) async fn keys(
    shared: &Shared,
    network: &Network,
    rows: &Rows,
    claim: &Claim,
) -> Result<IndexKeys, CareError> {
    let (id, owner) = (rows.id, rows.deal.owner);
    let vault = shared.ledger.row(Vaults, &rows.care.vault).await?;
    let Some(vault) = vault else {
        return Err(CareError::Custodians { given: 0, needed: 1 });
    };
    let given = releases(shared, network, (id, claim), &vault).await?;
    let context = custody::claim_context(&shared.chain, &id, &claim.claimant);
    let points: Vec<_> = claim
        .opened()
        .map(|index| (index, custody::care_point(&shared.chain, &owner, &id, index)))
        .collect();
    let secret = shared.key.claim_secret(&shared.chain, &id);
    let (pads, delivery) = (rows.care.pads.clone(), claim.delivery.clone());
    let needed = vault.key.required();
    let opened = shared.host.blocking(move || {
        let good = verified(&given, &points, (&vault, &delivery, &context), needed);
        if good.len() < needed {
            return Err(CareError::Custodians { given: good.len(), needed });
        }
        let mut keys = IndexKeys::default();
        for (place, (index, _)) in points.iter().enumerate() {
            let of_shard: Vec<Release> = good.iter().map(|given| given[place].clone()).collect();
            let care_key = custody::combine_care(&of_shard, &secret, &vault.key)?;
            let pad = pads.get(usize::from(*index)).copied().unwrap_or_default();
            keys.insert(*index, Zeroizing::new(std::array::from_fn(|at| pad[at] ^ care_key[at])));
        }
        Ok(keys)
    });
    opened.await
}

/// The answers of custodians that are all true, as many as are needed. A custodian answers with its own releases alone.
fn verified<'a>(
    given: &'a BTreeMap<u8, Vec<Release>>,
    points: &[(u8, custody::Point)],
    (vault, delivery, context): (&Vault, &DeliveryKey, &Hash),
    needed: usize,
) -> Vec<&'a Vec<Release>> {
    let is_true = |(index, releases): &(&u8, &Vec<Release>)| {
        releases.len() == points.len()
            && releases.iter().zip(points).all(|(release, (_, point))| {
                let request = ClaimRequest { vault: &vault.key, point, delivery, context };
                release.index == **index && release.verify_claimed(&request).is_ok()
            })
    };
    given.iter().filter(is_true).take(needed).map(|(_, releases)| releases).collect()
}

/// What custodians answer, by their share index.
async fn releases(
    shared: &Shared,
    network: &Network,
    (id, claim): (DealId, &Claim),
    vault: &Vault,
) -> Result<BTreeMap<u8, Vec<Release>>, CareError> {
    let mut given = BTreeMap::new();
    let places = network.places(&vault.custodians).await?;
    let mut asks = JoinSet::new();
    for (index, (node, address)) in (1_u8..).zip(vault.custodians.iter().zip(places)) {
        if *node == shared.key.id() {
            match custodian::release_claim(shared, id, claim).await {
                Ok(own) => drop(given.insert(index, own)),
                Err(ReleaseError::Custody(error)) => return Err(error.into()),
                Err(error) => debug!(%error, "this node cannot give its own release"),
            }
            continue;
        }
        let Some(address) = address else { continue };
        let peers = network.peers().clone();
        asks.spawn(async move {
            let request = Request::ReleaseClaim { deal: id };
            (index, peers.ask(&address, &request, CUSTODIAN_PATIENCE).await)
        });
    }
    // One more than needed: one of them may lie.
    while given.len() <= vault.key.required()
        && let Some(answer) = asks.join_next().await
    {
        match answer {
            Ok((index, Ok(Response::ReleasedClaim { releases }))) => {
                given.insert(index, releases);
            }
            Ok((index, answer)) => debug!(index, ?answer, "a custodian gave no releases"),
            Err(error) => debug!(%error, "a question to a custodian failed"),
        }
    }
    Ok(given)
}

/// How long a custodian may take for its releases.
const CUSTODIAN_PATIENCE: Duration = Duration::from_secs(15);
