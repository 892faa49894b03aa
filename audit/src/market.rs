//! The auditor's books of vaults, listings and orders: what is in escrow, and who gets it.

use std::collections::BTreeSet;

use symbolon_protocol::{
    custody::{CustodyAcceptance, DeliveryKey, PostedRelease, Release, VaultKey},
    id::{AccountId, DealId, Hash, LinkId, ListingId, NodeId, ObjectId, OrderId, PeerId, VaultId},
    ledger::{
        block::{Event, Place, Reason},
        rows::{HoldKey, Split, Terms},
        transaction::Action,
    },
};

use super::{
    Auditor,
    chance::preview_seed,
    dispute::{Goods, Proofs, Question},
    hundredths, id_of,
};

#[derive(Debug)]
pub(super) struct VaultBook {
    owner: AccountId,
    public: Vec<u8>,
    custodians: Vec<NodeId>,
    required: usize,
    /// How often the secret has been dealt, and when for the last time.
    dealing: u64,
    since_ms: u64,
    /// Whether nodes of the owner are among the custodians.
    has_own: bool,
}

#[derive(Debug)]
pub(super) struct ListingBook {
    pub(super) seller: AccountId,
    price: u128,
    window_ms: u64,
    access_ms: u64,
    splits: Vec<Split>,
    vault: VaultId,
    /// What is left of its bond.
    pub(super) bond: u128,
    pub(super) goods: Goods,
    /// The first epoch in which its file may not be kept, as far as all its deals were shown.
    covered: Option<u64>,
    /// The segments that were shown since, and the first epoch in which one of them may not be kept.
    shown: (u32, u64),
    /// When the last access ends that was paid for.
    sold_until_ms: u64,
    /// The tick whose layer picks its preview.
    awaits: Option<u64>,
    pub(super) seed: Option<Hash>,
    pub(super) state: State,
    /// Its orders that are on the ledger.
    pub(super) orders: u64,
}

/// The state of a listing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Open,
    Ended,
    Frozen,
}

/// Something that is over and leaves the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Over {
    Order(OrderId),
    Listing(ListingId),
    Revocation(LinkId, AccountId),
    Redemption(AccountId),
    Motion(u64),
    Ballots(u64),
}

/// The state of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Paid,
    Delivered,
    Asked,
    Settled,
    Refunded,
}

#[derive(Debug)]
pub(super) struct OrderBook {
    pub(super) listing: ListingId,
    pub(super) buyer: AccountId,
    pub(super) amount: u128,
    /// What the treasury and custodians get of it, in hundredths of a percent.
    fees: (u16, u16),
    pub(super) stage: Stage,
    ordered_ms: u64,
    pub(super) due_ms: u64,
    pub(super) access_until_ms: u64,
    /// The vault's dealing that indexes are of.
    dealing: u64,
    pub(super) proofs: Proofs,
}

impl OrderBook {
    pub(super) fn open(&self) -> bool {
        matches!(self.stage, Stage::Paid | Stage::Delivered | Stage::Asked)
    }
}

