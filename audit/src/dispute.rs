//! The auditor's books of complaints: what each costs its buyer, its seller, and nodes that kept silent.
//!
//! Whether a proof holds is asked of the protocol's verifiers, as for signatures. What follows from it is worked out here.

use symbolon_protocol::{
    content::Manifest,
    custody::{self, Capsule, DeliveryKey, PostedRelease},
    dispute::{
        Complaint, Delivered, KeptCell, Listed, Verdict, check_asked, check_kept, judge_answers,
        judge_cell, judge_kept, judge_key,
    },
    id::{AccountId, DealId, Hash, ListingId, NodeId, OrderId},
    ledger::{
        block::{Event, Place, Reason},
        rows::HoldKey,
        transaction::Action,
    },
};

use super::{
    Auditor, hundredths,
    market::{Stage, State},
};

/// What a listing shows that a complaint may contradict.
#[derive(Debug)]
pub(super) struct Goods {
    pub(super) manifest: Manifest,
    pub(super) masks_root: Hash,
    pub(super) capsule: Capsule,
    pub(super) pad: [u8; 32],
}

/// A cell that nodes are asked for.
#[derive(Debug)]
pub(super) struct Question {
    cell: u64,
    sealed: Hash,
    deal: DealId,
    keys: Vec<[u8; 32]>,
    bond: u128,
    answers: Vec<(u8, Vec<u8>)>,
    /// When the window ends if it is answered.
    window_until_ms: u64,
}

impl Question {
    /// The shards that may answer.
    pub(super) fn shards(&self) -> usize {
        self.keys.len()
    }
}

/// What an order has that a complaint needs.
#[derive(Debug)]
pub(super) struct Proofs {
    pub(super) delivery: DeliveryKey,
    pub(super) posted: Vec<PostedRelease>,
    pub(super) question: Option<Question>,
    /// How many cells were given.
    pub(super) given: u8,
}

fn proves(error: impl std::fmt::Display) -> String {
    format!("a complaint proves nothing: {error}")
}

impl Auditor {
    pub(super) fn apply_dispute(
        &mut self,
        sender: AccountId,
        action: &Action,
    ) -> Result<(), String> {
        match action {
            Action::Complain { order, complaint } => self.complain(sender, *order, complaint),
            Action::AnswerCell { order, kept, path } => {
                self.answer(NodeId::from(sender), *order, kept, path)
            }
            other => Err(format!("no dispute is {other:?}")),
        }
    }

    fn complain(
        &mut self,
        sender: AccountId,
        id: OrderId,
        complaint: &Complaint,
    ) -> Result<(), String> {
        let order = self.orders.get(&id).ok_or_else(|| format!("no order {id}"))?;
        if order.buyer != sender || !matches!(order.stage, Stage::Delivered | Stage::Asked) {
            return Err(format!("order {id} is not this sender's to complain about"));
        }
        let goods = &self.listings[&order.listing].goods;
        let listed = Listed {
            manifest: &goods.manifest,
            masks_root: &goods.masks_root,
            capsule: &goods.capsule,
            pad: &goods.pad,
        };
        let verdict = match complaint {
            Complaint::BadKey { shown, fault } => {
                let context = custody::release_context(&self.chain, &id, &order.listing);
                let (releases, delivery) = (&order.proofs.posted[..], &order.proofs.delivery);
                let required = releases.len();
                let delivered = Delivered { releases, required, delivery, context: &context };
                judge_key(&listed, &delivered, shown, fault).map_err(proves)?
            }
            Complaint::BadCell { leaf, key, sealed } => {
                judge_cell(&goods.manifest, leaf, key, sealed).map_err(proves)?
            }
            Complaint::OtherCell { leaf, masks, key, deal, kept, path } => {
                let place = leaf.check(&goods.manifest).map_err(proves)?;
                self.is_of(order.listing, *deal, place.segment)?;
                let shard = self.shard(deal, place.shard).ok_or("no shard is kept there")?;
                let kept = KeptCell { root: &shard.0, bytes: kept, path };
                judge_kept(&listed, leaf, masks, key, &kept).map_err(proves)?
            }
            Complaint::Unavailable { leaf, keys, path, deal } => {
                let place = check_asked(&goods.manifest, &goods.masks_root, leaf, keys, path)
                    .map_err(proves)?;
                self.is_of(order.listing, *deal, place.segment)?;
                let question = Question {
                    cell: leaf.cell,
                    sealed: leaf.parts.sealed,
                    deal: *deal,
                    keys: keys.clone(),
                    bond: self.params.complaint_bond.0,
                    answers: Vec::new(),
                    window_until_ms: order.due_ms,
                };
                return self.ask(id, question);
            }
        };
        match verdict {
            Verdict::Upheld => self.uphold(id),
            Verdict::Dismissed => {
                let bond = self.params.complaint_bond.0;
                let from = Place::Account { account: sender };
                self.expect(from, Place::Treasury, bond, Reason::Complaint { order: id });
                self.expected.push(Event::ComplaintDismissed { order: id });
            }
        }
        Ok(())
    }

