//! Machines, the lines between them, and time, all from one seed.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::LazyLock,
};

use ed25519_dalek::SigningKey;
use symbolon_consensus::{
    Event, Ledger as _, Message, Node, Output, Request, Restored, Settings, Signatures, TimerId,
    To, ledger::Answer,
};
use symbolon_protocol::{
    Encode as _, MachineTime, Millis,
    id::{AccountId, ChainId, Hash, PeerId},
    ledger::commit::{Commit, Validator, Validators},
};

use crate::{
    judge::Judge,
    liars::Lie,
    machine::{Books, Disk},
    plan::Plan,
    random::Random,
};

pub(crate) const CHAIN: ChainId = ChainId([7; 32]);

enum Happening {
    Arrives { to: usize, from: usize, bytes: Vec<u8> },
    Elapsed { at: usize, life: u64, id: TimerId },
    Answered { at: usize, life: u64, request: Request },
    Restarts { at: usize },
    Submitted { at: usize, id: u64 },
    Faults,
    Second,
}

pub(crate) struct Machine {
    pub(crate) key: SigningKey,
    pub(crate) lie: Option<Lie>,
    pub(crate) node: Option<Node>,
    pub(crate) disk: Disk,
    pub(crate) books: Books,
    life: u64,
    /// How many outputs it still carries out before the power goes.
    until_crash: Option<u64>,
    /// Its clock, against the right one.
    clock_ms: i64,
    /// Whether it has said that its ledger is behind.
    pub(crate) is_behind: bool,
    /// An earlier state of its log: it comes back in place of the newer one, as from a backup.
    old_log: Option<Vec<Vec<u8>>>,
}

pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) random: Random,
    pub(crate) now_ms: u64,
    happenings: BTreeMap<(u64, u64), Happening>,
    next: u64,
    pub(crate) machines: Vec<Machine>,
    /// Machines of one group reach each other.
    groups: Vec<u64>,
    signatures: Signatures,
    pub(crate) judge: Judge,
    submitted: BTreeMap<u64, Option<Validators>>,
    is_calm: bool,
    pub(crate) outputs: u64,
    pub(crate) sent: u64,
    pub(crate) crashes: u64,
    /// Changes with everything that happens: equal runs have equal ones.
    pub(crate) trace: u64,
}

/// Machines of a run at most.
const MACHINES_MAX: usize = 128;

/// The time that a run begins at.
const BEGIN_MS: u64 = 1_000_000;

/// A machine speaks under the key with which it signs. The twin of one has that one's key, and another name.
pub(crate) fn peer(at: usize) -> PeerId {
    static PEERS: LazyLock<Vec<PeerId>> =
        LazyLock::new(|| (0..MACHINES_MAX).map(|at| PeerId(id(&key(at)).0)).collect());
    PEERS[at]
}

pub(crate) fn key(number: usize) -> SigningKey {
    SigningKey::from_bytes(&blake3::derive_key(
        "symbolon 2026 simulated key v1",
        &(number as u64).to_le_bytes(),
    ))
}

pub(crate) fn id(key: &SigningKey) -> AccountId {
    AccountId(key.verifying_key().to_bytes())
}

/// The set of machines with these powers. Those with none are followers.
pub(crate) fn set(powers: &[u64]) -> Validators {
    let members = powers.iter().enumerate().filter(|(_, power)| **power != 0);
    let mut members: Vec<_> =
        members.map(|(number, power)| Validator { key: id(&key(number)), power: *power }).collect();
    members.sort_unstable_by_key(|member| member.key);
    Validators { members }
}

