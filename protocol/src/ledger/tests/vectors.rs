//! Writes `spec/vectors/ledger/*.json` when `SYMBOLON_REGENERATE=1` is set, and otherwise holds the
//! files against what it would write: regenerating is approving.

use std::{env, format, fs, path::Path, string::String, string::ToString, vec, vec::Vec};

use serde_json::{Value, json};

use super::{
    seller::{LICENCE, list, list_on, listing_terms, public_ref},
    world::{
        GOODS, PRICE, World, account, deal_id, key, listing_id, opening, order_id, register,
        status, terms,
    },
};
use crate::{
    amount::Amount,
    codec::Encode,
    content::MaskMode,
    id::{ChainId, DealId, Hash, LinkId, hex},
    ledger::{
        Status,
        block::{BlockInputs, Genesis, GenesisError, Header, Reveal, SignedHeader},
        commit::{Commit, CommitSignature, Validator},
        deal_cost,
        execute::{self, BlockBuilder, BlockError, Executed},
        params::{Params, TRUSTING_MS_MAX, WINDOW_MS_MAX},
        rows::{Chains, Terms},
        state::{StateExt, Update},
        transaction::{Action, Transaction},
    },
    signature,
    time::{LedgerTime, Millis},
};

mod accounts;
mod answers;
mod chance;
mod collateral;
mod covered;
mod deals;
mod disputes;
mod dying;
mod fees;
mod kept;
mod last;
mod lasting;
mod light;
mod motions;
mod repairs;
mod sales;
mod stake;
mod vaults;

/// The number of the deal.
const DEAL: u8 = 4;
const LISTING: u8 = 7;
const ORDER: u8 = 7;
const NODES: [u8; 3] = [11, 12, 13];

#[test]
fn the_files_are_what_the_rules_say() {
    let text = |value: &Value| serde_json::to_string_pretty(value).unwrap() + "\n";
    check("history", &text(&Value::Array(history())));
    check("prices", &text(&Value::Array(prices())));
    check("cover", &text(&Value::Array(collateral::cover())));
    check("genesis", &text(&Value::Array(geneses())));
    check("light", &text(&Value::Array(light::cases())));
    check("last", &text(&Value::Array(last::cases())));
    check("turns", &text(&Value::Array(last::turns())));
    for (name, write) in [
        ("accounts", accounts::write as fn(&mut Writer)),
        ("chance", chance::write),
        ("deals", deals::write),
        ("tables", deals::write_tables),
        ("late", deals::write_late),
        ("sales", sales::write),
        ("due", sales::due),
        ("disputes", disputes::write),
        ("answers", answers::write),
        ("covered", covered::write),
        ("vaults", vaults::write),
        ("kept", kept::write),
        ("lasting", lasting::write),
        ("placed", lasting::write_placed),
        ("dead", lasting::dead),
        ("dying", dying::write),
        ("care", repairs::care_and_sleep),
        ("claims", repairs::claims),
        ("claimants", repairs::edges),
        ("resting", repairs::resting),
        ("collateral", collateral::write),
        ("faults", collateral::faults),
        ("fees", fees::write),
        ("stake", stake::write),
        ("turns_missed", stake::write_turns),
        ("equivocation", stake::write_equivocation),
        ("motions", motions::write),
        ("votes", motions::write_votes),
        ("rules", motions::write_rules),
    ] {
        let mut writer = Writer::new();
        write(&mut writer);
        check(name, &text(&Value::Array(writer.entries)));
    }
}

fn check(name: &str, text: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../spec/vectors/ledger");
    let path = folder.join(format!("{name}.json"));
    if env::var_os("SYMBOLON_REGENERATE").is_some() {
        fs::create_dir_all(&folder).unwrap();
        fs::write(&path, text).unwrap();
    }
    let found = fs::read_to_string(&path).unwrap();
    assert!(found == text, "{} differs: set SYMBOLON_REGENERATE=1 to approve", path.display());
    assert!(text.len() < 512 << 10, "{name} has {} bytes", text.len());
}

/// A history under construction: accepted blocks lengthen it, refused ones are only written down.
struct Writer {
    world: World,
    entries: Vec<Value>,
    /// The last header.
    last: Header,
}

impl Writer {
    fn new() -> Self {
        let world = World::new();
        let last = world.genesis.header(&execute::genesis(&world.genesis));
        Self { world, entries: Vec::new(), last }
    }

    /// Begins a ledger.
    fn genesis(&mut self, why: &str, world: World) {
        let executed = execute::genesis(&world.genesis);
        self.entries.push(json!({
            "name": "genesis",
            "why": why,
            "genesis": hex(&world.genesis.to_bytes()),
            "chain": world.id().to_string(),
            "outcome": "ok",
            "state_root": executed.state_root.to_string(),
        }));
        self.last = world.genesis.header(&executed);
        self.world = world;
    }

