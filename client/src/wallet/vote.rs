//! What an account with stake says to motions, and motions that it makes.

use symbolon_protocol::{
    Amount,
    id::{AccountId, TransactionId},
    ledger::{
        rows::{Choice, Measure},
        transaction::Action,
    },
};

use crate::{error::ClientError, wallet::Wallet};

impl Wallet {
    /// Makes a motion. Gives the height of its block.
    pub async fn propose(
        &self,
        measure: Measure,
        text: String,
        deposit: Amount,
    ) -> Result<u64, ClientError> {
        let action = Action::ProposeMotion { measure, text, deposit };
        Ok(self.send(TransactionId(self.host().random()), action).await?.height)
    }

    /// Says something to a motion, for the stake on one validator. Gives the height of the block.
    pub async fn vote(
        &self,
        motion: u64,
        validator: AccountId,
        choice: Choice,
    ) -> Result<u64, ClientError> {
        let action = Action::CastBallot { motion, validator, choice };
        Ok(self.send(TransactionId(self.host().random()), action).await?.height)
    }
}
