//! Grants: giving, narrowing and revoking them, and listing those that this identity has.

use symbolon_protocol::{
    LedgerTime,
    content::{FileKey, Manifest},
    grant::{Caveat, Grant, GrantToken, ObjectSet, ability},
    id::{AccountId, LinkId, ObjectId},
    identity::Recipient,
    ledger::{Status, rows::Revocations, transaction::Action},
};

use symbolon_transfer::Reason;
use zeroize::Zeroizing;

use crate::{
    catalog::{GrantEntry, Grants},
    error::ClientError,
    local::Local,
    wallet::{
        Wallet,
        account::{Key, transaction_id},
    },
};

fn refused(error: impl Into<Reason>) -> ClientError {
    ClientError::Grant(error.into())
}

/// The caveats, with the usual abilities if they name none.
fn with_abilities(caveats: Vec<Caveat>) -> Vec<Caveat> {
    let names_them = caveats.iter().any(|caveat| matches!(caveat, Caveat::Abilities { .. }));
    let usual = Caveat::Abilities { set: ability::READ | ability::VERIFY };
    (!names_them).then_some(usual).into_iter().chain(caveats).collect()
}

impl Wallet {
    /// Makes a grant to the file with this manifest and key, restricted by `caveats`.
    pub(crate) fn grant_for(
        &self,
        (manifest, key): (&Manifest, &Zeroizing<[u8; 32]>),
        to: &Recipient,
        caveats: Vec<Caveat>,
    ) -> Result<GrantToken, ClientError> {
        let mut all = Vec::with_capacity(caveats.len() + 2);
        all.push(Caveat::Object { object: manifest.object });
        all.extend(with_abilities(caveats));
        let (chain, entropy) = (self.ledger().chain(), self.host().random());
        let account = self.identity().account_key();
        GrantToken::issue(chain, &account, (manifest, key), to, all, &entropy).map_err(refused)
    }

    /// Makes a grant to a folder: the list of its files, with this manifest and key, and the objects that hold them.
    pub(crate) fn grant_for_folder(
        &self,
        (manifest, key): (&Manifest, &Zeroizing<[u8; 32]>),
        objects: &ObjectSet,
        to: &Recipient,
        caveats: Vec<Caveat>,
    ) -> Result<GrantToken, ClientError> {
        let (chain, entropy) = (self.ledger().chain(), self.host().random());
        let account = self.identity().account_key();
        let (list, all) = ((manifest, &**key), with_abilities(caveats));
        GrantToken::issue_folder(chain, &account, (list, objects), to, all, &entropy)
            .map_err(refused)
    }

    /// Passes a grant on, narrowed by `caveats`. This needs neither the ledger nor the owner.
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

    /// Revokes the last link of a grant and everything made from it, if this identity stands above it. Gives the link
    /// and the height at which it is revoked at the latest.
    pub async fn revoke(&self, token: &GrantToken) -> Result<(LinkId, u64), ClientError> {
        let verified = token.verify().map_err(refused)?;
        if token.grant.sale.is_some() && token.grant.links.len() == 1 {
            // Its one link is the mandate of every buyer.
            return Err(refused("it was bought, so it ends with its order"));
        }
        let link = verified.link_ids().last().copied();
        let link = link.ok_or_else(|| refused("it has no link"))?;
        let keys = [(Key::Account, self.me()), (Key::Access, self.identity().peer().into())];
        let may = |by| verified.revocations().any(|revocation| revocation == (link, by));
        let height = if let Some((key, _)) = keys.into_iter().find(|(_, by)| may(*by)) {
            self.revoke_as(key, link, token.grant.ends_ms()).await?
        } else {
            return Err(refused("only an identity that gave it or passed it on can revoke it"));
        };
        Ok((link, height))
    }

    /// Revokes a link and everything made from it. The link alone does not show whether this identity stands above it
    /// as owner or as holder, so both keys revoke it. A revocation by a key that does not stand above the link has no
    /// effect. When the link ends by itself is not known either, so these revocations stay on the ledger for ever.
    pub async fn revoke_link(&self, link: LinkId) -> Result<u64, ClientError> {
        self.revoke_as(Key::Access, link, None).await?;
        self.revoke_as(Key::Account, link, None).await
    }

    /// Revokes as owner or as holder. A holder signs its links with the access key, so it revokes with that key.
    /// `until_ms` is when the link ends by itself.
    async fn revoke_as(
        &self,
        key: Key,
        link: LinkId,
        until_ms: Option<LedgerTime>,
    ) -> Result<u64, ClientError> {
        let id = transaction_id("revoke", &link.0);
        let by = match key {
            Key::Account => self.me(),
            Key::Access => AccountId::from(self.identity().peer()),
        };
        match self.send_once(key, id, Action::Revoke { link, until_ms }).await {
            Ok(()) => {}
            // The client does not believe the server that the link was revoked before. It checks the proven row.
            Err(ClientError::LedgerRefused(Status::Exists))
                if self.ledger().row(Revocations, &(link, by)).await?.is_some() => {}
            Err(error) => return Err(error),
        }
        Ok(self.ledger().head().await?.header.height)
    }

    /// All grants in the index on this machine, given and received, each with its label.
    pub async fn grants(&self) -> Result<Vec<(String, GrantToken)>, ClientError> {
        self.local(|local| local.grants()).await
    }

    /// The grants for an object in the index on this machine.
    pub async fn grants_of(&self, object: &ObjectId) -> Result<Vec<GrantToken>, ClientError> {
        let object = *object;
        self.local(move |local| local.grants_of(&object)).await
    }

    /// A grant of this identity's account to its own access key.
    pub(crate) fn own_grant(&self, object: ObjectId, abilities: u16) -> Result<Grant, ClientError> {
        Ok(self.network().own_grant(&self.owner(), object, abilities)?)
    }

    /// Unwraps the key of a grant that is bound to this identity.
    pub(crate) fn open_token(
        &self,
        token: &GrantToken,
    ) -> Result<(Manifest, FileKey), ClientError> {
        if token.chain != self.ledger().chain() {
            return Err(refused("it is for another network"));
        }
        if token.grant.holder() != Some(self.identity().peer()) {
            return Err(refused("it is bound to another key"));
        }
        let key = token.open(&self.identity().wrap_secret()).map_err(refused)?;
        Ok((token.manifest.clone(), FileKey::from_bytes(*key)))
    }
}

impl<R: AsRef<Wallet>> Local<R> {
    /// Keeps a grant in the index.
    pub(crate) fn remember_grant(
        &self,
        label: &str,
        token: &GrantToken,
    ) -> Result<(), ClientError> {
        let text = token.to_text();
        let entry = GrantEntry { label: label.to_owned(), token: text.clone() };
        // The key is the text's hash: the text itself is in the row, and as a key it would be there twice.
        self.catalog().put(Grants, blake3::hash(text.as_bytes()).as_bytes(), &entry)
    }

    pub(crate) fn grants(&self) -> Result<Vec<(String, GrantToken)>, ClientError> {
        let rows = self.catalog().rows(Grants)?;
        let parsed = rows.into_iter().map(|row| {
            let token = GrantToken::parse(&row.token).map_err(refused)?;
            Ok((row.label, token))
        });
        parsed.collect()
    }

    pub(crate) fn grants_of(&self, object: &ObjectId) -> Result<Vec<GrantToken>, ClientError> {
        let all = self.grants()?.into_iter().map(|(_, token)| token);
        Ok(all.filter(|token| token.manifest.object == *object).collect())
    }
}