    /// The signed header over the last block.
    fn header(&mut self) -> SignedHeader {
        let (facts, transactions, state_root) = self.world.blocks.last().unwrap();
        let events = &self.world.events;
        let executed = Executed {
            update: Update::default(),
            events: events.clone(),
            state_root: *state_root,
            next_validators: self.world.chain().validators,
        };
        self.last = self.last.next(*facts, transactions, &executed);
        // The set that commits the block is the one before it.
        let set = self.world.parents();
        let digest = Commit::digest(&self.last, 0);
        let sign = |(place, member): (usize, &Validator)| {
            let key = key(self.world.number_of(&member.key)?);
            let validator = u16::try_from(place).unwrap();
            Some(CommitSignature { validator, signature: signature::sign(&key, &digest) })
        };
        let signatures = set.members.iter().enumerate().filter_map(sign).collect();
        let commit = Commit { round: 0, signatures };
        SignedHeader { header: self.last.clone(), commit }
    }

    fn ok(&mut self, name: &str, why: &str, signed: &[Transaction]) {
        let facts = self.world.facts();
        for outcome in self.world.block(signed) {
            assert_eq!(status(outcome), Status::Applied, "{name}");
        }
        let header = hex(&self.header().to_bytes());
        let (_, applied, state_root) = self.world.blocks.last().unwrap();
        assert_eq!(applied, signed, "{name}");
        self.entries.push(json!({
            "name": name,
            "why": why,
            "facts": hex(&facts.to_bytes()),
            "transactions": hexes(signed),
            "outcome": "ok",
            "state_root": state_root.to_string(),
            "header": header,
            "digest": self.last.digest().to_string(),
            "events": folded(&self.world.events.to_bytes()),
        }));
    }

    /// What account 1 lists on this ledger under a number: each listing has a mandate of its own.
    fn terms(&self, number: u8, price: u128) -> Terms {
        let Action::List { terms, .. } = self.list(number, price) else { unreachable!() };
        *terms
    }

    fn list(&self, number: u8, price: u128) -> Action {
        list_on(&self.world.id(), 1, number, price)
    }

    /// Opens the deal of what account 1 sells.
    fn store(&mut self, epochs: u64) {
        let open = self.world.deal_on(&terms(1, GOODS, 4, epochs), &NODES);
        self.act("the goods are stored", "three of four shards, and two suffice", 1, open);
    }

    /// Shows this deal for a listing.
    fn cover(&mut self, listing: u8) {
        self.act("covered", "its deal outlives the access", 1, covering(listing));
    }

    /// Blocks for everything that is due, until every node has its window of the next epoch.
    fn next_epoch(&mut self, name: &str, why: &str) {
        let end = self.world.end_of(self.world.chain().epoch + 1);
        while self.world.step_to(end) {
            self.empty(name, why);
        }
    }

    /// A block without transactions.
    fn empty(&mut self, name: &str, why: &str) {
        self.ok(name, why, &[]);
    }

    fn act(&mut self, name: &str, why: &str, who: u8, action: Action) {
        let signed = self.world.sign(who, action);
        self.ok(name, why, &[signed]);
    }

    fn no(&mut self, expected: Status, name: &str, why: &str, refused: &Transaction) {
        self.none(name, why, std::slice::from_ref(refused), &format!("{expected:?}"));
    }

    /// Transactions that make no block, and why.
    fn none(&mut self, name: &str, why: &str, refused: &[Transaction], expected: &str) {
        let facts = self.world.facts();
        let outcome = match execute::replay(&self.world.state, &facts, refused).unwrap_err() {
            BlockError::NotApplied { status, .. } => format!("{status:?}"),
            error => first_word(&error),
        };
        assert_eq!(outcome, expected, "{name}");
        self.entries.push(json!({
            "name": name,
            "why": why,
            "facts": hex(&facts.to_bytes()),
            "transactions": hexes(refused),
            "outcome": outcome,
        }));
    }

    fn refuse(&mut self, expected: Status, name: &str, why: &str, (who, action): (u8, Action)) {
        let signed = self.world.sign(who, action);
        self.no(expected, name, why, &signed);
    }

    fn bad_facts(&mut self, name: &str, why: &str, facts: BlockInputs) {
        let error = BlockBuilder::new(&self.world.state, &facts).unwrap_err();
        self.entries.push(json!({
            "name": name,
            "why": why,
            "facts": hex(&facts.to_bytes()),
            "transactions": Value::Array(vec![]),
            "outcome": first_word(&error),
        }));
    }
}

/// A block whose last transaction is refused.
fn status_block(
    writer: &mut Writer,
    expected: Status,
    name: &str,
    why: &str,
    signed: &[Transaction],
) {
    writer.none(name, why, signed, &format!("{expected:?}"));
}

fn first_word(error: &BlockError) -> String {
    let words = format!("{error:?}");
    words.split([' ', '{', '(']).next().unwrap().into()
}

fn hexes(transactions: &[Transaction]) -> Vec<String> {
    transactions.iter().map(|transaction| folded(&transaction.to_bytes())).collect()
}