impl World {
    pub(crate) fn new(seed: u64, plan: Plan) -> Self {
        let mut random = Random::new(seed);
        let first = set(&plan.powers);
        let count = plan.powers.len() + usize::from(plan.twin_of.is_some());
        let machines = (0..count)
            .map(|at| {
                let mut books = Books::new(first.clone());
                books.salt = (at as u64) << 32;
                let lie = plan.lies.iter().find(|(liar, _)| *liar == at).map(|(_, lie)| *lie);
                if lie == Some(Lie::Time) {
                    books.lie_ms = 3_600_000;
                }
                let clock_ms = match plan.wrong_clock {
                    Some((wrong, by)) if wrong == at => by,
                    _ => i64::try_from(random.below(400)).expect("small") - 200,
                };
                Machine {
                    key: key(plan.twin_of.filter(|_| at == plan.powers.len()).unwrap_or(at)),
                    lie,
                    node: None,
                    disk: Disk::default(),
                    books,
                    life: 0,
                    until_crash: None,
                    clock_ms,
                    is_behind: true,
                    old_log: None,
                }
            })
            .collect();
        let mut world = Self {
            random,
            now_ms: BEGIN_MS,
            happenings: BTreeMap::new(),
            next: 0,
            machines,
            groups: vec![0; count],
            signatures: Signatures::default(),
            judge: Judge::new(first, BEGIN_MS),
            submitted: BTreeMap::new(),
            is_calm: false,
            outputs: 0,
            sent: 0,
            crashes: 0,
            trace: 0,
            plan,
        };
        for at in 0..count {
            world.boot(at);
        }
        world.later(1_000, Happening::Second);
        world
    }

    fn later(&mut self, after_ms: u64, happening: Happening) {
        self.happenings.insert((self.now_ms + after_ms, self.next), happening);
        self.next += 1;
    }

    /// Machines that do what they should, so that they are judged.
    pub(crate) fn is_honest(&self, at: usize) -> bool {
        let is_twin = self.plan.twin_of.is_some_and(|of| of == at || at == self.plan.powers.len());
        self.machines[at].lie.is_none() && !is_twin
    }

    fn settings(&self) -> Settings {
        Settings {
            pace: Millis(20),
            heartbeat: Millis(self.plan.heartbeat_ms),
            ..Settings::default()
        }
    }

    /// Runs the faults, and then until all is well again.
    pub(crate) fn run(&mut self) {
        self.later(1, Happening::Faults);
        self.run_until(BEGIN_MS + self.plan.faults_ms);
        self.calm();
        let begin_ms = self.now_ms;
        let goal = self.judge.height() + 3;
        let is_done = |world: &Self| {
            (0..world.machines.len()).filter(|at| world.is_honest(*at)).all(|at| {
                let books = &world.machines[at].books;
                let has_all = world.submitted.keys().all(|id| books.applied.contains(id));
                goal <= books.height() && (has_all || !world.plan.is_busy)
            })
        };
        while !is_done(self) {
            assert!(
                self.now_ms < begin_ms + self.plan.recovery_max_ms,
                "no progress after the faults: {} of {goal}, {:?}",
                self.judge.height(),
                self.positions()
            );
            self.run_until(self.now_ms + 100);
        }
        self.judge.recovery_ms = self.now_ms - begin_ms;
        // A machine that has just started waits a moment for what the others say.
        self.run_until(self.now_ms + 10_000);
        let honest = (0..self.machines.len()).filter(|at| self.is_honest(*at));
        let behind: Vec<usize> = honest.filter(|at| self.machines[*at].is_behind).collect();
        assert!(behind.is_empty(), "machines {behind:?} hold themselves for too old");
        self.judge.compare(self.machines.iter().map(|machine| &machine.books));
    }

    pub(crate) fn positions(&self) -> Vec<(u64, Option<(u64, u32)>)> {
        let place = |node: &Node| (node.height(), node.round());
        let machines = self.machines.iter();
        machines.map(|one| (one.books.height(), one.node.as_ref().map(place))).collect()
    }

    pub(crate) fn run_until(&mut self, until_ms: u64) {
        while let Some(entry) = self.happenings.first_entry() {
            let (at_ms, _) = *entry.key();
            if until_ms < at_ms {
                break;
            }
            let happening = entry.remove();
            self.now_ms = at_ms;
            self.happen(happening);
        }
        self.now_ms = self.now_ms.max(until_ms);
    }

