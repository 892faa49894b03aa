//! The examples in bytes.

use std::fmt::Write;

use ed25519_dalek::SigningKey;
use symbolon_protocol::{
    Amount, Encode, LedgerTime, Millis,
    id::{AccountId, ChainId, DealId, Hash, NodeId, OrderId, TransactionId, hex},
    ledger::{
        Params, Status,
        beacon::Onions,
        block::{Block, Event, Genesis, Header, SignedHeader},
        commit::Validators,
        execute,
        rows::{Account, Accounts, HoldKey, Holds, Slot, Slots, Table},
        state::MemoryState,
        transaction::{Action, Transaction},
    },
    names, preview, wire,
};

use crate::walk;

pub(crate) fn blocks() -> Vec<(&'static str, &'static str, String)> {
    vec![
        ("ledger.md", "example of a genesis", genesis_text()),
        ("ledger.md", "example of a transaction", transaction_text()),
        ("ledger.md", "example of a block", block_text()),
        ("ledger.md", "example of rows", rows_text()),
        ("wire.md", "example of messages", messages_text()),
        ("market.md", "example of picks", picks_text()),
        ("names.md", "example of a part", part_text()),
    ]
}

fn fenced(text: &str) -> String {
    format!("```text\n{text}```\n")
}

fn key(number: u8) -> SigningKey {
    SigningKey::from_bytes(&[number; 32])
}

fn account(number: u8) -> AccountId {
    AccountId(key(number).verifying_key().to_bytes())
}

/// The onions of the example's ledger.
fn onions() -> Onions {
    Onions::new(&[9; 32], [9; 32])
}

fn genesis() -> Genesis {
    let mut onions = onions();
    Genesis {
        params: Params::development(),
        validators: Validators::alone(account(1)),
        time_ms: LedgerTime(1_800_000_000_000),
        onions: vec![onions.start()],
    }
}

fn chain() -> ChainId {
    genesis().chain()
}

/// Account 2 sends 5 credits to account 3.
fn transfer() -> Transaction {
    let action = Action::Transfer { to: account(3), amount: Amount::credits(5) };
    Transaction::build(chain(), &key(2), TransactionId([7; 16]), 10, action)
}

fn sealed(header: Header, transactions: Vec<Transaction>, events: Vec<Event>) -> Block {
    Block { header: SignedHeader::build(header, &key(1)), last: None, transactions, events }
}

/// The genesis block; then account 2 asks the faucet and sends 5 credits to account 3.
pub(crate) fn chain_of_two() -> (Block, Block, MemoryState) {
    let genesis = genesis();
    let mut state = MemoryState::default();
    let executed = execute::genesis(&genesis);
    state.commit(&executed.update);
    let time_ms = genesis.time_ms.saturating_add(Millis(1000));
    let first = sealed(genesis.header(&executed), Vec::new(), executed.events);

    let faucet = Transaction::build(chain(), &key(2), TransactionId([6; 16]), 10, Action::Faucet);
    let transactions = vec![faucet, transfer()];
    let facts = onions().inputs(&state, 0, time_ms).expect("there is a genesis");
    let executed = execute::replay(&state, &facts, &transactions).expect("both are applied");
    state.commit(&executed.update);
    let header = &first.header.header;
    let header = header.next(facts, &transactions, &executed);
    let second = sealed(header, transactions, executed.events);
    (first, second, state)
}

fn shown<T: Encode>(kind: &str, value: &T) -> String {
    walk::show(&walk::read(kind, &value.to_bytes()))
}

fn genesis_text() -> String {
    let mut text = shown("Genesis", &genesis());
    writeln!(text, "\n{:<26} {}", "chain", chain()).unwrap();
    let (block, ..) = chain_of_two();
    let header = &block.header.header;
    writeln!(text, "{:<26} {}", "state root", header.state_root).unwrap();
    writeln!(text, "{:<26} {}", "header of block 0", header.digest()).unwrap();
    fenced(&text)
}

fn transaction_text() -> String {
    let transfer = transfer();
    let mut text = shown("Transaction", &transfer);
    writeln!(text, "\n{:<26} {}", "transaction", transfer.digest()).unwrap();
    fenced(&text)
}