/// The hexadecimal digits of bytes, with a run of many equal ones written as `(byte*count)`.
fn folded(bytes: &[u8]) -> String {
    const MANY: usize = 256;
    bytes
        .chunk_by(|one, next| one == next)
        .map(|run| match run.len() {
            MANY.. => format!("({:02x}*{})", run[0], run.len()),
            _ => hex(run),
        })
        .collect()
}

fn covering(listing: u8) -> Action {
    Action::CoverListing { listing: listing_id(listing), first: 0, deals: vec![goods()] }
}

/// The deal of what account 1 sells.
fn goods() -> DealId {
    DealId::of(&account(1), &GOODS)
}

fn transfer(to: u8, amount: u128) -> Action {
    Action::Transfer { to: account(to), amount: Amount(amount) }
}

fn history() -> Vec<Value> {
    let mut writer = Writer::new();
    let why = "the chain's identity is a hash of these bytes, the state root covers its four rows";
    writer.genesis(why, World::new());
    money(&mut writer);
    envelopes(&mut writer);
    storage(&mut writer);
    epochs(&mut writer);
    vaults(&mut writer);
    listings(&mut writer);
    purchases(&mut writer);
    assert_eq!(writer.world.state.get(Chains, &()).unwrap(), writer.world.chain());
    writer.entries
}

fn money(writer: &mut Writer) {
    let why = "play money on a development network";
    let both = [1, 2].map(|who| writer.world.sign(who, Action::Faucet));
    writer.ok("faucet", why, &both);
    let why = "an account waits between two requests";
    writer.refuse(Status::FaucetEmpty, "faucet too soon", why, (1, Action::Faucet));
    writer.act("transfer", "moves five units", 1, transfer(3, 5));
    let why = "a transfer of nothing is a mistake";
    writer.refuse(Status::BadField, "transfer of nothing", why, (1, transfer(3, 0)));
    let why = "a transfer to oneself moves nothing";
    writer.refuse(Status::BadField, "transfer to oneself", why, (3, transfer(3, 1)));
    let why = "account 3 has five units";
    writer.refuse(Status::BalanceTooLow, "overdraft", why, (3, transfer(1, 6)));
    let why = "amounts have 128 bits; no sum may wrap";
    writer.refuse(Status::BalanceTooLow, "largest amount", why, (3, transfer(1, u128::MAX)));
}

fn envelopes(writer: &mut Writer) {
    let good = writer.world.sign(1, transfer(3, 1));
    let sign = |chain, id, until| Transaction::build(chain, &key(1), id, until, transfer(3, 1));
    let other = sign(ChainId([1; 32]), good.id, good.valid_until);
    let why = "signed for another ledger";
    writer.no(Status::WrongChain, "wrong chain", why, &other);
    let mut forged = good.clone();
    forged.action = transfer(3, 2);
    let why = "the amount was changed after signing";
    writer.no(Status::BadSignature, "changed amount", why, &forged);
    let mut stolen = good.clone();
    stolen.sender = account(2);
    writer.no(Status::BadSignature, "changed sender", "account 2 did not sign", &stolen);
    let mut weak = good.clone();
    weak.sender.0 = [0; 32];
    weak.signature = [0; 64];
    let why = "a key of small order accepts anything";
    writer.no(Status::BadSignature, "weak key", why, &weak);
    let height = writer.world.chain().height;
    let old = sign(good.chain, good.id, height);
    writer.no(Status::Expired, "expired", "valid until the block before", &old);
    let far = sign(good.chain, good.id, height + 1 + 21);
    let why = "at most 20 blocks after the next one on this ledger";
    writer.no(Status::TooFarAhead, "too far ahead", why, &far);
    writer.ok("valid for ten blocks", "an ordinary transfer", std::slice::from_ref(&good));
    let again = Transaction::build(good.chain, &key(1), good.id, good.valid_until, transfer(3, 2));
    let why = "the id was used for one unit, not for two";
    writer.no(Status::IdReused, "id reused", why, &again);

    let facts = writer.world.facts();
    let time_ms = LedgerTime(writer.world.now - 1);
    writer.bad_facts(
        "time backwards",
        "before its parent's time",
        BlockInputs { time_ms, ..facts },
    );
    let known = Reveal { layer: writer.world.chain().beacon.onions[0].layer, change: None };
    writer.world.now += 100;
    let facts = BlockInputs { reveal: Some(known), ..writer.world.facts() };
    let why = "the layer that is already known is not that of this tick";
    writer.bad_facts("onion not peeled", why, facts);
    writer.world.now -= 100;
}

