//! A seller whose program lists what it is told to: the honest truth, or a lie. It is made of the client's public parts and
//! of a key; no client that is shipped can list a lie.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use bytes::Bytes;
use symbolon_client::{Client, Name, Progress, PutOptions, SellOptions, Source};
use symbolon_protocol::{
    Amount, Millis,
    content::{FileKey, Layout, Manifest, MaskMode, Scheme, SegmentCoder, seal::LeafParts},
    custody::{self, Capsule, VaultSecret},
    dispute::LeafList,
    grant,
    id::{DealId, Hash, ListingId, Opening},
    ledger::{
        Status, bond_min,
        rows::{Access, Chains, Listings, PublicRef, Terms},
        transaction::Action,
    },
    merkle,
};
use symbolon_transfer::{
    Owner,
    upload::{Begun, Forgetful, Paid, SegmentBytes, Storing},
};

use crate::{
    party::Party,
    sim::{World, derive},
};

/// Required and total shards of what is sold.
const SCHEME: Scheme = Scheme { required: 2, total: 5 };

/// For how many epochs everything is stored.
const EPOCHS: u64 = 400;

/// Ten minutes of access.
const ACCESS_MS: u64 = 600_000;

/// A minute to complain.
const WINDOW_MS: u64 = 60_000;

/// A seller with a vault, which an honest sale of a small file has opened.
#[derive(Debug)]
pub struct Seller {
    /// Its program.
    pub client: Client,
    /// Its key.
    pub party: Party,
    seed: u64,
    made: AtomicU64,
    /// The terms of the honest sale. They name a vault and a description.
    terms: Terms,
}

/// A file of one segment that is stored.
#[derive(Clone, Debug)]
pub struct Goods {
    /// Its key.
    pub key: FileKey,
    /// Its layout.
    pub layout: Layout,
    /// Its bytes.
    pub plain: Vec<u8>,
    /// The deals that keep it.
    pub deals: Vec<DealId>,
    secret: [u8; 32],
}

/// What a listing will say of its file, before it says it.
#[derive(Debug)]
pub struct Said {
    /// The parts of the leaves.
    pub parts: Vec<LeafParts>,
    /// The key whose masks are listed.
    pub masks: FileKey,
    /// The key that is for sale.
    pub sold: [u8; 32],
    /// The secret that the capsule is sealed to.
    pub vault: VaultSecret,
}

/// A listing that was not sent yet.
#[derive(Clone, Debug)]
pub struct Draft {
    /// Its terms.
    pub terms: Terms,
    /// Its leaf list.
    pub list: LeafList,
}

/// The parts of the leaves of a file of one segment.
#[must_use]
pub fn parts_of(key: &FileKey, layout: &Layout, plain: &[u8]) -> Vec<LeafParts> {
    let segment = layout.segment(0).expect("a file has a segment");
    let coder = SegmentCoder::new(key, MaskMode::ChaCha20, segment);
    let (mut parts, mut rest) = (Vec::new(), plain);
    for number in 0..segment.stripes {
        let stripe = segment.stripe(number).expect("the stripe is one of the segment");
        let (here, later) = rest.split_at(stripe.plain_length);
        rest = later;
        coder.leaf_parts(number, here, &mut parts).expect("the stripe has its length");
    }
    parts
}

impl Seller {
    /// A seller who asks for this price.
    pub async fn start(world: &mut World, name: &str, price: Amount) -> Self {
        let client = world.client(name);
        client.faucet().await.expect("the faucet gives to everyone once");
        let party = Party::new(world, client.identity().account_key().to_bytes());
        let (name, quiet) = (Name::new("first").expect("it is a name"), Progress::silent());
        let scheme = Some(SCHEME);
        let options =
            PutOptions { epochs: Some(EPOCHS), least: Some(0), scheme, ..PutOptions::default() };
        let source = Source::from(b"some honest bytes".to_vec());
        client.put(source, &name, &options, &quiet).await.expect("the network keeps a file");
        let options = SellOptions {
            title: String::from("data"),
            price,
            preview_cells: 0,
            access_ms: Some(Millis(ACCESS_MS)),
            window_ms: Some(Millis(WINDOW_MS)),
            ..SellOptions::default()
        };
        let sold = client.sell(&name, &options, &quiet).await.expect("a stored file can be sold");
        let row = client.ledger().row(Listings, &sold.listing).await.expect("the ledger answers");
        let terms = row.expect("it was just listed").terms;
        Self { client, party, seed: world.seed, made: AtomicU64::new(0), terms }
    }

    /// A secret that it has not used before.
    fn fresh(&self, what: &str) -> [u8; 32] {
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        derive(self.seed, &format!("{what} of the seller {number}"))
    }

    /// Stores a file of one segment.
    pub async fn store(&self, plain: Vec<u8>) -> Goods {
        let secret = self.fresh("file key");
        let key = FileKey::from_bytes(secret);
        let layout = Layout::new(SCHEME, plain.len() as u64).expect("a small file has a layout");
        self.keep(secret, MaskMode::ChaCha20, Access::Granted, plain.clone()).await;
        let deals = vec![key.deal(&self.party.account(), 0)];
        Goods { key, layout, plain, deals, secret }
    }

