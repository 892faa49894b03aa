//! Giving others the right to read, narrowing it, taking it back.

use symbolon_protocol::{
    Amount,
    grant::{Caveat, GrantToken, ability},
    id::{AccountId, LinkId, ObjectId},
    identity::Recipient,
    ledger::{Status, rows::Revocations, transaction::Action},
};

use symbolon_transfer::Reason;
use zeroize::Zeroizing;

use crate::{
    Client, Local,
    account::{Key, transaction_id},
    catalog::{GrantEntry, Grants},
    error::ClientError,
    names::{Found, Name},
    progress::Progress,
    term::Kept,
};

/// How long a ledger may take to say until when a file is stored, in milliseconds.
const LEDGER_PATIENCE_MS: u64 = 2_000;

fn refused(error: impl Into<Reason>) -> ClientError {
    ClientError::Grant(error.into())
}

impl Client {
    /// Grants reading a file to somebody, within `caveats`.
    ///
    /// A file that shares its object with others gets one of its own first: whoever holds the key of an
    /// object can read all of it. That costs at most `cost_max`.
    pub async fn share(
        &self,
        name: &Name,
        to: &Recipient,
        caveats: Vec<Caveat>,
        cost_max: Option<Amount>,
        progress: &Progress,
    ) -> Result<GrantToken, ClientError> {
        let sharing = async {
            let found = self.find(name).await?;
            self.check_share(&found, &caveats).await?;
            // What cannot be granted costs nothing: tried first with what is there.
            self.grant_for(&found, to, caveats.clone())?;
            let (entry, _) = self.object_of_its_own(name, cost_max, progress).await?;
            let token = self.grant_for(&entry, to, caveats)?;
            let (label, given) = (format!("given: {name}"), token.clone());
            self.local(move |local| local.remember_grant(&label, &given)).await?;
            Ok(token)
        };
        self.changing(progress, sharing).await
    }

    /// Refuses to promise what is not kept: access to a file for longer than it is stored. Where no ledger
    /// answers that cannot be told, and the grant is made all the same.
    async fn check_share(&self, entry: &Found, caveats: &[Caveat]) -> Result<(), ClientError> {
        let name = entry.name.to_string();
        let chain = tokio::select! {
            biased;
            chain = self.chain_row() => chain,
            () = self.host().sleep_ms(LEDGER_PATIENCE_MS) => return Ok(()),
        };
        let chain = match chain {
            Ok(chain) => chain,
            Err(ClientError::Ledger(_)) => return Ok(()),
            Err(error) => return Err(error),
        };
        let paid_until_ms = match self.kept(&chain, &entry.object).await? {
            Kept::Until { time_ms, .. } => time_ms,
            Kept::Over { since_ms } => return Err(ClientError::Over { name, since_ms }),
        };
        let ends = caveats.iter().filter_map(|caveat| match caveat {
            Caveat::NotAfter { time_ms } => Some(*time_ms),
            _ => None,
        });
        match ends.min() {
            Some(wanted_ms) if paid_until_ms < wanted_ms => {
                Err(ClientError::EndsEarly { name, paid_until_ms, wanted_ms })
            }
            _ => Ok(()),
        }
    }

    fn grant_for(
        &self,
        entry: &Found,
        to: &Recipient,
        caveats: Vec<Caveat>,
    ) -> Result<GrantToken, ClientError> {
        let mut all = Vec::with_capacity(caveats.len() + 2);
        all.push(Caveat::Object { object: entry.manifest().object });
        if !caveats.iter().any(|caveat| matches!(caveat, Caveat::Abilities { .. })) {
            all.push(Caveat::Abilities { set: ability::READ | ability::VERIFY });
        }
        all.extend(caveats);
        let (chain, entropy) = (self.ledger().chain(), self.host().random());
        let key = Zeroizing::new(entry.object.key.expose());
        let account = self.identity().account_key();
        GrantToken::issue(chain, &account, (entry.manifest(), &key), to, all, &entropy)
            .map_err(refused)
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
        let by = match key {
            Key::Account => self.me(),
            Key::Access => AccountId::from(self.identity().peer()),
        };
        match self.send_once(key, id, Action::Revoke { link }).await {
            Ok(()) => {}
            // That it was done before is not taken on a server's word.
            Err(ClientError::LedgerRefused(Status::Exists))
                if self.ledger().row(Revocations, &(link, by)).await?.is_some() => {}
            Err(error) => return Err(error),
        }
        Ok(self.ledger().head().await?.header.height)
    }

    /// All grants in the index, given and received, with what they are.
    pub async fn grants(&self) -> Result<Vec<(String, GrantToken)>, ClientError> {
        self.read(|local| local.grants()).await
    }

    /// The grant this identity gave for an object, to whoever asks the index.
    pub async fn grants_of(&self, object: &ObjectId) -> Result<Vec<GrantToken>, ClientError> {
        let object = *object;
        self.read(move |local| local.grants_of(&object)).await
    }
}

impl Local {
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
