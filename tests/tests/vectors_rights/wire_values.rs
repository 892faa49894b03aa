//! A value of every kind that travels, each variant of each choice once.

use ed25519_dalek::SigningKey;
use symbolon_protocol::{
    Amount, Encode, LedgerTime, Millis,
    content::{FileKey, Layout, Manifest, MaskMode, Scheme},
    custody::{CustodyAcceptance, Release, VaultKey},
    deletion::DeletionReceipt,
    grant::{Caveat, Grant, Link, ObjectSet, ability},
    id::{
        AccountId, ChainId, DealId, Hash, LinkId, ListingId, NodeId, ObjectId, Opening, OrderId,
        PeerId, TransactionId,
    },
    ledger::{
        Params, Status,
        block::{
            Block, BlockInputs, Event, Genesis, Header, OnionChange, OnionStart, Place, Reason,
            Reveal, SignedHeader,
        },
        commit::{Validator, Validators},
        last::LastCommit,
        rows::{Access, Failure, HoldKey, MotionState},
        transaction::{Acceptance, Action, DealTerms, Transaction},
    },
    preview::{Preview, PreviewCell},
    reads::{ReadBy, ReadLog, ReadRow},
    wire::{
        ledger::{
            HistoryLine, HistoryPlace, OldestBlock, Request as LedgerRequest,
            Response as LedgerResponse, Row, SetChange,
        },
        preview::{NotOpened, Request as PreviewRequest, Response as PreviewResponse},
        storage::{
            Authority, Refusal, RefusalCode, Request as StorageRequest,
            Response as StorageResponse, SliceHead,
        },
    },
};

const CHAIN: ChainId = ChainId([1; 32]);
const DEAL: DealId = DealId([2; 16]);
const ORDER: OrderId = OrderId([3; 16]);
const NODE: NodeId = PeerId([4; 32]);
const ROOT: Hash = Hash([5; 32]);
const ACCOUNT: AccountId = AccountId([6; 32]);

type Values = Vec<(&'static str, String, Vec<u8>)>;

/// Kind, name and bytes of each.
pub(crate) fn all() -> Values {
    let mut out = Vec::new();
    let mut add = |kind: &'static str, values: Vec<Vec<u8>>| {
        for (number, value) in (1..).zip(values) {
            out.push((kind, format!("{kind}, {number}"), value));
        }
    };
    add("Transaction", vec![transaction().to_bytes()]);
    add("SignedHeader", headers().iter().map(Encode::to_bytes).collect());
    add("Place", places().iter().map(Encode::to_bytes).collect());
    add("Reason", reasons().iter().map(Encode::to_bytes).collect());
    add("Event", events().iter().map(Encode::to_bytes).collect());
    add("Block", vec![block().to_bytes()]);
    let more = [Caveat::Objects { root: ROOT }, Caveat::Once { until_ms: LedgerTime(62) }];
    add("Caveat", caveats().iter().chain(&more).map(Encode::to_bytes).collect());
    add("Link", vec![link().to_bytes()]);
    add("Manifest", vec![manifest().to_bytes()]);
    add("Preview", vec![preview().to_bytes()]);
    add("VaultKey", vec![vault().to_bytes()]);
    add("SliceHead", vec![SliceHead { length: 1024, path: vec![ROOT, Hash([7; 32])] }.to_bytes()]);
    add("Refusal", vec![Refusal::new(RefusalCode::Busy, "later, please").to_bytes()]);
    add("LedgerRequest", ledger_requests().iter().map(Encode::to_bytes).collect());
    add("LedgerResponse", ledger_responses().iter().map(Encode::to_bytes).collect());
    add("StorageRequest", storage_requests().iter().map(Encode::to_bytes).collect());
    let (listing, nonce) = (ListingId([19; 16]), [34; 32]);
    add("PreviewRequest", vec![PreviewRequest::Open { listing, nonce, count: 8 }.to_bytes()]);
    add("PreviewResponse", preview_responses().iter().map(Encode::to_bytes).collect());
    add("StorageResponse", storage_responses().iter().map(Encode::to_bytes).collect());
    out
}

fn signer() -> SigningKey {
    SigningKey::from_bytes(&[7; 32])
}

fn transaction() -> Transaction {
    let action = Action::Transfer { to: ACCOUNT, amount: Amount(5) };
    Transaction::build(CHAIN, &signer(), TransactionId([8; 16]), 77, action)
}

