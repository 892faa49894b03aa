//! Decides whether a peer may do what it asks. A grant is verified once, then judged for each
//! request.

use std::{ops::Range, sync::Arc};

use symbolon_protocol::{
    Encode, LedgerTime,
    content::{Scheme, layout::SegmentLayout},
    grant::{Access, Authorized, Caveat, Grant, GrantError, Quota, VerifiedGrant, ability},
    id::{AccountId, Hash, ObjectId, PeerId},
    ledger::{rows::Deal, transaction::DealTerms},
    reads::ReadBy,
    wire::storage::RefusalCode,
};
use symbolon_store::{Charge, Counter};

use super::{Stop, facts, facts::Facts, refuse_store};
use crate::{lru::Lru, reads, shared::Shared};

/// Results of verification. Failures are remembered too, so a peer that repeats a bad grant costs a
/// hash instead of signatures.
pub(crate) type GrantCache = Lru<Hash, Result<Arc<VerifiedGrant>, GrantError>>;

/// A request that needs a grant.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) shard: OfDeal,
    pub(crate) need: Need,
}

/// What a grant is judged by: whose shard is requested, and which cells of the object it has.
#[derive(Clone, Debug)]
pub(crate) struct OfDeal {
    owner: AccountId,
    object: ObjectId,
    segment: u32,
    scheme: Scheme,
    length: u64,
}

impl From<&DealTerms> for OfDeal {
    fn from(terms: &DealTerms) -> Self {
        Self {
            owner: terms.owner,
            object: terms.object,
            segment: terms.segment,
            scheme: Scheme { required: terms.required, total: terms.total },
            length: terms.length,
        }
    }
}

impl From<&Deal> for OfDeal {
    fn from(row: &Deal) -> Self {
        let total = u8::try_from(row.shards.len()).unwrap_or(u8::MAX);
        Self {
            owner: row.owner,
            object: row.object,
            segment: row.segment,
            scheme: Scheme { required: row.required, total },
            length: row.length,
        }
    }
}

/// The purpose of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// Delete the shard.
    Delete,
    /// Store the shard.
    Store,
    /// Get information about the shard.
    Verify,
    /// Read these stripes of the shard.
    Read(Range<u32>),
}

/// Judges a request. Returns what is left to enforce, and by what right the peer asks, when the grant allows it now. [`charge`] checks the quotas.
pub(crate) async fn authorize(
    shared: &Shared,
    peer: PeerId,
    grant: Option<&Grant>,
    wanted: &Wanted,
) -> Result<(Authorized, ReadBy), Stop> {
    let Some(grant) = grant else {
        return Err(Stop::refused(RefusalCode::NotAllowed, "this request needs a grant"));
    };
    let verified = verify(shared, grant).map_err(refuse)?;
    let judged = |facts| judge(&verified, peer, wanted, (shared.now_ms(), facts));
    let allowed = facts::judge(shared, peer, &verified, judged).await?;
    let limit_ms = shared.options.limits.stale_ms;
    shared.freshen(allowed.staleness_ms.map_or(limit_ms, |max| max.0.min(limit_ms))).await?;
    if let Some(max) = allowed.staleness_ms {
        shared.has_recent_block(max).await?;
    }
    check_alive(shared, &allowed).await?;
    Ok((allowed, reads::by_grant(&verified)))
}

/// Counts a read against every quota of the grant's chain, before the first byte is sent.
pub(crate) async fn charge(shared: &Shared, allowed: &Authorized, bytes: u64) -> Result<(), Stop> {
    if allowed.quotas.is_empty() {
        return Ok(());
    }
    let quotas = allowed.quotas.clone();
    let until_ms = allowed.ends_ms.unwrap_or(LedgerTime::NEVER);
    let charged = shared.with_store(move |store| {
        let max = |quota: &Quota| Counter {
            reads: quota.reads.unwrap_or(u64::MAX),
            bytes: quota.bytes.unwrap_or(u64::MAX),
        };
        let keys: Vec<_> = quotas.iter().map(|quota| (&quota.link.0[..], max(quota))).collect();
        let charged = store.charge(&keys, Counter { reads: 1, bytes }, until_ms)?;
        Ok(charged)
    });
    match charged.await.map_err(refuse_store)? {
        Charge::Counted(_) => Ok(()),
        Charge::Exceeded { place, so_far } => {
            let quota = allowed.quotas.get(place);
            let message = quota.map_or_else(String::new, |quota| used_up(quota, so_far, bytes));
            Err(Stop::refused(RefusalCode::QuotaUsed, message))
        }
    }
}