    fn happen(&mut self, happening: Happening) {
        self.trace = self.trace.rotate_left(5).wrapping_add(self.now_ms).wrapping_mul(0x0100_0193);
        match happening {
            Happening::Arrives { to, from, bytes } => {
                self.trace ^= bytes.iter().map(|byte| u64::from(*byte)).sum::<u64>();
                self.tell(to, Event::Received { from: peer(from), bytes });
            }
            Happening::Elapsed { at, life, id } if life == self.machines[at].life => {
                self.tell(at, Event::Elapsed(id));
            }
            Happening::Answered { at, life, request } if life == self.machines[at].life => {
                self.answer(at, request);
            }
            Happening::Elapsed { .. } | Happening::Answered { .. } => {}
            Happening::Restarts { at } => self.boot(at),
            Happening::Submitted { at, id } => self.hear(at, id),
            Happening::Faults => self.fault(),
            Happening::Second => self.second(),
        }
    }

    fn tell(&mut self, at: usize, event: Event) {
        let Some(node) = &mut self.machines[at].node else {
            return;
        };
        let outputs = node.step(event);
        self.carry_out(at, outputs);
    }

    fn answer(&mut self, at: usize, request: Request) {
        let machine = &mut self.machines[at];
        let clock_ms = self.now_ms.saturating_add_signed(machine.clock_ms);
        let before = machine.books.height();
        let answer = request.perform(&mut machine.books, MachineTime(clock_ms));
        let answer = answer.unwrap_or_else(|error| panic!("machine {at}: {error}"));
        if before < self.machines[at].books.height() {
            self.committed(at);
        }
        match answer {
            Answer::Tell(event) => self.tell(at, event),
            Answer::Send(to, message) => self.send(at, to, &message),
            Answer::Nothing => {}
        }
    }

    /// A machine has committed a block: it must be the one that all commit, and its commit must hold.
    fn committed(&mut self, at: usize) {
        let books = &self.machines[at].books;
        let last = books.blocks.last().expect("it was just committed");
        let set = &books.sets[usize::try_from(last.height).expect("small") - 1];
        let statement = Commit::statement(&CHAIN, last.height, last.commit.round, &last.block);
        let verify = |key: &_, digest: &_, given: &_| self.signatures.verify(key, digest, given);
        let holds = last.commit.verify_statement(&statement, set, verify);
        assert_eq!(holds, Ok(()), "machine {at}: the commit of block {}", last.height);
        self.judge.committed(self.now_ms, last, books.set());
    }

    fn carry_out(&mut self, at: usize, outputs: Vec<Output>) {
        for output in outputs {
            self.outputs += 1;
            if let Some(left) = &mut self.machines[at].until_crash {
                match left.checked_sub(1) {
                    Some(fewer) => *left = fewer,
                    None => return self.crash(at),
                }
            }
            let life = self.machines[at].life;
            match output {
                Output::Log(entry) => self.machines[at].disk.log(entry),
                Output::Guard(guard) => self.machines[at].disk.guard(guard),
                Output::Flush => self.machines[at].disk.flush(),
                Output::Forget { height } => self.machines[at].disk.forget(height),
                Output::Send(to, message) => self.send(at, to, &message),
                Output::Wait { id, after } => {
                    self.later(after.0, Happening::Elapsed { at, life, id });
                }
                Output::Ask(request) => {
                    let after_ms = self.random.between(1, 15);
                    self.later(after_ms, Happening::Answered { at, life, request });
                }
                Output::Evidence(evidence) => self.evidence(&evidence),
                Output::Refused { peer: of, refusal } => {
                    let of = (0..self.machines.len()).find(|at| peer(*at) == of);
                    let of = of.expect("all peers are machines");
                    let is_fair = !self.is_honest(of);
                    assert!(is_fair, "machine {at} refused honest machine {of}: {refusal}");
                    self.judge.refusals += 1;
                }
                Output::Behind(is_behind) => self.machines[at].is_behind = is_behind,
                Output::Withheld(error) => {
                    // What was flushed is enough to go on after every crash. Only a log that is lost makes a validator silent.
                    let is_lost = self.plan.has_backups && at == 0;
                    assert!(is_lost || !self.is_honest(at), "machine {at}: {error}");
                    self.judge.withheld += 1;
                }
                Output::OtherRules { height, .. } => {
                    panic!("machine {at}: other rules at {height}")
                }
                // Two machines with one key see each other's votes as their own, and stop after a crash.
                Output::Halted(why) => {
                    assert!(!self.is_honest(at), "machine {at} halted: {why}");
                }
            }
        }
    }