fn block_text() -> String {
    let (_, block, state) = chain_of_two();
    let signed = &block.header;
    let mut text = shown("SignedHeader", signed);
    writeln!(text, "\n{:<26} {}", "header", signed.header.digest()).unwrap();
    writeln!(text, "\nevents").unwrap();
    for event in &block.events {
        writeln!(text, "{:<26} {}", "", hex(&event.to_bytes())).unwrap();
    }
    writeln!(text, "\nrows after it").unwrap();
    for (key, value) in state.rows().filter(|(key, _)| key[0] != 0) {
        writeln!(text, "{} -> {}", hex(key), hex(value)).unwrap();
    }
    fenced(&text)
}

fn rows_text() -> String {
    let slot = Slot {
        deal: DealId([4; 16]),
        index: 1,
        root: Hash([5; 32]),
        length: 1024,
        rate: Amount(3),
        leaves: 9,
    };
    let joined = |table: Hash| {
        let mut bytes = table.to_bytes();
        1_u8.encode(&mut bytes);
        0_u32.encode(&mut bytes);
        bytes.extend(&slot.to_bytes()[..73]);
        Hash(blake3::derive_key("symbolon 2026 slot table v1", &bytes))
    };
    let left = |table: Hash| {
        let mut bytes = table.to_bytes();
        2_u8.encode(&mut bytes);
        0_u32.encode(&mut bytes);
        Hash(blake3::derive_key("symbolon 2026 slot table v1", &bytes))
    };
    let row = Account { balance: Amount::credits(5), deposits: Amount::ZERO, faucet_height: 3 };
    let hold = HoldKey::Order { order: OrderId([7; 16]) };
    let mut text = String::new();
    let mut say = |name: &str, value: String| writeln!(text, "{name:<26} {value}").unwrap();
    say("key of account 2", hex(&Accounts::key(&account(2))));
    say("its row", hex(&row.to_bytes()));
    say("key of a hold", hex(&Holds::key(&hold)));
    let position = (NodeId::from(account(4)), 258);
    say("key of slot 258 of node 4", hex(&Slots::key(&position)));
    text.push('\n');
    text.push_str(&shown("Slot", &slot));
    let joined = joined(Hash([0; 32]));
    writeln!(text, "\n{:<26} {joined}", "table, it joined at 0").unwrap();
    writeln!(text, "{:<26} {}", "table, it left again", left(joined)).unwrap();
    fenced(&text)
}

fn messages_text() -> String {
    let mut text = String::new();
    let mut say = |name: &str, kind: &str, bytes: Vec<u8>| {
        let length = u32::try_from(bytes.len()).unwrap().to_le_bytes();
        writeln!(text, "{name}\n{:<26} {}", "  frame's length", hex(&length)).unwrap();
        for line in walk::show(&walk::read(kind, &bytes)).lines() {
            writeln!(text, "  {line}").unwrap();
        }
    };
    let prefix = vec![3];
    let scan = wire::ledger::Request::Scan { prefix, after: None, limit: 100 };
    say("What accounts are there?", "LedgerRequest", scan.to_bytes());
    let outcome = wire::ledger::Response::Outcome { height: 7, status: Status::BalanceTooLow };
    say("Refused.", "LedgerResponse", outcome.to_bytes());
    let deal = DealId([4; 16]);
    let read = wire::storage::Request::ReadCell { deal, index: 1, cell: 2, grant: None };
    say("A cell of a public shard.", "StorageRequest", read.to_bytes());
    let refusal =
        wire::storage::Refusal::new(wire::storage::RefusalCode::NotFound, "no such shard");
    let refused = wire::storage::Response::Refused { refusal };
    say("There is none.", "StorageResponse", refused.to_bytes());
    fenced(&text)
}

fn part_text() -> String {
    let changes = [
        names::Change { table: 1, key: b"a/b".to_vec(), value: Some(vec![0xff, 0x00]) },
        names::Change { table: 2, key: vec![9], value: None },
    ];
    let seen = vec![names::Seen { device: 5, moment: 7 }];
    let tail = changes.to_vec();
    let record = names::RootRecord { until: 100, seen, tail, ..names::RootRecord::default() };
    let mut text = String::new();
    writeln!(text, "{:<26} {}", "part", hex(&names::encode_run(&changes))).unwrap();
    writeln!(text, "{:<26} {}", "root record without runs", hex(&record.to_bytes())).unwrap();
    fenced(&text)
}

fn picks_text() -> String {
    let mut text = String::new();
    for (cells, count) in [(1000, 4), (3, 64), (1, 1)] {
        let picks = preview::picks(&Hash([5; 32]), cells, count);
        let name = format!("{count} of {cells}");
        writeln!(text, "{name:<26} {picks:?}").unwrap();
    }
    fenced(&text)
}
