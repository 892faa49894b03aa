//! An order with its releases, for tests: any two of three custodians open its key.

use std::vec::Vec;

use zeroize::Zeroizing;

use super::{
    Capsule, DeliveryKey, DeliverySecret, Point, PostedRelease, Release, ReleaseRequest, VaultKey,
    VaultSecret, label, release_context, share,
};
use crate::id::{AccountId, ChainId, Hash, ListingId, OrderId, PeerId, VaultId};

pub(crate) struct ReleasedOrder {
    pub(crate) vault_secret: VaultSecret,
    pub(crate) vault: VaultKey,
    pub(crate) label: Hash,
    pub(crate) capsule: Capsule,
    pub(crate) point: Zeroizing<Point>,
    pub(crate) posted: Vec<PostedRelease>,
    pub(crate) secret: DeliverySecret,
    pub(crate) delivery: DeliveryKey,
    pub(crate) context: Hash,
}

impl ReleasedOrder {
    pub(crate) fn of(
        chain: ChainId,
        content_root: &Hash,
        (order, listing): (OrderId, ListingId),
    ) -> Self {
        let vault_secret = VaultSecret::from_seed(&[1; 32]);
        let (vault, shares) = share(&vault_secret, 2, 3, &[2; 32]).unwrap();
        let label = label(&chain, &AccountId([4; 32]), &VaultId([5; 16]), content_root);
        let (capsule, point) = Capsule::seal(&vault_secret, &label, &[7; 32]);
        let context = release_context(&chain, &order, &listing);
        let secret = DeliverySecret::from_seed(&[10; 32]);
        let delivery = DeliveryKey::make(&secret, &context, &[11; 32]);
        let request = ReleaseRequest {
            vault: &vault,
            capsule: &capsule,
            label: &label,
            delivery: &delivery,
            context: &context,
        };
        let made = shares.iter().map(|share| Release::make(share, &request, &[12; 32]).unwrap());
        let posted = made.map(|Release { index, u, v, .. }| {
            let node = PeerId([index; 32]);
            PostedRelease { index, node, u, v }
        });
        let posted = posted.collect();
        Self { vault_secret, vault, label, capsule, point, posted, secret, delivery, context }
    }
}
