//! The remote engine: it gives the same answers as the embedded one, and refuses false answers.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use crate::common::{
    account, answer, balance, between::stand_between, key, open, transaction, transfer, validator,
};
use symbolon_ledger::{Embedded, Ledger, LedgerError, LedgerTicket, Outcome, Remote};
use symbolon_net::{Alpn, BindOptions, Endpoint, Host, MemoryNetwork, NetError};
use symbolon_protocol::{
    Amount, LedgerTime,
    id::{Hash, LinkId},
    ledger::{
        Status,
        block::{Block, Event, SignedHeader},
        rows::{Accounts, Chains, Deals, PoolsTable},
        transaction::Action,
    },
    wire::ledger::{OldestBlock, Request, Response, Row},
};
use tokio::time::timeout;

/// A ledger where account 1 has 990 credits and account 2 has 10.
async fn founded() -> (tempfile::TempDir, Embedded) {
    let folder = tempfile::tempdir().unwrap();
    let embedded = open(folder.path(), Host::system()).await;
    let ledger = Ledger::from(embedded.clone());
    let chain = ledger.chain();
    ledger.submit(transaction(chain, 1, 1, Action::Faucet)).await.unwrap();
    ledger.submit(transfer(chain, 1, 2, 2, 10)).await.unwrap();
    (folder, embedded)
}

async fn answers_alike(home: Embedded, ledger: Ledger) {
    let home = Ledger::from(home);
    assert_eq!(ledger.head().await.unwrap(), home.head().await.unwrap());
    let keys: Vec<_> = (1..=200).map(account).collect();
    let rows = ledger.rows(Accounts, &keys).await.unwrap();
    assert_eq!(rows, home.rows(Accounts, &keys).await.unwrap());
    assert_eq!(rows.iter().flatten().count(), 2);
    assert_eq!(ledger.row(Chains, &()).await.unwrap(), home.row(Chains, &()).await.unwrap());
    let scan = ledger.scan(Accounts, &[], None, 1_000).await.unwrap();
    assert_eq!(scan, home.scan(Accounts, &[], None, 1_000).await.unwrap());
    assert_eq!(scan.len(), 2);
    assert_eq!(ledger.scan(Accounts, &[], None, 1).await.unwrap(), scan[..1]);
    let history = ledger.history(&account(1), u64::MAX, 10).await.unwrap();
    assert_eq!(history, home.history(&account(1), u64::MAX, 10).await.unwrap());
    assert_eq!((history.lines.len(), history.oldest.height), (2, 0));

    let chain = ledger.chain();
    let send = transfer(chain, 2, 7, 3, 4);
    let outcome = ledger.submit(send.clone()).await.unwrap();
    assert_eq!(outcome, Outcome { height: 3, status: Status::Applied });
    assert_eq!(ledger.submit(send.clone()).await.unwrap(), outcome);
    assert_eq!(home.submit(send).await.unwrap(), outcome);
    assert_eq!(balance(&ledger, 3).await, Amount::credits(4));
    let refused = ledger.submit(transfer(chain, 2, 8, 3, 7)).await.unwrap();
    assert_eq!(refused, Outcome { height: 3, status: Status::BalanceTooLow });

    let (mut there, mut here) = (ledger.follow(0), home.follow(0));
    for _ in 0..=3 {
        assert_eq!(there.next().await.unwrap(), here.next().await.unwrap());
    }
    assert!(timeout(Duration::from_millis(100), there.next()).await.is_err());
}

#[tokio::test]
async fn memory_gives_the_same_answers() {
    let (_folder, home) = founded().await;
    let network = MemoryNetwork::new();
    let ticket = answer(home.clone(), network.endpoint([1; 32]));
    let remote = Remote::new(network.endpoint([2; 32]), ticket);
    answers_alike(home, remote.into()).await;
}

#[tokio::test]
async fn iroh_gives_the_same_answers() {
    let (_folder, home) = founded().await;
    let bind = |number| Endpoint::iroh(BindOptions::new([number; 32]));
    let ticket = answer(home.clone(), bind(1).await.unwrap());
    let text = ticket.to_string();
    let remote = Remote::new(bind(2).await.unwrap(), text.parse().unwrap());
    answers_alike(home, remote.into()).await;
}

