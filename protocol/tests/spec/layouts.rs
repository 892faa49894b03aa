//! Every layout that peers have to agree on.

use symbolon_protocol::{
    content, custody, deletion,
    describe::{Described, Description, Field, Shape},
    dispute, grant, identity,
    ledger::{Params, beacon, block, commit, evidence, last, light, rows, statement, transaction},
    preview, proof, reads, wire,
};

/// The layouts of the macros' types, and of the few that read their bytes by hand.
const ALL: &[Description] = &[
    Params::DESCRIPTION,
    block::Block::DESCRIPTION,
    block::Event::DESCRIPTION,
    block::BlockInputs::DESCRIPTION,
    block::Reveal::DESCRIPTION,
    block::OnionChange::DESCRIPTION,
    last::LastCommit::DESCRIPTION,
    beacon::Beacon::DESCRIPTION,
    beacon::Onion::DESCRIPTION,
    evidence::Evidence::DESCRIPTION,
    statement::Step::DESCRIPTION,
    statement::Vote::DESCRIPTION,
    statement::Proposal::DESCRIPTION,
    rows::ValidatorRow::DESCRIPTION,
    rows::ValidatorState::DESCRIPTION,
    rows::Delegation::DESCRIPTION,
    rows::Unbonding::DESCRIPTION,
    rows::Motion::DESCRIPTION,
    rows::Measure::DESCRIPTION,
    rows::ParamChange::DESCRIPTION,
    rows::Choice::DESCRIPTION,
    rows::MotionState::DESCRIPTION,
    rows::Failure::DESCRIPTION,
    rows::Tally::DESCRIPTION,
    rows::Voice::DESCRIPTION,
    rows::Ballot::DESCRIPTION,
    rows::NextRules::DESCRIPTION,
    rows::PastSet::DESCRIPTION,
    rows::Duty::DESCRIPTION,
    rows::Duties::DESCRIPTION,
    block::OnionStart::DESCRIPTION,
    block::Genesis::DESCRIPTION,
    block::Header::DESCRIPTION,
    block::Place::DESCRIPTION,
    block::Reason::DESCRIPTION,
    block::SignedHeader::DESCRIPTION,
    commit::Commit::DESCRIPTION,
    commit::CommitSignature::DESCRIPTION,
    commit::Validator::DESCRIPTION,
    commit::Validators::DESCRIPTION,
    light::Trusted::DESCRIPTION,
    content::Codec::DESCRIPTION,
    content::MaskMode::DESCRIPTION,
    content::seal::LeafParts::DESCRIPTION,
    custody::Capsule::DESCRIPTION,
    custody::DeliveryKey::DESCRIPTION,
    custody::Release::DESCRIPTION,
    custody::ShownKey::DESCRIPTION,
    custody::VaultKey::DESCRIPTION,
    deletion::DeletionReceipt::DESCRIPTION,
    dispute::Complaint::DESCRIPTION,
    dispute::KeyFault::DESCRIPTION,
    dispute::LeafOpening::DESCRIPTION,
    dispute::MaskOpening::DESCRIPTION,
    reads::ReadLog::DESCRIPTION,
    reads::ReadRow::DESCRIPTION,
    reads::ReadBy::DESCRIPTION,
    grant::Caveat::DESCRIPTION,
    grant::GrantToken::DESCRIPTION,
    grant::Sale::DESCRIPTION,
    identity::Recipient::DESCRIPTION,
    preview::Preview::DESCRIPTION,
    preview::PreviewCell::DESCRIPTION,
    proof::Challenge::DESCRIPTION,
    proof::LeafProof::DESCRIPTION,
    rows::Access::DESCRIPTION,
    rows::Account::DESCRIPTION,
    rows::Chain::DESCRIPTION,
    rows::Deal::DESCRIPTION,
    rows::DealSlot::DESCRIPTION,
    rows::DealState::DESCRIPTION,
    rows::Care::DESCRIPTION,
    rows::Claim::DESCRIPTION,
    rows::Reward::DESCRIPTION,
    rows::Repair::DESCRIPTION,
    rows::Hold::DESCRIPTION,
    rows::HoldKey::DESCRIPTION,
    rows::Join::DESCRIPTION,
    rows::Leave::DESCRIPTION,
    rows::Answer::DESCRIPTION,
    rows::Asked::DESCRIPTION,
    rows::Cover::DESCRIPTION,
    rows::Draw::DESCRIPTION,
    rows::Listing::DESCRIPTION,
    rows::ListingState::DESCRIPTION,
    rows::Node::DESCRIPTION,
    rows::Nothing::DESCRIPTION,
    rows::Order::DESCRIPTION,
    rows::OrderState::DESCRIPTION,
    rows::Refund::DESCRIPTION,
    rows::Sold::DESCRIPTION,
    rows::Pools::DESCRIPTION,
    custody::PostedRelease::DESCRIPTION,
    rows::PublicRef::DESCRIPTION,
    rows::Revocation::DESCRIPTION,
    rows::Redemption::DESCRIPTION,
    rows::Kept::DESCRIPTION,
    rows::Root::DESCRIPTION,
    rows::Seen::DESCRIPTION,
    rows::Slot::DESCRIPTION,
    rows::Split::DESCRIPTION,
    rows::Terms::DESCRIPTION,
    rows::Vault::DESCRIPTION,
    rows::Window::DESCRIPTION,
    transaction::Acceptance::DESCRIPTION,
    transaction::Action::DESCRIPTION,
    custody::CustodyAcceptance::DESCRIPTION,
    transaction::DealTerms::DESCRIPTION,
    transaction::LostShard::DESCRIPTION,
    transaction::CaredDeal::DESCRIPTION,
    wire::storage::Authority::DESCRIPTION,
    transaction::Transaction::DESCRIPTION,
    wire::ledger::HistoryLine::DESCRIPTION,
    wire::ledger::HistoryPlace::DESCRIPTION,
    wire::ledger::OldestBlock::DESCRIPTION,
    wire::ledger::SetChange::DESCRIPTION,
    wire::ledger::Row::DESCRIPTION,
    named("LedgerRequest", wire::ledger::Request::DESCRIPTION),
    named("LedgerResponse", wire::ledger::Response::DESCRIPTION),
    wire::preview::NotOpened::DESCRIPTION,
    named("PreviewRequest", wire::preview::Request::DESCRIPTION),
    named("PreviewResponse", wire::preview::Response::DESCRIPTION),
    wire::storage::Authority::DESCRIPTION,
    wire::storage::Fault::DESCRIPTION,
    wire::storage::Refusal::DESCRIPTION,
    wire::storage::RefusalCode::DESCRIPTION,
    named("StorageRequest", wire::storage::Request::DESCRIPTION),
    named("StorageResponse", wire::storage::Response::DESCRIPTION),
    wire::storage::SliceHead::DESCRIPTION,
    GRANT,
    MEMBER,
    LINK,
    MANIFEST,
    SCHEME,
];

