//! The custodians of a seller's vault: who they are, whether they are there, and how lost ones are replaced.

use symbolon_protocol::{
    Amount, LedgerTime,
    id::{ListingId, NodeId, Opening, PeerId, VaultId},
    ledger::{
        rows::{Listing, Node, Nodes, Vault, Vaults},
        transaction::Action,
    },
};

use super::{
    own,
    vault::{Custodians, largest_vault},
};
use crate::{
    NodeView, error::ClientError, library::budget::Budget, market::Market, place::Price,
    progress::Progress, wallet::account::transaction_id,
};

/// The vault of an identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VaultView {
    /// The vault.
    pub id: VaultId,
    /// Its custodians, by share index from 1.
    pub custodians: Vec<CustodianView>,
    /// How many of them are needed to release a key.
    pub threshold: usize,
    /// Which dealing of its secret this is, from 1.
    pub dealing: u64,
    /// When it was dealt, in milliseconds since the Unix epoch.
    pub since_ms: LedgerTime,
    /// How many custodians were the identity's own nodes then, as the ledger has counted them.
    pub own: usize,
}

/// A custodian of a vault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CustodianView {
    /// The node.
    pub node: NodeId,
    /// Whether it is there.
    pub state: CustodianState,
    /// Whether it is the identity's own node now.
    pub own: bool,
}

/// Whether a custodian is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CustodianState {
    /// It answers.
    Answers,
    /// It answers, and wants to leave.
    Leaves,
    /// It does not answer now.
    Silent,
    /// It has missed so many proofs that it counts as dead.
    Dead,
    /// It is a node no longer, or keeps no shares any more.
    Gone,
}

impl CustodianState {
    /// Whether it does not come back by itself: a rotation replaces it.
    #[must_use]
    pub const fn is_lost(self) -> bool {
        matches!(self, Self::Dead | Self::Gone)
    }
}

impl VaultView {
    /// How many custodians are lost.
    #[must_use]
    pub fn lost(&self) -> usize {
        self.custodians.iter().filter(|custodian| custodian.state.is_lost()).count()
    }

    /// How many custodians answer.
    #[must_use]
    pub fn answering(&self) -> usize {
        let answers = [CustodianState::Answers, CustodianState::Leaves];
        self.custodians.iter().filter(|custodian| answers.contains(&custodian.state)).count()
    }
}

/// What opening or dealing a vault anew did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DealReport {
    /// The vault as it is now.
    pub vault: VaultView,
    /// The custodians before; none if it was opened now.
    pub before: Vec<NodeId>,
    /// How it ended.
    pub outcome: DealOutcome,
    /// What was paid.
    pub cost: Amount,
}

/// How opening or dealing a vault anew ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DealOutcome {
    /// It was opened.
    Created,
    /// It was open before.
    Already,
    /// Its secret was dealt anew.
    Rotated,
    /// All custodians are there and wanted, so nothing was done.
    Kept,
}

/// Who is to be a custodian after a rotation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rotation {
    /// Those that are wanted. Without names, those that are there stay, and others are drawn for the rest.
    pub custodians: Custodians,
    /// Whether the secret is dealt anew even if no custodian has to be replaced.
    pub anew: bool,
}

/// Who keeps the key of a listing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CustodyView {
    /// How many custodians there are.
    pub custodians: usize,
    /// How many of them are needed.
    pub threshold: usize,
    /// How many of them were the seller's own nodes when the vault was dealt.
    pub own: usize,
}

impl CustodyView {
    /// Whether the seller's own nodes can keep the others from releasing a key.
    #[must_use]
    pub const fn seller_can_block(&self) -> bool {
        self.custodians - self.threshold < self.own
    }

    fn of(vault: &Vault) -> Self {
        Self {
            custodians: vault.custodians.len(),
            threshold: vault.key.required(),
            own: vault.own.into(),
        }
    }
}

impl Market {
    /// This identity's vault, and which of its custodians answer. `None` if none is open.
    pub async fn vault_status(&self) -> Result<Option<VaultView>, ClientError> {
        let (id, row) = self.vault_if_open().await?;
        match row {
            Some(row) => Ok(Some(self.vault_view(id, &row).await?)),
            None => Ok(None),
        }
    }

    /// What a transaction that opens or deals a vault anew costs at most, with a deposit for one that is new.
    pub async fn price_of_vault(&self) -> Result<Price, ClientError> {
        let params = self.network().params().await?;
        let Action::OpenVault { key, custodians, .. } = largest_vault() else {
            return Err(ClientError::Internal("a vault is opened by OpenVault".into()));
        };
        Ok(match self.has_vault().await? {
            false => Price::of(&params, &largest_vault()),
            true => {
                let vault = VaultId([0; 16]);
                Price::of(&params, &Action::RotateVault { vault, key, custodians })
            }
        })
    }

    /// Opens this identity's vault, for at most `cost_max`. One that is open stays as it is.
    pub async fn create_vault(
        &self,
        wish: &Custodians,
        cost_max: Option<Amount>,
        progress: &Progress,
    ) -> Result<DealReport, ClientError> {
        let budget = Budget::of(cost_max);
        let outcome = match self.has_vault().await? {
            true => DealOutcome::Already,
            false => DealOutcome::Created,
        };
        let (id, row) = self.vault(wish, &budget, progress).await?;
        let vault = self.vault_view(id, &row).await?;
        Ok(DealReport { vault, before: Vec::new(), outcome, cost: budget.paid() })
    }

