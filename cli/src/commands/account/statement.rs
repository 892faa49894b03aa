//! `symbolon account statement`: every movement of an account's money, and that they add up to its balance.

use symbolon_client::Client;
use symbolon_protocol::{
    Amount,
    id::AccountId,
    ledger::block::{Event, Place},
    wire::ledger::{HistoryLine, OldestBlock},
};
use symbolon_view::account::{Movement, Statement};

use super::movement;
use crate::{
    error::{Error, Kind},
    output::{Align, Report, Table},
    units::{show_amount, show_time},
};

/// The movements as numbers, oldest first, with the balance before and after.
#[derive(Debug)]
struct Sums {
    opening: Amount,
    came: Amount,
    went: Amount,
    /// The balance after each line.
    after: Vec<Amount>,
}

pub(super) async fn of(client: &Client, csv: bool) -> Result<Report, Error> {
    let me = client.identity().account();
    for _ in 0..ATTEMPTS {
        let before = client.account().await?.balance;
        let history = client.history(usize::MAX).await?;
        let after = client.account().await?.balance;
        if before != after {
            // Money moved while the history was read.
            continue;
        }
        let (mut lines, oldest) = (history.lines, history.oldest);
        lines.reverse();
        let (lines, from_ms) = complete(lines, &oldest);
        let Some(sums) = add_up(&lines, me, after, from_ms.is_none()) else { continue };
        return Ok(report(me, &lines, &sums, from_ms, csv));
    }
    Err(Error::new(Kind::Unreachable, "the ledger's history and the balance do not fit together")
        .hint("money may be moving right now: run it again"))
}

/// The lines from the time on from which none is missing. The pay for proofs of older blocks is dropped, so older lines
/// do not add up.
fn complete(lines: Vec<HistoryLine>, oldest: &OldestBlock) -> (Vec<HistoryLine>, Option<u64>) {
    if oldest.height == 0 {
        return (lines, None);
    }
    let lines = lines.into_iter().filter(|line| oldest.height <= line.height).collect();
    (lines, Some(oldest.time_ms.0))
}

/// What the lines add up to, from the balance at the end; `None` if they cannot be right. An account whose lines are all
/// there began with nothing.
fn add_up(lines: &[HistoryLine], me: AccountId, closing: Amount, all: bool) -> Option<Sums> {
    let (mut came, mut went) = (Amount::ZERO, Amount::ZERO);
    for (plus, minus) in lines.iter().filter_map(|line| change(line, me)) {
        (came, went) = (came.checked_add(plus)?, went.checked_add(minus)?);
    }
    let opening = closing.checked_add(went)?.checked_sub(came)?;
    if all && opening != Amount::ZERO {
        return None;
    }
    let mut balance = opening;
    let mut after = Vec::with_capacity(lines.len());
    for (plus, minus) in lines.iter().filter_map(|line| change(line, me)) {
        balance = balance.checked_add(plus)?.checked_sub(minus)?;
        after.push(balance);
    }
    (balance == closing).then_some(Sums { opening, came, went, after })
}

/// What a line adds to the balance and takes from it.
fn change(line: &HistoryLine, me: AccountId) -> Option<(Amount, Amount)> {
    let Event::Moved { from, to, amount, .. } = &line.event else { return None };
    let mine = |place: &Place| matches!(place, Place::Account { account } if *account == me);
    let if_mine = |place| if mine(place) { *amount } else { Amount::ZERO };
    Some((if_mine(to), if_mine(from)))
}

fn report(
    me: AccountId,
    lines: &[HistoryLine],
    sums: &Sums,
    since_ms: Option<u64>,
    csv: bool,
) -> Report {
    let closing = sums.after.last().copied().unwrap_or(sums.opening);
    let movements: Vec<Movement> = lines.iter().filter_map(|line| movement(line, me)).collect();
    let rows: Vec<[String; 5]> = movements
        .iter()
        .zip(&sums.after)
        .map(|(line, after)| {
            let time = show_time(line.time_ms);
            let amount = line.amount.as_str().to_owned();
            [time, line.height.to_string(), amount, line.what.clone(), after.to_string()]
        })
        .collect();
    let document = Statement {
        account: me.into(),
        since_ms,
        opening: sums.opening.into(),
        came: sums.came.into(),
        went: sums.went.into(),
        closing: closing.into(),
        lines: movements,
    };
    let report = Report::new(&document);
    if csv {
        let head = ["time", "block", "amount", "what", "balance"].map(String::from);
        let rows = std::iter::once(&head).chain(&rows);
        return rows.fold(report, |report, row| report.text(csv_line(row)));
    }
    let mut table = Table::new(&[
        ("TIME", Align::Left),
        ("BLOCK", Align::Right),
        ("CREDITS", Align::Right),
        ("WHAT", Align::Left),
        ("BALANCE", Align::Right),
    ]);
    rows.into_iter().for_each(|row| table.row(row.into()));
    let report = match since_ms {
        Some(since_ms) => report
            .field("since", format!("{}: earlier pay for proofs is not kept", show_time(since_ms))),
        None => report.field("since", "the account's beginning"),
    };
    report
        .field("opening", show_amount(sums.opening).to_string())
        .field("came", show_amount(sums.came).to_string())
        .field("went", show_amount(sums.went).to_string())
        .field("closing", show_amount(closing).to_string())
        .table(table)
}

/// A line of comma-separated values (RFC 4180).
fn csv_line(cells: &[String]) -> String {
    let quoted = |cell: &String| match cell.contains([',', '"', '\n']) {
        true => format!("\"{}\"", cell.replace('"', "\"\"")),
        false => cell.clone(),
    };
    cells.iter().map(quoted).collect::<Vec<_>>().join(",")
}

/// How often history and balance are read until they fit.
const ATTEMPTS: u32 = 5;

#[cfg(test)]
mod tests {
    use symbolon_protocol::{LedgerTime, ledger::block::Reason};

    use super::*;

    fn line(number: u32, from: u8, to: u8, amount: u128) -> HistoryLine {
        let account = |byte| Place::Account { account: AccountId([byte; 32]) };
        let (from, to) = (account(from), account(to));
        let event = Event::Moved { from, to, amount: Amount(amount), reason: Reason::Transfer };
        HistoryLine { height: 5, number, time_ms: LedgerTime(1_000), event }
    }

    #[test]
    fn lines_add_up_to_the_balance_or_there_is_no_statement() {
        let me = AccountId([1; 32]);
        let lines = [line(0, 9, 1, 100), line(1, 1, 8, 30), line(2, 1, 1, 50), line(3, 7, 1, 5)];
        let sums = add_up(&lines, me, Amount(75), true).unwrap();
        assert_eq!((sums.opening.0, sums.came.0, sums.went.0), (0, 155, 80));
        assert_eq!(sums.after.iter().map(|after| after.0).collect::<Vec<_>>(), [100, 70, 70, 75]);
        assert!(add_up(&lines, me, Amount(76), true).is_none(), "a line is missing");
        assert_eq!(add_up(&lines, me, Amount(76), false).unwrap().opening, Amount(1));
        assert!(add_up(&lines, me, Amount(74), false).is_none(), "a line is too many");
    }

    #[test]
    fn cells_are_quoted_where_they_need_it() {
        let cells = ["a", "b,c", "d \"e\""].map(String::from);
        assert_eq!(csv_line(&cells), "a,\"b,c\",\"d \"\"e\"\"\"");
    }
}
