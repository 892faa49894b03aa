//! `symbolon node earnings`: what a node is paid, by epoch and by day, what it missed, and what to expect.
//!
//! Everything is from the ledger: the pay from the history of the node's payout account, the rest from the node's row, and
//! with `--blocks` from the blocks that the ledger keeps.

mod blocks;

use std::{collections::BTreeMap, path::PathBuf};

use symbolon_ledger::Ledger;
use symbolon_protocol::{
    Amount,
    id::{AccountId, DealId, NodeId},
    ledger::{
        block::{Event, Place, Reason},
        rows::{Chain, Node},
    },
    wire::ledger::{HistoryLine, OldestBlock},
};
use symbolon_view::{
    earnings::{Day, Earnings, Epoch, Forecast, FromBlocks, RepairPay, Unpaid},
    plain::Id,
};

use crate::{
    context::{self, Context},
    error::{Error, Kind},
    health::Noted,
    nodes,
    output::{Align, Report, Table},
    units::{DAY_MS, count, show_duration, show_time},
};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  symbolon node earnings                        the only node of the network
  symbolon node earnings 3f2a
  symbolon node earnings --dir /srv/node --ledger @ticket.txt
  symbolon node earnings 3f2a --blocks          pay that was withheld and collateral that was forfeited, too")]
pub(crate) struct EarningsArgs {
    /// The first digits of the node's id
    #[arg(conflicts_with = "dir")]
    node: Option<String>,
    /// The folder of the node on this machine
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Read all blocks that the ledger keeps, for what no account's history has: withheld pay, and forfeited collateral
    #[arg(long)]
    blocks: bool,
}

pub(crate) async fn run(args: &EarningsArgs, context: &Context) -> Result<Report, Error> {
    let prefix = match (&args.node, &args.dir) {
        (Some(node), _) => node.clone(),
        (None, Some(dir)) => Noted::read(dir)?.node.as_str().to_owned(),
        (None, None) => String::new(),
    };
    let (ledger, endpoint) = context.ledger().await?;
    let found = of_ledger(&ledger, &prefix).await;
    let blocks = match &found {
        Ok((_, (id, _), _)) if args.blocks => blocks::read(&ledger, id).await.map(Some),
        _ => Ok(None),
    };
    context::hang_up(endpoint).await;
    let (chain, (id, row), (lines, oldest)) = found?;
    let mut document = earnings(&chain, (&id, &row), &lines, &oldest);
    document.blocks = blocks?;
    Ok(report(&document))
}

type Found = (Chain, (NodeId, Node), (Vec<HistoryLine>, OldestBlock));

async fn of_ledger(ledger: &Ledger, prefix: &str) -> Result<Found, Error> {
    let chain = context::chain(ledger).await?;
    let mut all = nodes::all(ledger).await?;
    all.retain(|(id, _)| id.to_string().starts_with(prefix));
    let node = match (all.pop(), all.len()) {
        (Some(node), 0) => node,
        (None, _) => {
            return Err(Error::new(Kind::NotFound, "the ledger knows no such node")
                .hint("see all of them with: symbolon node status"));
        }
        (Some(_), more) => {
            return Err(Error::usage(format!("{} have this beginning", count(more + 1, "node")))
                .hint("name one of them with more digits: see symbolon node status"));
        }
    };
    let history = whole_history(ledger, &node.1.payout).await?;
    Ok((chain, node, history))
}

/// All lines of an account that the ledger has, newest first.
pub(crate) async fn whole_history(
    ledger: &Ledger,
    account: &AccountId,
) -> Result<(Vec<HistoryLine>, OldestBlock), Error> {
    let mut history = ledger.history(account, u64::MAX, usize::MAX).await?;
    while let Some(last) = history.lines.last() {
        let more = ledger.history(account, last.place(), usize::MAX).await?;
        // The ledger may have dropped lines since the first answer.
        history.oldest = more.oldest;
        if more.lines.is_empty() {
            break;
        }
        history.lines.extend(more.lines);
    }
    Ok((history.lines, history.oldest))
}

fn sum(amounts: impl Iterator<Item = Amount>) -> Amount {
    amounts.fold(Amount::ZERO, |sum, amount| sum.checked_add(amount).unwrap_or(sum))
}

