//! The tables: identifiers, limits, statuses, layouts, rows.

use std::{collections::BTreeMap, fmt::Write};

use symbolon_protocol::{
    describe::{Description, Field, Shape, words},
    id::IDS,
    ledger::{
        Status,
        changes::{Change, PARAMS},
        rows::TABLES,
    },
    limits,
};

use crate::{layouts, walk};

/// Which layouts stand on which page, under which mark.
pub(crate) const PAGES: &[(&str, &str, &[&str])] = &[
    (
        "wire.md",
        "storage messages",
        &[
            "StorageRequest",
            "Authority",
            "StorageResponse",
            "SliceHead",
            "Refusal",
            "RefusalCode",
            "Fault",
            "DeletionReceipt",
            "ReadLog",
            "ReadRow",
            "ReadBy",
        ],
    ),
    (
        "wire.md",
        "ledger messages",
        &[
            "LedgerRequest",
            "LedgerResponse",
            "Row",
            "HistoryLine",
            "HistoryPlace",
            "OldestBlock",
            "SetChange",
        ],
    ),
    ("wire.md", "preview messages", &["PreviewRequest", "PreviewResponse", "NotOpened"]),
    (
        "ledger.md",
        "transactions",
        &[
            "Transaction",
            "Action",
            "DealTerms",
            "Access",
            "Acceptance",
            "LostShard",
            "CaredDeal",
            "CustodyAcceptance",
            "Terms",
            "Split",
            "PublicRef",
            "Complaint",
            "KeyFault",
            "LeafOpening",
            "MaskOpening",
            "Evidence",
            "Vote",
            "Proposal",
            "Step",
        ],
    ),
    ("ledger.md", "genesis", &["Genesis", "Validators", "Validator", "OnionStart", "Params"]),
    (
        "ledger.md",
        "blocks",
        &[
            "Block",
            "SignedHeader",
            "Header",
            "BlockInputs",
            "Reveal",
            "OnionChange",
            "LastCommit",
            "Commit",
            "CommitSignature",
            "Event",
            "Place",
            "Reason",
        ],
    ),
    (
        "ledger.md",
        "rows",
        &[
            "Chain",
            "Beacon",
            "Onion",
            "Pools",
            "Account",
            "Seen",
            "Nothing",
            "HoldKey",
            "Hold",
            "Node",
            "Window",
            "Slot",
            "Join",
            "Leave",
            "Deal",
            "DealSlot",
            "DealState",
            "Care",
            "Claim",
            "Reward",
            "Repair",
            "Vault",
            "Listing",
            "ListingState",
            "Cover",
            "Sold",
            "Draw",
            "Order",
            "OrderState",
            "PostedRelease",
            "Asked",
            "Answer",
            "Refund",
            "Revocation",
            "Redemption",
            "ValidatorRow",
            "ValidatorState",
            "Delegation",
            "Unbonding",
            "Motion",
            "Measure",
            "ParamChange",
            "Choice",
            "MotionState",
            "Failure",
            "Tally",
            "Voice",
            "Ballot",
            "NextRules",
            "PastSet",
            "Duties",
            "Duty",
            "Kept",
            "Root",
        ],
    ),
    ("ledger.md", "light", &["Trusted"]),
    ("market.md", "custody", &["VaultKey", "Capsule", "DeliveryKey", "Release", "ShownKey"]),
    ("market.md", "previews", &["Preview", "PreviewCell"]),
    ("grant.md", "grants", &["Grant", "Sale", "Member", "Link", "Caveat", "GrantToken"]),
    ("content.md", "manifest", &["Manifest", "Codec", "MaskMode", "Scheme", "LeafParts"]),
    ("proof.md", "leaves", &["LeafProof", "Challenge"]),
    ("identity.md", "recipient", &["Recipient"]),
];

pub(crate) fn blocks() -> Vec<(&'static str, &'static str, String)> {
    let layouts = PAGES.iter().map(|(page, block, names)| {
        let tables = names.iter().map(|name| {
            let found = layouts::find(name).unwrap_or_else(|| panic!("no layout {name}"));
            layout(&found)
        });
        (*page, *block, tables.collect::<Vec<_>>().join("\n"))
    });
    let mut blocks: Vec<_> = layouts.collect();
    blocks.push(("wire.md", "identifiers", identifiers()));
    blocks.push(("wire.md", "limits", limits_table()));
    blocks.push(("ledger.md", "statuses", statuses()));
    blocks.push(("ledger.md", "changes", changes()));
    blocks.push(("ledger.md", "tables", tables()));
    blocks
}

/// What a doc comment says, as prose: links lose their brackets and their targets, bars their meaning.
fn prose(notes: &'static [&'static str]) -> String {
    let said = words(notes).filter(|line| !line.starts_with('[') || !line.contains("]: "));
    let text = said.collect::<Vec<_>>().join(" ");
    text.trim().replace("[`", "`").replace("`]", "`").replace('|', "\\|")
}

/// A type in words.
fn kind(text: &str) -> String {
    if text == "Vec<u8>" {
        return "bytes".into();
    }
    match walk::inner(text) {
        Some(("Vec", inside)) => format!("list of {}", kind(inside)),
        Some(("Option", inside)) => format!("option of {}", kind(inside)),
        Some((_, inside)) => kind(inside),
        None if text == "String" => "text".into(),
        // Types that keep two clocks apart; their bytes are those of the number.
        None if matches!(text, "LedgerTime" | "MachineTime" | "Millis") => kind("u64"),
        None => match text.strip_prefix("[u8; ").and_then(|rest| rest.strip_suffix(']')) {
            Some(count) => format!("{count} bytes"),
            None => format!("`{text}`"),
        },
    }
}

