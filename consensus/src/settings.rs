//! How long a node waits, and for what.

use symbolon_protocol::Millis;

/// The waiting times of a node. Validators of one ledger should have the same: no rule depends on it, but they wait for each
/// other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How long a round waits for its proposal, and for how much longer in each round after the first.
    pub propose: (Millis, Millis),
    /// The longest wait for a proposal of a validator that this node is not connected with.
    pub away: Millis,
    /// How long it waits for further votes once more than two thirds have voted without a result, and how much longer in
    /// each round after the first. For prevotes, and again for precommits.
    pub vote: (Millis, Millis),
    /// The longest of these waits.
    pub wait_max: Millis,
    /// How long after a block the next height may begin, so that a block gathers transactions.
    pub pace: Millis,
    /// How long after a block the next height begins although there is nothing to do. So followers know that the ledger is
    /// alive, and a light client's trust does not run out.
    pub heartbeat: Millis,
    /// How often a node tells its height, and those that are behind ask.
    pub status: Millis,
    /// How long a node that is one block behind waits for the votes to tell it the block, before it asks for it.
    pub behind: Millis,
    /// How long it waits for an answer before it asks another peer.
    pub answer: Millis,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            // Measured with four processes: a block of 1 MB is with all and executed in a tenth of this.
            propose: (Millis(1_000), Millis(500)),
            // A moment for one that is just coming back.
            away: Millis(100),
            vote: (Millis(500), Millis(250)),
            // A round that takes longer only delays the end of a fault.
            wait_max: Millis(15_000),
            // What the embedded ledger gathers for.
            pace: Millis(5),
            heartbeat: Millis(60_000),
            status: Millis(2_000),
            behind: Millis(250),
            answer: Millis(2_000),
        }
    }
}
