//! A seller's vault. Its secret is shared among custodians, and every listing's key is sealed to the vault. The secret is
//! dealt anew to other custodians when some are lost.

use std::{collections::BTreeMap, time::Duration};

use symbolon_protocol::{
    Amount, LedgerTime, Millis,
    custody::{self, CustodyAcceptance, CustodyTerms, VaultKey},
    id::{AccountId, NodeId, Opening, PeerId, VaultId},
    ledger::{
        rows::{Nodes, Vault, Vaults},
        transaction::Action,
    },
    session::NodeFault,
    wire::storage::{Request, Response},
};

use symbolon_transfer::draw::draw;

use crate::{
    NodeView,
    error::ClientError,
    library::budget::Budget,
    market::{Market, own},
    progress::Progress,
    wallet::account::transaction_id,
};

/// Number of custodians of a vault, if there are enough nodes. Three of five open it: any two may be lost, and no two
/// are enough.
const CUSTODIANS: usize = 5;

/// How long a custodian may take to accept its share.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long an acceptance has to be valid after it was given: the others are asked, and the ledger takes it.
const TIME_TO_SEND: Millis = Millis(60_000);

/// A vault's public key and the acceptances of its custodians; or the node that did not accept, and its fault.
type Shared = Result<(VaultKey, Vec<CustodyAcceptance>), (NodeId, NodeFault)>;

/// The transaction that opens a vault with as many custodians as there are at most. Only its size counts.
pub(super) fn largest_vault() -> Action {
    let node = NodeId::from(PeerId([0; 32]));
    let accepted =
        CustodyAcceptance { node, index: 0, expires_ms: LedgerTime::NEVER, signature: [0; 64] };
    let key = VaultKey { commitments: vec![[0; 32]; CUSTODIANS / 2 + 1] };
    Action::OpenVault { opening: Opening([0; 32]), key, custodians: vec![accepted; CUSTODIANS] }
}

/// Which nodes a seller wants as custodians, when the vault is opened or dealt anew.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Custodians {
    /// These and no others; empty for a draw.
    pub named: Vec<NodeId>,
    /// None of these.
    pub without: Vec<NodeId>,
    /// Whether nodes of the seller's own may be among them. The ledger counts those, and listings have to say so.
    pub own: bool,
}

impl Custodians {
    /// Whether this node may keep a share.
    pub(super) fn admits(&self, node: &NodeView, me: &AccountId) -> bool {
        let wanted = self.named.is_empty() || self.named.contains(&node.id);
        let serves = node.row.custody_key.is_some() && !node.row.dead && !node.row.leaving;
        let own = node.row.is_run_by(&node.id, me);
        serves && wanted && !self.without.contains(&node.id) && (self.own || !own)
    }

    /// Whether these are not too many, and not the seller's own unless that is wanted.
    pub(super) fn check_named(
        &self,
        market: &Market,
        rows: &[NodeView],
    ) -> Result<(), ClientError> {
        if CUSTODIANS < self.named.len() {
            let why = format!("a vault has at most {CUSTODIANS} custodians");
            return Err(ClientError::Usage(why));
        }
        let me = market.me();
        let own =
            |node: &&NodeView| self.named.contains(&node.id) && node.row.is_run_by(&node.id, &me);
        match rows.iter().find(own).filter(|_| !self.own) {
            None => Ok(()),
            Some(node) => Err(ClientError::Usage(format!(
                "node {} is the seller's own: say that own nodes may be custodians, and listings will say so too",
                node.id
            ))),
        }
    }

    /// Whether a vault that is open has custodians as they are wanted.
    fn check(&self, vault: &Vault) -> Result<(), ClientError> {
        let has = |node: &&NodeId| vault.custodians.contains(node);
        let missing = self.named.iter().find(|node| !has(node)).map(|node| (node, "not "));
        let unwanted = self.without.iter().find(has).map(|node| (node, ""));
        match missing.or(unwanted) {
            None => Ok(()),
            Some((node, is_not)) => Err(ClientError::Usage(format!(
                "this identity's vault is open, and node {node} is {is_not}one of its custodians: rotate the vault to change them"
            ))),
        }
    }
}

impl Market {
    /// This identity's vault. Opens one if there is none.
    pub(super) async fn vault(
        &self,
        wish: &Custodians,
        budget: &Budget,
        progress: &Progress,
    ) -> Result<(VaultId, Vault), ClientError> {
        let opening = own::opening(self, "vault", &[]);
        let id = VaultId::of(&self.me(), &opening);
        if let Some(vault) = self.ledger().row(Vaults, &id).await? {
            return wish.check(&vault).map(|()| (id, vault));
        }
        let (key, custodians) = self.deal(&opening, wish, &[], progress).await?;
        let action = Action::OpenVault { opening, key, custodians };
        self.send_within(budget, transaction_id("open vault", &id.0), action).await?;
        Ok((id, self.vault_row(&id).await?))
    }