fn layout(description: &Description) -> String {
    let mut out = format!("**`{}`**: {}\n\n", description.name, prose(description.notes));
    let row = |out: &mut String, first: &str, field: &Field| {
        let what = prose(field.notes);
        writeln!(out, "| {first}`{}` | {} | {what} |", field.name, kind(field.kind)).unwrap();
    };
    match description.shape {
        Shape::Record([]) => out.push_str("No bytes.\n"),
        Shape::Record(fields) => {
            out.push_str("| field | type | what |\n|---|---|---|\n");
            fields.iter().for_each(|field| row(&mut out, "", field));
        }
        Shape::Choice(variants) => {
            out.push_str("| tag | variant, fields | type | what |\n|---|---|---|---|\n");
            for variant in variants {
                let what = prose(variant.notes);
                writeln!(out, "| {} | **`{}`** | | {what} |", variant.tag, variant.name).unwrap();
                variant.fields.iter().for_each(|field| row(&mut out, "| ", field));
            }
        }
    }
    out
}

fn identifiers() -> String {
    let mut out = String::from("| type | bytes | what |\n|---|---|---|\n");
    for (name, size, notes) in IDS {
        writeln!(out, "| `{name}` | {size} | {} |", prose(notes)).unwrap();
    }
    out.push_str(
        "| `NodeId` | 32 | A `PeerId`, of a storage node. |\n\
         | `Point` | 32 | A ristretto255 point: market.md. |\n\
         | `Scalar` | 32 | A ristretto255 scalar: market.md. |\n\
         | `Amount` | 16 | Money: a `u128` in the smallest unit; a credit has 10^9 of them. |\n\
         | `Status` | 1 | The code of an outcome: ledger.md, Statuses. |\n",
    );
    out
}

fn changes() -> String {
    let mut out = String::from(
        "| number | parameter | may change | what exists already |\n|---|---|---|---|\n",
    );
    for (number, param) in PARAMS.iter().enumerate() {
        let how = match param.change {
            Change::Freely => "within its range",
            Change::Less => "only to less",
            Change::NotZero => "within its range, neither from nor to 0",
            Change::Never => "never",
        };
        writeln!(out, "| {number} | `{}` | {how} | {} |", param.name, param.existing).unwrap();
    }
    out
}

fn statuses() -> String {
    let mut out = String::from("| code | status | when |\n|---|---|---|\n");
    for status in Status::ALL {
        writeln!(out, "| {} | `{status:?}` | {} |", *status as u8, status.words()).unwrap();
    }
    out
}

fn tables() -> String {
    let key = |text: &str| match text {
        "()" => "nothing".to_owned(),
        _ => text.replace(['(', ')'], "").split(", ").map(kind).collect::<Vec<_>>().join(", "),
    };
    let mut out = String::from("| tag | table | key | value | what |\n|---|---|---|---|---|\n");
    for table in TABLES {
        let (name, what) = (table.name, prose(table.notes));
        let (key, row) = (key(table.key), table.row);
        writeln!(out, "| {} | `{name}` | {key} | `{row}` | {what} |", table.tag).unwrap();
    }
    out
}

macro_rules! values {
    ($($name:ident),* $(,)?) => {
        [$((stringify!($name), limits::$name as u128)),*]
    };
}

/// The limits with their reasons, which are the doc comments of `limits.rs`.
fn limits_table() -> String {
    let values = values![
        LIST_MAX,
        LEAF_BYTES,
        CELL_BYTES,
        TAG_BYTES,
        CELL_PLAIN_BYTES,
        SHARD_BYTES_MAX,
        SLICE_BYTES,
        CHOSEN_CELLS_MAX,
        FRESH_CELLS_MAX,
        SHARDS_MAX,
        TRANSACTION_BYTES_MAX,
        BLOCK_BYTES_MAX,
        TRANSACTION_EVENT_BYTES_MAX,
        VALIDATORS_MAX,
        MESSAGE_BYTES_MAX,
        GRANT_LINKS_MAX,
        GRANT_BYTES_MAX,
        GRANT_OBJECTS_MAX,
        READ_ROWS_OF_DAY,
        READ_DAYS_KEPT,
        READ_ROWS_MAX,
        CUSTODIANS_MAX,
        CHALLENGES_MAX,
        TITLE_BYTES_MAX,
        SPLITS_MAX,
        ADDRESSES_MAX,
        ADDRESS_BYTES_MAX,
        ROOT_BYTES_MAX,
        ROOT_STEP_BYTES,
        INDEX_DEVICES_MAX,
        INDEX_RUNS_MAX,
        INDEX_PARTS_MAX,
        INDEX_PART_BYTES_MAX,
        INDEX_KEY_BYTES_MAX,
        INDEX_VALUE_BYTES_MAX,
        INDEX_CHANGES_MAX,
    ];
    let values: BTreeMap<&str, u128> = values.into_iter().collect();
    let mut out = String::from("| name | value | what |\n|---|---|---|\n");
    let (mut reason, mut listed) = (String::new(), 0);
    for line in include_str!("../../src/limits.rs").lines() {
        if let Some(text) = line.strip_prefix("/// ") {
            reason.push(' ');
            reason.push_str(text);
        } else if let Some(rest) = line.strip_prefix("pub const ") {
            let name = rest.split(':').next().unwrap();
            let value = values.get(name).unwrap_or_else(|| panic!("{name} is missing here"));
            writeln!(out, "| `{name}` | {value} | {} |", reason.trim()).unwrap();
            (reason, listed) = (String::new(), listed + 1);
        }
    }
    assert_eq!(listed, values.len());
    out
}