fn earnings(
    chain: &Chain,
    (id, row): (&NodeId, &Node),
    lines: &[HistoryLine],
    oldest: &OldestBlock,
) -> Earnings {
    let paid: Vec<(u64, &HistoryLine, Amount)> =
        lines.iter().filter_map(|line| pay(line, id, &row.payout)).collect();
    let mut days: BTreeMap<u64, (u64, Amount)> = BTreeMap::new();
    for (_, line, amount) in &paid {
        let day = days.entry(line.time_ms.0 / DAY_MS * DAY_MS).or_insert((0, Amount::ZERO));
        *day = (day.0 + 1, sum([day.1, *amount].into_iter()));
    }
    let epoch_ms = chain.params.epoch_ms.0;
    Earnings {
        node: id.into(),
        payout: Id::from(row.payout),
        epoch: chain.epoch,
        epoch_ms,
        rate: row.rate.into(),
        collateral: row.collateral.into(),
        withheld: row.withheld.into(),
        given_back: sum(lines.iter().filter_map(|line| given_back(line, id, &row.payout))).into(),
        repaired: sum(lines
            .iter()
            .filter_map(|line| repaired(line, &row.payout))
            .map(|(_, paid)| paid))
        .into(),
        repairs: lines
            .iter()
            .filter_map(|line| {
                let (deal, amount) = repaired(line, &row.payout)?;
                let (height, time_ms) = (line.height, line.time_ms.0);
                Some(RepairPay { deal: deal.into(), height, time_ms, amount: amount.into() })
            })
            .collect(),
        blocks: None,
        needs: row.needs(&chain.params).into(),
        proven: row.passed,
        missed: row.missed,
        total: sum(paid.iter().map(|(_, _, amount)| *amount)).into(),
        since_ms: (0 < oldest.height).then_some(oldest.time_ms.0),
        days: days
            .into_iter()
            .rev()
            .map(|(day_ms, (epochs, amount))| Day { day_ms, epochs, amount: amount.into() })
            .collect(),
        unpaid: unpaid(&paid),
        epochs: paid
            .iter()
            .map(|(epoch, line, amount)| Epoch {
                epoch: *epoch,
                height: line.height,
                time_ms: line.time_ms.0,
                amount: (*amount).into(),
            })
            .collect(),
        forecast: forecast(row, epoch_ms),
    }
}

/// The epoch and the amount, if a line is the pay of a node for a proven epoch.
fn pay<'a>(
    line: &'a HistoryLine,
    id: &NodeId,
    payout: &AccountId,
) -> Option<(u64, &'a HistoryLine, Amount)> {
    match &line.event {
        Event::Moved {
            to: Place::Account { account },
            amount,
            reason: Reason::Proven { node, epoch },
            ..
        } if node == id && account == payout => Some((*epoch, line, *amount)),
        _ => None,
    }
}

/// The amount, if a line is collateral or withheld pay of a node that came back.
fn given_back(line: &HistoryLine, id: &NodeId, payout: &AccountId) -> Option<Amount> {
    match &line.event {
        Event::Moved {
            from: Place::Collateral,
            to: Place::Account { account },
            amount,
            reason: Reason::Collateral { node },
        } if node == id && account == payout => Some(*amount),
        _ => None,
    }
}

/// The deal and the amount, if a line is the pay for rebuilt shards. It does not say which caretaker has rebuilt them.
fn repaired(line: &HistoryLine, payout: &AccountId) -> Option<(DealId, Amount)> {
    match &line.event {
        Event::Moved {
            to: Place::Account { account },
            amount,
            reason: Reason::Repaired { deal },
            ..
        } if account == payout => Some((*deal, *amount)),
        _ => None,
    }
}

/// The epochs between paid ones, newest first. At most [`UNPAID_MAX`], because a node may be away for years.
fn unpaid(paid: &[(u64, &HistoryLine, Amount)]) -> Vec<Unpaid> {
    let pairs = paid.windows(2);
    let between = pairs.flat_map(|pair| {
        let ((later, ..), (earlier, _, amount)) = (pair[0], pair[1]);
        (earlier.saturating_add(1)..later)
            .rev()
            .map(move |epoch| Unpaid { epoch, about: amount.into() })
    });
    between.take(UNPAID_MAX).collect()
}

fn forecast(row: &Node, epoch_ms: u64) -> Forecast {
    let epochs = DAYS * DAY_MS / epoch_ms.max(1);
    let at_best = row.rate.checked_mul(epochs).unwrap_or(Amount(u128::MAX));
    let ended = row.passed.saturating_add(row.missed);
    let as_so_far = match ended {
        0 => at_best,
        ended => at_best.fraction(row.passed, ended).unwrap_or(at_best),
    };
    Forecast {
        days: DAYS,
        epochs,
        at_best: at_best.into(),
        as_so_far: as_so_far.into(),
        assumes: String::from(
            "that it keeps the shards that it has now, at their prices: deals that end without a successor bring \
             less, new ones more",
        ),
    }
}