#[tokio::test]
async fn the_field_that_is_refused_is_found_by_the_rows() {
    let (_folder, home) = founded().await;
    let network = MemoryNetwork::new();
    let ticket = answer(home.clone(), network.endpoint([1; 32]));
    let remote = Ledger::from(Remote::new(network.endpoint([2; 32]), ticket));
    let (home, chain) = (Ledger::from(home), remote.chain());
    let register = Action::RegisterNode {
        payout: account(5),
        addresses: Vec::new(),
        custody_key: None,
        caretaker: false,
        price: Amount::ZERO,
        capacity: 0,
        operator: None,
        agrees_until: 0,
        leaving: false,
    };
    home.submit(transaction(chain, 5, 1, register)).await.unwrap();
    let (row, prove) = (
        remote.row(Chains, &()).await.unwrap().unwrap(),
        Action::Prove { epoch: 0, leaves: vec![] },
    );
    let refused = remote.submit(transaction(chain, 5, 2, prove.clone())).await.unwrap();
    assert_eq!(refused, Outcome { height: 3, status: Status::BadField });
    for ledger in [&remote, &home] {
        let fault = ledger.field_fault(&row, &account(5), &prove).await.unwrap().unwrap();
        assert_eq!(fault.field(), "leaves");
        assert_eq!(ledger.field_fault(&row, &account(6), &prove).await.unwrap(), None, "no node");
    }
}

/// A server that passes requests on to the honest ledger and changes its answers.
fn liar(
    network: &MemoryNetwork,
    truth: LedgerTicket,
    twist: impl Fn(Response) -> Response + Send + Sync + 'static,
) -> LedgerTicket {
    let front = network.endpoint([66; 32]);
    let ticket = LedgerTicket { peers: vec![front.address()], ..truth.clone() };
    let twist = move |_: &Request, response| twist(response);
    stand_between(front, truth.peers[0].clone(), Arc::new(twist));
    ticket
}

async fn lied_to(twist: impl Fn(Response) -> Response + Send + Sync + 'static) -> Ledger {
    let (folder, home) = founded().await;
    // The folder is needed until the test ends. The operating system removes it later.
    std::mem::forget(folder);
    let network = MemoryNetwork::new();
    let truth = answer(home, network.endpoint([1; 32]));
    let ticket = liar(&network, truth, twist);
    Remote::new(network.endpoint([2; 32]), ticket).into()
}

fn forged<T>(answer: Result<T, LedgerError>) -> bool {
    matches!(answer, Err(LedgerError::Forged { .. }))
}

#[tokio::test]
async fn a_true_answer_through_a_liar_is_accepted() {
    let ledger = lied_to(|response| response).await;
    assert_eq!(balance(&ledger, 2).await, Amount::credits(10));
    let sent = transfer(ledger.chain(), 2, 7, 3, 4);
    assert_eq!(ledger.submit(sent).await.unwrap().status, Status::Applied);
}

#[tokio::test]
async fn a_forged_row_is_refused() {
    let ledger = lied_to(|response| match response {
        Response::Rows { header, mut rows, proof, more } => {
            let value = rows[0].value.get_or_insert_default();
            value.resize(24, 0);
            value[0] ^= 1;
            Response::Rows { header, rows, proof, more }
        }
        other => other,
    })
    .await;
    // A row that was changed, and one that does not exist.
    assert!(forged(ledger.row(Accounts, &account(2)).await));
    assert!(forged(ledger.row(Accounts, &account(9)).await));
    assert!(forged(ledger.scan(Accounts, &[], None, 9).await));
}

#[tokio::test]
async fn a_row_that_is_hidden_is_noticed() {
    let ledger = lied_to(|response| match response {
        Response::Rows { header, mut rows, proof, more } => {
            rows[0].value = None;
            Response::Rows { header, rows, proof, more }
        }
        other => other,
    })
    .await;
    assert!(forged(ledger.row(Accounts, &account(2)).await));
}