fn storage(writer: &mut Writer) {
    let prove = Action::Prove { epoch: 0, leaves: vec![] };
    let why = "this account is not a storage node";
    writer.refuse(Status::UnknownNode, "proof by no node", why, (1, prove.clone()));
    let open = writer.world.deal(1, opening(DEAL), &NODES, 3);
    let why = "the acceptances are by keys that are no nodes";
    writer.refuse(Status::UnknownNode, "deal with strangers", why, (1, open.clone()));
    let nodes = NODES.map(|number| writer.world.sign(number, register(number, 4096)));
    writer.ok("nodes", "three nodes of four leaves each", &nodes);
    writer.refuse(Status::BadField, "proof of nothing", "its table is empty", (11, prove));

    let mut odd = terms(1, opening(DEAL), 3, 3);
    odd.length = 1000;
    let offer = writer.world.deal_on(&odd, &NODES);
    let why = "shards are whole leaves of 1024 bytes";
    writer.refuse(Status::BadField, "odd length", why, (1, offer));
    let offer = writer.world.deal(1, opening(DEAL), &NODES, 51);
    let why = "at most 50 epochs on this ledger";
    writer.refuse(Status::BadField, "too many epochs", why, (1, offer));
    let offer = writer.world.deal(1, opening(DEAL), &[11, 11, 12], 3);
    writer.refuse(Status::BadField, "one node twice", "one node holds one shard", (1, offer));
    let why = "another owner's deal cannot be opened, even for the sender's own money";
    writer.refuse(Status::NotYours, "deal of another owner", why, (2, open.clone()));
    let Action::OpenDeal { terms: of, acceptances, .. } = open.clone() else { unreachable!() };
    let cost_max = Amount(u128::MAX);
    let mut other = of.clone();
    other.opening = opening(DEAL + 1);
    let moved = Action::OpenDeal { terms: other, acceptances: acceptances.clone(), cost_max };
    let why = "the nodes have signed for another deal";
    writer.refuse(Status::BadAcceptance, "another opening", why, (1, moved));
    let mut cheaper = acceptances.clone();
    cheaper[2].price = Amount(PRICE.0 - 1);
    let forged = Action::OpenDeal { terms: of.clone(), acceptances: cheaper, cost_max };
    let why = "the price was changed after the node signed";
    writer.refuse(Status::BadAcceptance, "price changed", why, (1, forged));
    let capped = Action::OpenDeal { terms: of, acceptances, cost_max: Amount(31) };
    let why = "rate 9, three epochs 27, reserve 5, fee 0: 32";
    writer.refuse(Status::TermsChanged, "dearer than accepted", why, (1, capped));
    let mut long = terms(1, opening(8), 3, 3);
    long.length = 5120;
    let offer = writer.world.deal_on(&long, &NODES);
    writer.refuse(Status::NodeFull, "node full", "five leaves, room for four", (1, offer));
    let expensive = writer.world.deal(3, opening(5), &NODES, 3);
    let why = "account 3 has six units, a deal of two-leaf shards costs more";
    writer.refuse(Status::BalanceTooLow, "deal too dear", why, (3, expensive));
    writer.act("deal", "three shards of one leaf for three epochs", 1, open.clone());
    let why = "the same deal is never paid twice";
    writer.refuse(Status::Exists, "deal opened again", why, (1, open));
    let end = Action::EndDeal { deal: deal_id(1) };
    writer.refuse(Status::UnknownDeal, "end of no deal", "there is no such deal", (1, end));
    let end = Action::EndDeal { deal: deal_id(DEAL) };
    writer.refuse(Status::NotYours, "end by a stranger", "only its owner may", (2, end));
}

fn epochs(writer: &mut Writer) {
    writer.next_epoch(
        "epoch 1",
        "each node's window opens in its turn, and its shard joins its table",
    );
    let leaves = writer.world.leaves(11);
    let mut bent = leaves.clone();
    bent[9].leaf[1023] ^= 1;
    let forged = Action::Prove { epoch: 1, leaves: bent };
    let why = "one bit of the last leaf is wrong";
    writer.refuse(Status::BadProof, "wrong leaf", why, (11, forged));
    let few = Action::Prove { epoch: 1, leaves: leaves[..1].to_vec() };
    writer.refuse(Status::BadProof, "too few leaves", "ten are asked", (11, few));
    let late = Action::Prove { epoch: 0, leaves: vec![] };
    writer.refuse(Status::WrongEpoch, "proof for epoch 0", "its window is for epoch 1", (11, late));
    let proof = Action::Prove { epoch: 1, leaves };
    writer.act("proof", "pays three units to the node's account", 11, proof.clone());
    writer.refuse(Status::AlreadyProven, "proof again", "an epoch is paid once", (11, proof));
    let end = Action::EndDeal { deal: deal_id(DEAL) };
    let why = "two epochs of 9 and the reserve of 5 come back";
    writer.act("deal ended", why, 1, end.clone());
    writer.refuse(Status::DealClosed, "deal ended again", "it has ended", (1, end));
    writer.world.now += 2501;
    let why = "the boundary is a quarter of an epoch late: none of this time counts";
    writer.ok("ledger stood still", why, &[]);
    let why =
        "two nodes did not prove: six units go to repair; the shards leave, one after another";
    writer.next_epoch("epoch 2", why);
    let smaller = register(11, 1024);
    writer.act("node shrinks", "nothing is bound any more", 11, smaller);
}

