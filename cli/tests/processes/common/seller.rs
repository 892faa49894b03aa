//! A seller whose client lists what it is told to: the honest truth, or a lie about keys and cells. It is made of the
//! library's public parts; no client that is shipped can list a lie.

use std::sync::Arc;

use bytes::Bytes;
use symbolon_client::{Client, Identity, Name, Phrase, Progress, PutOptions, SellOptions, Source};
use symbolon_ledger::LedgerTicket;
use symbolon_protocol::{
    Amount,
    content::{FileKey, Layout, Manifest, MaskMode, Scheme, SegmentCoder, seal::LeafParts},
    custody::{self, Capsule},
    dispute::LeafList,
    grant,
    id::{Hash, ListingId, Opening, TransactionId},
    ledger::{
        bond_min,
        rows::{Access, Chains, Listings, PublicRef, Terms},
        transaction::Action,
    },
    merkle,
};
use symbolon_transfer::{
    Owner,
    upload::{Begun, Forgetful, Paid, SegmentBytes, Storing},
};
use tokio::runtime::Runtime;

use super::Network;

/// Required and total shards of what is sold.
const SCHEME: Scheme = Scheme { required: 2, total: 5 };

/// For how many epochs everything is stored.
const EPOCHS: u64 = 720;

/// A seller, in this process.
pub(crate) struct Seller {
    runtime: Runtime,
    client: Client,
    /// The terms of an honest listing of another file. They name a vault and a description.
    terms: Terms,
}

/// What a seller sells, and knows of it.
pub(crate) struct Goods {
    pub(crate) listing: ListingId,
    pub(crate) key: FileKey,
    pub(crate) layout: Layout,
    pub(crate) manifest: Manifest,
    pub(crate) list: LeafList,
    pub(crate) plain: Vec<u8>,
}

/// What a listing will say, before it says it.
pub(crate) struct Said {
    pub(crate) parts: Vec<LeafParts>,
    pub(crate) pad: [u8; 32],
}

/// The parts of the leaves of a file of one segment.
pub(crate) fn parts_of(key: &FileKey, layout: &Layout, plain: &[u8]) -> Vec<LeafParts> {
    let segment = layout.segment(0).unwrap();
    let coder = SegmentCoder::new(key, MaskMode::ChaCha20, segment);
    let (mut parts, mut rest) = (Vec::new(), plain);
    for number in 0..segment.stripes {
        let stripe = segment.stripe(number).unwrap();
        let (here, later) = rest.split_at(stripe.plain_length);
        rest = later;
        coder.leaf_parts(number, here, &mut parts).unwrap();
    }
    parts
}

impl Seller {
    /// A seller with a vault, which an honest sale of a small file has opened.
    pub(crate) fn start(network: &Network, number: u8) -> Self {
        let runtime = Runtime::new().unwrap();
        let client = runtime.block_on(async {
            let ticket: LedgerTicket = network.ticket.parse().unwrap();
            let identity = Identity::from_phrase(&Phrase::from_entropy(&[number; 32]));
            let dir = network.folder.path().join(format!("seller{number}"));
            let client = Client::connect(&ticket, identity, dir).await.unwrap();
            client.faucet().await.unwrap();
            client
        });
        let terms = runtime.block_on(async {
            let (name, quiet) = (Name::new("first").unwrap(), Progress::silent());
            let source = Source::from(b"some honest bytes".to_vec());
            let options = PutOptions { epochs: Some(EPOCHS), ..PutOptions::default() };
            client.put(source, &name, &options, &quiet).await.unwrap();
            let options = SellOptions {
                title: String::from("data"),
                price: Amount::credits(8),
                preview_cells: 0,
                ..SellOptions::default()
            };
            let listed = client.sell(&name, &options, &quiet).await.unwrap();
            client.ledger().row(Listings, &listed.listing).await.unwrap().unwrap().terms
        });
        Self { runtime, client, terms }
    }

    /// Stores a file, and lists it with what `say` makes of the truth.
    pub(crate) fn list(
        &self,
        plain: Vec<u8>,
        say: impl FnOnce(&FileKey, &Layout, &mut Said),
    ) -> Goods {
        self.runtime.block_on(self.list_here(plain, say))
    }

    /// The machine of the seller is off from now on.
    pub(crate) fn goes_off(self) {
        self.runtime.block_on(self.client.close());
    }

