//! What goes wrong in a run.

use symbolon_protocol::ledger::commit::Validators;

use crate::{
    liars::{LIES, Lie},
    random::Random,
    world,
};

#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// The power of each machine; none for a follower.
    pub(crate) powers: Vec<u64>,
    pub(crate) lies: Vec<(usize, Lie)>,
    /// One machine more runs the key of this one.
    pub(crate) twin_of: Option<usize>,
    pub(crate) wrong_clock: Option<(usize, i64)>,
    pub(crate) loss_permille: u64,
    pub(crate) slow_permille: u64,
    pub(crate) has_partitions: bool,
    pub(crate) has_crashes: bool,
    /// A crash may bring an older log back.
    pub(crate) has_backups: bool,
    pub(crate) has_changes: bool,
    pub(crate) is_busy: bool,
    pub(crate) heartbeat_ms: u64,
    pub(crate) faults_ms: u64,
    /// How long a quorum that is up may go without a block.
    pub(crate) stall_max_ms: u64,
    /// How long after the faults all machines may take to have three more blocks and all transactions.
    pub(crate) recovery_max_ms: u64,
}

impl Plan {
    /// Nothing goes wrong, and there is always something to do.
    pub(crate) fn calm(powers: &[u64]) -> Self {
        Self {
            powers: powers.to_vec(),
            lies: Vec::new(),
            twin_of: None,
            wrong_clock: None,
            loss_permille: 0,
            slow_permille: 0,
            has_partitions: false,
            has_crashes: false,
            has_backups: false,
            has_changes: false,
            is_busy: true,
            heartbeat_ms: 5_000,
            faults_ms: 20_000,
            stall_max_ms: 60_000,
            recovery_max_ms: 120_000,
        }
    }

    /// Loss, slow lines, partitions and crashes.
    pub(crate) fn faults(powers: &[u64]) -> Self {
        Self {
            loss_permille: 20,
            slow_permille: 50,
            has_partitions: true,
            has_crashes: true,
            ..Self::calm(powers)
        }
    }

    /// The same, and a validator with less than a third of the power lies.
    pub(crate) fn liar(powers: &[u64], liar: usize, random: &mut Random) -> Self {
        let lie = LIES[usize::try_from(random.below(LIES.len() as u64)).expect("small")];
        Self { lies: vec![(liar, lie)], ..Self::faults(powers) }
    }

    /// Another set of the same machines, in which those that lie have less than a third of the power.
    pub(crate) fn other_set(&self, random: &mut Random) -> Validators {
        loop {
            let powers: Vec<u64> =
                self.powers.iter().map(|_| random.below(6).saturating_sub(1)).collect();
            let is_liar = |at: usize| {
                self.lies.iter().any(|(liar, _)| *liar == at) || self.twin_of == Some(at)
            };
            let total: u64 = powers.iter().sum();
            let lying = powers.iter().enumerate().filter(|(at, _)| is_liar(*at));
            let lying: u64 = lying.map(|(_, power)| power).sum();
            if total != 0 && lying * 3 < total {
                return world::set(&powers);
            }
        }
    }
}
