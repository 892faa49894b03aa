//! `symbolon gov list|show`: motions, and how the votes stand.

use std::path::PathBuf;

use symbolon_ledger::Ledger;
use symbolon_protocol::{
    Amount,
    id::AccountId,
    ledger::rows::{
        Ballots, Chain, Measure, Motion, MotionState, Motions, PoolsTable, Table as _, Tally,
        ValidatorsTable, Voices,
    },
};
use symbolon_view::motions::{BallotShown, MotionShown, MotionsShown, ParameterChange, Votes};

use super::{
    no_motion,
    signer::{Signer, voting},
    words::{
        consequences, of_choice, of_failure, of_kind, of_measure, of_state, outlook,
        state_in_words, values,
    },
};
use crate::{
    context::{self, Context},
    error::Error,
    output::{Align, Report, Table, one_line},
    units::{count, show_amount, show_duration},
};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  symbolon gov show 1
  symbolon gov show 1 --dir /srv/validator      with what this validator said")]
pub(super) struct ShowArgs {
    /// The motion's number
    motion: u64,
    /// Show what the validator in this folder said, and not this identity
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

pub(super) async fn list(ledger: &Ledger) -> Result<Report, Error> {
    let chain = context::chain(ledger).await?;
    let rows = ledger.scan_all(Motions, &[]).await?;
    let rows = rows.into_iter().filter_map(|(key, row)| Some((Motions::parse(&key)?, row)));
    let mut motions = Vec::new();
    let mut table = Table::new(&[
        ("MOTION", Align::Right),
        ("STATE", Align::Left),
        ("YES", Align::Right),
        ("NO", Align::Right),
        ("ENDS", Align::Right),
        ("WHAT", Align::Left),
    ]);
    for (number, row) in rows.collect::<Vec<_>>().into_iter().rev() {
        let tally = tally(ledger, &chain, number, &row).await?;
        let shown = shown(&chain, number, &row, &tally, Vec::new());
        let against = tally.no.saturating_add(tally.veto);
        table.row(vec![
            number.to_string(),
            shown.state.clone(),
            share(tally.yes, tally.all),
            share(against, tally.all),
            row.closes.to_string(),
            shown.what.join("; "),
        ]);
        motions.push(shown);
    }
    let treasury = ledger.row(PoolsTable, &()).await?.map_or(Amount::ZERO, |row| row.treasury);
    let document =
        MotionsShown { epoch: chain.epoch, treasury: treasury.into(), rules: chain.rules, motions };
    let report = Report::new(&document).text(format!(
        "Epoch {}. The treasury has {}. The rules are of version {}.",
        chain.epoch,
        show_amount(treasury),
        chain.rules
    ));
    Ok(match document.motions.len() {
        0 => report.text("There is no motion."),
        _ => report.table(table),
    })
}

pub(super) async fn show(args: ShowArgs, context: &Context) -> Result<Report, Error> {
    if args.dir.is_none() && context.home.identities()?.is_empty() {
        let (ledger, endpoint) = context.ledger().await?;
        let report = one(&ledger, args.motion, None).await;
        context::hang_up(endpoint).await;
        return report;
    }
    let signer = Signer::of(args.dir.as_deref(), context).await?;
    let report = one(signer.ledger(), args.motion, Some(signer.account())).await;
    signer.close().await;
    report
}

async fn one(ledger: &Ledger, number: u64, who: Option<AccountId>) -> Result<Report, Error> {
    let chain = context::chain(ledger).await?;
    let row = ledger.row(Motions, &number).await?.ok_or_else(|| no_motion(number))?;
    let tally = tally(ledger, &chain, number, &row).await?;
    let ballots = match who {
        Some(who) => ballots(ledger, number, who).await?,
        None => Vec::new(),
    };
    let document = shown(&chain, number, &row, &tally, ballots);
    let mut report =
        Report::new(&document).text(format!("Motion {number}: {}", one_line(&row.text)));
    for line in &document.what {
        report = report.text(format!("  {line}"));
    }
    for line in consequences(&row.measure) {
        report = report.text(format!("  What exists already: {line}"));
    }
    let of = |part: u128| format!("{} ({})", show_amount(Amount(part)), share(part, tally.all));
    report = report
        .text("")
        .field("state", state_in_words(row.state))
        .field("yes", of(tally.yes))
        .field("no", of(tally.no))
        .field("veto", of(tally.veto))
        .field("abstain", of(tally.abstain))
        .field("may vote", show_amount(Amount(tally.all)).to_string())
        .field("needs", needs(&row))
        .field("deposit", show_amount(row.deposit).to_string());
    if row.state == MotionState::Open {
        report = report
            .field("ends", begins(&chain, row.closes))
            .field("if it ended now", document.outlook.clone());
    }
    if matches!(row.state, MotionState::Open | MotionState::Passed) {
        report = report.field("takes effect", begins(&chain, row.effective));
    }
    for ballot in &document.ballots {
        let text = format!(
            "{}, with {} on {}",
            ballot.choice,
            ballot.stake.as_str(),
            ballot.validator.as_str()
        );
        report = report.field("you said", text);
    }
    Ok(report)
}

fn needs(row: &Motion) -> String {
    let bp = |part: u16| format!("{}.{:02} %", part / 100, part % 100);
    format!(
        "{} of the stake votes, more than {} of those who do not abstain say yes, and not more than {} of all say veto",
        bp(row.quorum_bp),
        bp(row.majority_bp),
        bp(row.veto_bp)
    )
}

/// When an epoch begins.
fn begins(chain: &Chain, epoch: u64) -> String {
    let left = epoch.saturating_sub(chain.epoch);
    let ms = chain.params.epoch_ms.saturating_mul(left).0;
    let since = chain.time_ms.saturating_since(chain.epoch_started()).0;
    let in_ms = ms.saturating_sub(since);
    format!("with epoch {epoch}, {} away ({})", count(left, "epoch"), show_duration(in_ms))
}

/// A part of a whole in percent, with one decimal.
fn share(part: u128, whole: u128) -> String {
    let tenths = match whole {
        0 => 0,
        whole => part.saturating_mul(1000) / whole,
    };
    format!("{}.{} %", tenths / 10, tenths % 10)
}

/// What was voted, or is so far.
async fn tally(ledger: &Ledger, chain: &Chain, number: u64, row: &Motion) -> Result<Tally, Error> {
    if let Some(tally) = row.tally {
        return Ok(tally);
    }
    let members: Vec<_> = chain.validators.members.iter().map(|member| member.key).collect();
    let keys: Vec<_> = members.iter().map(|key| (number, *key)).collect();
    let validators = ledger.rows(ValidatorsTable, &members).await?;
    let voices = ledger.rows(Voices, &keys).await?;
    let mut tally = Tally::default();
    for (validator, voice) in validators.into_iter().zip(voices) {
        if let Some(validator) = validator {
            tally.count(chain, &validator, &voice.unwrap_or_default());
        }
    }
    Ok(tally)
}

/// What an account said.
async fn ballots(
    ledger: &Ledger,
    number: u64,
    account: AccountId,
) -> Result<Vec<BallotShown>, Error> {
    let voting = voting(ledger, account).await?;
    let keys: Vec<_> = voting.iter().map(|of| (number, (of.validator, account))).collect();
    let rows = ledger.rows(Ballots, &keys).await?;
    let cast = voting.iter().zip(rows).filter_map(|(of, row)| {
        Some(BallotShown {
            validator: of.validator.into(),
            choice: of_choice(row?.choice).into(),
            stake: of.stake.into(),
        })
    });
    Ok(cast.collect())
}

fn shown(
    chain: &Chain,
    number: u64,
    row: &Motion,
    tally: &Tally,
    ballots: Vec<BallotShown>,
) -> MotionShown {
    let failure = match row.state {
        MotionState::Failed { why } => Some(of_failure(why).to_owned()),
        _ => None,
    };
    let changes = match &row.measure {
        Measure::Params { changes } => changes.as_slice(),
        _ => &[],
    };
    let changes = changes.iter().filter_map(|change| values(change, &chain.params));
    let changes = changes.map(|(parameter, now, then)| ParameterChange {
        parameter: parameter.into(),
        now: now.to_string(),
        then: then.to_string(),
    });
    let money = |part: u128| Amount(part).into();
    MotionShown {
        motion: number,
        kind: of_kind(&row.measure).into(),
        state: of_state(row.state).into(),
        failure,
        what: of_measure(&row.measure, &chain.params),
        changes: changes.collect(),
        proposer: row.proposer.into(),
        text: row.text.clone(),
        deposit: row.deposit.into(),
        closes: row.closes,
        effective: row.effective,
        votes: Votes {
            yes: money(tally.yes),
            no: money(tally.no),
            abstain: money(tally.abstain),
            veto: money(tally.veto),
            all: money(tally.all),
        },
        quorum_bp: row.quorum_bp,
        majority_bp: row.majority_bp,
        veto_bp: row.veto_bp,
        outlook: match row.state {
            MotionState::Open => outlook(tally.decides(row)).into(),
            state => state_in_words(state),
        },
        ballots,
    }
}