#[tokio::test]
async fn another_row_an_empty_answer_and_a_broken_proof_are_refused() {
    let other_key = lied_to(|response| match response {
        Response::Rows { header, mut rows, proof, more } => {
            rows[0].key[5] ^= 1;
            Response::Rows { header, rows, proof, more }
        }
        other => other,
    });
    assert!(forged(other_key.await.row(Accounts, &account(2)).await));
    let empty = lied_to(|response| match response {
        Response::Rows { header, proof, .. } => {
            Response::Rows { header, rows: Vec::new(), proof, more: true }
        }
        other => other,
    });
    let empty = empty.await;
    assert!(forged(empty.row(Accounts, &account(2)).await));
    assert!(forged(empty.scan(Accounts, &[], None, 9).await));
    let broken = lied_to(|response| match response {
        Response::Rows { header, rows, mut proof, more } => {
            proof.pop();
            Response::Rows { header, rows, proof, more }
        }
        other => other,
    });
    assert!(forged(broken.await.row(PoolsTable, &()).await));
    let twice = lied_to(|response| match response {
        Response::Rows { header, mut rows, proof, more } => {
            let again = rows[0].clone();
            rows.insert(0, again);
            Response::Rows { header, rows, proof, more }
        }
        other => other,
    });
    assert!(forged(twice.await.scan(Accounts, &[], None, 9).await));
}

/// The parts of a proof, as `spec/proof.md` has them: where each begins.
fn parts(proof: &[u8]) -> Vec<usize> {
    let mut places = Vec::new();
    let mut at = 0;
    while at < proof.len() {
        places.push(at);
        at += match proof[at] {
            1 => 33,
            2 => 1,
            3 => 34 + usize::from(proof[at + 1]),
            4 => 3,
            other => panic!("{other}"),
        };
    }
    places
}

fn derive(context: &str, parts: &[&[u8]]) -> [u8; 32] {
    blake3::derive_key(context, &parts.concat())
}

/// What a liar puts in the place of a row that it leaves out.
#[derive(Clone, Copy, Debug)]
enum Instead {
    /// The row, as one that was not asked for.
    Leaf,
    /// A subtree that is not shown.
    Hidden,
}

/// An answer without one of its rows, whose proof leads to the same root.
fn without(response: Response, number: usize, instead: Instead) -> Response {
    let Response::Rows { header, mut rows, mut proof, more } = response else { return response };
    if rows.len() <= number {
        return Response::Rows { header, rows, proof, more };
    }
    // Rows by key have their places in the order of the keys; those of these tests are in that order.
    let places = parts(&proof).into_iter().filter(|at| proof[*at] == 2);
    let at = places.into_iter().nth(number).unwrap();
    let row = rows[number].clone();
    let value = derive("symbolon 2026 state value v1", &[row.value.as_ref().unwrap()]);
    let length = u16::try_from(row.key.len()).unwrap().to_le_bytes();
    let leaf = derive("symbolon 2026 state leaf v2", &[&length, &row.key, &value]);
    let part = match instead {
        Instead::Leaf => [&[3, length[0]][..], &row.key, &value].concat(),
        Instead::Hidden => [&[1][..], &leaf].concat(),
    };
    proof.splice(at..=at, part);
    rows.remove(number);
    Response::Rows { header, rows, proof, more }
}

/// A ledger with twenty accounts, behind a liar.
async fn of_twenty(
    twist: impl Fn(Response) -> Response + Send + Sync + 'static,
) -> (Ledger, Ledger) {
    let (folder, home) = founded().await;
    std::mem::forget(folder);
    let ledger = Ledger::from(home.clone());
    for to in 3..=20 {
        ledger.submit(transfer(ledger.chain(), 1, to, to, 1)).await.unwrap();
    }
    let network = MemoryNetwork::new();
    let truth = answer(home, network.endpoint([1; 32]));
    let ticket = liar(&network, truth, twist);
    (Remote::new(network.endpoint([2; 32]), ticket).into(), ledger)
}

