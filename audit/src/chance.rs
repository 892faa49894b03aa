//! The auditor's books of chance: which layer belongs to which tick, whatever blocks there are.

use symbolon_protocol::{id::Hash, ledger::block::Reveal};

/// Ticks of an epoch, and of an onion.
const TICKS: u64 = 4096;
const ONION: u64 = 65_536;

#[derive(Debug, Default)]
pub(super) struct Chance {
    /// The newest layer. The first one that a block reveals has to be believed.
    newest: Option<Hash>,
    /// The first tick whose layer is not known.
    pub(super) next: u64,
    /// What the layers of the next onion lead to, if a block has said it.
    promised: Option<Hash>,
    /// Those that the block at hand knows, by tick.
    shown: Vec<(u64, Hash)>,
}

/// The tick at a counted time.
pub(super) fn tick(counted_ms: u64, epoch_ms: u64) -> u64 {
    let ticks = u128::from(counted_ms) * u128::from(TICKS) / u128::from(epoch_ms);
    u64::try_from(ticks).expect("tests do not last so long")
}

/// The counted time at which a tick begins.
pub(super) fn begin(tick: u64, epoch_ms: u64) -> u64 {
    let product = u128::from(tick) * u128::from(epoch_ms);
    u64::try_from(product.div_ceil(u128::from(TICKS))).expect("tests do not last so long")
}

/// The first tick's begin from this time on.
pub(super) fn begin_from(counted_ms: u64, epoch_ms: u64) -> u64 {
    let now = tick(counted_ms, epoch_ms);
    let begins = [now, now + 1].map(|tick| begin(tick, epoch_ms));
    begins[usize::from(begins[0] < counted_ms)]
}

/// How far into an epoch a node's windows open.
pub(super) fn offset(number: u64, epoch_ms: u64) -> u64 {
    begin(number % TICKS, epoch_ms)
}

/// The seed that picks a listing's preview.
pub(super) fn preview_seed(layer: &Hash, content_root: &Hash) -> Hash {
    let both = [&layer.0[..], &content_root.0].concat();
    Hash(blake3::derive_key("symbolon 2026 preview v2", &both))
}

impl Chance {
    /// Takes what a block of this tick reveals.
    pub(super) fn take(&mut self, tick: u64, reveal: Option<&Reveal>) -> Result<(), String> {
        let is_due = self.next <= tick;
        let Some(reveal) = reveal else {
            if is_due {
                return Err(format!("it does not reveal the layer of tick {tick}"));
            }
            self.shown = self.newest.map(|layer| (self.next - 1, layer)).into_iter().collect();
            return Ok(());
        };
        if !is_due {
            return Err(format!("it reveals a layer of tick {tick} once more"));
        }
        self.shown.clear();
        let ended = (self.next.max(1) - 1) / ONION < tick / ONION;
        match (ended, reveal.change) {
            (true, Some(change)) => {
                let border = tick / ONION * ONION;
                self.show(change.last, border)?;
                (self.newest, self.promised) = (self.promised, Some(change.next));
            }
            (false, None) => {}
            _ => return Err(format!("an onion changes, or not, at tick {tick}")),
        }
        self.show(reveal.layer, tick + 1)
    }

    /// Goes outward from the layer before tick `end` to the newest one that is known.
    fn show(&mut self, inner: Hash, end: u64) -> Result<(), String> {
        let (mut layer, mut shown) = (inner, Vec::new());
        for at in (self.next..end).rev() {
            shown.push((at, layer));
            layer = Hash(blake3::derive_key("symbolon 2026 onion v1", &layer.0));
        }
        if self.newest.is_some_and(|newest| newest != layer) {
            return Err(format!("the layers up to tick {end} do not lead to those before"));
        }
        shown.reverse();
        self.shown.append(&mut shown);
        (self.newest, self.next) = (Some(inner), end);
        Ok(())
    }

    /// The layer that decides what is bound to a tick.
    pub(super) fn at(&self, tick: u64) -> Hash {
        let from = self.shown.partition_point(|(at, _)| *at < tick);
        self.shown.get(from).or(self.shown.last()).expect("a block knows a layer").1
    }
}
