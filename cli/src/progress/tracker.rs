//! Counts the progress of a command: bytes, rate, time left, and the parties it waits for. It has no clock and no
//! screen.

use std::collections::VecDeque;

use symbolon_client::{Awaited, Step, Wait};
use symbolon_view::progress::{Event, Waiting};

use crate::units::{show_duration, show_size};

/// Milliseconds over which the rate is measured.
const RATE_MS: u64 = 8_000;

/// Fewest milliseconds between two marks from which the rate is computed.
const MARK_MS: u64 = 250;

/// Milliseconds without any progress after which the user is told which nodes the command waits for.
const PATIENCE_MS: u64 = 1_000;

/// The progress of a command.
#[derive(Debug)]
pub(crate) struct Tracker {
    doing: &'static str,
    total: Option<u64>,
    kept: u64,
    moved: u64,
    /// Pairs of a time and the bytes that had moved by then, the oldest first.
    marks: VecDeque<(u64, u64)>,
    moved_ms: u64,
    wait: Option<(Wait, u64)>,
}

impl Tracker {
    pub(crate) fn new(doing: &'static str) -> Self {
        let marks = VecDeque::from([(0, 0)]);
        Self { doing, total: None, kept: 0, moved: 0, marks, moved_ms: 0, wait: None }
    }

    /// Counts a step. Returns whether it is the first progress.
    pub(crate) fn hear(&mut self, now_ms: u64, step: &Step) -> bool {
        let nothing_yet = self.done() == 0;
        match step {
            Step::Planned { total_bytes } => self.total = *total_bytes,
            Step::Kept { bytes } => {
                self.kept += bytes;
                self.moved_ms = now_ms;
            }
            Step::Moved { bytes } => {
                self.moved += bytes;
                self.moved_ms = now_ms;
                self.mark(now_ms);
            }
            Step::Waiting(wait) => {
                let same = self.wait.as_ref().is_some_and(|(old, _)| old == wait);
                if !same {
                    self.wait = Some((wait.clone(), now_ms));
                }
            }
            _ => {}
        }
        nothing_yet && self.done() > 0
    }

    fn mark(&mut self, now_ms: u64) {
        if self.marks.back().is_none_or(|(at_ms, _)| at_ms + MARK_MS <= now_ms) {
            self.marks.push_back((now_ms, self.moved));
        }
        while self.marks.len() > 2 && self.marks[1].0 + RATE_MS <= now_ms {
            self.marks.pop_front();
        }
    }

    pub(crate) fn doing(&self) -> &'static str {
        self.doing
    }

    /// Bytes that are done, by this run or an earlier one.
    pub(crate) fn done(&self) -> u64 {
        self.kept + self.moved
    }

    /// Bytes per second, recently.
    fn rate(&self, now_ms: u64) -> u64 {
        let recent = self.marks.iter().find(|(at_ms, _)| now_ms <= at_ms + RATE_MS);
        let Some((from_ms, from)) = recent.or(self.marks.back()) else { return 0 };
        let (bytes, ms) = (self.moved - from, now_ms.saturating_sub(*from_ms));
        bytes.saturating_mul(1000).checked_div(ms).unwrap_or(0)
    }

    /// How long the rest will take at the recent rate.
    fn eta_ms(&self, now_ms: u64) -> Option<u64> {
        let left = self.total?.saturating_sub(self.done());
        left.saturating_mul(1000).checked_div(self.rate(now_ms))
    }

    /// The wait and how long it has lasted, if it has lasted long enough to tell the user.
    fn waiting(&self, now_ms: u64) -> Option<(&Wait, u64)> {
        let (wait, since_ms) = self.wait.as_ref()?;
        let still_ms = now_ms.saturating_sub(self.moved_ms.max(*since_ms));
        (PATIENCE_MS <= still_ms).then_some((wait, still_ms))
    }

    /// `312.0 MiB of 1.0 GiB`.
    pub(crate) fn so_far(&self) -> String {
        match self.total {
            Some(total) => format!("{} of {}", show_size(self.done()), show_size(total)),
            None => show_size(self.done()),
        }
    }

    /// One line for a person.
    pub(crate) fn line(&self, now_ms: u64) -> String {
        let mut line = self.so_far();
        if let Some((wait, still_ms)) = self.waiting(now_ms) {
            let whole_ms = still_ms / 1000 * 1000;
            line.push_str(&format!("; {}, {}", words(wait), show_duration(whole_ms)));
            return line;
        }
        let rate = self.rate(now_ms);
        if rate > 0 {
            line.push_str(&format!(", {}/s", show_size(rate)));
        }
        if let Some(eta_ms) = self.eta_ms(now_ms) {
            let whole_ms = eta_ms.div_ceil(1000) * 1000;
            line.push_str(&format!(", {} left", show_duration(whole_ms)));
        }
        line
    }

    /// The same for a program: see `spec/cli.md`.
    pub(crate) fn event(&self, now_ms: u64) -> Event {
        let waiting = self.waiting(now_ms);
        Event::Progress {
            doing: self.doing.to_owned(),
            done: self.done(),
            kept: self.kept,
            total: self.total,
            rate: self.rate(now_ms),
            eta_ms: self.eta_ms(now_ms),
            waiting: waiting.map(|(wait, still_ms)| Waiting::new(wait, still_ms)),
        }
    }
}