fn vaults(writer: &mut Writer) {
    let vault = writer.world.vault(1, 2, &NODES);
    let Action::OpenVault { opening, key, custodians } = vault.clone() else { unreachable!() };
    let mut few = key.clone();
    few.commitments.clear();
    let open = |key, custodians| Action::OpenVault { opening, key, custodians };
    let no_key = open(few, custodians.clone());
    let why = "nothing would open it";
    writer.refuse(Status::BadField, "vault without commitments", why, (1, no_key));
    let mut neutral = key.clone();
    neutral.commitments[0] = [0; 32];
    let neutral = open(neutral, custodians.clone());
    let why = "the identity as public key hides nothing";
    writer.refuse(Status::BadField, "identity commitment", why, (1, neutral));
    let mut no_point = key.clone();
    no_point.commitments[1] = [0xff; 32];
    let no_point = open(no_point, custodians.clone());
    writer.refuse(
        Status::BadField,
        "no point",
        "not a canonical ristretto255 point",
        (1, no_point),
    );
    let swapped = open(key, vec![custodians[1].clone(), custodians[0].clone()]);
    let why = "share indexes count from 1";
    writer.refuse(Status::BadField, "custodians out of order", why, (1, swapped));
    let why = "the custodians accepted the vault of account 1";
    writer.refuse(Status::BadAcceptance, "vault of another", why, (2, vault.clone()));
    let why = "there is no vault yet";
    writer.refuse(Status::UnknownVault, "no vault", why, (1, list(1, LISTING, 10_007)));
    writer.act("vault", "two of three nodes open a capsule", 1, vault);
}

fn listings(writer: &mut Writer) {
    let good = listing_terms(1, 10_007);
    let list_of = |terms: Terms| Action::List { opening: opening(LISTING), terms: terms.into() };
    let mut greedy = good.clone();
    greedy.splits[0].share_bp = 8573;
    let why = "8573 and 1428 are more than all";
    writer.refuse(Status::BadField, "splits over 100 %", why, (1, list_of(greedy)));
    let mut hasty = good.clone();
    hasty.window_ms = Millis(999);
    let why = "buyers have at least 1000 ms on this ledger";
    writer.refuse(Status::BadField, "window too short", why, (1, list_of(hasty)));
    let mut forged = good.clone();
    forged.mandate.signature[0] ^= 1;
    let why = "the ledger could not sell for the seller";
    writer.refuse(Status::BadProof, "forged mandate", why, (1, list_of(forged)));
    let mut swapped = good.clone();
    swapped.manifest.content_root = Hash([9; 32]);
    let why = "the capsule was made for other content";
    writer.refuse(Status::BadLabel, "capsule for other content", why, (1, list_of(swapped)));
    let mut cheap = good.clone();
    cheap.bond = Amount(10_006);
    let why = "a bond has to be the price on this ledger";
    writer.refuse(Status::BadField, "bond below the price", why, (1, list_of(cheap)));
    let mut brief = good.clone();
    brief.access_ms = Millis(7999);
    let why = "the window of 2000 ms and twice the delivery of 3000 ms are longer";
    writer.refuse(Status::BadField, "access too short", why, (1, list_of(brief)));
    let mut public = good.clone();
    public.manifest.mask = MaskMode::None;
    let why = "its nodes give it to everyone";
    writer.refuse(Status::BadField, "public content", why, (1, list_of(public)));
    writer.act("listing", "its bond is placed", 1, list(1, LISTING, 10_007));
    let mut again = good.clone();
    again.mandate = writer.terms(LISTING, 1).mandate;
    let again = Action::List { opening: opening(9), terms: again.into() };
    let why = "another listing has this mandate";
    writer.refuse(Status::Exists, "one mandate for two listings", why, (1, again));
    let early = writer.world.order(ORDER, LISTING, 10_007);
    let why = "no deal was shown to keep the file";
    writer.refuse(Status::NotCovered, "order of an uncovered listing", why, (2, early));
    writer.store(50);
    let by_another = (2, covering(LISTING));
    writer.refuse(Status::NotYours, "covered by another", "only its seller may", by_another);
    let other =
        |deal| Action::CoverListing { listing: listing_id(LISTING), first: 0, deals: vec![deal] };
    let why = "the deal was ended";
    writer.refuse(Status::DealClosed, "covered by an ended deal", why, (1, other(deal_id(DEAL))));
    let why = "there is no such deal";
    writer.refuse(Status::UnknownDeal, "covered by nothing", why, (1, other(deal_id(1))));
    writer.cover(LISTING);
    let end = Action::EndDeal { deal: goods() };
    writer.refuse(Status::SaleBinds, "end of a sold deal", "the listing takes orders", (1, end));
    let preview = Action::Preview { listing: listing_id(LISTING), preview: public_ref() };
    let why = "only the seller opens cells";
    writer.refuse(Status::NotYours, "preview by a stranger", why, (2, preview.clone()));
    let both = [writer.world.sign(1, preview), writer.world.sign(1, list(1, 8, 0))];
    writer.world.now += 3;
    writer.ok("preview", "a new tick has begun, and its layer picked the cells", &both);
    let preview = Action::Preview { listing: listing_id(LISTING), preview: public_ref() };
    writer.refuse(Status::Exists, "preview again", "it is posted once", (1, preview));
    let end = Action::EndListing { listing: listing_id(8) };
    writer.act("listing ended", "takes no more orders", 1, end);
}