impl Auditor {
    /// Orders whose time is over: what was not delivered is refunded, what was is settled. And
    /// listings get their preview picked with the tick after that of their block.
    pub(super) fn fall_due(&mut self) {
        let (now, parent) = (self.time_ms, self.parent_ms);
        let late = (self.params.delivery_ms.0 / 64).max(1000);
        if now - parent >= late {
            self.gap = (parent, now);
        }
        let due = self.orders.iter().filter(|(_, order)| order.open() && order.due_ms <= now);
        let mut due: Vec<(u64, OrderId, Stage)> =
            due.map(|(id, order)| (order.due_ms, *id, order.stage)).collect();
        due.sort_unstable_by_key(|(due_ms, id, _)| (*due_ms, *id));
        // A block reports so many events of what is due, and no more.
        let mut events = 6900_usize;
        for (due_ms, id, stage) in due.into_iter().take(100) {
            let order = self.orders.get_mut(&id).expect("it is due");
            let asked = order.proofs.question.as_ref().map_or(0, Question::shards);
            let Some(left) = events.checked_sub(69.max(4 + asked)) else { break };
            events = left;
            // No block when it was due, and none soon after: the ledger stood still, the order waits again.
            let slept = self.gap.0 < due_ms && due_ms + late <= self.gap.1;
            let again = now + self.params.delivery_ms.0;
            let frozen = self.listings[&order.listing].state == State::Frozen;
            match stage {
                _ if frozen => self.refund(id),
                Stage::Asked if slept => order.due_ms = again,
                Stage::Asked => self.unanswered(id),
                Stage::Paid if slept && again < order.access_until_ms => order.due_ms = again,
                Stage::Delivered => self.settle(id, &[]),
                _ => {
                    if !slept {
                        self.punish_silent(id);
                    }
                    self.refund(id);
                }
            }
        }
        for (id, listing) in &mut self.listings {
            if let Some(tick) = listing.awaits.take_if(|tick| *tick < self.chance.next) {
                let drawn =
                    || preview_seed(&self.chance.at(tick), &listing.goods.manifest.content_root);
                let root = listing.goods.manifest.content_root;
                listing.seed = Some(*self.draws.entry(root).or_insert_with(drawn));
                self.expected.push(Event::PreviewPicked { listing: *id });
            }
        }
    }

    pub(super) fn apply_market(
        &mut self,
        sender: AccountId,
        action: &Action,
    ) -> Result<(), String> {
        match action {
            Action::OpenVault { opening, key, custodians } => {
                let vault = VaultId(id_of("symbolon 2026 vault id v1", &sender, opening));
                let book = self.dealt(sender, key, custodians, 1)?;
                let new = self.vaults.insert(vault, book);
                new.map_or(Ok(()), |_| Err(format!("vault {vault} is opened twice")))
            }
            Action::RotateVault { vault, key, custodians } => {
                let before = self.vaults.get(vault).filter(|book| book.owner == sender);
                let before =
                    before.ok_or_else(|| format!("{vault} is not {sender}'s to rotate"))?;
                let (had_own, public) = (before.has_own, before.public.clone());
                let book = self.dealt(sender, key, custodians, before.dealing + 1)?;
                if book.public != public {
                    return Err(format!("a rotation changes the public key of vault {vault}"));
                }
                if book.has_own && !had_own {
                    return Err(format!(
                        "vault {vault} gets an own custodian that no listing tells"
                    ));
                }
                self.vaults.insert(*vault, book);
                Ok(())
            }
            Action::List { opening, terms } => {
                let listing = ListingId(id_of("symbolon 2026 listing id v1", &sender, opening));
                self.list(sender, listing, terms)
            }
            Action::CoverListing { listing, first, deals } => {
                self.cover(sender, *listing, *first, deals)
            }
            Action::Complain { .. } | Action::AnswerCell { .. } => {
                self.apply_dispute(sender, action)
            }
            Action::Preview { .. } => Ok(()),
            Action::EndListing { listing } => {
                let book = self.listings.get_mut(listing).filter(|book| book.seller == sender);
                let book = book.filter(|book| book.state == State::Open);
                book.ok_or_else(|| format!("{listing} is not this sender's to end"))?.state =
                    State::Ended;
                self.free_bond(*listing);
                self.leave_if_over(*listing);
                Ok(())
            }
            Action::Order { opening, listing, price, delivery, .. } => {
                let order = OrderId(id_of("symbolon 2026 order id v1", &sender, opening));
                self.order(sender, order, *listing, (price.0, delivery))
            }
            Action::PostRelease { order, release } => self.release(sender, *order, release),
            Action::Acknowledge { order, custodians } => {
                self.acknowledge(sender, *order, custodians)
            }
            Action::Revoke { link, until_ms } => {
                if self.revocations.insert((*link, sender), until_ms.is_some()).is_some() {
                    return Err(format!("{sender} revokes {link} twice"));
                }
                if let Some(until_ms) = until_ms {
                    self.leaves_after(until_ms.0, Over::Revocation(*link, sender));
                }
                self.expected.push(Event::Revoked { link: *link, by: sender });
                Ok(())
            }
            Action::Redeem { holder, until_ms } => self.redeem(sender, *holder, until_ms.0),
            other => Err(format!("these books do not know {other:?}")),
        }
    }

