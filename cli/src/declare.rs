//! A validator tells the ledger which version of the rules its software knows, so that all of them can change together.

use std::time::Duration;

use symbolon_ledger::{Ledger, LedgerError};
use symbolon_net::Host;
use symbolon_node::OwnKey;
use symbolon_protocol::{
    id::{AccountId, TransactionId},
    ledger::{
        Status,
        execute::RULES_VERSION,
        rows::{Chains, ValidatorRow, ValidatorsTable},
        transaction::Action,
    },
};
use tokio::time::sleep;

/// How long a validator waits after a refusal, such as for an account without money for the fee.
const PAUSE: Duration = Duration::from_secs(60);

/// Says it, whenever the ledger's row of this validator says something else. A machine may become a validator while it runs.
pub(crate) async fn rules(ledger: Ledger, key: OwnKey, host: Host) {
    let mut is_told = false;
    loop {
        match say(&ledger, &key, &host).await {
            Ok(Status::Applied | Status::NothingNew) => is_told = false,
            Ok(status) if !is_told => {
                tracing::warn!(
                    %status,
                    "the ledger does not take this program's version of the rules: its own account pays the fee"
                );
                is_told = true;
            }
            Ok(_) => {}
            Err(error) => tracing::debug!(%error, "the ledger does not answer"),
        }
        sleep(PAUSE).await;
    }
}

async fn say(ledger: &Ledger, key: &OwnKey, host: &Host) -> Result<Status, LedgerError> {
    let validator = AccountId::from(key.node());
    let row = ledger.row(ValidatorsTable, &validator).await?;
    let Some(action) = news(validator, row.as_ref(), RULES_VERSION) else {
        return Ok(Status::NothingNew);
    };
    let Some(chain) = ledger.row(Chains, &()).await? else { return Ok(Status::NothingNew) };
    let id = TransactionId(host.random());
    let valid_until = chain.height.saturating_add(chain.params.validity_blocks_max);
    Ok(ledger.submit(key.sign(chain.id, id, valid_until, action)).await?.status)
}

/// What a validator with this row says, if its software knows another version.
fn news(validator: AccountId, row: Option<&ValidatorRow>, version: u32) -> Option<Action> {
    let is_new = row.is_some_and(|row| row.rules != version);
    is_new.then_some(Action::DeclareRules { validator, version })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test")]

    use symbolon_protocol::{
        LedgerTime,
        id::Hash,
        ledger::{
            Params,
            block::{Genesis, OnionStart},
            commit::Validators,
            execute,
            state::{MemoryState, StateExt as _},
        },
    };

    use super::*;

    #[test]
    fn only_news_are_said() {
        let validator = AccountId([3; 32]);
        let onion = OnionStart { outermost: Hash([0; 32]), next: Hash([0; 32]) };
        let (params, validators) = (Params::development(), Validators::alone(validator));
        let genesis = Genesis { params, validators, time_ms: LedgerTime(1), onions: vec![onion] };
        let mut state = MemoryState::default();
        state.commit(&execute::genesis(&genesis).update);
        let row = state.get(ValidatorsTable, &validator).unwrap();
        assert_eq!(news(validator, None, 2), None, "it is no validator yet");
        assert_eq!(news(validator, Some(&row), row.rules), None);
        for version in [2, 0] {
            let action = Action::DeclareRules { validator, version };
            assert_eq!(news(validator, Some(&row), version), Some(action));
        }
    }
}
