//! Fresh previews, on the seller's side: while it is online, the seller opens the cells that a viewer's own number picks.
//! It opens few of them, for one viewer and for all together, so that the file does not leak away.

mod opened;

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use symbolon_net::{
    Alpn, Connection, Endpoint, Gate, NetError, Pass, Receiver, Sender,
    crowd::{Bounds, Group},
};
use symbolon_protocol::{
    content::Layout,
    id::ListingId,
    ledger::rows::{Listing, ListingState},
    limits::{FRESH_CELLS_MAX, LIST_MAX},
    preview::{PreviewCell, fresh_seed, picks},
    wire::preview::{NotOpened, Request, Response},
};
use tokio::{
    sync::{Mutex as AsyncMutex, Semaphore},
    task::JoinSet,
    time::timeout,
};

use crate::{error::ClientError, locks::NameLock, market::Market};
use opened::OpenedCells;

/// Connections at the same time. A viewer needs one.
const CONNECTIONS: Bounds = Bounds {
    places: 64,
    of_peer: 2,
    of_owner: 64,
    of_address: 8,
    window_ms: 10_000,
    keeps_from: 1,
};

/// Requests that wait for their answer at the same time. They are answered one after another.
const WAITING_MAX: usize = 16;

/// How long a viewer may take for a request, and between two.
const PATIENCE: Duration = Duration::from_secs(10);

/// The time over which the cells of one viewer are counted, in milliseconds: a day.
const VIEWER_MS: u64 = 86_400_000;

/// Viewers that are counted at the same time. If there are more, new ones wait.
const VIEWERS_MAX: usize = 10_000;

/// How much a seller opens for viewers.
#[derive(Clone, Copy, Debug, Default)]
pub struct ViewerLimits {
    /// Cells of one file, for all viewers together and for ever. Without a value it is a hundredth of its cells, at least
    /// four, and at most a quarter.
    pub of_file: Option<u64>,
    /// Cells for one viewer in a day. Without a value it is [`FRESH_CELLS_MAX`].
    pub of_viewer: Option<u64>,
}

impl ViewerLimits {
    /// Cells of a file with so many for all viewers together.
    #[must_use]
    pub fn of_cells(&self, cells: u64) -> u64 {
        self.of_file
            .unwrap_or_else(|| (cells / 100).max(4).min(cells / 4))
            .min(cells)
            .min(u64::from(LIST_MAX))
    }
}

/// The cells that each viewer has had lately.
#[derive(Debug, Default)]
struct Viewers {
    had: BTreeMap<Group, (u64, u64)>,
}

impl Viewers {
    /// Counts cells for a viewer, if all its groups may have them.
    fn take(&mut self, groups: &[Group], cells: u64, most: u64, now_ms: u64) -> bool {
        self.had.retain(|_, (since_ms, _)| now_ms < since_ms.saturating_add(VIEWER_MS));
        let had = |group: &Group| self.had.get(group).map_or(0, |(_, had)| *had);
        let new = groups.iter().filter(|group| !self.had.contains_key(*group)).count();
        if groups.iter().any(|group| most < had(group) + cells)
            || VIEWERS_MAX < self.had.len() + new
        {
            return false;
        }
        for group in groups {
            self.had.entry(*group).or_insert((now_ms, 0)).1 += cells;
        }
        true
    }
}

/// A seller who is ready to answer viewers: no other process of this identity does as long as this value lives.
#[derive(Debug)]
pub struct Answering {
    seller: Arc<Seller>,
    #[expect(dead_code, reason = "the lock lives as long as this value")]
    lock: NameLock,
}

/// What all requests share.
#[derive(Debug)]
struct Seller {
    market: Market,
    limits: ViewerLimits,
    folder: PathBuf,
    viewers: Mutex<Viewers>,
    waiting: Semaphore,
    /// Held from the look at what is open until it is written down. So no two requests open more than is allowed.
    turn: AsyncMutex<()>,
}

/// Why a request is refused, beside what went wrong here.
enum Stop {
    Refused(NotOpened),
    Failed(ClientError),
}

