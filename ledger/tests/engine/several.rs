//! A ledger that several validators order: each with its own file and clock, connected in memory, in virtual time.

use std::{collections::BTreeSet, fs, time::Duration};

use crate::common::{
    balance,
    machines::{BEGIN_MS, LONGEST, Machines},
    transaction, transfer,
};
use symbolon_ledger::{Ledger, LedgerTicket, Remote};
use symbolon_net::MemoryNetwork;
use symbolon_protocol::{
    Amount,
    ledger::{Params, Status, transaction::Action},
};
use tokio::time::{sleep, timeout};

#[tokio::test(start_paused = true)]
async fn four_validators_agree_on_every_block() {
    let machines = Machines::new(&[1, 1, 1, 1]).await;
    let mut last = 0;
    for round in 0..5_u8 {
        for at in 0..4 {
            last = machines.faucet(at, 1 + round * 4 + u8::try_from(at).unwrap()).await;
        }
    }
    let blocks = machines.agree_up_to(last).await;
    let headers = || blocks[1..].iter().map(|block| &block.header);
    let proposers: BTreeSet<u16> = headers().map(|one| one.header.facts.proposer).collect();
    assert_eq!(proposers.len(), 4, "they take turns");
    for signed in headers() {
        signed.commit.verify(&signed.header, &machines.genesis.validators).unwrap();
    }
    // The same transaction is given to two validators, and is applied once.
    let (ledger, other) = (machines.ledger(2), machines.ledger(3));
    let chain = ledger.chain();
    let pay = transfer(chain, 1, 7, 30, 5);
    let (one, two) = tokio::join!(ledger.submit(pay.clone()), other.submit(pay));
    let height = one.clone().unwrap().height;
    assert_eq!(one.unwrap(), two.unwrap());
    machines.agree_up_to(height).await;
    for ledger in machines.ledgers() {
        assert_eq!(balance(&ledger, 30).await, Amount::credits(5));
        // What the rules refuse is refused by each.
        let poor = ledger.submit(transfer(chain, 40, 1, 41, 1)).await.unwrap();
        assert_eq!(poor.status, Status::BalanceTooLow);
    }
}

#[tokio::test(start_paused = true)]
async fn one_of_four_may_fail_and_all_come_back() {
    let mut machines = Machines::new(&[1, 1, 1, 1]).await;
    machines.faucet(0, 1).await;
    for at in 0..4_usize {
        machines.stop(at).await;
        let number = 10 + 10 * u8::try_from(at).unwrap();
        let up = (at + 1) % 4;
        for more in 0..3 {
            machines.faucet(up, number + more).await;
        }
        machines.start(at).await;
        // It takes part in what comes now, or is told.
        let height = machines.faucet(at, number + 5).await;
        machines.agree_up_to(height).await;
    }
    for at in 0..4 {
        machines.stop(at).await;
    }
    for at in 0..4 {
        machines.start(at).await;
    }
    let height = machines.faucet(1, 90).await;
    let blocks = machines.agree_up_to(height).await;
    let applied = blocks.iter().flat_map(|block| &block.transactions);
    let ids: Vec<_> = applied.map(|one| (one.sender, one.id)).collect();
    let once: BTreeSet<_> = ids.iter().collect();
    assert_eq!((ids.len(), once.len()), (18, 18), "each that was acknowledged is there, once");
}

#[tokio::test(start_paused = true)]
async fn a_validator_that_has_lost_its_ledger_gets_it_from_the_others() {
    let mut machines = Machines::new(&[1, 1, 1, 1]).await;
    for number in 1..=5 {
        machines.faucet(0, number).await;
    }
    machines.stop(2).await;
    fs::remove_file(machines.folder(2).join("ledger.redb")).unwrap();
    machines.start(2).await;
    // Who asks it at once, and knows no block, does not hear of the first one as the last.
    let stranger = machines.network.endpoint([77; 32]);
    let only =
        LedgerTicket { peers: vec![machines.ticket(2).peers[0].clone()], ..machines.ticket(2) };
    let asked = Ledger::from(Remote::new(stranger, only));
    let head = timeout(LONGEST, asked.head()).await.unwrap().unwrap();
    assert!(5 <= head.header.height, "{}", head.header.height);
    for number in 6..=10 {
        let height = machines.faucet(1, number).await;
        machines.agree_up_to(height).await;
    }
    // It signs again.
    machines.stop(0).await;
    let height = machines.faucet(2, 11).await;
    machines.agree_up_to(height).await;
}

#[tokio::test(start_paused = true)]
async fn without_more_than_two_thirds_nothing_is_applied_and_nothing_is_lost() {
    let machines = Machines::new(&[1, 1, 1, 1]).await;
    machines.faucet(0, 1).await;
    let (one, two) = (machines.peer(0), machines.peer(1));
    machines.network.part(&[one, two]);
    let ledgers = machines.ledgers();
    let submitted: Vec<_> = [(&ledgers[0], 2), (&ledgers[3], 3)]
        .map(|(ledger, number)| {
            let request = transaction(ledger.chain(), number, 1, Action::Faucet);
            let ledger = ledger.clone();
            tokio::spawn(async move { ledger.submit(request).await })
        })
        .into();
    sleep(Duration::from_secs(60)).await;
    assert!(submitted.iter().all(|submitted| !submitted.is_finished()));
    machines.network.heal();
    for submitted in submitted {
        let outcome = timeout(LONGEST, submitted).await.unwrap().unwrap().unwrap();
        assert_eq!(outcome.status, Status::Applied);
        machines.agree_up_to(outcome.height).await;
    }
    // One alone is not missed, and catches up.
    machines.network.part(&[machines.peer(2)]);
    for number in 4..=7 {
        machines.faucet(3, number).await;
    }
    machines.network.heal();
    let height = machines.faucet(2, 8).await;
    machines.agree_up_to(height).await;
}

#[tokio::test(start_paused = true)]
async fn power_counts_and_not_heads() {
    let mut machines = Machines::new(&[5, 3, 1, 1]).await;
    machines.faucet(2, 1).await;
    machines.stop(2).await;
    machines.stop(3).await;
    for number in 2..=6 {
        machines.faucet(1, number).await;
    }
    machines.start(3).await;
    let height = machines.faucet(3, 7).await;
    machines.agree_up_to(height).await;
}

#[tokio::test(start_paused = true)]
async fn a_wrong_clock_does_not_move_the_time_of_the_ledger() {
    for by_ms in [3_600_000, -3_600_000] {
        // It misses all its turns, and must not be jailed for that here.
        let params = Params { turns_missed_max: 1_000, ..Params::development() };
        let machines = Machines::on(MemoryNetwork::new(), &[1, 1, 1, 1], params).await;
        machines.set_clock(1, by_ms);
        let mut last = 0;
        for number in 1..=12 {
            last = machines.faucet(usize::from(number % 4), number).await;
        }
        let now_ms = BEGIN_MS + machines.elapsed_ms();
        for block in &machines.agree_up_to(last).await[1..] {
            let time_ms = block.header.header.facts.time_ms.0;
            assert!(time_ms <= now_ms + 2_000, "{time_ms} is ahead of {now_ms}");
        }
    }
}