    fn redeem(&mut self, once: AccountId, holder: PeerId, until_ms: u64) -> Result<(), String> {
        if until_ms <= self.time_ms {
            return Err(format!("{once} redeems a voucher that has ended"));
        }
        if self.redemptions.insert(once, (holder, until_ms)).is_some() {
            return Err(format!("the voucher of {once} is redeemed twice"));
        }
        self.leaves_after(until_ms, Over::Redemption(once));
        Ok(())
    }

    fn list(&mut self, seller: AccountId, id: ListingId, terms: &Terms) -> Result<(), String> {
        if self.vaults[&terms.vault].has_own && !terms.own_custodians {
            return Err(format!("listing {id} hides that the seller is a custodian"));
        }
        let root = terms.manifest.content_root;
        let seed = self.draws.get(&root).copied().filter(|_| terms.preview_cells > 0);
        if seed.is_some() {
            self.expected.push(Event::PreviewPicked { listing: id });
        }
        let waits = terms.preview_cells > 0 && seed.is_none();
        let bond = terms.bond.0;
        if bond < (terms.price.0 * u128::from(self.params.listing_bond_bp)).div_ceil(10_000) {
            return Err(format!("listing {id} has too small a bond"));
        }
        if terms.access_ms.0 < terms.window_ms.0 + 2 * self.params.delivery_ms.0 {
            return Err(format!(
                "the access that listing {id} sells ends before it can be checked"
            ));
        }
        let (hold, from) = (HoldKey::Listing { listing: id }, Place::Account { account: seller });
        self.expect(from, Place::Hold { hold }, bond, Reason::Bond { listing: id });
        let book = ListingBook {
            seller,
            price: terms.price.0,
            window_ms: terms.window_ms.0,
            access_ms: terms.access_ms.0,
            splits: terms.splits.clone(),
            vault: terms.vault,
            bond,
            goods: Goods {
                manifest: terms.manifest.clone(),
                masks_root: terms.masks_root,
                capsule: terms.capsule.clone(),
                pad: terms.pad,
            },
            covered: None,
            shown: (0, u64::MAX),
            sold_until_ms: 0,
            awaits: waits.then_some(self.chance.next),
            seed,
            state: State::Open,
            orders: 0,
        };
        let new = self.listings.insert(id, book);
        new.map_or(Ok(()), |_| Err(format!("listing {id} is listed twice")))
    }

    /// A seller shows the deals of the next segments of a listing's file.
    fn cover(
        &mut self,
        sender: AccountId,
        id: ListingId,
        first: u32,
        deals: &[DealId],
    ) -> Result<(), String> {
        let book = self.listings.get(&id).ok_or_else(|| format!("no listing {id}"))?;
        let (mut shown, mut until) = if first == 0 { (0, u64::MAX) } else { book.shown };
        if book.seller != sender || book.state != State::Open || shown != first {
            return Err(format!("listing {id} is not this sender's to cover from there"));
        }
        let object = book.goods.manifest.object;
        for deal in deals {
            let end = self.end_of(deal).filter(|_| self.is_deal_of(deal, sender, object, shown));
            let end = end.ok_or_else(|| format!("deal {deal} does not keep segment {shown}"))?;
            (shown, until) = (shown + 1, until.min(end));
        }
        let layout = book.goods.manifest.layout().map_err(|error| error.to_string())?;
        let book = self.listings.get_mut(&id).expect("seen above");
        book.shown = (shown, until);
        if shown == layout.segments() {
            (book.covered, book.shown) = (Some(until), (0, u64::MAX));
        }
        Ok(())
    }

