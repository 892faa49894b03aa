//! Giving others the right to read, narrowing it, taking it back.

use symbolon_ledger::Outcome;
use symbolon_protocol::{
    content::FileKey,
    grant::{Caveat, Grant, GrantToken, ability},
    id::{LinkId, ObjectId},
    identity::Recipient,
    ledger::transaction::Action,
};

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
        let key = self.identity().account_key();
        let grant = Grant::issue(&key, to.access, self.host().random(), all).map_err(refused)?;
        let file_key = FileKey::from_bytes(entry.key.expose());
        let token = self.seal_token(grant, entry.manifest, &file_key, to)?;
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
        let (manifest, key) = self.open_token(token)?;
        let holder = self.identity().access_key();
        let grant = token.grant.delegate(&holder, to.access, self.host().random(), caveats);
        self.seal_token(grant.map_err(refused)?, manifest, &key, to)
    }

    pub(crate) fn seal_token(
        &self,
        grant: Grant,
        manifest: symbolon_protocol::content::Manifest,
        key: &FileKey,
        to: &Recipient,
    ) -> Result<GrantToken, ClientError> {
        let chain = self.ledger().chain();
        GrantToken::seal(chain, grant, manifest, key, to, &self.host().random()).map_err(refused)
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
        let text = token.to_string();
        let mut batch = Batch::default();
        let entry = GrantEntry { label: label.to_owned(), token: text.clone() };
        batch.put(Grants, text.as_bytes(), &entry);
        self.catalog().write(&batch)
    }

    /// All grants in the index, given and received, with what they are.
    pub fn grants(&self) -> Result<Vec<(String, GrantToken)>, ClientError> {
        let rows = self.catalog().rows(Grants)?;
        let parsed = rows.into_iter().map(|row| {
            let token = row.token.parse().map_err(refused)?;
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