    /// Whether a deal is one of the seller for this segment of what a listing sells.
    fn is_of(&self, listing: ListingId, deal: DealId, segment: u32) -> Result<(), String> {
        let listing = &self.listings[&listing];
        let ours = self.is_deal_of(&deal, listing.seller, listing.goods.manifest.object, segment);
        match ours {
            true => Ok(()),
            false => Err(format!("deal {deal} is not one that keeps this listing's file")),
        }
    }

    fn ask(&mut self, id: OrderId, question: Question) -> Result<(), String> {
        let bond = question.bond;
        let due_ms = self.time_ms + self.params.delivery_ms.0;
        if self.end_of(&question.deal).is_none_or(|end| self.begins_ms(end) < due_ms) {
            return Err(format!("the nodes of deal {} need not answer", question.deal));
        }
        let order = self.orders.get_mut(&id).expect("the caller has seen it");
        let in_time = due_ms <= order.access_until_ms && order.proofs.given < 16;
        if order.stage != Stage::Delivered || !in_time {
            return Err(format!("order {id} may not ask for a cell"));
        }
        let (account, deal) = (order.buyer, question.deal);
        order.stage = Stage::Asked;
        order.due_ms = due_ms;
        order.proofs.question = Some(question);
        let hold = HoldKey::Complaint { order: id };
        let (from, to) = (Place::Account { account }, Place::Hold { hold });
        self.expect(from, to, bond, Reason::Complaint { order: id });
        self.expected.push(Event::CellAsked { order: id, deal });
        Ok(())
    }

    fn answer(
        &mut self,
        node: NodeId,
        id: OrderId,
        kept: &[u8],
        path: &[Hash],
    ) -> Result<(), String> {
        let order = self.orders.get(&id).ok_or_else(|| format!("no order {id}"))?;
        let question = order.proofs.question.as_ref().ok_or("no cell is asked for")?;
        let keepers = self.kept_by(question.deal);
        let index = keepers.iter().find(|(_, keeper)| **keeper == node).map(|(index, _)| *index);
        let index =
            index.ok_or_else(|| format!("{node} keeps no shard of deal {}", question.deal))?;
        let (root, _) = self.shard(&question.deal, index).ok_or("its shard has no root")?;
        let manifest = &self.listings[&order.listing].goods.manifest;
        let layout = manifest.layout().map_err(|error| error.to_string())?;
        let place = layout.cell(question.cell).ok_or("no such cell")?;
        let cell = KeptCell { root: &root, bytes: kept, path };
        check_kept(manifest, place.segment, place.stripe, &cell).map_err(proves)?;
        if question.answers.iter().any(|(before, _)| *before == index) {
            return Err(format!("{node} answers twice"));
        }
        let (scheme, is_own) = (manifest.scheme, index == place.shard);
        let order = self.orders.get_mut(&id).expect("seen above");
        let question = order.proofs.question.as_mut().expect("seen above");
        question.answers.push((index, kept.to_vec()));
        if !is_own && question.answers.len() < usize::from(scheme.required) {
            return Ok(());
        }
        let Question { sealed, keys, answers, .. } = question;
        match judge_answers(scheme, &place, sealed, keys, answers) {
            Verdict::Upheld => self.uphold(id),
            Verdict::Dismissed => self.give(id),
        }
        Ok(())
    }