    /// What a listing of stored goods says after `say` has changed the truth. Its leaf list is published.
    pub async fn draft(&self, goods: &Goods, say: impl FnOnce(&mut Said)) -> Draft {
        let (client, chain) = (&self.client, self.client.ledger().chain());
        let (account, vault) = (client.identity().account_key(), self.terms.vault);
        let mut said = Said {
            parts: parts_of(&goods.key, &goods.layout, &goods.plain),
            masks: goods.key.clone(),
            sold: goods.secret,
            vault: client.identity().vault_secret(&chain, &vault),
        };
        say(&mut said);
        let list = LeafList::new(&said.masks, &goods.layout, said.parts);
        let mut tree = merkle::Builder::new();
        tree.extend(list.leaves());
        let manifest = Manifest::new(&goods.key, MaskMode::ChaCha20, &goods.layout, tree.finish());
        let label = custody::label(&chain, &self.party.account(), &vault, &manifest.content_root);
        let (capsule, point) = Capsule::seal(&said.vault, &label, &self.fresh("capsule"));
        // The key point of an honest capsule: that of another vault's opens to something else.
        let pad = custody::pad(&said.sold, &custody::listing_key(&point));
        let entropy = self.fresh("mandate");
        let mandate = grant::mandate(&chain, &account, manifest.object, &entropy);
        let row = client.ledger().row(Chains, &()).await.expect("the ledger answers");
        let params = row.expect("a ledger has its own row").params;
        let leaves = self.publish(list.to_bytes()).await;
        let terms = Terms {
            bond: bond_min(&params, self.terms.price),
            manifest,
            cells: goods.layout.cells(),
            leaves,
            masks_root: list.masks_root(),
            capsule,
            pad,
            mandate: mandate.expect("an account can permit sales"),
            ..self.terms.clone()
        };
        Draft { terms, list }
    }

    /// Lists a draft.
    pub async fn list(&self, draft: &Draft) -> Result<ListingId, Status> {
        let (opening, terms) = (Opening(self.fresh("opening")), Box::new(draft.terms.clone()));
        match self.party.send(Action::List { opening, terms }).await {
            Status::Applied => Ok(ListingId::of(&self.party.account(), &opening)),
            status => Err(status),
        }
    }

    /// Shows the ledger the deals of a listing.
    pub async fn cover(&self, listing: ListingId, deals: &[DealId]) -> Status {
        self.party.send(Action::CoverListing { listing, first: 0, deals: deals.to_vec() }).await
    }

    /// Lists a draft of these goods, so that it can be bought.
    pub async fn offer(&self, draft: &Draft, goods: &Goods) -> ListingId {
        let listing = self.list(draft).await.expect("the ledger takes the terms");
        assert_eq!(self.cover(listing, &goods.deals).await, Status::Applied);
        listing
    }

    /// Stores bytes of one segment under a key.
    async fn keep(
        &self,
        secret: [u8; 32],
        mask: MaskMode,
        access: Access,
        plain: Vec<u8>,
    ) -> Vec<Hash> {
        let (network, memory) = (self.client.network(), Arc::new(Forgetful::default()));
        let (account_key, peer) =
            (self.client.identity().account_key(), self.client.identity().peer());
        let storing = Storing {
            owner: Owner { account_key, peer },
            key: FileKey::from_bytes(secret),
            mask,
            scheme: SCHEME,
            access,
            epochs: EPOCHS,
            begun: Begun::Now,
            live: false,
            candidates: network.candidates(b"a sale").await.expect("the nodes are there"),
            paid: Paid::default(),
            memory: memory.clone(),
        };
        let layout = Layout::new(SCHEME, plain.len() as u64).expect("a small file has a layout");
        let segment = layout.segment(0).expect("a file has a segment");
        let (bytes, quiet) = (SegmentBytes::Bytes(Bytes::from(plain)), Progress::silent());
        let fed = network.feed_segment(&storing, segment, &bytes, &quiet).await;
        fed.expect("nodes take it").settle(None).await.expect("the seller can pay for it");
        memory.leaves()
    }

    /// Stores public content.
    async fn publish(&self, bytes: Vec<u8>) -> PublicRef {
        let (secret, hash) = (self.fresh("public key"), Hash(*blake3::hash(&bytes).as_bytes()));
        let layout = Layout::new(SCHEME, bytes.len() as u64).expect("a small file has a layout");
        let leaves = self.keep(secret, MaskMode::None, Access::Public, bytes).await;
        let mut tree = merkle::Builder::new();
        tree.extend(leaves);
        let key = FileKey::from_bytes(secret);
        let manifest = Manifest::new(&key, MaskMode::None, &layout, tree.finish());
        PublicRef { manifest, key: secret, hash }
    }
}