    fn evidence(&mut self, evidence: &symbolon_consensus::Evidence) {
        let set = self.judge.set_of(evidence.height());
        let convicted = evidence.check(&CHAIN, set).expect("what a node tells is evidence");
        let honest = (0..self.machines.len()).filter(|at| self.is_honest(*at));
        let is_fair = honest.clone().all(|at| id(&self.machines[at].key) != convicted);
        assert!(is_fair, "an honest validator was convicted");
        self.judge.evidence += 1;
    }

    fn send(&mut self, from: usize, to: To, message: &Message) {
        if self.is_honest(from) {
            self.judge.said(&id(&self.machines[from].key), message);
        }
        let targets: Vec<usize> = match to {
            To::All => (0..self.machines.len()).filter(|to| *to != from).collect(),
            To::Peer(of) => (0..self.machines.len()).filter(|at| peer(*at) == of).collect(),
        };
        let lie = self.machines[from].lie;
        let bytes = message.to_bytes();
        for target in targets {
            match lie {
                None => self.carry(from, target, bytes.clone()),
                Some(lie) => {
                    let key = &self.machines[from].key;
                    for bytes in lie.told(key, target, message, &mut self.random) {
                        self.carry(from, target, bytes);
                    }
                }
            }
        }
    }

    /// Takes bytes from one machine to another, maybe.
    fn carry(&mut self, from: usize, to: usize, bytes: Vec<u8>) {
        self.sent += 1;
        let is_cut = self.groups[from] != self.groups[to];
        if is_cut || (!self.is_calm && self.random.chance(self.plan.loss_permille)) {
            return;
        }
        let mut after_ms = self.random.between(1, 40);
        if !self.is_calm && self.random.chance(self.plan.slow_permille) {
            after_ms += self.random.between(1, 3_000);
        }
        self.later(after_ms, Happening::Arrives { to, from, bytes });
    }

    /// The power goes, and comes back after a while.
    pub(crate) fn crash(&mut self, at: usize) {
        if self.machines[at].node.is_some() {
            self.switch_off(at);
            let after_ms = if self.is_calm { 10 } else { self.random.between(10, 4_000) };
            self.later(after_ms, Happening::Restarts { at });
        }
    }

    pub(crate) fn switch_off(&mut self, at: usize) {
        let machine = &mut self.machines[at];
        machine.node = None;
        machine.is_behind = true;
        machine.life += 1;
        machine.until_crash = None;
        machine.disk.crash(&mut self.random);
        machine.books.waiting.clear();
        machine.books.changes.clear();
        if self.plan.has_backups && at == 0 {
            // None at all, or the one that there was at an earlier crash.
            match machine.old_log.take() {
                Some(old) if self.random.chance(400) => machine.disk.log = old,
                _ if self.random.chance(400) => machine.disk.log.clear(),
                _ => machine.old_log = Some(machine.disk.log.clone()),
            }
        }
        self.crashes += 1;
        self.judge.disturbed(self.now_ms);
    }

    pub(crate) fn crash_after(&mut self, at: usize, outputs: u64) {
        self.machines[at].until_crash = Some(outputs);
    }

    pub(crate) fn boot(&mut self, at: usize) {
        if self.machines[at].node.is_some() {
            return;
        }
        let settings = self.settings();
        let machine = &mut self.machines[at];
        for (id, change) in &self.submitted {
            if !machine.books.applied.contains(id) {
                match change {
                    None => {
                        machine.books.waiting.insert(*id);
                    }
                    Some(set) => {
                        machine.books.changes.insert(*id, set.clone());
                    }
                }
            }
        }
        let tip = machine.books.tip().expect("it has one");
        let log = machine.disk.log.clone();
        // A backup of an earlier height is no log of this one, and one of a later height stops the node: not here.
        let restored = Restored { guard: machine.disk.guard, log };
        let (key, signatures) = (machine.key.clone(), self.signatures.clone());
        let node = Node::new(CHAIN, key, settings, signatures, &tip, restored);
        machine.node = Some(node.unwrap_or_else(|error| panic!("machine {at}: {error}")));
        self.tell(at, Event::Start);
    }

