//! Giving others the right to read, narrowing it, taking it back.

use symbolon_ledger::Outcome;
use symbolon_protocol::{
    grant::{Caveat, GrantToken, ability},
    id::{LinkId, ObjectId},
    identity::Recipient,
    ledger::transaction::Action,
};

use zeroize::Zeroizing;

use crate::{
    Client,
    account::transaction_id,
    catalog::{Batch, GrantEntry, Grants},
    error::ClientError,
};

fn refused(error: impl ToString) -> ClientError {
    ClientError::Grant(error.to_string())
}

impl Client {
    /// Grants reading a file to somebody, within `caveats`.
    pub fn share(
        &self,
        name: &str,
        to: &Recipient,
        caveats: Vec<Caveat>,
    ) -> Result<GrantToken, ClientError> {
        let entry = self.entry(name)?;
        let mut all = Vec::with_capacity(caveats.len() + 2);
        all.push(Caveat::Object { object: entry.manifest.object });
        if !caveats.iter().any(|caveat| matches!(caveat, Caveat::Abilities { .. })) {
            all.push(Caveat::Abilities { set: ability::READ | ability::HEAD | ability::VERIFY });
        }
        all.extend(caveats);
        let (chain, entropy) = (self.ledger().chain(), self.host().random());
        let key = Zeroizing::new(entry.key.expose());
        let token = GrantToken::issue(
            chain,
            &self.identity().account_key(),
            (&entry.manifest, &key),
            to,
            all,
            &entropy,
        )
        .map_err(refused)?;
        self.remember_grant(&format!("given: {name}"), &token)?;
        Ok(token)
    }

    /// Passes a grant on, narrowed by `caveats`. Needs neither the ledger nor the owner.
    pub fn attenuate(
        &self,
        token: &GrantToken,
        to: &Recipient,
        caveats: Vec<Caveat>,
    ) -> Result<GrantToken, ClientError> {
        let identity = self.identity();
        let (holder, wrap) = (identity.access_key(), identity.wrap_secret());
        token.delegate(&holder, &wrap, to, caveats, &self.host().random()).map_err(refused)
    }

    /// Kills a link and everything below it. Works for links this identity's account stands above.
    pub async fn revoke(&self, link: LinkId) -> Result<Outcome, ClientError> {
        self.send(transaction_id("revoke", &link.0), Action::Revoke { link }).await
    }

    /// Keeps a grant in the index.
    pub(crate) fn remember_grant(
        &self,
        label: &str,
        token: &GrantToken,
    ) -> Result<(), ClientError> {
        let text = token.to_text();
        let mut batch = Batch::default();
        let entry = GrantEntry { label: label.to_owned(), token: text.clone() };
        batch.put(Grants, text.as_bytes(), &entry);
        self.catalog().write(&batch)
    }

    /// All grants in the index, given and received, with what they are.
    pub fn grants(&self) -> Result<Vec<(String, GrantToken)>, ClientError> {
        let rows = self.catalog().rows(Grants)?;
        let parsed = rows.into_iter().map(|row| {
            let token = GrantToken::parse(&row.token).map_err(refused)?;
            Ok((row.label, token))
        });
        parsed.collect()
    }

    /// The grant this identity gave for an object, to whoever asks the index.
    pub fn grants_of(&self, object: &ObjectId) -> Result<Vec<GrantToken>, ClientError> {
        let all = self.grants()?.into_iter().map(|(_, token)| token);
        Ok(all.filter(|token| token.manifest.object == *object).collect())
    }
}