/// Which quota has no room for a read, in words.
fn used_up(quota: &Quota, so_far: Counter, bytes: u64) -> String {
    let link = quota.link;
    match quota.reads.filter(|max| *max <= so_far.reads) {
        Some(max) => {
            format!("link {link} of the grant allows {max} reads on this node, and all are used")
        }
        None => format!(
            "link {link} of the grant allows {} bytes from this node; {} are used, and this read is of {bytes}",
            quota.bytes.unwrap_or(u64::MAX),
            so_far.bytes
        ),
    }
}

/// The part of the decision that needs only the chain, the request and what the ledger says of it.
fn judge(
    verified: &VerifiedGrant,
    peer: PeerId,
    wanted: &Wanted,
    (now_ms, facts): (LedgerTime, Facts),
) -> Result<Authorized, GrantError> {
    let shard = &wanted.shard;
    let access = |ability, cells| Access {
        owner: shard.owner,
        object: shard.object,
        peer,
        ability,
        cells,
        now_ms,
        paid: facts.paid,
        redeemed: facts.redeemed,
    };
    match &wanted.need {
        Need::Delete => verified.authorize(&access(ability::DELETE, None)),
        Need::Store => verified.authorize(&access(ability::STORE, None)),
        Need::Verify => verified.authorize(&access(ability::VERIFY, None)),
        Need::Read(stripes) => {
            let cells = readable(verified.grant(), shard, stripes.clone())?;
            // A shard is ciphertext, so two abilities allow reading it: one for readers, one for
            // repairers.
            match verified.authorize(&access(ability::READ, Some(cells.clone()))) {
                Err(GrantError::NotAllowed) => {
                    verified.authorize(&access(ability::REPAIR, Some(cells)))
                }
                judged => judged,
            }
        }
    }
}

/// The data cells that a read of these stripes is about, within the limits of the grant. Every
/// stripe must contain at least one allowed cell. The other cells of such a stripe, data or parity,
/// only serve to rebuild the allowed ones. See `spec/node.md`.
fn readable(grant: &Grant, shard: &OfDeal, stripes: Range<u32>) -> Result<Range<u64>, GrantError> {
    let layout = SegmentLayout::from_shard(shard.scheme, shard.segment, shard.length);
    let layout = layout.map_err(|_| GrantError::WrongCells)?;
    let required = u64::from(shard.scheme.required);
    let first_of = |stripe: u32| layout.first_cell + u64::from(stripe) * required;
    let caveats = grant.links.iter().flat_map(|link| &link.caveats);
    let limits = caveats.filter_map(|caveat| match caveat {
        Caveat::Cells { first, end } => Some((*first, *end)),
        _ => None,
    });
    let (first, end) =
        limits.fold((0, u64::MAX), |(first, end), (from, to)| (first.max(from), end.min(to)));
    // The stripes are consecutive, so the first and the last one decide.
    let last = stripes.end.saturating_sub(1);
    let touches = |stripe| first < first_of(stripe) + required && first_of(stripe) < end;
    let all = stripes.start <= last && first < end && touches(stripes.start) && touches(last);
    match all {
        true => Ok(first.max(first_of(stripes.start))..end.min(first_of(stripes.end))),
        false => Err(GrantError::WrongCells),
    }
}

fn verify(shared: &Shared, grant: &Grant) -> Result<Arc<VerifiedGrant>, GrantError> {
    let key = Hash(*blake3::hash(&grant.to_bytes()).as_bytes());
    if let Some(known) = shared.grants().find(&key) {
        return known;
    }
    // Verify without holding the lock. Two streams may verify the same grant twice, but they do not
    // wait for each other.
    let verified = grant.verify(&shared.chain).map(Arc::new);
    shared.grants().keep(key, verified.clone());
    verified
}

/// Checks that no link of the grant was revoked, and that its order was not refunded.
async fn check_alive(shared: &Shared, allowed: &Authorized) -> Result<(), Stop> {
    let (revocations, order) = (allowed.revocations.clone(), allowed.order);
    let dead = shared.with_store(move |store| {
        for (link, by) in &revocations {
            if store.is_revoked(link, by)? {
                return Ok(Some("the grant was revoked"));
            }
        }
        match order {
            Some(order) if store.is_refunded(&order)? => Ok(Some("the grant's order was refunded")),
            _ => Ok(None),
        }
    });
    match dead.await.map_err(refuse_store)? {
        None => Ok(()),
        Some(message) => Err(Stop::refused(RefusalCode::Revoked, message)),
    }
}

