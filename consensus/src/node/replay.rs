//! From what a node finds on its disk to where it was.

use arc_malachitebft_core_consensus as engine;
use arc_malachitebft_core_types as types;
use engine::{Input, ProposedValue};
use symbolon_protocol::{
    Encode as _,
    id::{AccountId, ChainId, Hash},
};
use types::{Round, Timeout, TimeoutKind, Validity, ValueOrigin};

use super::{Node, Output, StartError, bodies::Held};
use crate::{
    context::{Address, Agreement, Digest, Height, Members},
    convert,
    guard::Guard,
    log::{Entry, What},
    message::Step,
};

/// The entries of the height that is next. Those before are of blocks that the ledger has.
pub(super) fn read(log: &[Vec<u8>], height: u64) -> Result<Vec<What>, StartError> {
    let mut entries = Vec::new();
    for bytes in log {
        let entry = Entry::read(bytes)?;
        if height < entry.height {
            return Err(StartError::Ahead { log: entry.height, ledger: height });
        }
        if entry.height == height {
            entries.push(entry.what);
        }
    }
    Ok(entries)
}

/// What tells an entry from others.
pub(super) fn name(height: u64, what: &What) -> Hash {
    let mut bytes = height.to_bytes();
    what.encode(&mut bytes);
    Hash(*blake3::hash(&bytes).as_bytes())
}

/// Whether the log has the statement that this key has signed last.
pub(super) fn has_statement(chain: &ChainId, key: &AccountId, log: &[What], guard: &Guard) -> bool {
    log.iter().any(|what| what.statement(chain, key) == Some(guard.digest))
}

impl Node {
    /// Begins: where the log ends, or at rest if no height was being decided.
    pub(super) fn start(&mut self) {
        self.tell_status();
        let log = std::mem::take(&mut self.restored);
        if log.is_empty() {
            return self.rest();
        }
        let inputs: Vec<_> = log.into_iter().filter_map(|what| self.restore(what)).collect();
        self.state.index_wal_entries(&inputs);
        self.start_height(true);
        self.core.inputs.extend(inputs);
        // The core's wish for a block comes first, and is granted last: by then the log may have told which one it was.
        self.drain();
        self.state.reset_entries_index();
        let height = self.core.height;
        let unjudged = self.core.bodies.unjudged();
        let again: Vec<_> =
            unjudged.map(|(block, held)| Output::Ask(held.question(height, *block))).collect();
        self.core.outputs.extend(again);
        self.core.propose_again();
    }

    /// Takes an entry in, or gives the input for the core that it is.
    fn restore(&mut self, what: What) -> Option<Input<Agreement>> {
        match what {
            What::Block { round, proposer, block, body } => {
                let held = Held::new(round, proposer, body, None);
                self.core.bodies.put(block, held, &[]);
                None
            }
            What::Built { round, block } => {
                self.core.built.insert(round, block);
                None
            }
            What::Judged { block, is_valid, .. } => {
                if let Some(held) = self.core.bodies.get_mut(&block) {
                    held.found(is_valid);
                }
                input(self.core.height, &self.core.members, &what)
            }
            other => {
                // It may not have left the machine.
                if let What::Proposal { proposal } = &other {
                    self.core.has_proposed(proposal);
                }
                input(self.core.height, &self.core.members, &other)
            }
        }
    }
}

/// The input that an entry has kept.
fn input(height: u64, members: &Members, what: &What) -> Option<Input<Agreement>> {
    Some(match what {
        What::Vote { vote } => Input::Vote(convert::to_vote(vote)),
        What::Proposal { proposal } => Input::Proposal(convert::to_proposal(proposal)),
        What::Polka { polka } => Input::PolkaCertificate(convert::to_polka(members, polka)?),
        What::Elapsed { step, round } => {
            let kind = match step {
                Step::Proposal => TimeoutKind::Propose,
                Step::Prevote => TimeoutKind::Prevote,
                Step::Precommit => TimeoutKind::Precommit,
            };
            Input::TimeoutElapsed(Timeout::new(Round::new(*round), kind))
        }
        What::Judged { round, locked_round, proposer, block, is_valid } => Input::ProposedValue(
            ProposedValue {
                height: Height(height),
                round: Round::new(*round),
                valid_round: convert::to_round(*locked_round),
                proposer: Address(*proposer),
                value: Digest(*block),
                validity: Validity::from_bool(*is_valid),
            },
            ValueOrigin::Consensus,
        ),
        What::Block { .. } | What::Built { .. } => return None,
    })
}