#[tokio::test]
async fn a_row_that_is_left_out_of_a_scan_is_noticed() {
    let (honest, home) = of_twenty(|response| response).await;
    let all = home.scan(Accounts, &[], None, 1000).await.unwrap();
    assert_eq!(all.len(), 20);
    assert_eq!(honest.scan(Accounts, &[], None, 1000).await.unwrap(), all);
    assert_eq!(honest.scan_all(Accounts, &[]).await.unwrap(), all);
    assert_eq!(honest.scan(Accounts, &[], None, 7).await.unwrap(), all[..7]);
    assert_eq!(honest.scan(Accounts, &[], Some(&all[6].0), 7).await.unwrap(), all[7..14]);
    let one = &all[6].0[1..9];
    assert_eq!(honest.scan(Accounts, one, None, 7).await.unwrap(), all[6..7]);
    assert_eq!(honest.scan(Accounts, &[0; 9], None, 7).await.unwrap(), []);

    // The first one, one in the middle, the last one.
    for number in [0, 9, 19] {
        for instead in [Instead::Leaf, Instead::Hidden] {
            let (ledger, _) = of_twenty(move |response| without(response, number, instead)).await;
            let scan = ledger.scan(Accounts, &[], None, 1000).await;
            assert!(forged(scan), "{number} {instead:?}");
            if number == 0 {
                let scan = ledger.scan(Accounts, &[], Some(&all[4].0), 5).await;
                assert!(forged(scan), "{instead:?} behind another one");
                let scan = ledger.scan(Accounts, one, None, 5).await;
                assert!(forged(scan), "{instead:?} alone");
            }
        }
    }
}

#[tokio::test]
async fn a_scan_that_ends_too_early_is_noticed() {
    // The first half, as if it were all.
    let (ledger, home) = of_twenty(|response| match response {
        Response::Rows { header, rows, proof, .. } => {
            Response::Rows { header, rows, proof, more: false }
        }
        other => other,
    })
    .await;
    assert!(forged(ledger.scan(Accounts, &[], None, 10).await));
    assert_eq!(ledger.scan(Accounts, &[], None, 20).await.unwrap().len(), 20);
    // A true answer to another question: no rows where there are some.
    let first: std::sync::Mutex<Option<Response>> = std::sync::Mutex::default();
    let (ledger, _) = of_twenty(move |response| match response {
        Response::Rows { .. } => first.lock().unwrap().get_or_insert(response).clone(),
        other => other,
    })
    .await;
    assert_eq!(ledger.scan(Deals, &[], None, 10).await.unwrap(), []);
    assert!(forged(ledger.scan(Accounts, &[], None, 10).await));
    // More rows than the answer to this question may have, and one twice.
    let all = home.scan(Accounts, &[], None, 1000).await.unwrap();
    let (ledger, _) = of_twenty(|response| match response {
        Response::Rows { header, mut rows, proof, more } => {
            let again = rows.last().cloned();
            rows.extend(again);
            Response::Rows { header, rows, proof, more }
        }
        other => other,
    })
    .await;
    assert!(forged(ledger.scan(Accounts, &[], None, 1000).await));
    assert!(forged(ledger.scan(Accounts, &[], Some(&all[4].0), 3).await));
}

#[tokio::test]
async fn a_wrong_boundary_is_noticed() {
    // The account before the first one of the answer stands in the proof with another key, or another value.
    for (byte, flip) in [(2, 1), (2, 0x80), (20, 1), (40, 1)] {
        let (ledger, home) = of_twenty(move |response| match response {
            Response::Rows { header, rows, mut proof, more } => {
                if let Some(at) = parts(&proof).into_iter().find(|at| proof[*at] == 3) {
                    proof[at + byte] ^= flip;
                }
                Response::Rows { header, rows, proof, more }
            }
            other => other,
        })
        .await;
        let all = home.scan(Accounts, &[], None, 1000).await.unwrap();
        assert!(forged(ledger.scan(Accounts, &[], Some(&all[4].0), 3).await), "{byte} {flip}");
        assert!(forged(ledger.row(Accounts, &account(99)).await), "{byte} {flip}");
    }
}