impl From<ClientError> for Stop {
    fn from(error: ClientError) -> Self {
        Self::Failed(error)
    }
}

impl Market {
    /// Makes ready to answer viewers. Refuses if another process of this identity does: both would count for themselves.
    pub async fn answering(&self, limits: ViewerLimits) -> Result<Answering, ClientError> {
        let folder = self.dir().join("fresh");
        let here = folder.clone();
        let lock = move || NameLock::take(&here, b"answering", "answering viewers");
        let lock = self.host().blocking(lock).await?;
        let seller = Arc::new(Seller {
            market: self.clone(),
            limits,
            folder,
            viewers: Mutex::default(),
            waiting: Semaphore::new(WAITING_MAX),
            turn: AsyncMutex::default(),
        });
        Ok(Answering { seller, lock })
    }
}

impl Answering {
    /// Answers viewers over an endpoint until it closes.
    pub async fn run(&self, endpoint: &Endpoint) {
        let gate = Gate::new(CONNECTIONS);
        let mut connections = JoinSet::new();
        while let Some(connection) = endpoint.accept().await {
            while connections.try_join_next().is_some() {}
            let peer = [Group::Peer(connection.peer())].into_iter();
            let groups: Vec<_> = peer.chain(connection.remote().map(Group::of_address)).collect();
            match gate.enter(&groups) {
                _ if connection.alpn() != Alpn::Preview => connection.close("this is a seller"),
                Ok(pass) => {
                    drop(connections.spawn(serve(self.seller.clone(), connection, groups, pass)))
                }
                Err(_) => connection.close("busy"),
            }
        }
        connections.shutdown().await;
    }
}

/// Answers a viewer, one request after another.
async fn serve(seller: Arc<Seller>, connection: Connection, groups: Vec<Group>, pass: Pass) {
    let requests = async {
        while let Ok(Ok((sender, receiver))) = timeout(PATIENCE, connection.accept()).await {
            if seller.answer(&groups, sender, receiver).await.is_err() {
                break;
            }
            pass.achieved(1);
        }
    };
    tokio::select! {
        () = requests => {}
        () = pass.gives_way() => connection.close("this connection is idle, and others wait"),
    }
}

impl Seller {
    async fn answer(
        &self,
        groups: &[Group],
        mut sender: Sender,
        mut receiver: Receiver,
    ) -> Result<(), NetError> {
        let refused = |why: NotOpened| Response::Refused { why, message: format!("{why:?}") };
        let response = match timeout(PATIENCE, receiver.receive::<Request>()).await {
            Ok(Ok(Request::Open { listing, nonce, count })) => {
                match self.open(groups, &listing, &nonce, count).await {
                    Ok(cells) => Response::Cells { cells },
                    Err(Stop::Refused(why)) => refused(why),
                    Err(Stop::Failed(error)) => {
                        tracing::warn!(%listing, %error, "cells could not be opened for a viewer");
                        refused(NotOpened::Unable)
                    }
                }
            }
            Ok(Err(error)) if error.peers_fault() => refused(NotOpened::Malformed),
            Ok(Err(error)) => return Err(error),
            Err(_) => return Ok(()),
        };
        timeout(PATIENCE, sender.send(&response)).await.unwrap_or(Ok(()))?;
        sender.finish();
        Ok(())
    }