    /// Deals the secret of this identity's vault anew, for at most `cost_max`: in place of lost custodians others are drawn, and
    /// those that are there stay. No capsule and no pad changes, and open orders go on.
    pub async fn rotate_vault(
        &self,
        rotation: &Rotation,
        cost_max: Option<Amount>,
        progress: &Progress,
    ) -> Result<DealReport, ClientError> {
        let (id, row) = self.vault_if_open().await?;
        let row = row.ok_or(ClientError::NoVault)?;
        let before = self.vault_view(id, &row).await?;
        let wish = &rotation.custodians;
        let stays = |custodian: &&CustodianView| {
            let is_there = custodian.state == CustodianState::Answers;
            let wanted = wish.named.is_empty() || wish.named.contains(&custodian.node);
            is_there && wanted && !wish.without.contains(&custodian.node)
        };
        let stay: Vec<NodeId> =
            before.custodians.iter().filter(stays).map(|custodian| custodian.node).collect();
        let all_stay = stay.len() == row.custodians.len();
        if all_stay && !rotation.anew && wish.named.iter().all(|node| stay.contains(node)) {
            let (outcome, cost) = (DealOutcome::Kept, Amount::ZERO);
            return Ok(DealReport { vault: before, before: row.custodians, outcome, cost });
        }
        if row.own == 0 && wish.own {
            let why = "listings say that none of the vault's custodians are the seller's own, so none can be";
            return Err(ClientError::Usage(why.into()));
        }
        let budget = Budget::of(cost_max);
        let opening: Opening = own::opening(self, "vault", &[]);
        let (key, custodians) = self.deal(&opening, wish, &stay, progress).await?;
        let action = Action::RotateVault { vault: id, key, custodians };
        let about = [&id.0[..], &row.dealing.to_le_bytes()].concat();
        self.send_within(&budget, transaction_id("rotate vault", &about), action).await?;
        let after = self.vault_row(&id).await?;
        Ok(DealReport {
            vault: self.vault_view(id, &after).await?,
            before: row.custodians,
            outcome: DealOutcome::Rotated,
            cost: budget.paid(),
        })
    }

    /// How many custodians of this identity's vault are lost, of how many, by the ledger's rows: no node is asked.
    pub async fn lost_custodians(&self) -> Result<Option<(usize, usize)>, ClientError> {
        let (_, row) = self.vault_if_open().await?;
        let Some(row) = row else { return Ok(None) };
        let nodes = self.network().rows_of(Nodes, &row.custodians).await?;
        let lost = nodes.iter().filter(|node| loss(node.as_ref()).is_some()).count();
        Ok(Some((lost, row.custodians.len())))
    }

    /// Who keeps the key of a listing.
    pub async fn custody_of(&self, id: &ListingId) -> Result<CustodyView, ClientError> {
        let listing = self.listing_lately(id).await?;
        self.custody_of_listing(&listing).await
    }

    pub(super) async fn custody_of_listing(
        &self,
        listing: &Listing,
    ) -> Result<CustodyView, ClientError> {
        let vault = self.ledger().row_lately(Vaults, &listing.terms.vault).await?;
        let vault = vault.ok_or_else(|| ClientError::Internal("a listing has a vault".into()))?;
        Ok(CustodyView::of(&vault))
    }

    async fn vault_if_open(&self) -> Result<(VaultId, Option<Vault>), ClientError> {
        let id = VaultId::of(&self.me(), &own::opening(self, "vault", &[]));
        Ok((id, self.ledger().row(Vaults, &id).await?))
    }

    async fn vault_view(&self, id: VaultId, row: &Vault) -> Result<VaultView, ClientError> {
        let nodes = self.network().rows_of(Nodes, &row.custodians).await?;
        let is_one = |node: &NodeView| row.custodians.contains(&node.id);
        let (answering, _) = self.network().find_nodes(is_one).await?;
        let view = |(node, of): (&NodeId, Option<Node>)| {
            let answers = answering.iter().any(|answering| answering.id == *node);
            let state = loss(of.as_ref()).unwrap_or(match (&of, answers) {
                (Some(of), true) if of.leaving => CustodianState::Leaves,
                (_, true) => CustodianState::Answers,
                (_, false) => CustodianState::Silent,
            });
            let own = match &of {
                Some(of) => of.is_run_by(node, &self.me()),
                None => *node == PeerId::from(self.me()),
            };
            CustodianView { node: *node, state, own }
        };
        Ok(VaultView {
            id,
            custodians: row.custodians.iter().zip(nodes).map(view).collect(),
            threshold: row.key.required(),
            dealing: row.dealing,
            since_ms: row.since_ms,
            own: row.own.into(),
        })
    }
}

/// Why a custodian with this row is lost, if it is.
fn loss(node: Option<&Node>) -> Option<CustodianState> {
    match node {
        None => Some(CustodianState::Gone),
        Some(node) if node.custody_key.is_none() => Some(CustodianState::Gone),
        Some(node) if node.dead => Some(CustodianState::Dead),
        Some(_) => None,
    }
}