    /// Whether a sale binds what this account has of an object.
    pub(super) fn is_sold(&self, seller: AccountId, object: ObjectId) -> bool {
        let of = |book: &ListingBook| book.seller == seller && book.goods.manifest.object == object;
        let binds =
            |book: &ListingBook| book.state == State::Open || self.time_ms < book.sold_until_ms;
        self.listings.values().any(|book| of(book) && binds(book))
            || self.orders.values().any(|order| order.open() && of(&self.listings[&order.listing]))
    }

    /// When an epoch begins at the earliest.
    pub(super) fn begins_ms(&self, epoch: u64) -> u64 {
        let length = self.params.epoch_ms.0;
        let left = (epoch * length).saturating_sub(self.counted_ms);
        self.time_ms + left
    }

    fn order(
        &mut self,
        buyer: AccountId,
        id: OrderId,
        listing: ListingId,
        (price, delivery): (u128, &DeliveryKey),
    ) -> Result<(), String> {
        let terms = self.listings.get(&listing).ok_or_else(|| format!("no listing {listing}"))?;
        let open = terms.state == State::Open;
        if terms.price != price || !open || self.orders.contains_key(&id) {
            return Err(format!("order {id} is made twice or at another price"));
        }
        let access_until_ms = self.time_ms.saturating_add(terms.access_ms);
        let kept_ms = terms.covered.map_or(0, |epoch| self.begins_ms(epoch));
        if kept_ms < access_until_ms {
            return Err(format!("order {id} is of a file that is not kept for so long"));
        }
        self.listings.get_mut(&listing).expect("seen above").orders += 1;
        self.made.0 += 1;
        let hold = HoldKey::Order { order: id };
        let (from, to) = (Place::Account { account: buyer }, Place::Hold { hold });
        self.expect(from, to, price, Reason::Sale { order: id });
        self.expected.push(Event::OrderPaid { order: id });
        let due_ms = self.time_ms + self.params.delivery_ms.0;
        let (delivery, posted) = (delivery.clone(), Vec::new());
        let book = OrderBook {
            listing,
            buyer,
            amount: price,
            fees: (self.params.sale_fee_bp, self.params.custody_fee_bp),
            stage: Stage::Paid,
            ordered_ms: self.time_ms,
            due_ms,
            access_until_ms,
            dealing: self.vaults[&self.listings[&listing].vault].dealing,
            proofs: Proofs { delivery, posted, question: None, given: 0 },
        };
        self.orders.insert(id, book);
        Ok(())
    }

    fn release(&mut self, sender: AccountId, id: OrderId, made: &Release) -> Result<(), String> {
        let (now, index) = (self.time_ms, made.index);
        let order = self.orders.get_mut(&id).ok_or_else(|| format!("no order {id}"))?;
        let listing = &self.listings[&order.listing];
        let vault = &self.vaults[&listing.vault];
        let place = usize::from(index).wrapping_sub(1);
        let custodian = vault.custodians.get(place).copied();
        let custodian = custodian.filter(|node| *node == sender.into() || order.buyer == sender);
        let Some(custodian) = custodian else {
            return Err(format!("order {id} gets a release of somebody who is no custodian"));
        };
        if order.dealing != vault.dealing {
            // Those of another dealing are worth nothing beside it.
            (order.dealing, order.proofs.posted) = (vault.dealing, Vec::new());
        }
        let posted = &mut order.proofs.posted;
        if order.stage != Stage::Paid || posted.iter().any(|before| before.index == index) {
            return Err(format!("order {id} gets a release it does not wait for"));
        }
        posted.push(PostedRelease { index, node: custodian, u: made.u, v: made.v });
        if posted.len() == vault.required {
            order.stage = Stage::Delivered;
            order.due_ms = now + listing.window_ms;
            self.expected.push(Event::OrderDelivered { order: id });
        }
        Ok(())
    }