    /// The bond of the complaint is divided among those who answered.
    fn give(&mut self, id: OrderId) {
        let order = self.orders.get_mut(&id).expect("the caller has seen it");
        let question = order.proofs.question.take().expect("it was asked");
        order.proofs.given += 1;
        order.stage = Stage::Delivered;
        let more_ms = self.time_ms + self.params.delivery_ms.0;
        order.due_ms = question.window_until_ms.max(more_ms);
        let hold = HoldKey::Complaint { order: id };
        let (from, reason) = (Place::Hold { hold }, Reason::Complaint { order: id });
        let bond = question.bond;
        let each = bond / question.answers.len() as u128;
        let keepers = self.kept_by(question.deal);
        let mut left = bond;
        for (index, _) in question.answers {
            if let Some(account) = keepers.get(&index).and_then(|node| self.payout(node)) {
                self.expect(from, Place::Account { account }, each, reason);
                left -= each;
            }
        }
        self.expect(from, Place::Treasury, left, reason);
        self.expected.push(Event::ComplaintDismissed { order: id });
    }

    /// A complaint is true: half of the seller's bond to the buyer who proved it.
    fn uphold(&mut self, id: OrderId) {
        let order = &self.orders[&id];
        let (listing, account) = (order.listing, order.buyer);
        let book = self.listings.get_mut(&listing).expect("it has orders");
        if std::mem::replace(&mut book.state, State::Frozen) != State::Frozen {
            let (hold, reason) = (HoldKey::Listing { listing }, Reason::Bond { listing });
            let from = Place::Hold { hold };
            let (half, rest) = (book.bond / 2, book.bond - book.bond / 2);
            book.bond = 0;
            self.expect(from, Place::Treasury, half, reason);
            self.expect(from, Place::Account { account }, rest, reason);
            self.expected.push(Event::ListingFrozen { listing });
        }
        self.refund(id);
    }

    /// Nodes gave too few cells in time: each that kept silent pays a part of its collateral.
    pub(super) fn unanswered(&mut self, id: OrderId) {
        let question = self.orders[&id].proofs.question.as_ref().expect("it was asked");
        let answered: Vec<u8> = question.answers.iter().map(|(index, _)| *index).collect();
        let runs = self.has_term(&question.deal);
        for (index, (node, from)) in self.keepers_of(question.deal) {
            if runs && from <= self.epoch && !answered.contains(&index) {
                let part = hundredths(self.nodes[&node].backing(), self.params.miss_penalty_bp);
                self.fine(&node, part);
                self.expect(Place::Collateral, Place::Repair, part, Reason::Collateral { node });
            }
        }
        self.refund(id);
    }

    /// What is left of a question when its order ends otherwise: its bond goes back.
    pub(super) fn forget_question(&mut self, id: OrderId) {
        let order = self.orders.get_mut(&id).expect("the caller has seen it");
        if let Some(Question { bond, .. }) = order.proofs.question.take() {
            let account = order.buyer;
            let hold = HoldKey::Complaint { order: id };
            let (from, to) = (Place::Hold { hold }, Place::Account { account });
            self.expect(from, to, bond, Reason::Complaint { order: id });
        }
    }

    /// The bond of a listing that has ended goes back with its last open order.
    pub(super) fn free_bond(&mut self, listing: ListingId) {
        let open = self.orders.values().any(|order| order.listing == listing && order.open());
        let book = self.listings.get_mut(&listing).expect("the caller has seen it");
        if book.state == State::Ended && !open {
            let (account, bond) = (book.seller, std::mem::take(&mut book.bond));
            let hold = HoldKey::Listing { listing };
            let (from, to) = (Place::Hold { hold }, Place::Account { account });
            self.expect(from, to, bond, Reason::Bond { listing });
        }
    }
}
