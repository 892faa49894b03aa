//! `symbolon gov vote`: what those with stake say.

use std::path::PathBuf;

use symbolon_protocol::{
    Amount,
    ledger::{
        rows::{Choice, MotionState, Motions},
        transaction::Action,
    },
};
use symbolon_view::motions::{BallotShown, BallotsCast};

use super::{
    no_motion,
    signer::{Signer, Voting},
    words::{of_choice, of_measure, state_in_words},
};
use crate::{
    context::{self, Consent, Context},
    error::{Error, Kind},
    output::Report,
    units::show_amount,
};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  symbolon gov vote 1 yes                            with what this identity has staked
  symbolon gov vote 1 no --dir /srv/validator        with the stake of a validator, as its operator

The last vote counts, with the stake of that moment: vote again after you have staked more.")]
pub(super) struct VoteArgs {
    /// The motion's number
    motion: u64,
    /// For it, against it, or neither; veto: against it, and its deposit is to be lost
    #[arg(value_enum)]
    choice: Said,
    /// Sign with the key in the folder of this validator, whose own account pays, and not as a person
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Do not ask for confirmation
    #[arg(long, short)]
    yes: bool,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Said {
    Yes,
    No,
    Abstain,
    Veto,
}

impl From<Said> for Choice {
    fn from(said: Said) -> Self {
        match said {
            Said::Yes => Self::Yes,
            Said::No => Self::No,
            Said::Abstain => Self::Abstain,
            Said::Veto => Self::Veto,
        }
    }
}

pub(super) async fn vote(args: VoteArgs, context: &Context) -> Result<Report, Error> {
    let signer = Signer::of(args.dir.as_deref(), context).await?;
    let cast = cast(&signer, &args, context).await;
    signer.close().await;
    cast
}

async fn cast(signer: &Signer, args: &VoteArgs, context: &Context) -> Result<Report, Error> {
    let (number, choice) = (args.motion, Choice::from(args.choice));
    let ledger = signer.ledger();
    let motion = ledger.row(Motions, &number).await?.ok_or_else(|| no_motion(number))?;
    if motion.state != MotionState::Open {
        let message = format!("motion {number} is not voted on: {}", state_in_words(motion.state));
        return Err(Error::new(Kind::LedgerRefused, message));
    }
    let voting = signer.voting().await?;
    if voting.is_empty() {
        return Err(Error::new(Kind::NotFound, "this account has no stake to vote with").hint(
            "an operator votes with the validator's folder: symbolon gov vote MOTION yes --dir DIR",
        ));
    }
    let chain = context::chain(ledger).await?;
    let ballot =
        |of: &Voting| Action::CastBallot { motion: number, validator: of.validator, choice };
    let price = signer.price(&ballot(&voting[0])).await?;
    let price = price.checked_mul(voting.len() as u64).unwrap_or(Amount(u128::MAX));
    let what = of_measure(&motion.measure, &chain.params).join("\n  ");
    let mut question = format!("Say {} to motion {number}?\n  {what}", of_choice(choice));
    if price > Amount::ZERO {
        question +=
            &format!("\nThat costs {}, a part of it until the vote has ended.", show_amount(price));
    }
    context.consent(&chain, &question, Consent::from(args.yes, None))?;
    let (mut height, mut ballots) = (0, Vec::new());
    for of in &voting {
        height = signer.send(ballot(of), context).await?;
        ballots.push(BallotShown {
            validator: of.validator.into(),
            choice: of_choice(choice).into(),
            stake: of.stake.into(),
        });
    }
    let own = voting.iter().fold(Amount::ZERO, |sum, of| sum.checked_add(of.stake).unwrap_or(sum));
    let speaks = voting.iter().any(|of| of.is_operator);
    let rest =
        if speaks { ", and for those on the validator who do not vote themselves" } else { "" };
    let text = format!(
        "Said {} to motion {number}, with {} of stake{rest}.",
        of_choice(choice),
        show_amount(own)
    );
    Ok(Report::new(&BallotsCast { motion: number, ballots, height }).text(text))
}