    /// A transaction is given to the network: all machines hear of it, a moment later.
    pub(crate) fn submit(&mut self, change: Option<Validators>) {
        let id = self.submitted.len() as u64;
        self.submitted.insert(id, change);
        let from_ms = self.random.below(900);
        for at in 0..self.machines.len() {
            let after_ms = from_ms + self.random.between(1, 60);
            self.later(after_ms, Happening::Submitted { at, id });
        }
    }

    fn hear(&mut self, at: usize, id: u64) {
        let machine = &mut self.machines[at];
        if machine.node.is_none() || machine.books.applied.contains(&id) {
            return;
        }
        match self.submitted[&id].clone() {
            None => {
                machine.books.waiting.insert(id);
            }
            Some(set) => {
                machine.books.changes.insert(id, set);
            }
        }
        self.tell(at, Event::Work);
    }

    fn second(&mut self) {
        if !self.is_calm || self.now_ms < BEGIN_MS + self.plan.faults_ms + 5_000 {
            let count = if self.plan.is_busy { self.random.below(4) } else { 0 };
            for _ in 0..count {
                self.submit(None);
            }
            if self.plan.has_changes && self.random.chance(300) && !self.is_calm {
                let set = self.plan.other_set(&mut self.random);
                self.submit(Some(set));
            }
        }
        let has_quorum = self.has_quorum();
        self.judge.second(self.now_ms, has_quorum, self.plan.stall_max_ms);
        self.later(1_000, Happening::Second);
    }

    /// Whether honest validators that are up and reach each other have more than two thirds of the power.
    fn has_quorum(&self) -> bool {
        let set = self.judge.set_of(self.judge.height() + 1);
        let groups: BTreeSet<u64> = self.groups.iter().copied().collect();
        groups.into_iter().any(|group| {
            let inside = (0..self.machines.len()).filter(|at| self.groups[*at] == group);
            let working = inside.filter(|at| self.is_honest(*at));
            // One that has lost its log says nothing at its height, and one with a wrong clock holds all others' for wrong.
            let working = working.filter(|at| !self.plan.has_backups || *at != 0);
            let is_right = |at: &usize| self.plan.wrong_clock.is_none_or(|wrong| wrong.0 != *at);
            let working = working.filter(is_right);
            let working = working.filter(|at| self.machines[*at].node.is_some());
            let power: u64 = working.map(|at| set.power_of(&id(&self.machines[at].key))).sum();
            set.power() * 2 < power * 3
        })
    }

    fn fault(&mut self) {
        if self.is_calm {
            return;
        }
        if self.plan.has_partitions && self.random.chance(400) {
            let parts = self.random.between(1, 2);
            for at in 0..self.groups.len() {
                self.groups[at] = self.random.below(parts);
            }
            self.judge.disturbed(self.now_ms);
        }
        if self.plan.has_crashes && self.random.chance(600) {
            // One machine whose log is lost again and again, or each of them once in a while.
            let count = if self.plan.has_backups { 1 } else { self.machines.len() as u64 };
            let at = self.random.below(count);
            let outputs = self.random.below(60);
            self.crash_after(usize::try_from(at).expect("small"), outputs);
        }
        let after_ms = self.random.between(200, 3_000);
        self.later(after_ms, Happening::Faults);
    }

    /// The faults are over.
    pub(crate) fn calm(&mut self) {
        self.is_calm = true;
        self.groups.fill(0);
        for at in 0..self.machines.len() {
            self.machines[at].until_crash = None;
            self.boot(at);
        }
        self.judge.disturbed(self.now_ms);
    }

    pub(crate) fn tip_of(&self, at: usize) -> Hash {
        self.machines[at].books.tip().expect("it has one").block
    }
}
