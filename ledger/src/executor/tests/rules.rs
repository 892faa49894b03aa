//! A version of the rules that not all software knows: who does not know it stops before its first block and has written
//! nothing of it, and who knows it goes on.

#![allow(clippy::unwrap_used, reason = "a test")]

use symbolon_protocol::{
    Millis,
    ledger::{
        motion::FIRST_RULES,
        rows::{Choice, Measure, MotionState, Motions},
    },
};

use super::*;

/// The version after all that there are.
const NEXT: u32 = execute::RULES_VERSION + 1;

const EPOCH_MS: u64 = 1000;

fn params() -> Params {
    Params {
        epoch_ms: Millis(EPOCH_MS),
        voting_epochs: 1,
        lock_epochs: 1,
        motion_deposit: Amount::ZERO,
        ..Params::development()
    }
}

async fn begin(folder: &Path, host: &Host) -> Result<Embedded, LedgerError> {
    let options = Options { key: KEY, params: params(), host: host.clone() };
    Embedded::open(folder, options).await
}

/// Submits an action of the only validator.
async fn act(ledger: &Ledger, number: u8, action: Action) -> Outcome {
    let key = SigningKey::from_bytes(&KEY);
    let id = TransactionId([number; 16]);
    let signed = Transaction::build(ledger.chain(), &key, id, 1000, action);
    let outcome = ledger.submit(signed).await.unwrap();
    assert_eq!(outcome.status, Status::Applied);
    outcome
}

/// A ledger that has decided on another version, until it has stopped for it. Returns the height before.
async fn turned(folder: &Path, host: &Host) -> u64 {
    let embedded = begin(folder, host).await.unwrap();
    let ledger = Ledger::from(embedded.clone());
    let validator = AccountId(SigningKey::from_bytes(&KEY).verifying_key().to_bytes());
    act(&ledger, 1, Action::DeclareRules { validator, version: NEXT }).await;
    // Two epochs have a block each.
    let height = ledger.head().await.unwrap().header.height + 6;
    let measure = Measure::Rules { version: NEXT, height };
    let deposit = Amount::ZERO;
    act(&ledger, 2, Action::ProposeMotion { measure, text: "a test".into(), deposit }).await;
    act(&ledger, 3, Action::CastBallot { motion: 1, validator, choice: Choice::Yes }).await;
    let why = embedded.stopped().await;
    let told = (Some(height), NEXT, execute::RULES_VERSION);
    let LedgerError::UnknownRules { height: at, version, known } = why else { panic!("{why}") };
    assert_eq!((at, version, known), told);
    drop(ledger);
    embedded.close().await;
    height - 1
}

#[tokio::test(start_paused = true)]
async fn software_stops_before_rules_that_it_does_not_know() {
    let folder = tempfile::tempdir().unwrap();
    let host = Host::seeded(7, 1_800_000_000_000);
    let last = turned(folder.path(), &host).await;

    // Started again it has the same blocks, and stops at the same place.
    let embedded = begin(folder.path(), &host).await.unwrap();
    let ledger = Ledger::from(embedded.clone());
    let head = ledger.head().await.unwrap();
    assert_eq!(head.header.height, last);
    let chain = ledger.row(Chains, &()).await.unwrap().unwrap();
    assert_eq!((chain.rules, chain.next_rules.map(|next| next.version)), (FIRST_RULES, Some(NEXT)));
    assert!(matches!(embedded.stopped().await, LedgerError::UnknownRules { .. }));
    assert_eq!(ledger.head().await.unwrap(), head, "nothing was written");
    drop(ledger);
    embedded.close().await;

    // Other software, on the same file.
    let file = File::open(&host, folder.path().to_owned()).await.unwrap();
    let Contents { tip, salt, .. } = file.check().unwrap();
    let parent = tip.header.header.clone();
    let knows = Executor::new(file, tip, host.clone(), EPOCHS_KEPT).knowing(NEXT);
    let mut onions = Onions::new(&KEY, salt);
    let time_ms = parent.facts.time_ms.saturating_add(Millis(EPOCH_MS));
    let facts = knows.inputs(&mut onions, 0, time_ms).unwrap();
    let draft = knows.execute(&facts, [].into_iter(), true).unwrap();
    let (transactions, executed) = draft.block.unwrap();
    let header = parent.next(facts, &transactions, &executed);
    assert!(matches!(
        knows.judge(&header, None, &[], |_| Signatures::UNCHECKED),
        Ok(Judged::Valid(_))
    ));
    let header = SignedHeader::build(header, &SigningKey::from_bytes(&KEY));
    let block = Block { header, last: None, transactions, events: executed.events.clone() };
    knows.commit(&block, &executed.update).unwrap();
    let rows = knows.rows().unwrap();
    assert_eq!(rows.get(Chains, &()).unwrap().rules, NEXT);
    assert_eq!(rows.get(Motions, &1).unwrap().state, MotionState::Done);

    // And those who do not know it refuse the file, and what it says of itself, also over a network.
    let row = rows.row(&Chains::key(&())).unwrap();
    assert_eq!(Chain::rules_of(&row), Some(NEXT));
    let told = check_rules(&row).unwrap_err();
    assert!(matches!(told, LedgerError::UnknownRules { height: None, version: NEXT, .. }));
    drop((rows, knows));
    let refused = begin(folder.path(), &host).await.unwrap_err().to_string();
    assert!(refused.contains(&format!("version {NEXT}, and this program knows")), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn a_block_of_unknown_rules_is_neither_good_nor_bad() {
    let folder = tempfile::tempdir().unwrap();
    let host = Host::seeded(8, 1_800_000_000_000);
    turned(folder.path(), &host).await;
    let file = File::open(&host, folder.path().to_owned()).await.unwrap();
    let Contents { tip, salt, .. } = file.check().unwrap();
    let parent = tip.header.header.clone();
    let executor = Executor::new(file, tip, host.clone(), EPOCHS_KEPT);
    let mut onions = Onions::new(&KEY, salt);
    let time_ms = parent.facts.time_ms.saturating_add(Millis(EPOCH_MS));
    let facts = executor.inputs(&mut onions, 0, time_ms).unwrap();
    let Err(why) = executor.execute(&facts, [].into_iter(), true) else { panic!("it is made") };
    assert!(matches!(why, LedgerError::UnknownRules { version: NEXT, .. }), "{why}");
    let mut header = parent.clone();
    (header.height, header.parent, header.facts) = (parent.height + 1, parent.digest(), facts);
    let judged = executor.judge(&header, None, &[], |_| Signatures::UNCHECKED);
    assert!(matches!(judged, Err(LedgerError::UnknownRules { .. })));
    let header = SignedHeader::build(header, &SigningKey::from_bytes(&KEY));
    let block = Block { header, last: None, transactions: Vec::new(), events: Vec::new() };
    assert!(matches!(executor.apply(&block), Err(LedgerError::UnknownRules { .. })));
}