fn headers() -> Vec<SignedHeader> {
    let header = |reveal, last| Header {
        chain: CHAIN,
        height: 9,
        parent: Hash([10; 32]),
        facts: BlockInputs { time_ms: LedgerTime(1_795_370_000_000), proposer: 6, reveal, last },
        transactions_root: Hash([12; 32]),
        events_root: Hash([71; 32]),
        state_root: Hash([13; 32]),
        validators: Hash([14; 32]),
        next_validators: Hash([72; 32]),
    };
    let change = OnionChange { last: Hash([15; 32]), next: Hash([11; 32]) };
    let reveals = [None, Some(change)].map(|change| Some(Reveal { layer: Hash([16; 32]), change }));
    let last = Some(LastCommit { round: 82, signers: [83; 16] });
    let facts = [(None, None), (None, last)].into_iter();
    let facts = facts.chain(reveals.map(|reveal| (reveal, None)));
    facts.map(|(reveal, last)| SignedHeader::build(header(reveal, last), &signer())).collect()
}

fn genesis() -> Genesis {
    let member = |key, power| Validator { key: AccountId([key; 32]), power };
    Genesis {
        params: Params::development(),
        validators: Validators { members: vec![member(73, 74), member(75, 76)] },
        time_ms: LedgerTime(77),
        onions: vec![
            OnionStart { outermost: Hash([78; 32]), next: Hash([79; 32]) },
            OnionStart { outermost: Hash([80; 32]), next: Hash([81; 32]) },
        ],
    }
}

fn places() -> Vec<Place> {
    vec![
        Place::Outside,
        Place::Account { account: ACCOUNT },
        Place::Hold { hold: HoldKey::Deal { deal: DEAL } },
        Place::Hold { hold: HoldKey::Order { order: ORDER } },
        Place::Hold { hold: HoldKey::Motion { motion: 84 } },
        Place::Storage,
        Place::Repair,
        Place::Treasury,
        Place::Deposits,
        Place::Collateral,
        Place::Stake,
        Place::Unbonding,
        Place::Rewards,
    ]
}

fn reasons() -> Vec<Reason> {
    vec![
        Reason::Faucet,
        Reason::Transfer,
        Reason::Deal { deal: DEAL },
        Reason::Proven { node: NODE, epoch: 16 },
        Reason::Missed { node: NODE, epoch: 17 },
        Reason::Sale { order: ORDER },
        Reason::Fee,
        Reason::Deposit,
        Reason::Collateral { node: NODE },
        Reason::Stake { validator: ACCOUNT },
        Reason::MissedTurn { validator: ACCOUNT },
        Reason::Equivocation { validator: ACCOUNT },
        Reason::Reward { validator: ACCOUNT },
        Reason::Motion { motion: 84 },
    ]
}

fn events() -> Vec<Event> {
    let (from, to) = (Place::Outside, Place::Account { account: ACCOUNT });
    vec![
        Event::Moved { from, to, amount: Amount(1 << 100), reason: Reason::Faucet },
        Event::EpochBegan { epoch: 18 },
        Event::DealEnded { deal: DEAL },
        Event::PreviewPicked { listing: ListingId([19; 16]) },
        Event::OrderPaid { order: ORDER },
        Event::OrderDelivered { order: ORDER },
        Event::OrderSettled { order: ORDER },
        Event::OrderRefunded { order: ORDER },
        Event::Revoked { link: LinkId([20; 16]), by: ACCOUNT },
        Event::ShardJoined { node: NODE, deal: DEAL },
        Event::ShardLeft { node: NODE, deal: DEAL },
        Event::WindowOpened { node: NODE, epoch: 21 },
        Event::ValidatorJailed { validator: ACCOUNT },
        Event::ValidatorBarred { validator: ACCOUNT },
        Event::MotionMade { motion: 84 },
        Event::MotionDecided { motion: 84, state: MotionState::Done },
        Event::MotionDecided { motion: 84, state: MotionState::Failed { why: Failure::NotReady } },
    ]
}

fn block() -> Block {
    let header = headers().remove(0);
    let last = Some(header.commit.clone());
    Block { header, last, transactions: vec![transaction()], events: events() }
}

fn caveats() -> Vec<Caveat> {
    vec![
        Caveat::Object { object: ObjectId([21; 16]) },
        Caveat::Abilities { set: ability::READ | ability::DELETE },
        Caveat::NotBefore { time_ms: LedgerTime(22) },
        Caveat::NotAfter { time_ms: LedgerTime(23) },
        Caveat::Cells { first: 24, end: 25 },
        Caveat::NodeReads { count: 26 },
        Caveat::NodeBytes { bytes: 27 },
        Caveat::Purpose { hash: ROOT },
        Caveat::Depth { links: 28 },
        Caveat::Staleness { max_ms: Millis(29) },
    ]
}

