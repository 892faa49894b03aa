//! The servers of a remote ledger: one is asked at a time, and the next one when it is slow to answer a call, fails, lies or
//! holds blocks back.

use std::{collections::BTreeSet, sync::atomic::Ordering, time::Duration};

use symbolon_net::{Alpn, Connection, NetError, PeerAddress, Receiver, Sender};
use symbolon_protocol::{
    id::PeerId,
    wire::ledger::{Request, Response},
};
use tokio::{task::JoinSet, time::sleep};

use super::Remote;

impl Remote {
    /// How many servers the ticket names.
    pub(super) fn servers(&self) -> usize {
        self.inner.ticket.peers.len().max(1)
    }

    /// The server that is asked now.
    pub(super) fn server(&self) -> Option<&PeerAddress> {
        let turn = self.inner.turn.load(Ordering::Relaxed) % self.servers();
        self.inner.ticket.peers.get(turn)
    }

    /// Gives up the connection, and asks the next server from now on.
    pub(crate) async fn next_server(&self) {
        let mut held = self.inner.connection.lock().await;
        self.inner.turn.fetch_add(1, Ordering::Relaxed);
        *held = None;
    }

    /// Asks none of these servers next, if there is another one.
    pub(crate) async fn turn_from(&self, liars: &BTreeSet<PeerId>) {
        for _ in 0..self.servers() {
            if self.server().is_some_and(|server| !liars.contains(&server.id)) {
                return;
            }
            self.next_server().await;
        }
    }

    pub(super) async fn ask_once(&self, request: &Request) -> Result<Response, NetError> {
        let (_sender, mut receiver) = self.open(request).await?;
        receiver.receive().await
    }

    pub(super) async fn open(&self, request: &Request) -> Result<(Sender, Receiver), NetError> {
        let connection = self.connection().await?;
        let (mut sender, receiver) = connection.open().await?;
        sender.send(request).await?;
        sender.finish();
        Ok((sender, receiver))
    }

    async fn connection(&self) -> Result<Connection, NetError> {
        let mut held = self.inner.connection.lock().await;
        if let Some(connection) = held.as_ref().filter(|held| held.close_reason().is_none()) {
            return Ok(connection.clone());
        }
        let (place, connection) = self.first_to_answer().await?;
        self.inner.turn.store(place, Ordering::Relaxed);
        *held = Some(connection.clone());
        Ok(connection)
    }

    /// Calls the server whose turn it is, and a moment later each next one too, until one answers: a server that is gone
    /// costs a moment, and not the whole wait for it. Returns its place.
    async fn first_to_answer(&self) -> Result<(usize, Connection), NetError> {
        let (servers, turn) = (self.servers(), self.inner.turn.load(Ordering::Relaxed));
        let mut calls = JoinSet::new();
        for later in 0..servers {
            let place = (turn + later) % servers;
            let Some(server) = self.inner.ticket.peers.get(place).cloned() else { continue };
            let endpoint = self.inner.endpoint.clone();
            calls.spawn(async move {
                sleep(NEXT_AFTER * u32::try_from(later).unwrap_or(u32::MAX)).await;
                (place, endpoint.connect(&server, Alpn::Ledger).await)
            });
        }
        let mut last = NetError::Closed { why: "no server is named".into() };
        while let Some(called) = calls.join_next().await {
            match called {
                Ok((place, Ok(connection))) => return Ok((place, connection)),
                Ok((_, Err(error))) => last = error,
                Err(_) => {}
            }
        }
        Err(last)
    }
}

/// How long after a server the next one is called: longer than a way around the world and back.
const NEXT_AFTER: Duration = Duration::from_millis(350);
