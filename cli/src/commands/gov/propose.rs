//! `symbolon gov propose`: a motion is made.

use std::path::PathBuf;

use symbolon_ledger::Ledger;
use symbolon_protocol::{
    Amount,
    id::AccountId,
    ledger::{
        Params,
        motion::TEXT_BYTES_MAX,
        rows::{Measure, Motion, Motions, ParamChange, Table as _},
        transaction::Action,
    },
};
use symbolon_view::motions::MotionMade;

use super::{
    signer::Signer,
    words::{change, consequences, of_measure},
};
use crate::{
    context::{self, Consent, Context},
    error::Error,
    grants,
    output::Report,
    units::{self, show_amount},
};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  symbolon gov propose params fee_base=0.001 --why 'transactions are spam'
  symbolon gov propose treasury bob 500 --why 'the audit of March'
  symbolon gov propose rules 2 --at-height 1200000 --why 'see the release notes'

A motion binds a deposit while it is voted on. It comes back, unless too few vote or a veto stops it.")]
pub(super) struct ProposeArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Args)]
struct How {
    /// Why: who votes reads it
    #[arg(long, value_name = "TEXT")]
    why: String,
    /// Sign with the key in the folder of this validator, whose own account pays, and not as a person
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Do not ask for confirmation
    #[arg(long, short)]
    yes: bool,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Change parameters of the ledger
    #[command(after_help = "\
Examples:
  symbolon gov propose params fee_base=0.001 fee_byte=0.000001 --why 'transactions are spam'
  symbolon gov propose params jail_ms=30m quorum_bp=33.5% --why 'fewer vote than we thought'

spec/ledger.md lists the parameters, their ranges, which may change, and what that does to what exists already.")]
    Params {
        /// A parameter and its new value
        #[arg(required = true, value_name = "NAME=VALUE", value_parser = change)]
        changes: Vec<ParamChange>,
        #[command(flatten)]
        how: How,
    },
    /// Let the treasury pay
    #[command(after_help = "\
Example:
  symbolon gov propose treasury bob 500 --why 'the audit of March'")]
    Treasury {
        /// The receiver: an account's 64 digits, recipient1..., @FILE, or an identity in this home
        to: String,
        /// The amount, in credits
        #[arg(value_parser = units::amount)]
        amount: Amount,
        #[command(flatten)]
        how: How,
    },
    /// Bring a version of the rules into force
    #[command(after_help = "\
Example:
  symbolon gov propose rules 2 --at-height 1200000 --why 'see the release notes'

All validators of the set must say that their software knows the version, before that block. It must come after the vote
and its lock.")]
    Rules {
        /// The version
        #[arg(value_name = "VERSION")]
        number: u32,
        /// The first block of these rules
        #[arg(long, value_name = "HEIGHT")]
        at_height: u64,
        #[command(flatten)]
        how: How,
    },
}

pub(super) async fn propose(args: ProposeArgs, context: &Context) -> Result<Report, Error> {
    let (measure, how) = match args.what {
        What::Params { mut changes, how } => {
            changes.sort_by_key(|change| change.param);
            (Measure::Params { changes }, how)
        }
        What::Treasury { to, amount, how } => {
            let to: AccountId = grants::account(&to, &context.home)?;
            (Measure::Pay { to, amount }, how)
        }
        What::Rules { number, at_height, how } => {
            (Measure::Rules { version: number, height: at_height }, how)
        }
    };
    let signer = Signer::of(how.dir.as_deref(), context).await?;
    let made = make(&signer, measure, how, context).await;
    signer.close().await;
    made
}

async fn make(
    signer: &Signer,
    measure: Measure,
    how: How,
    context: &Context,
) -> Result<Report, Error> {
    let chain = context::chain(signer.ledger()).await?;
    check(&measure, &how.why, &chain.params)?;
    let deposit = chain.params.motion_deposit;
    let (text, asked) = (how.why, measure.clone());
    let action = Action::ProposeMotion { measure, text, deposit };
    let price = signer.price(&action).await?;
    let what = of_measure(&asked, &chain.params);
    let mut question = format!("Propose:\n  {}\n", what.join("\n  "));
    for line in consequences(&asked) {
        question += &format!("What exists already: {line}\n");
    }
    question += &format!("That binds {} while it is voted on", show_amount(deposit));
    if price > Amount::ZERO {
        question += &format!(", and costs {} more", show_amount(price));
    }
    context.consent(&chain, &format!("{question}. Go on?"), Consent::from(how.yes, None))?;
    let height = signer.send(action, context).await?;
    let (number, motion) = found(signer.ledger(), signer.account(), height, &asked).await?;
    let document =
        MotionMade { motion: number, what, deposit: deposit.into(), closes: motion.closes, height };
    let text = format!(
        "Motion {number} is voted on until epoch {} begins. See it with: symbolon gov show {number}",
        motion.closes
    );
    Ok(Report::new(&document).text(text).essence(number.to_string()))
}

/// What the ledger would refuse is said here, with its reason.
fn check(measure: &Measure, why: &str, params: &Params) -> Result<(), Error> {
    if why.is_empty() || TEXT_BYTES_MAX < why.len() {
        let message = format!("the text of a motion has 1 to {TEXT_BYTES_MAX} bytes");
        return Err(Error::usage(message));
    }
    match measure {
        Measure::Params { changes } => {
            let twice = changes.iter().zip(changes.iter().skip(1));
            if twice.into_iter().any(|(one, next)| one.param == next.param) {
                return Err(Error::usage("a parameter stands twice"));
            }
            let changed = params.changed(changes).map(|_| ());
            changed.map_err(|error| {
                Error::usage(error.to_string())
                    .hint("spec/ledger.md says which parameters may change, and how far")
            })
        }
        Measure::Pay { amount: Amount::ZERO, .. } => Err(Error::usage("there is nothing to pay")),
        Measure::Pay { .. } | Measure::Rules { .. } => Ok(()),
    }
}

/// The motion that this account has made in this block.
async fn found(
    ledger: &Ledger,
    account: AccountId,
    height: u64,
    measure: &Measure,
) -> Result<(u64, Motion), Error> {
    let rows = ledger.scan_all(Motions, &[]).await?;
    let rows = rows.into_iter().filter_map(|(key, row)| Some((Motions::parse(&key)?, row)));
    let ours = rows.filter(|(_, row)| {
        (row.proposer, row.height) == (account, height) && row.measure == *measure
    });
    ours.max_by_key(|(number, _)| *number)
        .ok_or_else(|| Error::internal("the motion that was made is not on the ledger"))
}