fn several() -> Grant {
    let set = ObjectSet::new([ObjectId([21; 16]), ObjectId([22; 16])]).unwrap();
    let of = (&set, set.member(&ObjectId([22; 16])).unwrap());
    let caveats = vec![Caveat::Abilities { set: ability::READ }];
    Grant::issue_for_several(&CHAIN, &signer(), NODE, of, caveats, &[1; 32]).unwrap()
}

pub(crate) fn read_log() -> ReadLog {
    let (given, link) = (LinkId([72; 16]), LinkId([73; 16]));
    let by = [
        ReadBy::Grant { given, link },
        ReadBy::Order { order: ORDER, link },
        ReadBy::Claim,
        ReadBy::Others,
    ];
    let rows = by.map(|by| ReadRow { day: 74, by, reader: NODE, reads: 75, bytes: 76 });
    let of = (ACCOUNT, ObjectId([21; 16]));
    ReadLog::build(&CHAIN, &signer(), of, 74..76, LedgerTime(77), rows.to_vec())
}

fn grant() -> Grant {
    let caveats = vec![Caveat::Abilities { set: ability::READ }];
    Grant::issue(&CHAIN, &signer(), NODE, caveats, &[1; 32]).unwrap()
}

fn link() -> Link {
    Grant::issue(&CHAIN, &signer(), NODE, caveats(), &[1; 32]).unwrap().links.remove(0)
}

pub(crate) fn manifest() -> Manifest {
    let key = FileKey::from_bytes([30; 32]);
    let layout = Layout::new(Scheme { required: 3, total: 5 }, 1000).unwrap();
    Manifest::new(&key, MaskMode::ChaCha20, &layout, ROOT)
}

fn preview() -> Preview {
    let cell = PreviewCell { cell: 31, key: [32; 32], sealed: vec![33; 16], path: vec![ROOT] };
    Preview { cells: vec![cell.clone()], chosen: vec![PreviewCell { cell: 33, ..cell }] }
}

fn vault() -> VaultKey {
    VaultKey { commitments: vec![[34; 32], [35; 32]] }
}

fn terms() -> DealTerms {
    DealTerms {
        owner: ACCOUNT,
        opening: Opening([71; 32]),
        object: ObjectId([21; 16]),
        segment: 36,
        required: 2,
        total: 3,
        length: 1024,
        access: Access::Public,
        epochs: 37,
    }
}

fn row(value: Option<Vec<u8>>) -> Row {
    Row { key: vec![3; 33], value }
}

fn ledger_requests() -> Vec<LedgerRequest> {
    let scan = |after| LedgerRequest::Scan { prefix: vec![3], after, limit: 100 };
    vec![
        LedgerRequest::Submit { transaction: transaction().into() },
        LedgerRequest::Head,
        LedgerRequest::Rows { keys: vec![vec![1], vec![3; 33]] },
        scan(None),
        scan(Some(vec![3; 33])),
        LedgerRequest::Follow { height: 38 },
        LedgerRequest::Genesis,
        LedgerRequest::History {
            account: ACCOUNT,
            before: HistoryPlace { height: 39, number: 65 },
            limit: 40,
        },
        LedgerRequest::Checkpoint { height: None, after: None, until: None },
        LedgerRequest::Checkpoint { height: Some(71), after: Some(vec![3; 33]), until: None },
        LedgerRequest::Checkpoint { height: Some(71), after: None, until: Some(vec![4; 33]) },
        LedgerRequest::Sets { after: 72 },
    ]
}

fn ledger_responses() -> Vec<LedgerResponse> {
    let header = || headers().remove(1);
    let line = |event| HistoryLine { height: 41, number: 66, time_ms: LedgerTime(42), event };
    let rows = vec![row(None), row(Some(vec![9; 24]))];
    vec![
        LedgerResponse::Refused { message: "ce n’est pas ça".into() },
        LedgerResponse::Outcome { height: 43, status: Status::RootMoved },
        LedgerResponse::Head { header: header() },
        LedgerResponse::Rows { header: header(), rows, proof: vec![2], more: true },
        LedgerResponse::Block { block: block() },
        LedgerResponse::Genesis { genesis: Box::new(genesis()) },
        LedgerResponse::History {
            lines: events().into_iter().map(line).collect(),
            oldest: OldestBlock { height: 67, time_ms: LedgerTime(68) },
        },
        LedgerResponse::Pruned { oldest: OldestBlock { height: 69, time_ms: LedgerTime(70) } },
        LedgerResponse::Gone,
        LedgerResponse::Sets { changes: Vec::new(), more: false },
        LedgerResponse::Sets { changes: vec![set_change()], more: true },
    ]
}