/// All of them.
pub(crate) fn all() -> impl Iterator<Item = Description> {
    ALL.iter().copied()
}

/// Two modules have a `Request` and a `Response`.
const fn named(name: &'static str, description: Description) -> Description {
    Description { name, ..description }
}

/// The layout of a name.
pub(crate) fn find(name: &str) -> Option<Description> {
    all().find(|one| one.name == name)
}

/// The types of all fields of a layout.
pub(crate) fn kinds(description: &Description) -> Vec<&'static str> {
    let of = |fields: &'static [Field]| fields.iter().map(|field| field.kind);
    match description.shape {
        Shape::Record(fields) => of(fields).collect(),
        Shape::Choice(variants) => variants.iter().flat_map(|one| of(one.fields)).collect(),
    }
}

const fn field(name: &'static str, kind: &'static str, notes: &'static [&'static str]) -> Field {
    Field { name, kind, notes }
}

/// Read by hand, because what it says is checked while it is read.
const MANIFEST: Description = Description {
    name: "Manifest",
    notes: &["doc = \"What is needed to read a file, next to its file key.\""],
    shape: Shape::Record(&[
        field("version", "u8", &["doc = \"1.\""]),
        field("codec", "Codec", &["doc = \"Erasure code.\""]),
        field("mask", "MaskMode", &["doc = \"Mask mode.\""]),
        field("scheme", "Scheme", &["doc = \"Required and total shards.\""]),
        field("object", "ObjectId", &["doc = \"The object that the file's deals name.\""]),
        field("length", "u64", &["doc = \"Bytes of the file, at most 2^56.\""]),
        field("commitment", "Hash", &["doc = \"To the file key.\""]),
        field("content_root", "Hash", &["doc = \"Merkle root over all cells.\""]),
    ]),
};

const SCHEME: Description = Description {
    name: "Scheme",
    notes: &["doc = \"How many shards there are, and how many suffice.\""],
    shape: Shape::Record(&[
        field("required", "u8", &["doc = \"At least 1.\""]),
        field("total", "u8", &["doc = \"At least `required`, at most 128.\""]),
    ]),
};

/// Read by hand, because it is bounded while it is read.
const GRANT: Description = Description {
    name: "Grant",
    notes: &["doc = \"A chain as it travels.\""],
    shape: Shape::Record(&[
        field("version", "u8", &["doc = \"1 for one object, 2 for several.\""]),
        field("root", "AccountId", &["doc = \"Whose permission it is.\""]),
        field(
            "sale",
            "Option<Sale>",
            &["doc = \"The order that passes a mandate, link 0, on to a buyer.\""],
        ),
        field(
            "member",
            "Member",
            &[
                "doc = \"Only in version 2: where the requested object stands among those of the grant. No link covers it.\"",
            ],
        ),
        field(
            "links",
            "Vec<Link>",
            &["doc = \"From the root's first delegation to the holder's.\""],
        ),
    ]),
};

const MEMBER: Description = Description {
    name: "Member",
    notes: &["doc = \"Where an object stands among the objects of a grant.\""],
    shape: Shape::Record(&[
        field(
            "index",
            "u32",
            &["doc = \"Its place among the objects, in the order of their ids.\""],
        ),
        field(
            "count",
            "u32",
            &["doc = \"How many objects there are, at most `GRANT_OBJECTS_MAX`.\""],
        ),
        field(
            "path",
            "Vec<Hash>",
            &[
                "doc = \"The siblings that lead to the root, from the object's own upward: at most 16.\"",
            ],
        ),
    ]),
};

const LINK: Description = Description {
    name: "Link",
    notes: &["doc = \"One step of delegation.\""],
    shape: Shape::Record(&[
        field(
            "audience",
            "PeerId",
            &["doc = \"Who may act on the chain up to here, or pass it on.\""],
        ),
        field("nonce", "[u8; 8]", &["doc = \"Makes two otherwise equal links different.\""]),
        field("caveats", "Vec<Caveat>", &["doc = \"The conditions that this link adds.\""]),
        field(
            "signature",
            "[u8; 64]",
            &["doc = \"By the holder of the chain before it, or the root.\""],
        ),
    ]),
};
