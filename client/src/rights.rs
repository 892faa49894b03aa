//! Giving others the right to read, narrowing it, taking it back.

use symbolon_protocol::{
    grant::{Caveat, GrantToken, ability},
    id::{LinkId, ObjectId},
    identity::Recipient,
    ledger::{Status, transaction::Action},
};

use zeroize::Zeroizing;

use crate::{
    Client,
    account::{Key, transaction_id},
    catalog::{GrantEntry, Grants},
    error::ClientError,
    progress::Progress,
};

fn refused(error: impl ToString) -> ClientError {
    ClientError::Grant(error.to_string())
}

impl Client {
    /// Grants reading a file to somebody, within `caveats`.
    ///
    /// A file that shares its object with others gets one of its own first: whoever holds the key of an
    /// object can read all of it.
    pub async fn share(
        &self,
        name: &(impl AsRef<[u8]> + Sync + ?Sized),
        to: &Recipient,
        caveats: Vec<Caveat>,
        progress: &Progress,
    ) -> Result<GrantToken, ClientError> {
        let name = Self::name(name.as_ref())?;
        let entry = self.object_of_its_own(&name, progress).await?;
        let mut all = Vec::with_capacity(caveats.len() + 2);
        all.push(Caveat::Object { object: entry.manifest().object });
        if !caveats.iter().any(|caveat| matches!(caveat, Caveat::Abilities { .. })) {
            all.push(Caveat::Abilities { set: ability::READ | ability::HEAD | ability::VERIFY });
        }
        all.extend(caveats);
        let (chain, entropy) = (self.ledger().chain(), self.host().random());
        let key = Zeroizing::new(entry.object.key.expose());
        let token = GrantToken::issue(
            chain,
            &self.identity().account_key(),
            (entry.manifest(), &key),
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

    /// Kills the last link of a grant and everything made from it, when this identity stands above it.
    /// Gives the link and the height at which it is revoked at the latest.
    pub async fn revoke(&self, token: &GrantToken) -> Result<(LinkId, u64), ClientError> {
        let verified = token.verify().map_err(refused)?;
        let links = &token.grant.links;
        let link = verified.link_ids().last().copied();
        let link = link.ok_or_else(|| refused("it has no link"))?;
        let above = &links[..links.len() - 1];
        let height = if token.grant.root == self.me() {
            self.revoke_as(Key::Account, link).await?
        } else if above.iter().any(|above| above.audience == self.identity().peer()) {
            self.revoke_as(Key::Access, link).await?
        } else {
            return Err(refused("only those who gave it or passed it on can take it back"));
        };
        Ok((link, height))
    }

    /// Kills a link and everything made from it. Whether this identity stands above it as its owner or
    /// as a holder is not known from the link alone, so both say it; who does not stand above it
    /// revokes nothing.
    pub async fn revoke_link(&self, link: LinkId) -> Result<u64, ClientError> {
        self.revoke_as(Key::Access, link).await?;
        self.revoke_as(Key::Account, link).await
    }

    /// A holder is known by the access key: that is the one its links are signed with.
    async fn revoke_as(&self, key: Key, link: LinkId) -> Result<u64, ClientError> {
        let id = transaction_id("revoke", &link.0);
        match self.send_once(key, id, Action::Revoke { link }).await {
            Ok(()) | Err(ClientError::LedgerRefused(Status::Exists)) => {}
            Err(error) => return Err(error),
        }
        Ok(self.ledger().head().await?.header.height)
    }

    /// Keeps a grant in the index.
    pub(crate) fn remember_grant(
        &self,
        label: &str,
        token: &GrantToken,
    ) -> Result<(), ClientError> {
        let text = token.to_text();
        let entry = GrantEntry { label: label.to_owned(), token: text.clone() };
        // By its hash: the text is in the row, and a key as long as that would be in it twice.
        self.catalog().put(Grants, blake3::hash(text.as_bytes()).as_bytes(), &entry)
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