pub(super) fn refuse(error: GrantError) -> Stop {
    Stop::refused(error.code(), error.to_string())
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::SigningKey;
    use symbolon_protocol::{
        id::{AccountId, ChainId, ObjectId},
        limits::CELL_BYTES,
    };

    use super::*;

    fn shard() -> OfDeal {
        OfDeal {
            owner: AccountId(SigningKey::from_bytes(&[1; 32]).verifying_key().to_bytes()),
            object: ObjectId([2; 16]),
            segment: 0,
            scheme: Scheme { required: 4, total: 10 },
            length: 48 * CELL_BYTES as u64,
        }
    }

    const CHAIN: ChainId = ChainId([7; 32]);

    fn grant(caveats: Vec<Caveat>) -> Grant {
        let owner = SigningKey::from_bytes(&[1; 32]);
        Grant::issue(&CHAIN, &owner, PeerId([9; 32]), caveats, &[0; 32]).unwrap()
    }

    /// A grant with these caveats for the object of [`shard`].
    fn of_object(mut caveats: Vec<Caveat>) -> Grant {
        caveats.push(Caveat::Object { object: shard().object });
        grant(caveats)
    }

    #[test]
    fn a_range_opens_the_stripes_it_touches_and_no_other() {
        let limited = grant(vec![Caveat::Cells { first: 10, end: 12 }]);
        let readable = |stripes| readable(&limited, &shard(), stripes);
        assert_eq!(readable(2..3), Ok(10..12));
        for outside in [1..2, 3..4, 1..3, 2..4, 0..16, 2..2] {
            assert_eq!(readable(outside.clone()), Err(GrantError::WrongCells), "{outside:?}");
        }
        let wider = grant(vec![Caveat::Cells { first: 11, end: 17 }]);
        assert_eq!(super::readable(&wider, &shard(), 2..5), Ok(11..17));
        assert_eq!(super::readable(&wider, &shard(), 2..6), Err(GrantError::WrongCells));
        let both = vec![Caveat::Cells { first: 0, end: 9 }, Caveat::Cells { first: 9, end: 20 }];
        assert_eq!(super::readable(&grant(both), &shard(), 2..3), Err(GrantError::WrongCells));
        assert_eq!(super::readable(&grant(vec![]), &shard(), 0..48), Ok(0..192));
        let later = OfDeal { segment: 2, ..shard() };
        assert_eq!(super::readable(&grant(vec![]), &later, 0..1), Ok(8192..8196));
    }

    #[test]
    fn a_range_does_not_widen_what_authorize_allows() {
        let caveats =
            vec![Caveat::Abilities { set: ability::ALL }, Caveat::Cells { first: 10, end: 12 }];
        let limited = of_object(caveats).verify(&CHAIN).unwrap();
        let judged = |need| {
            let wanted = Wanted { shard: shard(), need };
            judge(&limited, PeerId([9; 32]), &wanted, (LedgerTime::ZERO, Facts::default()))
                .map(|_| ())
        };
        assert_eq!(judged(Need::Read(2..3)), Ok(()));
        assert_eq!(judged(Need::Read(3..4)), Err(GrantError::WrongCells));
        // Storing and verifying apply to whole shards.
        assert_eq!(judged(Need::Store), Err(GrantError::WrongCells));
        assert_eq!(judged(Need::Verify), Err(GrantError::WrongCells));
    }

    #[test]
    fn a_repairer_reads_and_a_storer_does_not() {
        let judged = |set| {
            let verified = of_object(vec![Caveat::Abilities { set }]).verify(&CHAIN).unwrap();
            let wanted = Wanted { shard: shard(), need: Need::Read(0..1) };
            judge(&verified, PeerId([9; 32]), &wanted, (LedgerTime::ZERO, Facts::default()))
                .map(|_| ())
        };
        assert_eq!(judged(ability::READ), Ok(()));
        assert_eq!(judged(ability::REPAIR), Ok(()));
        assert_eq!(judged(ability::VERIFY | ability::STORE), Err(GrantError::NotAllowed));
    }
}