    fn acknowledge(&mut self, sender: AccountId, id: OrderId, named: &[u8]) -> Result<(), String> {
        let order = self.orders.get(&id).ok_or_else(|| format!("no order {id}"))?;
        if order.buyer != sender || !order.open() {
            return Err(format!("order {id} is not this sender's to acknowledge"));
        }
        let distinct: BTreeSet<&u8> = named.iter().collect();
        if distinct.len() != named.len() {
            return Err(format!("order {id} pays a custodian twice"));
        }
        self.settle(id, named);
        Ok(())
    }

    /// What is in escrow goes out, to the last unit: fee, custodians, others, seller.
    fn settle(&mut self, id: OrderId, named: &[u8]) {
        self.forget_question(id);
        let order = self.orders.get_mut(&id).expect("the caller has seen it");
        order.stage = Stage::Settled;
        let (price, fees) = (order.amount, order.fees);
        let posted = order.proofs.posted.clone();
        let indexes: Vec<u8> = match named {
            [] => posted.iter().map(|posted| posted.index).collect(),
            named => named.to_vec(),
        };
        let dealing = order.dealing;
        let listing = self.listings.get_mut(&order.listing).expect("it has orders");
        listing.sold_until_ms = listing.sold_until_ms.max(order.access_until_ms);
        let (seller, splits) = (listing.seller, listing.splits.clone());
        let vault = &self.vaults[&listing.vault];
        // Whom an index means that stands under no release is known of the last dealing only.
        let present = if dealing == vault.dealing { vault.custodians.clone() } else { Vec::new() };
        let custodian = |index: u8| {
            let of_release = posted.iter().find(|posted| posted.index == index);
            let of_release = of_release.map(|posted| posted.node);
            of_release.or_else(|| present.get(usize::from(index) - 1).copied())
        };

        let hold = HoldKey::Order { order: id };
        let (from, reason) = (Place::Hold { hold }, Reason::Sale { order: id });
        let fee = hundredths(price, fees.0);
        self.expect(from, Place::Treasury, fee, Reason::Fee);
        let mut left = price - fee;
        let custody = hundredths(price, fees.1);
        // One that is no node any more has given up its part.
        let payouts: Vec<_> =
            indexes.into_iter().filter_map(|index| self.payout(&custodian(index)?)).collect();
        for account in &payouts {
            let (account, each) = (*account, custody / payouts.len() as u128);
            self.expect(from, Place::Account { account }, each, reason);
            left -= each;
        }
        let shared = left;
        for Split { account, share_bp } in splits {
            let part = hundredths(shared, share_bp);
            self.expect(from, Place::Account { account }, part, reason);
            left -= part;
        }
        self.expect(from, Place::Account { account: seller }, left, reason);
        self.expected.push(Event::OrderSettled { order: id });
        self.made.1 += 1;
        let (end_ms, listing) = (self.orders[&id].access_until_ms, self.orders[&id].listing);
        self.free_bond(listing);
        self.leaves_after(end_ms, Over::Order(id));
    }

    /// What an owner deals, as these books see it.
    fn dealt(
        &self,
        owner: AccountId,
        key: &VaultKey,
        accepted: &[CustodyAcceptance],
        dealing: u64,
    ) -> Result<VaultBook, String> {
        let (required, total) = (key.commitments.len(), accepted.len());
        if total + 1 < 2 * required || required == 0 {
            return Err(format!("{required} of {total} custodians: fewer could block the others"));
        }
        if accepted.iter().any(|accepted| accepted.expires_ms.0 < self.time_ms) {
            return Err("a custodian need not have its share any more".into());
        }
        let custodians: Vec<NodeId> = accepted.iter().map(|accepted| accepted.node).collect();
        let has_own = custodians.iter().any(|node| self.runs(owner, node));
        let public = key.commitments[0].to_vec();
        let since_ms = self.time_ms;
        Ok(VaultBook { owner, public, custodians, required, dealing, since_ms, has_own })
    }