#[tokio::test]
async fn a_row_by_key_that_is_denied_is_noticed() {
    let deny = |instead| {
        move |response| match response {
            Response::Rows { header, rows, proof, more } => {
                let keys: Vec<_> = rows.iter().map(|row| row.key.clone()).collect();
                let answer = Response::Rows { header, rows, proof, more };
                let Response::Rows { header, mut rows, proof, more } = without(answer, 0, instead)
                else {
                    unreachable!()
                };
                rows.insert(0, Row { key: keys[0].clone(), value: None });
                Response::Rows { header, rows, proof, more }
            }
            other => other,
        }
    };
    for instead in [Instead::Leaf, Instead::Hidden] {
        let (ledger, _) = of_twenty(deny(instead)).await;
        let mut keys: Vec<_> = (3..=6).map(account).collect();
        keys.sort_unstable();
        assert!(forged(ledger.rows(Accounts, &keys).await), "{instead:?}");
        assert!(forged(ledger.row(Accounts, &account(7)).await), "{instead:?}");
    }
}

fn twist_header(response: Response, twist: impl Fn(SignedHeader) -> SignedHeader) -> Response {
    match response {
        Response::Head { header } => Response::Head { header: twist(header) },
        Response::Rows { header, rows, proof, more } => {
            Response::Rows { header: twist(header), rows, proof, more }
        }
        Response::Block { mut block } => {
            block.header = twist(block.header);
            Response::Block { block }
        }
        other => other,
    }
}

#[tokio::test]
async fn a_forged_header_is_refused() {
    let changed = lied_to(|response| {
        twist_header(response, |mut header| {
            header.header.state_root = Hash([7; 32]);
            header
        })
    })
    .await;
    assert!(forged(changed.head().await));
    assert!(forged(changed.row(Accounts, &account(2)).await));
    assert!(forged(changed.follow(0).next().await));

    let by_another = lied_to(|response| {
        twist_header(response, |header| SignedHeader::build(header.header, &key(66)))
    })
    .await;
    assert!(forged(by_another.head().await));

    let of_another_ledger = lied_to(|response| {
        twist_header(response, |mut header| {
            header.header.chain.0[0] ^= 1;
            SignedHeader::build(header.header, &validator())
        })
    })
    .await;
    assert!(forged(of_another_ledger.head().await));
}

#[tokio::test]
async fn a_stale_head_and_a_fork_are_refused() {
    let first: Arc<std::sync::Mutex<Option<Response>>> = Arc::default();
    let kept = first.clone();
    let stale = lied_to(move |response| match response {
        Response::Head { .. } => kept.lock().unwrap().get_or_insert(response).clone(),
        other => other,
    })
    .await;
    stale.head().await.unwrap();
    stale.submit(transfer(stale.chain(), 2, 7, 3, 4)).await.unwrap();
    let answer = stale.head().await;
    assert!(matches!(answer, Err(LedgerError::Stale { height: 2, known: 3 })), "{answer:?}");
    assert!(answer.unwrap_err().servers_fault());

    // A server that is behind for a moment is asked again.
    let behind: Arc<std::sync::Mutex<Vec<Response>>> = Arc::default();
    let late = lied_to(move |response| match response {
        Response::Head { .. } => {
            let mut heads = behind.lock().unwrap();
            heads.push(response.clone());
            if heads.len() == 2 { heads[0].clone() } else { response }
        }
        other => other,
    })
    .await;
    late.head().await.unwrap();
    late.submit(transfer(late.chain(), 2, 7, 3, 4)).await.unwrap();
    assert_eq!(late.head().await.unwrap().header.height, 3);

    let times = std::sync::atomic::AtomicU64::new(0);
    let forked = lied_to(move |response| {
        let time = times.fetch_add(1, Ordering::Relaxed);
        twist_header(response, |mut header| {
            header.header.facts.time_ms.0 += time;
            SignedHeader::build(header.header, &validator())
        })
    })
    .await;
    forked.head().await.unwrap();
    assert!(matches!(forked.head().await, Err(LedgerError::Forked { height: 2, kept: None })));
}