/// The parties that the command waits for, in words.
fn words(wait: &Wait) -> String {
    let Wait { what, nodes, done, of } = wait;
    let who = match nodes.as_slice() {
        [] => String::from("nodes"),
        [node] => format!("node {}", &node.to_string()[..8]),
        [node, rest @ ..] => format!("node {} and {} more", &node.to_string()[..8], rest.len()),
    };
    match what {
        Awaited::Receipts => format!("{done} of {of} shards are synced; waiting for {who} to sync"),
        Awaited::Bytes => format!("{done} of {of} shards are here; waiting for {who} to send"),
        Awaited::Ledger => String::from("waiting for the ledger"),
        Awaited::Custodians => format!("{done} of {of} custodians released; waiting for {who}"),
        _ => format!("waiting for {who}"),
    }
}

#[cfg(test)]
mod tests {
    use symbolon_protocol::id::PeerId;
    use symbolon_view::Document as _;

    use super::*;

    const MIB: u64 = 1 << 20;

    fn moved(bytes: u64) -> Step {
        Step::Moved { bytes }
    }

    #[test]
    fn rate_and_rest_are_those_of_late() {
        let mut tracker = Tracker::new("storing");
        tracker.hear(0, &Step::Planned { total_bytes: Some(100 * MIB) });
        assert!(tracker.hear(0, &Step::Kept { bytes: 20 * MIB }), "the first sign of life");
        for second in 1..=10 {
            assert!(!tracker.hear(second * 1000, &moved(2 * MIB)));
        }
        assert_eq!(tracker.so_far(), "40.0 MiB of 100.0 MiB");
        let event = tracker.event(10_000).to_value();
        assert_eq!(event["rate"], 2 * MIB);
        assert_eq!(event["eta_ms"], 30_000, "what was kept says nothing about the rate");
        assert_eq!(event["done"], 40 * MIB);
        assert_eq!(event["kept"], 20 * MIB);
        assert_eq!(tracker.line(10_000), "40.0 MiB of 100.0 MiB, 2.0 MiB/s, 30s left");
        // It stands still: neither an old rate nor an end that never comes.
        let event = tracker.event(60_000).to_value();
        assert_eq!(event["rate"], 0);
        assert!(event["eta_ms"].is_null(), "{event}");
    }

    #[test]
    fn who_is_waited_for_is_told_when_nothing_moves() {
        let mut tracker = Tracker::new("storing");
        tracker.hear(0, &Step::Planned { total_bytes: Some(MIB) });
        tracker.hear(500, &moved(MIB));
        let node = |byte| PeerId([byte; 32]);
        let wait = |done, nodes: &[u8]| {
            let nodes = nodes.iter().copied().map(node).collect();
            Step::Waiting(Wait { what: Awaited::Receipts, nodes, done, of: 8 })
        };
        tracker.hear(600, &wait(6, &[0x3f, 0x40]));
        let waiting =
            |tracker: &Tracker, now_ms| tracker.event(now_ms).to_value()["waiting"].clone();
        assert!(waiting(&tracker, 1_500).is_null(), "too soon to worry anybody");
        tracker.hear(2_000, &wait(7, &[0x3f]));
        // Told again, it is still the same wait.
        tracker.hear(5_900, &wait(7, &[0x3f]));
        let line =
            "1.0 MiB of 1.0 MiB; 7 of 8 shards are synced; waiting for node 3f3f3f3f to sync, 4s";
        assert_eq!(tracker.line(6_100), line);
        let told = waiting(&tracker, 6_100);
        assert_eq!(told["for"], "receipts");
        assert_eq!(told["for_ms"], 4_100);
        assert_eq!(told["nodes"].as_array().unwrap().len(), 1);
        assert_eq!(told["nodes"][0], node(0x3f).to_string());
        // Something moves: no node is named.
        tracker.hear(6_200, &moved(1));
        assert!(waiting(&tracker, 6_300).is_null());
    }
}
