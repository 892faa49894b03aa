//! The fields of an action: which of them are not as the rules allow.
//!
//! All that is refused with [`Status::BadField`](super::Status) is found here, before anything else that is asked of an
//! action. The status says no more than that, in blocks and on the wire. A party that has the rows an action names
//! learns here which field it is, and need not trust another party's answer.

use alloc::{collections::BTreeSet, string::String};

use thiserror::Error;

use crate::{
    amount::Amount,
    codec::Encode,
    content::MaskMode,
    custody::{CustodyAcceptance, CustodyError, VaultKey, required_max},
    grant,
    id::{AccountId, DealId, ListingId, NodeId, OrderId, PeerId, VaultId},
    ledger::{
        care::{CARED_DEALS_MAX, CARED_SHARDS_MAX, CARETAKERS_MAX},
        changes::{CHANGES_MAX, ChangeError},
        extend::{EXTENDED_DEALS_MAX, EXTENDED_SHARDS_MAX},
        listing::COVERED_DEALS_MAX,
        lost::DECLARED_SHARDS_MAX,
        motion::TEXT_BYTES_MAX,
        params::Params,
        place::PLACED_SHARDS_MAX,
        range::{Offer, OutOfRange, bond_min, check_epochs, within},
        rows::{
            Access, Chain, Deals, Listings, Measure, Nodes, Orders, ParamChange, Terms, Vaults,
        },
        state::{State, StateExt},
        transaction::{Acceptance, Action, CaredDeal, DealTerms, LostShard},
        vault::own_among,
    },
    limits::{
        ADDRESS_BYTES_MAX, ADDRESSES_MAX, CUSTODIANS_MAX, LEAF_BYTES, ROOT_BYTES_MAX,
        ROOT_STEP_BYTES, SHARD_BYTES_MAX, SHARDS_MAX,
    },
};

/// Bytes of a listing's mandate at most: a grant has 2 KiB, and the sale and the links of the
/// buyer's own people follow.
const MANDATE_BYTES_MAX: usize = 512;

/// What is wrong with a field of an action.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum FieldFault {
    /// A number outside its range.
    #[error(transparent)]
    OutOfRange(#[from] OutOfRange),
    /// A size that is no whole number of steps.
    #[error("{field} is {value}, it must be a multiple of {step}")]
    Uneven {
        /// Which, with its unit last.
        field: &'static str,
        /// What it is.
        value: u64,
        /// What it must be a multiple of.
        step: u64,
    },
    /// A parameter that cannot change like this.
    #[error(transparent)]
    Change(#[from] ChangeError),
    /// A value that breaks a rule.
    #[error("{field} {what}")]
    Broken {
        /// Which.
        field: &'static str,
        /// What it is, and what it must be.
        what: &'static str,
    },
}

impl FieldFault {
    /// Which field it is.
    #[must_use]
    pub fn field(&self) -> &'static str {
        match self {
            Self::OutOfRange(OutOfRange { field, .. })
            | Self::Uneven { field, .. }
            | Self::Broken { field, .. } => field,
            Self::Change(_) => "changes",
        }
    }
}

/// Whether all fields of a sender's action are as the rules allow. What is judged by a row that `state` does not have
/// is not judged.
pub fn check_fields<S: State + ?Sized>(
    state: &S,
    chain: &Chain,
    sender: &AccountId,
    action: &Action,
) -> Result<(), FieldFault> {
    match action {
        Action::Faucet
        | Action::EndDeal { .. }
        | Action::EndListing { .. }
        | Action::PostRelease { .. }
        | Action::Complain { .. }
        | Action::AnswerCell { .. }
        | Action::RetireNode
        | Action::LeaveValidators { .. }
        | Action::RejoinValidators { .. }
        | Action::ReportEquivocation { .. }
        | Action::CastBallot { .. }
        | Action::DeclareRules { .. }
        | Action::Revoke { .. }
        | Action::Redeem { .. } => Ok(()),
        Action::Transfer { to, amount } => transfer(sender, to, *amount),
        Action::RegisterNode { addresses, .. } => registration(addresses),
        Action::OpenDeal { terms, acceptances, .. } => {
            deal(terms, &chain.params)?;
            accepted(terms, acceptances)
        }
        Action::Prove { .. } => proof(state, sender),
        Action::ExtendDeals { deals, epochs, .. } => extension(state, chain, deals, *epochs),
        Action::PlaceShards { terms, acceptances, .. } => {
            deal(terms, &chain.params)?;
            placed(terms, acceptances)
        }
        Action::DeclareLost { shards } => lost(shards),
        Action::SetCare { caretakers, deals, .. } => care(state, sender, caretakers, deals),
        Action::ClaimRepair { rebuild, read, .. } => claim(rebuild, read),
        Action::CollectRepair { shards, .. } => {
            ascending("shards", shards, PLACED_SHARDS_MAX as u64)
        }
        Action::Stake { amount, .. }
        | Action::Unstake { amount }
        | Action::Delegate { amount, .. }
        | Action::Undelegate { amount: Some(amount), .. } => {
            must(*amount > Amount::ZERO, "amount", "is 0, it must be more")
        }
        Action::Undelegate { amount: None, .. } => Ok(()),
        Action::JoinValidators { addresses, commission_bp, amount, .. } => {
            must(*amount > Amount::ZERO, "amount", "is 0, it must be more")?;
            validator(addresses, *commission_bp, &chain.params)
        }
        Action::ChangeValidator { addresses, commission_bp, .. } => {
            validator(addresses, *commission_bp, &chain.params)
        }
        Action::ProposeMotion { measure, text, deposit } => motion(chain, measure, text, *deposit),
        Action::OpenVault { key, custodians, .. } => vault(key, custodians),
        Action::CoverListing { deals, .. } => {
            within("deals", deals.len() as u64, 1, COVERED_DEALS_MAX as u64)?;
            must(differ(deals.iter()), "deals", "name one twice")
        }
        Action::RotateVault { vault, key, custodians } => {
            rotation(state, sender, vault, (key, custodians))
        }
        Action::List { terms, .. } => {
            listing(terms, &chain.params)?;
            own_custodians(state, terms)
        }
        Action::Preview { listing, .. } => preview(state, listing),
        Action::Order { listing, holder, .. } => order(state, chain, listing, holder),
        Action::Acknowledge { order, custodians } => acknowledgement(state, order, custodians),
        Action::SetRoot { expected_version, blob } => root(*expected_version, blob),
    }
}