fn purchases(writer: &mut Writer) {
    let buy = |world: &World, order, listing, price| world.order(order, listing, price);
    let ended = buy(&writer.world, ORDER, 8, 0);
    writer.refuse(Status::ListingEnded, "order of an ended listing", "it ended", (2, ended));
    let lower = buy(&writer.world, ORDER, LISTING, 10_006);
    let why = "the buyer saw another price";
    writer.refuse(Status::TermsChanged, "another price", why, (2, lower));
    let good = buy(&writer.world, ORDER, LISTING, 10_007);
    let Action::Order { holder, delivery, listed_ms, price, .. } = good.clone() else {
        unreachable!()
    };
    let (opening, order) = (opening(8), order_id(8));
    let (listing, licence) = (listing_id(LISTING), LICENCE);
    let stolen = Action::Order { opening, listing, holder, delivery, listed_ms, price, licence };
    let why = "the delivery key's proof is for another order";
    writer.refuse(Status::BadProof, "delivery key of another order", why, (2, stolen));
    writer.act("order", "the price goes into escrow", 2, good.clone());
    writer.refuse(Status::Exists, "order again", "it is paid once", (2, good));
    let second = buy(&writer.world, 8, LISTING, 10_007);
    writer.act("second order", "one release does not fit another order", 2, second);

    let release = |world: &World, index| world.release(ORDER, (2, 3), index);
    let first = release(&writer.world, 1);
    let Action::PostRelease { release: of_first, .. } = first.clone() else { unreachable!() };
    let why = "node 12 is not custodian 1";
    writer.refuse(Status::NotYours, "release by another node", why, (12, first.clone()));
    let replayed = Action::PostRelease { order, release: of_first.clone() };
    let why = "it was made for the first order";
    writer.refuse(Status::BadProof, "release replayed", why, (11, replayed));
    let mut other_index = of_first;
    other_index.index = 2;
    let other_index = Action::PostRelease { order: order_id(ORDER), release: other_index };
    let why = "share 1 does not verify as share 2";
    writer.refuse(Status::BadProof, "release under another index", why, (12, other_index));
    writer.act("release 1", "one of two", 11, first.clone());
    writer.refuse(Status::Exists, "release again", "it stands already", (11, first));
    let last = release(&writer.world, 3);
    writer.act("release 3", "the window begins", 13, last);
    let late = release(&writer.world, 2);
    writer.refuse(Status::TooLate, "release after delivery", "two are enough", (12, late));
    let ack = |order, custodians| Action::Acknowledge { order, custodians };
    let why = "there are three custodians";
    writer.refuse(Status::BadField, "custodian 4", why, (2, ack(order, vec![4])));
    writer.refuse(
        Status::NotYours,
        "the seller says it is fine",
        "only the buyer",
        (1, ack(order, vec![])),
    );
    writer.world.now += 2000;
    let why = "the silent buyer's window is over: fee 200, custodians 50 each, splits, seller";
    writer.ok("settled", why, &[]);
    let why = "the order is settled";
    writer.refuse(
        Status::OrderClosed,
        "too late to acknowledge",
        why,
        (2, ack(order_id(ORDER), vec![])),
    );
    writer.world.now += 1000;
    writer.ok("refunded", "no custodian released the second order in time", &[]);
    let end = Action::EndListing { listing: listing_id(LISTING) };
    writer.act("no more orders", "its bond comes back: no order is open", 1, end);
    let end = Action::EndDeal { deal: goods() };
    let why = "the access of the first order runs";
    writer.refuse(Status::SaleBinds, "end of a sold deal", why, (1, end));
    roots(writer);
    let revoke = Action::Revoke { link: LinkId([3; 16]), until_ms: None };
    writer.act("revoked", "kills a grant link", 1, revoke.clone());
    writer.refuse(Status::Exists, "revoked again", "it is dead already", (1, revoke));
}

