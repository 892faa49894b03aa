//! Followed blocks of a remote ledger.

use symbolon_net::{NetError, Sender};
use symbolon_protocol::{
    id::Hash,
    ledger::block::{Block, events_root, transactions_root},
    wire::ledger::{Request, Response},
};
use tokio::{sync::mpsc, task::JoinHandle, time::sleep};

use super::{BLOCKS_AHEAD, PAUSE_MAX, PAUSE_MIN, Remote, unexpected};
use crate::error::LedgerError;

/// Followed blocks. A task of its own fetches a few ahead, so that a caller may stop waiting at any
/// time.
pub(crate) struct RemoteBlocks {
    blocks: mpsc::Receiver<Result<Block, LedgerError>>,
    task: JoinHandle<()>,
}

impl RemoteBlocks {
    /// The blocks from `height` on.
    pub(super) fn new(remote: Remote, height: u64) -> Self {
        let (sender, blocks) = mpsc::channel(BLOCKS_AHEAD);
        let follower = Follower { remote, next: height, parent: None };
        Self { blocks, task: tokio::spawn(follower.run(sender)) }
    }

    pub(crate) async fn next(&mut self) -> Result<Block, LedgerError> {
        self.blocks.recv().await.unwrap_or(Err(LedgerError::Closed))
    }
}

impl Drop for RemoteBlocks {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Follower {
    remote: Remote,
    next: u64,
    parent: Option<Hash>,
}

impl Follower {
    /// Follows until the receiver is dropped or no server is left that tells the truth.
    async fn run(mut self, blocks: mpsc::Sender<Result<Block, LedgerError>>) {
        let mut pause = PAUSE_MIN;
        let mut liars = 0;
        loop {
            let before = self.next;
            let Err(error) = self.stream(&blocks).await else { return };
            if before < self.next {
                pause = PAUSE_MIN;
                liars = 0;
            }
            match error {
                LedgerError::Unreachable { last, .. } => {
                    tracing::debug!(%last, height = self.next, "following again");
                }
                error => {
                    liars += 1;
                    let others = error.servers_fault() && liars < self.remote.servers();
                    if !others || matches!(error, LedgerError::Forked { .. }) {
                        drop(blocks.send(Err(error)).await);
                        return;
                    }
                    tracing::warn!(%error, "following another server");
                }
            }
            self.remote.next_server().await;
            tokio::select! {
                biased;
                () = blocks.closed() => return,
                () = sleep(pause) => pause = (pause * 2).min(PAUSE_MAX),
            }
        }
    }

    /// Follows blocks over one connection. Returns `Ok` when the receiver is dropped.
    async fn stream(
        &mut self,
        blocks: &mpsc::Sender<Result<Block, LedgerError>>,
    ) -> Result<(), LedgerError> {
        let lost = |last| match last {
            NetError::Malformed(_) | NetError::TooLarge { .. } => {
                LedgerError::Forged { what: "the message is malformed" }
            }
            last => LedgerError::Unreachable { attempts: 1, last },
        };
        self.remote.begin().await?;
        let request = Request::Follow { height: self.next };
        let opened: Result<(Sender, _), _> = self.remote.open(&request).await;
        let (_sender, mut receiver) = opened.map_err(lost)?;
        loop {
            let response = tokio::select! {
                biased;
                () = blocks.closed() => return Ok(()),
                response = receiver.receive::<Response>() => response.map_err(lost)?,
            };
            if let Response::Block { block } = &response
                && self.remote.names_new_sets(&block.header)
            {
                self.remote.learn_sets().await?;
            }
            let block = match self.take(response) {
                Err(error) => return Err(self.remote.keep_evidence(error).await),
                block => block?,
            };
            if blocks.send(Ok(block)).await.is_err() {
                return Ok(());
            }
        }
    }

    /// Checks a response: the next block, or why there is none.
    fn take(&mut self, response: Response) -> Result<Block, LedgerError> {
        let block = match response {
            Response::Block { block } => block,
            Response::Pruned { oldest } => {
                let height = self.next;
                return Err(match height < oldest.height {
                    true => LedgerError::Pruned { height, oldest },
                    false => LedgerError::Forged { what: "the block is one that the ledger keeps" },
                });
            }
            other => return Err(unexpected(other)),
        };
        let header = &block.header.header;
        if header.height != self.next {
            return Err(LedgerError::Forged { what: "the block has another height" });
        }
        self.remote.believe(&block.header, None)?;
        if self.parent.is_some_and(|parent| parent != header.parent) {
            let height = self.next.saturating_sub(1);
            return Err(LedgerError::Forked { height, kept: None });
        }
        if transactions_root(&block.transactions) != header.transactions_root {
            return Err(LedgerError::Forged { what: "the header does not cover the transactions" });
        }
        if events_root(&block.events) != header.events_root {
            return Err(LedgerError::Forged { what: "the header does not cover the events" });
        }
        self.parent = Some(header.digest());
        self.next += 1;
        Ok(block)
    }
}