/// A rule that is kept, or not.
fn must(kept: bool, field: &'static str, what: &'static str) -> Result<(), FieldFault> {
    match kept {
        true => Ok(()),
        false => Err(FieldFault::Broken { field, what }),
    }
}

fn whole(field: &'static str, value: u64, step: u64) -> Result<(), FieldFault> {
    match value.is_multiple_of(step) {
        true => Ok(()),
        false => Err(FieldFault::Uneven { field, value, step }),
    }
}

/// Whether no two of them are the same.
fn differ<T: Ord>(values: impl Iterator<Item = T> + Clone) -> bool {
    values.clone().count() == values.collect::<BTreeSet<_>>().len()
}

fn transfer(sender: &AccountId, to: &AccountId, amount: Amount) -> Result<(), FieldFault> {
    must(amount > Amount::ZERO, "amount", "is 0, it must be more")?;
    must(to != sender, "to", "is the sender's own account, it must be another one")
}

fn registration(addresses: &[String]) -> Result<(), FieldFault> {
    within("addresses", addresses.len() as u64, 0, ADDRESSES_MAX as u64)?;
    for address in addresses {
        within("address_bytes", address.len() as u64, 1, ADDRESS_BYTES_MAX as u64)?;
    }
    Ok(())
}

fn validator(addresses: &[String], commission_bp: u16, params: &Params) -> Result<(), FieldFault> {
    registration(addresses)?;
    let most = u64::from(params.commission_max_bp);
    Ok(within("commission_bp", u64::from(commission_bp), 0, most)?)
}

fn motion(chain: &Chain, measure: &Measure, text: &str, deposit: Amount) -> Result<(), FieldFault> {
    within("text_bytes", text.len() as u64, 1, TEXT_BYTES_MAX as u64)?;
    must(chain.params.motion_deposit <= deposit, "deposit", "is less than this ledger asks for")?;
    match measure {
        Measure::Params { changes } => param_changes(&chain.params, changes),
        Measure::Pay { amount, .. } => {
            must(*amount > Amount::ZERO, "amount", "is 0, it must be more")
        }
        Measure::Rules { version, .. } => must(
            chain.rules < *version,
            "version",
            "is in force already, or an older one: it must be a later one",
        ),
    }
}

fn param_changes(params: &Params, changes: &[ParamChange]) -> Result<(), FieldFault> {
    within("changes", changes.len() as u64, 1, CHANGES_MAX as u64)?;
    let ascends = changes.is_sorted_by(|one, next| one.param < next.param);
    must(ascends, "changes", "are not in the order of the parameters, each once")?;
    Ok(params.changed(changes).map(|_| ())?)
}

fn deal(terms: &DealTerms, params: &Params) -> Result<(), FieldFault> {
    let total = u64::from(terms.total);
    within("total", total, 1, u64::from(SHARDS_MAX))?;
    within("required", u64::from(terms.required), 1, total)?;
    check_epochs(terms.epochs, params)?;
    let leaf = LEAF_BYTES as u64;
    within("length_bytes", terms.length, leaf, SHARD_BYTES_MAX)?;
    whole("length_bytes", terms.length, leaf)
}