fn roots(writer: &mut Writer) {
    let set = |expected_version, bytes: usize| Action::SetRoot {
        expected_version,
        blob: vec![0xab; bytes],
    };
    let why = "a record has 512 bytes or a multiple, up to 4096";
    writer.refuse(Status::BadField, "root of odd size", why, (1, set(0, 500)));
    writer.refuse(Status::BadField, "root without bytes", why, (1, set(0, 0)));
    writer.refuse(Status::BadField, "root too large", why, (1, set(0, 4608)));
    let why = "there is none of version 1 yet";
    writer.refuse(Status::RootMoved, "root from nowhere", why, (1, set(1, 512)));
    writer.act("root", "the first record of account 1", 1, set(0, 512));
    let why = "another device was first";
    writer.refuse(Status::RootMoved, "root set twice", why, (1, set(0, 1024)));
    let why = "no version follows the last one";
    writer.refuse(Status::BadField, "root beyond the last", why, (1, set(u64::MAX, 512)));
    writer.act("root replaced", "version 2, made from version 1", 1, set(1, 1024));
}

fn prices() -> Vec<Value> {
    let mut params = Params::development();
    let mut out = Vec::new();
    let mut price =
        |name: &str, why: &str, (reserve_bp, fee_bp), length, epochs, prices: &[u128]| {
            (params.repair_reserve_bp, params.storage_fee_bp) = (reserve_bp, fee_bp);
            let amounts = prices.iter().map(|price| Amount(*price));
            let cost = deal_cost(&params, length, epochs, amounts);
            let texts: Vec<String> = prices.iter().map(u128::to_string).collect();
            let units = |amount: fn(&crate::ledger::Cost) -> Amount| {
                cost.as_ref().map(|cost| amount(cost).0.to_string())
            };
            out.push(json!({
                "name": name, "why": why, "length": length, "epochs": epochs, "prices": texts,
                "repair_reserve_bp": reserve_bp, "storage_fee_bp": fee_bp,
                "rate": units(|cost| cost.rate), "total": units(|cost| cost.total),
                "outcome": if cost.is_some() { "ok" } else { "Overflow" },
            }));
        };
    let max = u128::MAX;
    price("one leaf", "a leaf of a GiB, rounded up", (2000, 200), 1024, 1, &[1]);
    price("each shard alone", "three roundings, not one", (0, 0), 1024, 1, &[1, 1, 1]);
    price("a GiB", "no rounding; reserve and fee on top", (2000, 200), 1 << 30, 10, &[100]);
    price("rounded down", "a fee of 1.99 is 1", (0, 199), 1 << 30, 1, &[100]);
    price("free", "nothing costs nothing", (2000, 200), 1 << 26, 1000, &[0, 0]);
    price("the most for a GiB", "price times length", (0, 0), 1 << 30, 1, &[max >> 30]);
    price("over that", "price times length", (0, 0), 1 << 30, 1, &[(max >> 30) + 1]);
    price("two large shards", "the sum of rates", (0, 0), 1, 1, &[max, max]);
    price("a long time", "rate times epochs", (0, 0), 1 << 30, u64::MAX, &[max >> 30]);
    price("the whole reserve", "reserve times 10000", (10_000, 0), 1 << 30, 1, &[max >> 31]);
    price("the fee", "fee times 1000", (0, 1000), 1 << 30, 1, &[max >> 31]);
    out
}