    async fn list_here(
        &self,
        plain: Vec<u8>,
        say: impl FnOnce(&FileKey, &Layout, &mut Said),
    ) -> Goods {
        let (client, chain) = (&self.client, self.client.ledger().chain());
        let (host, me) = (client.network().host(), client.identity().account());
        let secret: [u8; 32] = host.random();
        let key = FileKey::from_bytes(secret);
        let layout = Layout::new(SCHEME, plain.len() as u64).unwrap();
        self.store(&secret, MaskMode::ChaCha20, Access::Granted, plain.clone()).await;
        let mut said = Said { parts: parts_of(&key, &layout, &plain), pad: [0; 32] };
        // The pad follows from the capsule, and the capsule from the root, so `say` gets the pad as a difference.
        say(&key, &layout, &mut said);
        let list = LeafList::new(&key, &layout, said.parts);
        let mut tree = merkle::Builder::new();
        tree.extend(list.leaves());
        let manifest = Manifest::new(&key, MaskMode::ChaCha20, &layout, tree.finish());
        let leaves = self.publish(list.to_bytes()).await;
        let vault = self.terms.vault;
        let label = custody::label(&chain, &me, &vault, &manifest.content_root);
        let of_vault = client.identity().vault_secret(&chain, &vault);
        let (capsule, point) = Capsule::seal(&of_vault, &label, &host.random());
        let mut pad = custody::pad(&secret, &custody::listing_key(&point));
        pad.iter_mut().zip(said.pad).for_each(|(byte, differs)| *byte ^= differs);
        let account = client.identity().account_key();
        let mandate = grant::mandate(&chain, &account, manifest.object, &host.random()).unwrap();
        let params = client.ledger().row(Chains, &()).await.unwrap().unwrap().params;
        let terms = Terms {
            bond: bond_min(&params, self.terms.price),
            manifest: manifest.clone(),
            cells: layout.cells(),
            leaves,
            masks_root: list.masks_root(),
            capsule,
            pad,
            mandate,
            ..self.terms.clone()
        };
        let opening = Opening(host.random());
        let listing = ListingId::of(&me, &opening);
        self.send(Action::List { opening, terms: Box::new(terms) }).await;
        let deals = vec![key.deal(&me, 0)];
        self.send(Action::CoverListing { listing, first: 0, deals }).await;
        Goods { listing, key, layout, manifest, list, plain }
    }

    async fn send(&self, action: Action) {
        let id = TransactionId(self.client.network().host().random());
        let key = self.client.identity().account_key();
        self.client.network().send(&key, id, action).await.unwrap();
    }

    /// Stores bytes of one segment under a key.
    async fn store(
        &self,
        secret: &[u8; 32],
        mask: MaskMode,
        access: Access,
        plain: Vec<u8>,
    ) -> Vec<Hash> {
        let network = self.client.network();
        let memory = Arc::new(Forgetful::default());
        let (account_key, peer) =
            (self.client.identity().account_key(), self.client.identity().peer());
        let storing = Storing {
            owner: Owner { account_key, peer },
            key: FileKey::from_bytes(*secret),
            mask,
            scheme: SCHEME,
            access,
            epochs: EPOCHS,
            begun: Begun::Now,
            live: false,
            candidates: network.candidates(b"a sale").await.unwrap(),
            paid: Paid::default(),
            memory: memory.clone(),
        };
        let layout = Layout::new(SCHEME, plain.len() as u64).unwrap();
        assert_eq!(layout.segments(), 1, "a small file");
        let bytes = SegmentBytes::Bytes(Bytes::from(plain));
        let fed = network
            .feed_segment(&storing, layout.segment(0).unwrap(), &bytes, &Progress::silent())
            .await
            .unwrap();
        fed.settle(None).await.unwrap();
        memory.leaves()
    }

    /// Stores public content.
    async fn publish(&self, bytes: Vec<u8>) -> PublicRef {
        let secret: [u8; 32] = self.client.network().host().random();
        let hash = Hash(*blake3::hash(&bytes).as_bytes());
        let layout = Layout::new(SCHEME, bytes.len() as u64).unwrap();
        let leaves = self.store(&secret, MaskMode::None, Access::Public, bytes).await;
        let mut tree = merkle::Builder::new();
        tree.extend(leaves);
        let key = FileKey::from_bytes(secret);
        let manifest = Manifest::new(&key, MaskMode::None, &layout, tree.finish());
        PublicRef { manifest, key: secret, hash }
    }
}