    async fn open(
        &self,
        groups: &[Group],
        id: &ListingId,
        nonce: &[u8; 32],
        count: u8,
    ) -> Result<Vec<PreviewCell>, Stop> {
        if !(1..=FRESH_CELLS_MAX).contains(&count) {
            return Err(Stop::Refused(NotOpened::Count));
        }
        let Ok(_waiting) = self.waiting.try_acquire() else {
            return Err(Stop::Refused(NotOpened::Busy));
        };
        let most = self.limits.of_viewer.unwrap_or(u64::from(FRESH_CELLS_MAX));
        let now_ms = self.market.host().now_ms().0;
        // Counted before anything is looked up: a stranger makes this machine ask its ledger as often, and no more.
        let viewers = || self.viewers.lock().unwrap_or_else(PoisonError::into_inner);
        if !viewers().take(groups, u64::from(count), most, now_ms) {
            return Err(Stop::Refused(NotOpened::Later));
        }
        let listing = match self.market.own.row(id).await {
            Ok(listing) if self.is_ours(&listing) => listing,
            Ok(_) | Err(ClientError::NoListing(_)) => {
                return Err(Stop::Refused(NotOpened::NotHere));
            }
            Err(error) => return Err(error.into()),
        };
        let manifest = &listing.terms.manifest;
        let layout = manifest.layout().map_err(|error| ClientError::Index(error.to_string()))?;
        let seed = fresh_seed(&manifest.content_root, id, nonce);
        let cells = picks(&seed, layout.cells(), count);
        let _turn = self.turn.lock().await;
        let (folder, root) = (self.folder.clone(), manifest.content_root);
        let read = move || OpenedCells::read(&folder, &root);
        let mut opened = self.market.host().blocking(read).await?;
        let new = opened.new_among(&cells);
        if 0 < new && self.limits.of_cells(layout.cells()) < opened.count() + new {
            return Err(Stop::Refused(NotOpened::Spent));
        }
        let made = self.make(&listing, &layout, &cells).await?;
        // On the disk before any of it leaves this machine.
        self.market.host().blocking(move || opened.add(&cells)).await?;
        Ok(made)
    }

    fn is_ours(&self, listing: &Listing) -> bool {
        listing.seller == self.market.me() && listing.state == ListingState::Open
    }

    async fn make(
        &self,
        listing: &Listing,
        layout: &Layout,
        cells: &[u64],
    ) -> Result<Vec<PreviewCell>, Stop> {
        let object = listing.terms.manifest.object;
        let stored = self.market.own_object(&object).await?;
        let Some(entry) = stored.filter(|entry| entry.manifest == listing.terms.manifest) else {
            return Err(Stop::Refused(NotOpened::NotHere));
        };
        Ok(self.market.open_cells(&entry, layout, cells).await?)
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use symbolon_protocol::id::PeerId;

    use super::*;

    #[test]
    fn a_viewer_has_few_cells_a_day_under_any_name() {
        let peer = |number: u8| Group::Peer(PeerId([number; 32]));
        let address = Group::of_address(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)));
        let mut viewers = Viewers::default();
        assert!(viewers.take(&[peer(1), address], 5, 8, 1));
        assert!(!viewers.take(&[peer(1), address], 4, 8, 2), "too many");
        assert!(!viewers.take(&[peer(2), address], 4, 8, 2), "from the same address");
        assert!(viewers.take(&[peer(2), address], 3, 8, 2));
        assert!(viewers.take(&[peer(3)], 8, 8, 2));
        assert!(!viewers.take(&[peer(1), address], 5, 8, VIEWER_MS), "not yet a day");
        assert!(viewers.take(&[peer(1), address], 5, 8, VIEWER_MS + 1));
    }

    #[test]
    fn as_many_viewers_are_counted_as_there_is_room_for() {
        let mut viewers = Viewers::default();
        let peer = |number: usize| {
            let mut id = [0; 32];
            id[..8].copy_from_slice(&(number as u64).to_le_bytes());
            [Group::Peer(PeerId(id))]
        };
        assert!((0..VIEWERS_MAX).all(|number| viewers.take(&peer(number), 1, 8, 1)));
        assert!(!viewers.take(&peer(VIEWERS_MAX), 1, 8, 1));
        assert!(viewers.take(&peer(0), 1, 8, 1), "one that is counted goes on");
        assert!(viewers.take(&peer(VIEWERS_MAX), 1, 8, VIEWER_MS + 1));
    }

    #[test]
    fn little_of_a_file_is_opened_unless_the_seller_says_so() {
        let usual = ViewerLimits::default();
        for (cells, most) in [(0, 0), (3, 0), (8, 2), (16, 4), (400, 4), (10_000, 100)] {
            assert_eq!(usual.of_cells(cells), most, "{cells}");
        }
        let said = ViewerLimits { of_file: Some(50), of_viewer: None };
        assert_eq!((said.of_cells(10), said.of_cells(1000)), (10, 50));
    }
}