    /// Custodians that had the whole time and released nothing pay, if it cost the buyer the goods.
    fn punish_silent(&mut self, id: OrderId) {
        let order = &self.orders[&id];
        let vault = &self.vaults[&self.listings[&order.listing].vault];
        if vault.dealing != order.dealing || order.ordered_ms < vault.since_ms {
            return;
        }
        let spoke: BTreeSet<NodeId> =
            order.proofs.posted.iter().map(|posted| posted.node).collect();
        for node in vault.custodians.clone() {
            if !spoke.contains(&node) {
                self.pays_for_silence(node, id);
            }
        }
    }

    pub(super) fn refund(&mut self, id: OrderId) {
        self.forget_question(id);
        let order = self.orders.get_mut(&id).expect("the caller has seen it");
        order.stage = Stage::Refunded;
        let (account, amount) = (order.buyer, order.amount);
        let end_ms = order.access_until_ms;
        let hold = HoldKey::Order { order: id };
        let (from, to) = (Place::Hold { hold }, Place::Account { account });
        self.expect(from, to, amount, Reason::Sale { order: id });
        self.expected.push(Event::OrderRefunded { order: id });
        self.made.2 += 1;
        let listing = self.orders[&id].listing;
        self.free_bond(listing);
        self.leaves_after(end_ms, Over::Order(id));
    }

    /// Notes that something that ends then is to be gone a hundred epochs later.
    pub(super) fn leaves_after(&mut self, end_ms: u64, what: Over) {
        let end_ms = end_ms.max(self.time_ms);
        self.over.insert((end_ms.saturating_add(100 * self.params.epoch_ms.0), what));
    }

    /// A listing that takes no orders and has none left is over.
    fn leave_if_over(&mut self, id: ListingId) {
        let book = &self.listings[&id];
        if book.state != State::Open && book.orders == 0 {
            self.leaves_after(self.time_ms, Over::Listing(id));
        }
    }

    /// What was over long ago leaves: a thousand and twenty-four in a block.
    pub(super) fn leave(&mut self) {
        let due = self.over.iter().take_while(|(until_ms, _)| *until_ms <= self.time_ms);
        let due: Vec<_> = due.take(1024).copied().collect();
        // As many as a block can bring.
        let mut ballots = 4096 / 3 + 1;
        for key in due {
            self.over.remove(&key);
            match key.1 {
                Over::Order(id) => {
                    let order = self.orders.remove(&id).expect("it was made");
                    self.listings.get_mut(&order.listing).expect("it has orders").orders -= 1;
                    self.leave_if_over(order.listing);
                    self.order_returned(order.buyer);
                }
                // It stays until its preview is picked.
                Over::Listing(id) if self.listings[&id].awaits.is_some() => self.leave_if_over(id),
                Over::Listing(id) => {
                    let listing = self.listings.remove(&id).expect("it was listed");
                    self.listing_returned(listing.seller);
                }
                Over::Revocation(link, by) => {
                    self.revocations.remove(&(link, by));
                    self.revocation_returned(by);
                }
                Over::Motion(motion) => self.motion_leaves(motion),
                Over::Ballots(motion) => ballots -= self.ballots_leave(key.0, motion, ballots),
                Over::Redemption(once) => {
                    self.redemptions.remove(&once);
                    self.redemption_returned(once);
                }
            }
        }
    }

    /// How many orders were made, settled and refunded.
    #[must_use]
    pub fn orders(&self) -> (usize, usize, usize) {
        self.made
    }
}