/// A parameter, how it is set, and its range.
type Range = (&'static str, fn(&mut Params, u64), u64, u64);

fn validator_ranges() -> [Range; 18] {
    let (month, price) = (30 * 86_400_000, 1_000_000_000_000_000_000);
    [
        ("validators_max", |of, value| of.validators_max = small(value), 0, 128),
        ("stake_min", |of, value| of.stake_min = Amount(value.into()), 0, price),
        ("stake_unit", |of, value| of.stake_unit = Amount(value.into()), 1, price),
        ("power_cap_bp", |of, value| of.power_cap_bp = small(value), 1, 10_000),
        ("commission_max_bp", |of, value| of.commission_max_bp = small(value), 0, 10_000),
        ("commission_rise_bp", |of, value| of.commission_rise_bp = small(value), 0, 10_000),
        ("turn_penalty", |of, value| of.turn_penalty = Amount(value.into()), 0, price),
        ("turns_missed_max", |of, value| of.turns_missed_max = value.try_into().unwrap(), 1, 1000),
        ("jail_ms", |of, value| of.jail_ms = Millis(value), 0, month),
        (
            "equivocation_penalty_bp",
            |of, value| of.equivocation_penalty_bp = small(value),
            0,
            10_000,
        ),
        ("unbonding_ms", |of, value| of.unbonding_ms = Millis(value), 1000, TRUSTING_MS_MAX.0),
        ("validators_fee_bp", |of, value| of.validators_fee_bp = small(value), 0, 10_000),
        ("voting_epochs", |of, value| of.voting_epochs = value.try_into().unwrap(), 1, 1000),
        ("lock_epochs", |of, value| of.lock_epochs = value.try_into().unwrap(), 1, 1000),
        ("motion_deposit", |of, value| of.motion_deposit = Amount(value.into()), 0, price),
        ("quorum_bp", |of, value| of.quorum_bp = small(value), 1000, 10_000),
        ("majority_bp", |of, value| of.majority_bp = small(value), 5000, 9900),
        ("veto_bp", |of, value| of.veto_bp = small(value), 1000, 10_000),
    ]
}

/// How long light clients trust those whose stake is bound for a while.
fn trusted(case: &mut impl FnMut(&str, &str, &Genesis)) {
    let mut genesis = World::new().genesis;
    genesis.params.faucet = Amount::ZERO;
    case(
        "trusted for a hundred years",
        "stake is bound for ten minutes, and no play money",
        &genesis,
    );
    (genesis.params.trusting_ms, genesis.params.unbonding_ms) = (Millis::DAY, Millis::DAY);
    case("trusted as long as stake is bound", "it must be less", &genesis);
    genesis.params.unbonding_ms = Millis(86_400_001);
    case("trusted for less", "a validator that has left can still lose its stake", &genesis);
    genesis.params.unbonding_ms = Millis(1_000);
    genesis.params.validators_max = 0;
    case("no validator joins", "so no stake is bound", &genesis);
}

/// The parameters at the ends of their ranges, and one beyond.
fn geneses() -> Vec<Value> {
    let mut out = Vec::new();
    let mut case = |name: &str, why: &str, genesis: &Genesis| {
        let outcome = match genesis.check() {
            Ok(()) => "ok".to_string(),
            Err(GenesisError::Params(error)) => error.name.to_string(),
            Err(GenesisError::Validators(_)) => why.to_string(),
            Err(GenesisError::Onions { .. }) => "Onions".to_string(),
        };
        out.push(json!({
            "name": name, "why": why, "genesis": hex(&genesis.to_bytes()),
            "chain": genesis.chain().to_string(), "outcome": outcome,
        }));
    };
    let month = 30 * 86_400_000;
    let price = 1_000_000_000_000_000_000;
    let ranges: [Range; 18] = [
        ("epoch_ms", |of, value| of.epoch_ms = Millis(value), 1000, month),
        ("validity_blocks_max", |of, value| of.validity_blocks_max = value, 1, 10_000_000),
        ("storage_fee_bp", |of, value| of.storage_fee_bp = small(value), 0, 1000),
        ("repair_reserve_bp", |of, value| of.repair_reserve_bp = small(value), 0, 10_000),
        ("sale_fee_bp", |of, value| of.sale_fee_bp = small(value), 0, 1000),
        ("custody_fee_bp", |of, value| of.custody_fee_bp = small(value), 0, 1000),
        ("delivery_ms", |of, value| of.delivery_ms = Millis(value), 1000, month),
        ("window_ms_min", |of, value| of.window_ms_min = Millis(value), 0, WINDOW_MS_MAX.0),
        ("listing_bond_bp", |of, value| of.listing_bond_bp = value.try_into().unwrap(), 0, 100_000),
        ("complaint_bond", |of, value| of.complaint_bond = Amount(value.into()), 0, price),
        ("deal_epochs_max", |of, value| of.deal_epochs_max = value, 1, 100_000_000),
        ("trusting_ms", |of, value| of.trusting_ms = Millis(value), 86_400_000, TRUSTING_MS_MAX.0),
        ("fee_base", |of, value| of.fee_base = Amount(value.into()), 0, price),
        ("fee_byte", |of, value| of.fee_byte = Amount(value.into()), 0, price),
        ("fee_check", |of, value| of.fee_check = Amount(value.into()), 0, price),
        ("duty_fee_bp", |of, value| of.duty_fee_bp = small(value), 0, 10_000),
        ("deposit", |of, value| of.deposit = Amount(value.into()), 0, price),
        (
            "dead_after_epochs",
            |of, value| of.dead_after_epochs = value.try_into().unwrap(),
            2,
            1000,
        ),
    ];
    for (name, set, least, most) in ranges.into_iter().chain(validator_ranges()) {
        let mut with = |why: &str, value: u64| {
            let mut genesis = World::new().genesis;
            set(&mut genesis.params, value);
            case(&format!("{name} {value}"), why, &genesis);
        };
        with("the least there may be", least);
        with("the most there may be", most);
        with("one more", most + 1);
        if let Some(less) = least.checked_sub(1) {
            with("one less", less);
        }
    }
    let mut genesis = World::new().genesis;
    genesis.params.allowance_growth_bp = genesis.params.storage_fee_bp + 1;
    case("a growth above the fee", "it would give more than was earned", &genesis);
    trusted(&mut case);
    for (name, why, validators) in light::sets() {
        let onions = vec![World::new().genesis.onions[0]; validators.members.len()];
        case(name, why, &Genesis { validators, onions, ..World::new().genesis });
    }
    let start = World::new().genesis.onions[0];
    for (name, onions) in
        [("a validator without an onion", vec![]), ("an onion too many", vec![start; 2])]
    {
        case(name, "there is one validator", &Genesis { onions, ..World::new().genesis });
    }
    out
}

fn small(value: u64) -> u16 {
    u16::try_from(value).unwrap()
}