fn accepted(terms: &DealTerms, acceptances: &[Acceptance]) -> Result<(), FieldFault> {
    let (required, total) = (u64::from(terms.required), u64::from(terms.total));
    within("acceptances", acceptances.len() as u64, required, total)?;
    places(total, acceptances)
}

fn placed(terms: &DealTerms, acceptances: &[Acceptance]) -> Result<(), FieldFault> {
    let total = u64::from(terms.total);
    within("acceptances", acceptances.len() as u64, 1, total.min(PLACED_SHARDS_MAX as u64))?;
    places(total, acceptances)
}

fn places(total: u64, acceptances: &[Acceptance]) -> Result<(), FieldFault> {
    let indexes = acceptances.iter().map(|accepted| accepted.index);
    for index in indexes.clone() {
        within("index", u64::from(index), 0, total - 1)?;
    }
    must(differ(indexes), "index", "stands in two acceptances, each shard has one")?;
    let nodes = acceptances.iter().map(|accepted| accepted.node);
    must(differ(nodes), "node", "stands in two acceptances, each node keeps one shard")
}

fn extension<S: State + ?Sized>(
    state: &S,
    chain: &Chain,
    deals: &[DealId],
    epochs: u64,
) -> Result<(), FieldFault> {
    within("deals", deals.len() as u64, 1, EXTENDED_DEALS_MAX as u64)?;
    must(differ(deals.iter()), "deals", "name one twice")?;
    check_epochs(epochs, &chain.params)?;
    let mut shards = 0;
    for deal in deals.iter().filter_map(|deal| state.get(Deals, deal)) {
        let left = deal.end.saturating_add(epochs).saturating_sub(chain.epoch);
        // A deal that has just been opened has one epoch more.
        within("epochs", left, 0, chain.params.deal_epochs_max.saturating_add(1))?;
        shards += deal.shards.len() as u64;
    }
    Ok(within("shards", shards, 0, EXTENDED_SHARDS_MAX as u64)?)
}

fn lost(shards: &[LostShard]) -> Result<(), FieldFault> {
    within("shards", shards.len() as u64, 1, DECLARED_SHARDS_MAX as u64)?;
    let deals = shards.iter().map(|shard| shard.deal);
    must(differ(deals), "deal", "stands twice, a node keeps one shard of a deal")
}

fn care<S: State + ?Sized>(
    state: &S,
    sender: &AccountId,
    caretakers: &[NodeId],
    deals: &[CaredDeal],
) -> Result<(), FieldFault> {
    within("caretakers", caretakers.len() as u64, 0, CARETAKERS_MAX as u64)?;
    must(differ(caretakers.iter()), "caretakers", "name one twice")?;
    within("deals", deals.len() as u64, 1, CARED_DEALS_MAX as u64)?;
    must(differ(deals.iter().map(|cared| cared.opening.0)), "deals", "name one twice")?;
    let pads = deals.iter().map(|cared| cared.pads.len() as u64).sum();
    if caretakers.is_empty() {
        // Care is taken back: there is nothing to seal.
        return Ok(within("pads", pads, 0, 0)?);
    }
    within("pads", pads, 1, CARED_SHARDS_MAX as u64)?;
    for cared in deals {
        let Some(deal) = state.get(Deals, &cared.deal(sender)) else { continue };
        let total = deal.shards.len() as u64;
        within("pads", cared.pads.len() as u64, total, total)?;
        must(
            deal.access != Access::Public,
            "deals",
            "have a public one, whose shards have no masks",
        )?;
    }
    Ok(())
}

fn claim(rebuild: &[u8], read: &[u8]) -> Result<(), FieldFault> {
    ascending("rebuild", rebuild, PLACED_SHARDS_MAX as u64)?;
    ascending("read", read, u64::from(SHARDS_MAX))?;
    let differ = rebuild.iter().all(|index| !read.contains(index));
    must(differ, "read", "has a shard that is to be rebuilt")
}

/// Shard indexes, each once and in order.
fn ascending(field: &'static str, indexes: &[u8], max: u64) -> Result<(), FieldFault> {
    within(field, indexes.len() as u64, 1, max)?;
    must(indexes.is_sorted_by(|one, next| one < next), field, "are not in ascending order")
}

fn proof<S: State + ?Sized>(state: &S, sender: &AccountId) -> Result<(), FieldFault> {
    let node = state.get(Nodes, &NodeId::from(*sender));
    let keeps = node.is_none_or(|node| 0 < node.slots);
    must(keeps, "leaves", "prove nothing: the node's table has no shard to prove")
}