fn set_change() -> SetChange {
    let member = |byte: u8, power| Validator { key: AccountId([byte; 32]), power };
    SetChange {
        header: headers().remove(1),
        validators: Validators { members: vec![member(5, 6)] },
        next: Validators { members: vec![member(5, 6), member(7, 8)] },
    }
}

fn preview_responses() -> Vec<PreviewResponse> {
    let refusals = [
        NotOpened::Malformed,
        NotOpened::NotHere,
        NotOpened::Count,
        NotOpened::Spent,
        NotOpened::Later,
        NotOpened::Busy,
        NotOpened::Unable,
    ];
    let refused = |why| PreviewResponse::Refused { why, message: format!("{why:?}") };
    let mut all = refusals.map(refused).to_vec();
    all.push(PreviewResponse::Cells { cells: preview().cells });
    all
}

fn storage_requests() -> Vec<StorageRequest> {
    let (deal, index) = (DEAL, 44);
    vec![
        StorageRequest::Info,
        StorageRequest::Store {
            terms: terms(),
            index,
            price: Amount(45),
            authority: grant().into(),
        },
        StorageRequest::Store {
            terms: terms(),
            index,
            price: Amount(45),
            authority: Authority::Claim,
        },
        StorageRequest::Store {
            terms: terms(),
            index,
            price: Amount(45),
            authority: Authority::Keeper,
        },
        StorageRequest::Read { deal, index, first: 46, count: 47, grant: Some(grant()) },
        StorageRequest::Read { deal, index, first: 46, count: 47, grant: None },
        StorageRequest::ReadCell { deal, index, cell: 48, grant: Some(grant()) },
        StorageRequest::Check { deal, index, grant: None },
        StorageRequest::Delete { deal, index, grant: grant() },
        StorageRequest::KeepShare {
            owner: ACCOUNT,
            opening: Opening([49; 32]),
            key: vault(),
            index: 2,
            share: vec![50; 80],
            signature: [51; 64],
        },
        StorageRequest::Release { order: ORDER },
        StorageRequest::ReleaseClaim { deal },
        StorageRequest::Read { deal, index, first: 46, count: 47, grant: Some(several()) },
        StorageRequest::ReadLog {
            owner: ACCOUNT,
            object: ObjectId([21; 16]),
            from_day: 78,
            signature: [79; 64],
        },
    ]
}

fn storage_responses() -> Vec<StorageResponse> {
    let place = (2, ROOT);
    let acceptance =
        Acceptance::build(&CHAIN, &terms(), &signer(), place, (Amount(52), 54), LedgerTime(53));
    let receipt = DeletionReceipt::build(&CHAIN, &signer(), (DEAL, 2), ROOT, LedgerTime(54));
    let kept = CustodyAcceptance {
        node: NODE,
        index: 2,
        expires_ms: LedgerTime(7000),
        signature: [55; 64],
    };
    let release = Release {
        index: 2,
        u: [56; 32],
        v: [57; 32],
        e: [58; 32],
        z_share: [59; 32],
        z_blind: [60; 32],
    };
    vec![
        StorageResponse::Refused { refusal: Refusal::new(RefusalCode::NoClaim, "") },
        StorageResponse::Refused { refusal: Refusal::new(RefusalCode::NotRedeemed, "") },
        StorageResponse::Refused { refusal: Refusal::new(RefusalCode::RedeemedElsewhere, "") },
        StorageResponse::Info { chain: CHAIN, node: NODE, price: Amount(61), free: 62 },
        StorageResponse::Ready,
        StorageResponse::Accepted { acceptance },
        StorageResponse::Slices { count: 63 },
        StorageResponse::Held { length: Some(64), root: Some(ROOT) },
        StorageResponse::Held { length: None, root: None },
        StorageResponse::Deleted { receipt },
        StorageResponse::InCustody { acceptance: kept },
        StorageResponse::Released { release: release.clone() },
        StorageResponse::ReleasedClaim { releases: vec![release] },
        StorageResponse::ReadLog { log: read_log() },
    ]
}