fn report(document: &Earnings) -> Report {
    let mut report = Report::new(document)
        .field("node", document.node.as_str())
        .field("paid to", document.payout.as_str())
        .field("epoch", format!("{}, each {}", document.epoch, show_duration(document.epoch_ms)))
        .field("rate", format!("{} for the next epoch that it proves", document.rate.as_str()))
        .field(
            "collateral",
            format!(
                "{} staked and {} withheld of its pay; it needs {}",
                document.collateral.as_str(),
                document.withheld.as_str(),
                document.needs.as_str()
            ),
        )
        .field("epochs", format!("{} proven, {} missed, ever", document.proven, document.missed))
        .field(
            "total",
            match document.since_ms {
                Some(since_ms) => format!(
                    "{} since {}; earlier pay is not listed",
                    document.total.as_str(),
                    show_time(since_ms)
                ),
                None => format!("{}, all of it", document.total.as_str()),
            },
        )
        .field(
            "30 days",
            format!(
                "{}, or {} with as many misses as so far; this assumes {}",
                document.forecast.at_best.as_str(),
                document.forecast.as_so_far.as_str(),
                document.forecast.assumes
            ),
        );
    if !document.repairs.is_empty() {
        let deals = count(document.repairs.len(), "payment");
        let repaired = document.repaired.as_str();
        report = report.field("repairs", format!("{repaired} for rebuilt shards, in {deals}"));
    }
    if document.given_back.as_str() != "0" {
        let words = format!("{} of collateral and withheld pay", document.given_back.as_str());
        report = report.field("came back", words);
    }
    if let Some(blocks) = &document.blocks {
        report = from_blocks(report, blocks);
    }
    if !document.unpaid.is_empty() {
        let unpaid: Vec<String> = document
            .unpaid
            .iter()
            .take(UNPAID_SHOWN)
            .map(|unpaid| format!("{} (about {})", unpaid.epoch, unpaid.about.as_str()))
            .collect();
        report = report.field("without pay", format!("epochs {}", unpaid.join(", ")));
    }
    let mut table =
        Table::new(&[("DAY", Align::Left), ("EPOCHS", Align::Right), ("CREDITS", Align::Right)]);
    for day in &document.days {
        let date = show_time(day.day_ms);
        let date = date.split(' ').next().unwrap_or_default().to_owned();
        table.row(vec![date, day.epochs.to_string(), day.amount.as_str().to_owned()]);
    }
    match document.days.is_empty() {
        true => report.text("Nothing was paid yet."),
        false => report.table(table),
    }
}

/// What was withheld and forfeited, as far as blocks are kept.
fn from_blocks(report: Report, blocks: &FromBlocks) -> Report {
    let since = match blocks.from_height {
        0 => String::from("ever"),
        height => format!("since block {height}"),
    };
    let list = |parts: Vec<String>| match parts.as_slice() {
        [] => format!("nothing {since}"),
        parts => format!("{} {since}", parts.join(", ")),
    };
    let withheld = blocks.withheld.iter().take(SHOWN);
    let withheld = withheld.map(|one| format!("{} of epoch {}", one.amount.as_str(), one.epoch));
    let forfeited = blocks.forfeited.iter().take(SHOWN).map(|one| match &one.deal {
        Some(deal) => format!("{} to deal {}", one.amount.as_str(), &deal.as_str()[..8]),
        None => format!("{} to the repair pool", one.amount.as_str()),
    });
    report.field("withheld", list(withheld.collect())).field("forfeited", list(forfeited.collect()))
}

/// Days of the forecast.
const DAYS: u64 = 30;
/// The most epochs without pay that are listed.
const UNPAID_MAX: usize = 1_000;
/// How many of them a person is shown.
const UNPAID_SHOWN: usize = 5;
/// How many amounts of withheld pay and of forfeited collateral a person is shown.
const SHOWN: usize = 10;

#[cfg(test)]
mod tests {
    use symbolon_protocol::LedgerTime;

    use super::*;

    fn line(epoch: u64, of: u8, to: u8, amount: u128) -> HistoryLine {
        HistoryLine {
            height: epoch * 3,
            number: 0,
            time_ms: LedgerTime(epoch * DAY_MS / 2),
            event: Event::Moved {
                from: Place::Storage,
                to: Place::Account { account: AccountId([to; 32]) },
                amount: Amount(amount),
                reason: Reason::Proven { node: symbolon_protocol::id::PeerId([of; 32]), epoch },
            },
        }
    }

    #[test]
    fn only_this_nodes_pay_to_this_account_counts_and_gaps_are_misses() {
        let lines = [
            line(9, 1, 7, 40),
            line(8, 2, 7, 1_000),
            line(6, 1, 7, 30),
            line(5, 1, 8, 9),
            line(5, 1, 7, 20),
        ];
        let (id, payout) = (symbolon_protocol::id::PeerId([1; 32]), AccountId([7; 32]));
        let paid: Vec<_> = lines.iter().filter_map(|line| pay(line, &id, &payout)).collect();
        let amounts: Vec<_> = paid.iter().map(|(epoch, _, amount)| (*epoch, amount.0)).collect();
        assert_eq!(amounts, [(9, 40), (6, 30), (5, 20)]);
        let gaps: Vec<_> =
            unpaid(&paid).iter().map(|gap| (gap.epoch, gap.about.as_str().to_owned())).collect();
        let about = Amount(30).to_string();
        assert_eq!(gaps, [(8, about.clone()), (7, about)]);
        let far = [line(1_000_000, 1, 7, 1), line(1, 1, 7, 1)];
        let far: Vec<_> = far.iter().filter_map(|line| pay(line, &id, &payout)).collect();
        assert_eq!(unpaid(&far).len(), UNPAID_MAX);
    }
}
