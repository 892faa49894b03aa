//! `symbolon validator list` and `status`: who orders a ledger, how well, and what an account has staked on whom.

use symbolon_client::Client;
use symbolon_ledger::Ledger;
use symbolon_protocol::{
    id::AccountId,
    ledger::{
        commit::Validators,
        rows::{
            Duties, DutiesTable, Duty, Table as _, ValidatorRow, ValidatorState, ValidatorsTable,
        },
    },
};
use symbolon_view::validators::{OwnStakes, ValidatorShown, ValidatorsShown};

use super::in_words;
use crate::{
    context::{self, Context},
    error::Error,
    output::{Align, Report, Table},
    units::{count, percent, show_amount, show_time},
};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  symbolon validator list
  symbolon validator list --mine                what this identity has staked, and what comes back when
  symbolon validator list --json

The best first: those in the set by their power, then the others by their stake. A validator that signs few of its
blocks, or misses turns, earns less for those who stake on it, and may be jailed.")]
pub(super) struct ListArgs {
    /// Only what this identity has staked
    #[arg(long)]
    mine: bool,
}

pub(super) async fn list(args: &ListArgs, context: &Context) -> Result<Report, Error> {
    if args.mine {
        let client = context.client().await?;
        let report = mine(&client).await;
        context::close(client).await;
        return report;
    }
    let shown = asked(context).await?;
    let mut table = Table::new(&[
        ("VALIDATOR", Align::Left),
        ("STATE", Align::Left),
        ("POWER", Align::Right),
        ("STAKE", Align::Right),
        ("OWN", Align::Right),
        ("COMMISSION", Align::Right),
        ("SIGNED", Align::Right),
        ("TURNS MISSED", Align::Right),
        ("SINCE BLOCK", Align::Right),
    ]);
    for one in &shown.validators {
        table.row(vec![
            one.validator.as_str().get(..SHORT).unwrap_or_default().to_owned(),
            state(one),
            part(one.power, shown.power),
            one.stake.as_str().to_owned(),
            one.own_stake.as_str().to_owned(),
            percent(one.commission_bp),
            one.uptime_bp.map_or_else(|| String::from("-"), percent),
            format!("{} of {}", one.missed, one.turns),
            one.since.to_string(),
        ]);
    }
    let hint = "Stake on one with: symbolon validator delegate VALIDATOR AMOUNT";
    Ok(Report::new(&shown).table(table).text(hint))
}

/// What an account has staked.
async fn mine(client: &Client) -> Result<Report, Error> {
    let (view, stakes) = (client.account().await?, client.stakes().await?);
    let document = OwnStakes::new(&view, &stakes);
    let report = Report::new(&document);
    if stakes.delegated.is_empty() && stakes.unbinding.is_empty() {
        return Ok(report.text("Nothing is staked."));
    }
    let mut table =
        Table::new(&[("VALIDATOR", Align::Left), ("CREDITS", Align::Right), ("", Align::Left)]);
    for one in &stakes.delegated {
        let amount = show_amount(one.amount).to_string();
        table.row(vec![one.validator.to_string(), amount, String::from("staked")]);
    }
    for one in &stakes.unbinding {
        let comes = format!("comes back on {}", show_time(one.due_ms));
        let amount = show_amount(one.amount).to_string();
        table.row(vec![one.validator.to_string(), amount, comes]);
    }
    Ok(report.table(table))
}

pub(super) async fn status(context: &Context) -> Result<Report, Error> {
    let shown = asked(context).await?;
    let in_set = shown.validators.iter().filter(|one| one.power != 0).count();
    let mut report = Report::new(&shown).text(format!(
        "{} of {} order this ledger.",
        in_set,
        count(shown.validators.len(), "validator")
    ));
    for one in &shown.validators {
        report = report.text("").field("validator", one.validator.as_str().to_owned());
        report = report
            .field("state", state(one))
            .field("power", format!("{} of {}", one.power, shown.power))
            .field(
                "stake",
                format!("{}, {} of it the operator's", one.stake.as_str(), one.own_stake.as_str()),
            )
            .field("commission", percent(one.commission_bp))
            .field("turns", format!("{} missed of {}", one.missed, one.turns))
            .field("signed", format!("{} of {} blocks", one.signed, one.blocks));
    }
    Ok(report)
}

