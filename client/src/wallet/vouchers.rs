//! Vouchers: making one for a person who has no keys yet, and redeeming one.

use symbolon_protocol::{
    Amount, LedgerTime,
    grant::{GrantToken, Voucher},
    id::{AccountId, PeerId},
    ledger::{
        Status,
        rows::{Redemption, Redemptions, Revocations},
        transaction::Action,
    },
};
use symbolon_transfer::Reason;
use zeroize::Zeroizing;

use crate::{
    error::ClientError,
    wallet::{Wallet, account::transaction_id},
};

fn refused(error: impl Into<Reason>) -> ClientError {
    ClientError::Voucher(error.into())
}

fn redeem(holder: PeerId, until_ms: LedgerTime) -> Action {
    Action::Redeem { holder, until_ms }
}

impl Wallet {
    /// The secret of a new voucher. The grant for it goes to [`Voucher::identity`].
    #[must_use]
    pub fn voucher_secret(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.host().random())
    }

    /// What a voucher costs its maker: the money for its redemption, since its redeemer has none, and the price of sending
    /// that. Nothing where transactions cost nothing.
    pub async fn price_of_voucher(&self) -> Result<Amount, ClientError> {
        let needs = self.voucher_needs().await?;
        if needs == Amount::ZERO {
            return Ok(needs);
        }
        // No account can be known for it yet, so any that has no row will do.
        let sending = self.price_of_transfer(&AccountId([0; 32]), needs).await?;
        Ok(needs.checked_add(sending).unwrap_or(Amount(u128::MAX)))
    }

    /// What the one-time account has to have.
    async fn voucher_needs(&self) -> Result<Amount, ClientError> {
        let action = redeem(PeerId([0; 32]), LedgerTime::NEVER);
        Ok(self.price_of_action(&action).await?.total())
    }

    /// Makes a voucher of a grant to the one-time identity of a secret, and sends its account the money for its
    /// redemption. A program that ends in between has lost that money, since no other one knows the secret.
    pub async fn voucher(
        &self,
        token: GrantToken,
        secret: &[u8; 32],
        cost_max: Option<Amount>,
    ) -> Result<Voucher, ClientError> {
        let voucher = Voucher::new(token, secret).map_err(refused)?;
        let cost = self.price_of_voucher().await?;
        if let Some(limit) = cost_max.filter(|limit| *limit < cost) {
            return Err(ClientError::CostTooHigh { cost, limit });
        }
        let amount = self.voucher_needs().await?;
        if amount > Amount::ZERO {
            let id = transaction_id("voucher", &voucher.account().0);
            self.send(id, Action::Transfer { to: voucher.account(), amount }).await?;
        }
        Ok(voucher)
    }

    /// For whom the voucher of a grant was redeemed, by the ledger's rows. `None` if it was not, or if the grant has none.
    pub async fn redemption(&self, token: &GrantToken) -> Result<Option<Redemption>, ClientError> {
        let Some(once) = token.grant.once_account() else { return Ok(None) };
        Ok(self.ledger().row(Redemptions, &once).await?)
    }

    /// Redeems a voucher for this identity, and keeps the grant. If a run was interrupted, the next one comes to the same
    /// grant.
    pub async fn redeem(&self, voucher: &Voucher) -> Result<GrantToken, ClientError> {
        if voucher.token().chain != self.ledger().chain() {
            return Err(refused("it is for another network"));
        }
        // What cannot be made must not be redeemed.
        let token = voucher.redeemed(self.identity()).map_err(refused)?;
        self.check_alive(&token).await?;
        if !self.is_redeemed(voucher).await? {
            self.send_redemption(voucher).await?;
        }
        let mine = token.clone();
        self.local(move |local| local.remember_grant("redeemed", &mine)).await?;
        Ok(token)
    }

    /// Refuses a voucher that nodes would refuse: one that has ended, and one that was revoked.
    async fn check_alive(&self, token: &GrantToken) -> Result<(), ClientError> {
        let now_ms = self.clock().await?.now_ms;
        if let Some(ends_ms) = token.grant.ends_ms().filter(|ends_ms| *ends_ms <= now_ms) {
            return Err(refused(format!("it ended at {}", ends_ms.utc())));
        }
        let verified = token.verify().map_err(refused)?;
        for revocation in verified.revocations() {
            if self.ledger().row(Revocations, &revocation).await?.is_some() {
                return Err(refused("it was revoked"));
            }
        }
        Ok(())
    }

    /// Whether it was redeemed for this identity. Redeemed for another one is an error.
    async fn is_redeemed(&self, voucher: &Voucher) -> Result<bool, ClientError> {
        match self.redemption(voucher.token()).await? {
            None => Ok(false),
            Some(row) if row.holder != self.identity().peer() => {
                Err(refused("somebody else has redeemed it"))
            }
            Some(row) if row.until_ms < voucher.until_ms() => {
                Err(refused("it was redeemed for too short a time"))
            }
            Some(_) => Ok(true),
        }
    }

    async fn send_redemption(&self, voucher: &Voucher) -> Result<(), ClientError> {
        let (holder, key) = (self.identity().peer(), voucher.once().access_key());
        // Another redeemer's transaction has another id, so each learns the ledger's answer and not that of its server.
        let id = transaction_id("redeem", &holder.0);
        let sent = self.network().send(&key, id, redeem(holder, voucher.until_ms())).await;
        match sent.map_err(ClientError::from) {
            Ok(_) | Err(ClientError::LedgerRefused(Status::Exists | Status::IdReused)) => {}
            Err(ClientError::LedgerRefused(Status::TooLate)) => {
                return Err(refused("it has ended"));
            }
            Err(ClientError::LedgerRefused(Status::FeeNotCovered | Status::BalanceTooLow)) => {
                // The money goes with the first redemption, which may have come in between.
                if self.is_redeemed(voucher).await? {
                    return Ok(());
                }
                return Err(refused("it has no longer the money for its own redemption"));
            }
            Err(error) => return Err(error),
        }
        // The row decides: a server can say anything.
        match self.is_redeemed(voucher).await? {
            true => Ok(()),
            false => Err(refused("the ledger does not show its redemption yet: try again")),
        }
    }
}