    /// Shares the secret among custodians as they are wanted. Those of `first` are asked before others are drawn.
    pub(super) async fn deal(
        &self,
        opening: &Opening,
        wish: &Custodians,
        first: &[NodeId],
        progress: &Progress,
    ) -> Result<(VaultKey, Vec<CustodyAcceptance>), ClientError> {
        progress.note("sharing a vault among custodians");
        let me = self.me();
        if !wish.named.is_empty() {
            let rows = self.network().rows_of(Nodes, &wish.named).await?;
            let named = wish.named.iter().zip(rows);
            let named = named.filter_map(|(id, row)| Some(NodeView { id: *id, row: row? }));
            wish.check_named(self, &named.collect::<Vec<_>>())?;
        }
        let fits = |node: &NodeView| wish.admits(node, &me) || first.contains(&node.id);
        let (reachable, silent) = self.network().find_nodes(fits).await?;
        if let Some(missing) =
            wish.named.iter().find(|named| reachable.iter().all(|node| node.id != **named))
        {
            let why = format!("node {missing} keeps no shares, leaves, or does not answer");
            return Err(ClientError::Usage(why));
        }
        let id = VaultId::of(&me, opening);
        let mut reachable = self.drawn(&id, reachable).await?;
        reachable.sort_by_key(|node| !first.contains(&node.id));
        let mut faults: Vec<_> = silent.into_iter().map(|id| (id, NodeFault::Offline)).collect();
        loop {
            let chosen = &reachable[..reachable.len().min(CUSTODIANS)];
            if chosen.is_empty() {
                return Err(ClientError::NotEnoughCustodians { released: 0, needed: 1, faults });
            }
            match self.share_among(opening, chosen).await? {
                Ok(shared) => return Ok(shared),
                // The secret is shared anew without this node. The others forget the share that no vault was opened with.
                Err((node, fault)) => {
                    reachable.retain(|there| there.id != node);
                    faults.push((node, fault));
                }
            }
        }
    }

    /// The row of this identity's vault, which is open.
    pub(super) async fn vault_row(&self, id: &VaultId) -> Result<Vault, ClientError> {
        let row = self.ledger().row(Vaults, id).await?;
        row.ok_or_else(|| ClientError::Internal(format!("vault {id} is not on the ledger")))
    }

    /// Whether custodians of this identity's vault are its own nodes.
    pub(super) async fn vault_has_own(&self, id: &VaultId) -> Result<bool, ClientError> {
        Ok(0 < self.vault_row(id).await?.own)
    }

    /// The nodes in the order in which they are asked: drawn as the nodes for shards are, at most one of an operator and of a
    /// network first. The draw depends on the vault, so different sellers get different custodians. Custody has no price.
    async fn drawn(
        &self,
        vault: &VaultId,
        nodes: Vec<NodeView>,
    ) -> Result<Vec<NodeView>, ClientError> {
        let mut candidates = self.network().candidates_of(&nodes).await?;
        for candidate in &mut candidates {
            candidate.price = Amount::ZERO;
        }
        let mut nodes: BTreeMap<NodeId, NodeView> =
            nodes.into_iter().map(|node| (node.id, node)).collect();
        let drawn = draw(&candidates, &vault.0, CUSTODIANS, 0).into_iter();
        Ok(drawn.filter_map(|candidate| nodes.remove(&candidate.address.id)).collect())
    }

    /// Whether this identity has its first vault already.
    pub(super) async fn has_vault(&self) -> Result<bool, ClientError> {
        let id = VaultId::of(&self.me(), &own::opening(self, "vault", &[]));
        Ok(self.ledger().row(Vaults, &id).await?.is_some())
    }

    /// Shares the vault's secret among these nodes.
    async fn share_among(
        &self,
        opening: &Opening,
        nodes: &[NodeView],
    ) -> Result<Shared, ClientError> {
        let total = nodes.len();
        let required = custody::required_max(total);
        let narrow = |count: usize| u8::try_from(count).expect("at most five custodians");
        let id = VaultId::of(&self.me(), opening);
        let secret = self.identity().vault_secret(&self.ledger().chain(), &id);
        let (key, shares) =
            custody::share(&secret, narrow(required), narrow(total), &self.host().random())
                .map_err(|error| ClientError::Internal(error.to_string()))?;
        let mut custodians = Vec::new();
        let needed_ms = self.recent_clock().await?.now_ms.saturating_add(TIME_TO_SEND);
        for (node, share) in nodes.iter().zip(&shares) {
            match self.keep_share(opening, &key, node, share).await? {
                // A ledger would refuse it by the time that it comes there.
                Ok(accepted) if accepted.expires_ms < needed_ms => {
                    return Ok(Err((node.id, NodeFault::Confused)));
                }
                Ok(accepted) => custodians.push(accepted),
                Err(fault) => return Ok(Err((node.id, fault))),
            }
        }
        Ok(Ok((key, custodians)))
    }

    async fn keep_share(
        &self,
        opening: &Opening,
        key: &VaultKey,
        node: &NodeView,
        share: &custody::Share,
    ) -> Result<Result<CustodyAcceptance, NodeFault>, ClientError> {
        let (chain, owner) = (self.ledger().chain(), self.me());
        let (vault, index) = (VaultId::of(&owner, opening), share.index());
        let terms = CustodyTerms {
            chain: &chain,
            vault: &vault,
            owner: &owner,
            key,
            index,
            node: &node.id,
        };
        let custody_key = node.row.custody_key.expect("only nodes that keep custody are asked");
        let sealed = terms
            .seal(share, &custody_key, &self.host().random())
            .map_err(|error| ClientError::Internal(error.to_string()))?;
        let signature = terms.sign_request(&self.identity().account_key());
        let (opening, key) = (*opening, key.clone());
        let request = Request::KeepShare { owner, opening, key, index, share: sealed, signature };
        let to = node.address();
        Ok(match self.network().peers().ask(&to, &request, PATIENCE).await {
            Ok(Response::InCustody { acceptance })
                if terms.verify_acceptance(&acceptance).is_ok() =>
            {
                Ok(acceptance)
            }
            Ok(_) => Err(NodeFault::Confused),
            Err(error) => Err(error.fault()),
        })
    }
}