#[tokio::test]
async fn a_forged_outcome_and_twisted_blocks_are_refused() {
    let ledger = lied_to(|response| match response {
        Response::Outcome { height, .. } => Response::Outcome { height, status: Status::Applied },
        other => other,
    })
    .await;
    // More than account 2 has: the ledger refuses it, and the liar says "applied".
    assert!(forged(ledger.submit(transfer(ledger.chain(), 2, 7, 3, 11)).await));

    let without_transactions = |block: &mut Block| block.transactions.clear();
    let without_an_event = |block: &mut Block| block.events.truncate(block.events.len() - 1);
    let with_another_event = |block: &mut Block| {
        let revoked = Event::Revoked { link: LinkId([1; 16]), by: account(1) };
        block.events.push(revoked);
    };
    let twice = |block: &mut Block| block.events.push(block.events[0].clone());
    type Forge = fn(&mut Block);
    let forgeries: [Forge; 4] = [without_transactions, without_an_event, with_another_event, twice];
    for forge in forgeries {
        let twisted = lied_to(move |response| match response {
            Response::Block { mut block } if block.header.header.height == 2 => {
                forge(&mut block);
                Response::Block { block }
            }
            other => other,
        })
        .await;
        let mut follow = twisted.follow(0);
        for _ in 0..2 {
            follow.next().await.unwrap();
        }
        assert!(forged(follow.next().await));
    }
    let headless = lied_to(|response| match response {
        Response::Block { block } => Response::Head { header: block.header },
        other => other,
    });
    assert!(forged(headless.await.follow(1).next().await));

    // A block that the liar keeps by its own words.
    let pruned = lied_to(|response| match response {
        Response::Block { .. } => {
            Response::Pruned { oldest: OldestBlock { height: 1, time_ms: LedgerTime(0) } }
        }
        other => other,
    })
    .await;
    assert!(forged(pruned.follow(1).next().await));
    let missing = pruned.follow(0).next().await;
    assert!(matches!(missing, Err(LedgerError::Pruned { height: 0, .. })));

    let backwards = lied_to(|response| match response {
        Response::History { mut lines, oldest } => {
            lines.reverse();
            Response::History { lines, oldest }
        }
        other => other,
    });
    assert!(forged(backwards.await.history(&account(1), u64::MAX, 10).await));

    let oldest = OldestBlock { height: 0, time_ms: LedgerTime(0) };
    let other_kind = lied_to(move |_| Response::History { lines: Vec::new(), oldest }).await;
    assert!(forged(other_kind.head().await));
    let refusing = lied_to(|_| Response::Refused { message: "no".into() }).await;
    assert!(matches!(refusing.head().await, Err(LedgerError::Refused { .. })));
}

/// A server that repeats its first answer of some kind to every later question.
async fn repeating(which: fn(&Response) -> bool) -> Ledger {
    let first: std::sync::Mutex<Option<Response>> = std::sync::Mutex::default();
    lied_to(move |response| match which(&response) {
        true => first.lock().unwrap().get_or_insert(response).clone(),
        false => response,
    })
    .await
}

#[tokio::test]
async fn proven_rows_that_were_not_asked_for_are_refused() {
    let rows = |response: &Response| matches!(response, Response::Rows { .. });
    // Rows of another key, of another part of the table, of an unknown account, and more than
    // requested.
    let ledger = repeating(rows).await;
    assert_eq!(balance(&ledger, 2).await, Amount::credits(10));
    assert!(forged(ledger.row(Accounts, &account(1)).await));
    assert!(forged(ledger.scan(Accounts, &account(1).0, None, 9).await));
    let ledger = repeating(rows).await;
    assert_eq!(balance(&ledger, 9).await, Amount::ZERO);
    assert!(forged(ledger.scan(Accounts, &[], None, 9).await));
    let ledger = repeating(rows).await;
    ledger.rows(Accounts, &[account(1), account(2)]).await.unwrap();
    assert!(forged(ledger.row(Accounts, &account(1)).await));
    let ledger = repeating(rows).await;
    assert_eq!(ledger.scan(Accounts, &[], None, 9).await.unwrap().len(), 2);
    assert!(forged(ledger.scan(Accounts, &[], None, 1).await));
}

