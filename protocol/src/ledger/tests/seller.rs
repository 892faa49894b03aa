//! What a seller makes: vault shares, capsules, mandates, listings.

use std::vec::Vec;

use zeroize::Zeroizing;

use super::world::{account, chain_id, key, opening};
use crate::{
    amount::Amount,
    content::{
        Manifest, Scheme,
        manifest::{Codec, MaskMode},
    },
    custody::{self, Capsule, Point, Share, VaultKey, VaultSecret},
    grant::{self, Caveat, Grant, Link},
    id::{ChainId, Hash, ObjectId, PeerId, VaultId},
    ledger::{
        rows::{PublicRef, Split, Terms},
        transaction::Action,
    },
    time::Millis,
};

/// What the test listings are licensed under.
pub(super) const LICENCE: Hash = Hash([0x11; 32]);

pub(super) fn vault_id(owner: u8) -> VaultId {
    VaultId::of(&account(owner), &opening(owner))
}

fn secret(owner: u8) -> VaultSecret {
    VaultSecret::from_seed(&[owner; 32])
}

pub(super) fn sharing(owner: u8, required: u8, total: usize) -> (VaultKey, Vec<Share>) {
    dealing(owner, (required, total), 1)
}

/// The same secret as it is dealt for the `number`th time.
pub(super) fn dealing(
    owner: u8,
    (required, total): (u8, usize),
    number: u64,
) -> (VaultKey, Vec<Share>) {
    let total = u8::try_from(total).unwrap();
    let entropy = [76 + u8::try_from(number).unwrap_or(u8::MAX - 76); 32];
    custody::share(&secret(owner), required, total, &entropy).unwrap()
}

pub(super) fn manifest(number: u8) -> Manifest {
    Manifest {
        version: 1,
        codec: Codec::ReedSolomon8,
        mask: MaskMode::ChaCha20,
        scheme: Scheme { required: 2, total: 4 },
        object: ObjectId([number; 16]),
        length: 1000,
        commitment: Hash([number; 32]),
        content_root: Hash([number; 32]),
    }
}

pub(super) fn label_on(chain: &ChainId, seller: u8, manifest: &Manifest) -> Hash {
    custody::label(chain, &account(seller), &vault_id(seller), &manifest.content_root)
}

pub(super) fn public_ref() -> PublicRef {
    PublicRef { manifest: manifest(99), key: [1; 32], hash: Hash([2; 32]) }
}

/// The capsule of a listing of this file.
pub(super) fn capsule(seller: u8, manifest: &Manifest) -> Capsule {
    capsule_on(&chain_id(), seller, manifest)
}

fn capsule_on(chain: &ChainId, seller: u8, manifest: &Manifest) -> Capsule {
    capsule_of(chain, seller, manifest).0
}

/// The capsule of a listing, with the key point in it.
pub(super) fn capsule_of(
    chain: &ChainId,
    seller: u8,
    manifest: &Manifest,
) -> (Capsule, Zeroizing<Point>) {
    Capsule::seal(&secret(seller), &label_on(chain, seller, manifest), &[5; 32])
}

/// A listing of the seller's object, with a fifth for account 30 and a seventh or so for account 31.
pub(super) fn listing_terms(seller: u8, price: u128) -> Terms {
    listing_terms_on(&chain_id(), seller, price)
}

/// The same on a ledger of other parameters.
pub(super) fn listing_terms_on(chain: &ChainId, seller: u8, price: u128) -> Terms {
    let manifest = manifest(seller);
    let capsule = capsule_on(chain, seller, &manifest);
    let splits = [(30, 2000), (31, 1428)];
    Terms {
        title: "Wind over the Aegean, 2020 to 2025".into(),
        price: Amount(price),
        bond: Amount(price),
        licence: LICENCE,
        access_ms: Millis(300_000),
        window_ms: Millis(2000),
        splits: splits
            .iter()
            .map(|(number, share_bp)| Split { account: account(*number), share_bp: *share_bp })
            .collect(),
        preview_cells: 2,
        document: public_ref(),
        mandate: mandate_on(chain, seller, manifest.object),
        manifest,
        cells: 2,
        leaves: public_ref(),
        masks_root: Hash([8; 32]),
        vault: vault_id(seller),
        own_custodians: false,
        capsule,
        pad: [6; 32],
    }
}

pub(super) fn list(seller: u8, number: u8, price: u128) -> Action {
    list_on(&chain_id(), seller, number, price)
}

/// The same on a ledger of other parameters. Each listing has a mandate of its own.
pub(super) fn list_on(chain: &ChainId, seller: u8, number: u8, price: u128) -> Action {
    let terms = listing_terms_on(chain, seller, price);
    let mandate = grant::mandate(chain, &key(seller), terms.manifest.object, &[number; 32]);
    let terms = Terms { mandate: mandate.unwrap(), ..terms };
    Action::List { opening: opening(number), terms: terms.into() }
}

/// The seller's permission for buyers.
pub(super) fn mandate(seller: u8, object: ObjectId) -> Link {
    mandate_on(&chain_id(), seller, object)
}

fn mandate_on(chain: &ChainId, seller: u8, object: ObjectId) -> Link {
    grant::mandate(chain, &key(seller), object, &[1; 32]).unwrap()
}

/// Another mandate of a seller for its object.
pub(super) fn mandate_of(seller: u8, entropy: u8) -> Link {
    let object = manifest(seller).object;
    grant::mandate(&chain_id(), &key(seller), object, &[entropy; 32]).unwrap()
}

/// Any first link.
pub(super) fn link(seller: u8, audience: PeerId, caveats: Vec<Caveat>) -> Link {
    Grant::issue(&chain_id(), &key(seller), audience, caveats, &[1; 32]).unwrap().links.remove(0)
}