fn vault(key: &VaultKey, custodians: &[CustodyAcceptance]) -> Result<(), FieldFault> {
    within("custodians", custodians.len() as u64, 1, CUSTODIANS_MAX as u64)?;
    for (index, accepted) in (1..).zip(custodians) {
        within("index", u64::from(accepted.index), index, index)?;
    }
    let nodes = custodians.iter().map(|accepted| accepted.node);
    must(differ(nodes), "node", "stands twice, each custodian keeps one share")?;
    match key.verify(custodians.len()) {
        Ok(()) => Ok(()),
        Err(CustodyError::Sharing { required, total }) => {
            let most = required_max(total) as u64;
            within("commitments", required as u64, 1, most).map_err(FieldFault::from)
        }
        Err(_) => must(false, "commitments", "are not all points of the group"),
    }
}

fn rotation<S: State + ?Sized>(
    state: &S,
    sender: &AccountId,
    id: &VaultId,
    (key, custodians): (&VaultKey, &[CustodyAcceptance]),
) -> Result<(), FieldFault> {
    vault(key, custodians)?;
    let Some(before) = state.get(Vaults, id) else { return Ok(()) };
    must(
        key.commitments.first() == before.key.commitments.first(),
        "commitments",
        "begin with another public key than the vault's, which must stay",
    )?;
    // What listings say of the vault stays true.
    let own = own_among(state, sender, custodians.iter().map(|accepted| accepted.node));
    must(
        own == 0 || 0 < before.own,
        "custodians",
        "have a node of the owner, and listings say that the vault has none",
    )
}

fn own_custodians<S: State + ?Sized>(state: &S, terms: &Terms) -> Result<(), FieldFault> {
    let own = state.get(Vaults, &terms.vault).is_some_and(|vault| 0 < vault.own);
    must(
        !own || terms.own_custodians,
        "own_custodians",
        "is false, and custodians of the vault are the seller's own nodes",
    )
}

fn listing(terms: &Terms, params: &Params) -> Result<(), FieldFault> {
    let offer = Offer {
        title: &terms.title,
        access_ms: terms.access_ms,
        window_ms: terms.window_ms,
        splits: &terms.splits,
        preview_cells: terms.preview_cells,
        cells: terms.cells,
    };
    offer.check(params)?;
    must(
        bond_min(params, terms.price) <= terms.bond,
        "bond",
        "is less than the part of the price that this ledger asks for",
    )?;
    let mandate = terms.mandate.to_bytes().len() as u64;
    within("mandate_bytes", mandate, 0, MANDATE_BYTES_MAX as u64)?;
    let Ok(layout) = terms.manifest.layout() else {
        return must(false, "manifest", "has a scheme or a length that no file can have");
    };
    within("cells", terms.cells, layout.cells(), layout.cells())?;
    must(
        terms.manifest.mask == MaskMode::ChaCha20,
        "manifest",
        "is of public content, which needs no key",
    )
}

fn preview<S: State + ?Sized>(state: &S, listing: &ListingId) -> Result<(), FieldFault> {
    let picked = state.get(Listings, listing).is_none_or(|row| 0 < row.terms.preview_cells);
    must(picked, "preview", "is of a listing that has no preview cells")
}

/// No key stands twice in a grant, so no grant could serve an order for these.
fn order<S: State + ?Sized>(
    state: &S,
    chain: &Chain,
    listing: &ListingId,
    holder: &PeerId,
) -> Result<(), FieldFault> {
    let Some(listing) = state.get(Listings, listing) else { return Ok(()) };
    let sellers = *holder == PeerId::from(listing.seller);
    must(!sellers, "holder", "is the seller's own key, it must be another one")?;
    let mandates = *holder == grant::market_audience(&chain.id);
    must(!mandates, "holder", "is the audience of mandates, it must be a buyer's key")
}

/// Of an order that does not exist only what is wrong by itself.
fn acknowledgement<S: State + ?Sized>(
    state: &S,
    order: &OrderId,
    custodians: &[u8],
) -> Result<(), FieldFault> {
    must(differ(custodians.iter()), "custodians", "name one twice")?;
    let found = state.get(Orders, order).and_then(|order| {
        let listing = state.get(Listings, &order.listing)?;
        Some((state.get(Vaults, &listing.terms.vault)?, order))
    });
    let most = found.map_or(u64::MAX, |(vault, order)| match vault.dealing == order.dealing {
        true => vault.custodians.len() as u64,
        // Of the custodians before the rotation, those that released are known.
        false => CUSTODIANS_MAX as u64,
    });
    for index in custodians {
        within("custodian", u64::from(*index), 1, most)?;
    }
    Ok(())
}

fn root(expected_version: u64, blob: &[u8]) -> Result<(), FieldFault> {
    // No version follows the last one.
    within("expected_version", expected_version, 0, u64::MAX - 1)?;
    let (bytes, step) = (blob.len() as u64, ROOT_STEP_BYTES as u64);
    within("blob_bytes", bytes, step, ROOT_BYTES_MAX as u64)?;
    whole("blob_bytes", bytes, step)
}