#[tokio::test]
async fn outcomes_of_other_transactions_are_refused() {
    let later = lied_to(|response| match response {
        Response::Outcome { height, status } => Response::Outcome { height: height + 1, status },
        other => other,
    })
    .await;
    assert!(forged(later.submit(transfer(later.chain(), 2, 7, 3, 4)).await), "in another block");

    // Two transactions with the same id: the outcome of one is not that of the other.
    let outcomes = |response: &Response| matches!(response, Response::Outcome { .. });
    let applied = repeating(outcomes).await;
    let sent = applied.submit(transfer(applied.chain(), 2, 7, 3, 4)).await.unwrap();
    assert_eq!(sent.status, Status::Applied);
    assert!(forged(applied.submit(transfer(applied.chain(), 2, 7, 3, 5)).await));
    let reused = lied_to(|response| match response {
        Response::Outcome { height, .. } => Response::Outcome { height, status: Status::IdReused },
        other => other,
    })
    .await;
    assert!(forged(reused.submit(transfer(reused.chain(), 2, 7, 3, 4)).await), "it was applied");
    let truth = lied_to(|response| response).await;
    truth.submit(transfer(truth.chain(), 2, 7, 3, 4)).await.unwrap();
    let again = truth.submit(transfer(truth.chain(), 2, 7, 3, 5)).await.unwrap();
    assert_eq!(again.status, Status::IdReused);
}

#[tokio::test]
async fn blocks_that_do_not_follow_are_refused() {
    let again = repeating(|response| matches!(response, Response::Block { .. })).await;
    again.follow(1).next().await.unwrap();
    assert!(forged(again.follow(2).next().await), "a block of another height");

    let orphaned = lied_to(|response| {
        let is_second = matches!(&response, Response::Block { block, .. }
            if block.header.header.height == 2);
        twist_header(response, |mut header| {
            if is_second {
                header.header.parent = Hash([7; 32]);
            }
            SignedHeader::build(header.header, &validator())
        })
    })
    .await;
    let mut follow = orphaned.follow(1);
    follow.next().await.unwrap();
    assert!(matches!(follow.next().await, Err(LedgerError::Forked { height: 2, .. })));
}

#[tokio::test]
async fn a_follower_and_a_submitter_outlive_a_restart_of_the_server() {
    let folder = tempfile::tempdir().unwrap();
    let network = MemoryNetwork::new();
    let mut home = open(folder.path(), Host::system()).await;
    let server = network.endpoint([1; 32]);
    let ticket = answer(home.clone(), server.clone());
    let ledger = Ledger::from(Remote::new(network.endpoint([2; 32]), ticket));
    let chain = ledger.chain();
    let mut follow = ledger.follow(0);
    let mut heights = Vec::new();
    ledger.submit(transaction(chain, 1, 99, Action::Faucet)).await.unwrap();
    for round in 0..3 {
        let last = ledger.submit(transfer(chain, 1, round, 2, 1)).await.unwrap();
        while heights.last() != Some(&last.height) {
            heights.push(follow.next().await.unwrap().header.header.height);
        }
        network.kill(&server.id());
        // While no server answers, the submission is retried. It is applied once.
        let pending = tokio::spawn({
            let (ledger, lost) = (ledger.clone(), transfer(chain, 1, 50 + round, 2, 1));
            async move { ledger.submit(lost).await }
        });
        home.close().await;
        home = open(folder.path(), Host::system()).await;
        answer(home.clone(), network.endpoint([1; 32]));
        assert_eq!(pending.await.unwrap().unwrap().status, Status::Applied);
    }
    let head = ledger.head().await.unwrap().header.height;
    while heights.last() != Some(&head) {
        heights.push(follow.next().await.unwrap().header.header.height);
    }
    assert_eq!(heights, (0..=7).collect::<Vec<_>>());
    assert_eq!(balance(&ledger, 2).await, Amount::credits(6));
}

