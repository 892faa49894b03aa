//! `--auto`: what is renewed from now on without a question, and what that may cost.

use symbolon_client::{Client, Name};
use symbolon_protocol::Amount;

use crate::{error::Error, units};

/// How a command marks what it stores or renews.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub(crate) struct Auto {
    /// Renew it for the same time from now on, each time half of that is over: symbolon up and symbolon keep do it
    #[arg(long)]
    auto: bool,
    /// With --auto: the most that all automatic renewals and repairs may cost in 30 days [default: what it was]
    #[arg(long, value_name = "CREDITS", requires = "auto", value_parser = units::amount)]
    max_monthly: Option<Amount>,
}

impl Auto {
    /// Refuses to renew for an unlimited price, before anything is paid.
    pub(crate) async fn check(&self, client: &Client) -> Result<(), Error> {
        if !self.auto || self.max_monthly.is_some() {
            return Ok(());
        }
        match Amount::ZERO < client.agreement().await?.monthly_max {
            true => Ok(()),
            false => Err(Error::usage("--auto needs a limit the first time")
                .hint("say what renewals may cost in 30 days: --max-monthly CREDITS")),
        }
    }

    /// Marks names, if that was asked.
    pub(crate) async fn agree(
        &self,
        client: &Client,
        names: &[Name],
        epochs: u64,
    ) -> Result<(), Error> {
        if self.auto {
            client.agree(names, epochs, self.max_monthly).await?;
        }
        Ok(())
    }
}