async fn asked(context: &Context) -> Result<ValidatorsShown, Error> {
    let (ledger, endpoint) = context.ledger().await?;
    let found = shown(&ledger).await;
    context::hang_up(endpoint).await;
    found
}

/// All validators, those with the most power first.
async fn shown(ledger: &Ledger) -> Result<ValidatorsShown, Error> {
    let set = context::chain(ledger).await?.validators;
    let duties = ledger.row(DutiesTable, &()).await?;
    let rows = ledger.scan_all(ValidatorsTable, &[]).await?;
    let rows = rows.into_iter().filter_map(|(key, row)| Some((ValidatorsTable::parse(&key)?, row)));
    let mut rows: Vec<(AccountId, ValidatorRow)> = rows.collect();
    rows.sort_by_key(|(key, row)| std::cmp::Reverse((set.power_of(key), row.stake)));
    let one = |(key, row): &(AccountId, ValidatorRow)| one(*key, row, &set, duties.as_ref());
    Ok(ValidatorsShown { power: set.power(), validators: rows.iter().map(one).collect() })
}

/// What a member of the set has done in the present epoch, which its row does not count yet.
pub(super) fn duty_of(key: &AccountId, set: &Validators, duties: Option<&Duties>) -> Duty {
    let place = set.members.binary_search_by_key(key, |member| member.key).ok();
    place.and_then(|place| duties?.members.get(place).copied()).unwrap_or_default()
}

fn one(
    validator: AccountId,
    row: &ValidatorRow,
    set: &Validators,
    duties: Option<&Duties>,
) -> ValidatorShown {
    let duty = duty_of(&validator, set, duties);
    let with = |all: u64, lately: u32| all.saturating_add(u64::from(lately));
    let (blocks, signed) = (with(row.blocks, duty.blocks), with(row.signed, duty.signed));
    ValidatorShown {
        validator: validator.into(),
        operator: row.operator.into(),
        state: in_words(row.state).into(),
        power: set.power_of(&validator),
        stake: row.stake.into(),
        own_stake: row.worth(row.own_shares).into(),
        unbonding: row.unbonding.into(),
        commission_bp: row.commission_bp,
        turns: with(row.turns, duty.turns),
        missed: with(row.missed, duty.missed),
        missed_in_row: u64::from(duty.missed_in_row),
        blocks,
        signed,
        uptime_bp: uptime_bp(signed, blocks),
        since: row.joined,
        jailed_until_ms: match row.state {
            ValidatorState::Jailed { until_ms } => Some(until_ms.0),
            _ => None,
        },
    }
}

/// The part of blocks that was signed, rounded down.
pub(super) fn uptime_bp(signed: u64, blocks: u64) -> Option<u16> {
    let part = (u128::from(signed) * 10_000).checked_div(u128::from(blocks))?;
    u16::try_from(part).ok()
}

fn state(one: &ValidatorShown) -> String {
    match one.jailed_until_ms {
        Some(until_ms) => format!("jailed until {}", show_time(until_ms)),
        None => one.state.clone(),
    }
}

/// A validator's part of the power.
fn part(power: u64, all: u64) -> String {
    match (u128::from(power) * 10_000).checked_div(u128::from(all)) {
        Some(bp) if power != 0 => u16::try_from(bp).map_or_else(|_| String::new(), percent),
        _ => String::from("-"),
    }
}

/// Digits of a validator's key that a table shows: enough to name it.
const SHORT: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uptime_is_a_part_of_the_blocks_that_there_were() {
        assert_eq!(uptime_bp(0, 0), None, "none was there to be signed");
        assert_eq!(uptime_bp(2, 3), Some(6_666));
        assert_eq!(uptime_bp(u64::MAX, u64::MAX), Some(10_000));
        assert_eq!((part(1, 4), part(0, 4), part(1, 0)), ("25 %".into(), "-".into(), "-".into()));
    }
}