#[tokio::test(start_paused = true)]
async fn an_absent_server_is_reported_in_bounded_time() {
    let network = MemoryNetwork::new();
    let gone = network.endpoint([1; 32]);
    let ticket = LedgerTicket {
        chain: symbolon_protocol::id::ChainId([1; 32]),
        peers: vec![gone.address()],
    };
    network.kill(&gone.id());
    let ledger = Ledger::from(Remote::new(network.endpoint([2; 32]), ticket));
    let answer = timeout(Duration::from_secs(60), ledger.head()).await.unwrap();
    assert!(matches!(answer, Err(LedgerError::Unreachable { attempts: 7, .. })));
}

#[tokio::test]
async fn malformed_requests_and_too_much_at_once_are_refused() {
    let (_folder, home) = founded().await;
    let network = MemoryNetwork::new();
    let ticket = answer(home, network.endpoint([1; 32]));
    let client = network.endpoint([2; 32]);
    let connection = client.connect(&ticket.peers[0], Alpn::Ledger).await.unwrap();
    let refused =
        |response: Result<Response, NetError>| matches!(response, Ok(Response::Refused { .. }));
    for bytes in [&[1, 0, 0, 0, 99][..], &[0, 0, 0, 0], &[255; 4], &[2, 0, 0, 0, 2, 2]] {
        let (mut sender, mut receiver) = connection.open().await.unwrap();
        sender.write(bytes::Bytes::copy_from_slice(bytes)).await.unwrap();
        assert!(refused(receiver.receive().await), "{bytes:?}");
    }
    let requests = [
        Request::Rows { keys: Vec::new() },
        Request::Rows { keys: vec![vec![3]; 1_001] },
        Request::Scan { prefix: Vec::new(), after: None, limit: 5 },
        Request::Scan { prefix: vec![0], after: None, limit: 5 },
    ];
    for request in requests {
        let (mut sender, mut receiver) = connection.open().await.unwrap();
        sender.send(&request).await.unwrap();
        assert!(refused(receiver.receive().await), "{request:?}");
    }
    let mut follows = Vec::new();
    for number in 0..12 {
        let (mut sender, mut receiver) = connection.open().await.unwrap();
        sender.send(&Request::Follow { height: 0 }).await.unwrap();
        let response: Response = receiver.receive().await.unwrap();
        assert_eq!(matches!(response, Response::Block { .. }), number < 8, "{number}");
        follows.push((sender, receiver));
    }
    // The connection still answers.
    let (mut sender, mut receiver) = connection.open().await.unwrap();
    sender.send(&Request::Head).await.unwrap();
    assert!(matches!(receiver.receive().await, Ok(Response::Head { .. })));
}

#[tokio::test(start_paused = true)]
async fn what_an_older_state_refuses_is_asked_again_of_another_server() {
    let folder = tempfile::tempdir().unwrap();
    let embedded = open(folder.path(), Host::seeded(1, 1_000_000)).await;
    let network = MemoryNetwork::new();
    let ticket = answer(embedded.clone(), network.endpoint([1; 32]));
    let front = network.endpoint([66; 32]);
    let slow = front.address();
    let twist = |_: &Request, response| match response {
        Response::Outcome { .. } => Response::Outcome { height: 0, status: Status::UnknownNode },
        other => other,
    };
    stand_between(front, ticket.peers[0].clone(), Arc::new(twist));
    let chain = embedded.chain();
    let faucet = |from| transaction(chain, from, 1, Action::Faucet);
    Ledger::from(embedded).submit(faucet(1)).await.unwrap();
    let of = |peers| LedgerTicket { peers, ..ticket.clone() };
    let asks = |number, peers| Ledger::from(Remote::new(network.endpoint([number; 32]), of(peers)));

    let both = asks(2, vec![slow.clone(), ticket.peers[0].clone()]);
    both.head().await.unwrap();
    assert_eq!(both.submit(faucet(2)).await.unwrap().status, Status::Applied);
    let only = asks(3, vec![slow]);
    only.head().await.unwrap();
    let refused = only.submit(faucet(3)).await;
    assert!(matches!(refused, Err(LedgerError::Stale { height: 0, .. })), "{refused:?}");
}
