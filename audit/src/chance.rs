//! The auditor's books of chance: which value belongs to which tick, whatever blocks there are.

use symbolon_protocol::{
    id::Hash,
    ledger::block::{OnionStart, Reveal},
};

/// Ticks of an epoch, and of an onion.
const TICKS: u64 = 4096;
const ONION: u64 = 65_536;

#[derive(Debug)]
pub(super) struct Chance {
    /// The validators' layers, in the order of their set.
    makers: Vec<Maker>,
    /// The first tick that has no value.
    pub(super) next: u64,
    /// The newest value.
    newest: Hash,
    /// The values that the block at hand knows, by tick.
    shown: Vec<(u64, Hash)>,
}

/// What is known of a validator's layers.
#[derive(Clone, Debug, Default)]
struct Maker {
    /// The newest layer, or what the first one leads to. Where the genesis is not known, the first one that a block
    /// reveals has to be believed.
    newest: Option<Hash>,
    /// The first tick whose layer is not known.
    next: u64,
    /// The onion that the newest layer is of.
    onion: u64,
    /// What the layers of the next onion lead to, if it was said.
    promised: Option<Hash>,
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
    /// Before the first block of a ledger that begins with these onions.
    pub(super) fn of(starts: &[OnionStart]) -> Self {
        let maker = |start: &OnionStart| {
            let (newest, promised) = (Some(start.outermost), Some(start.next));
            Maker { newest, next: 0, onion: 0, promised }
        };
        Self::begin(starts.iter().map(maker).collect())
    }

    /// Before the first block of a ledger with one validator, of which nothing is known.
    pub(super) fn unknown() -> Self {
        Self::begin(vec![Maker::default()])
    }

    fn begin(makers: Vec<Maker>) -> Self {
        Self { makers, next: 0, newest: Hash([0; 32]), shown: Vec::new() }
    }

    /// Takes what a validator's block of this tick reveals.
    pub(super) fn take(
        &mut self,
        tick: u64,
        proposer: u16,
        reveal: Option<&Reveal>,
    ) -> Result<(), String> {
        let place = usize::from(proposer);
        if self.makers.len() <= place {
            return Err(format!("validator {proposer} makes it, and there is none"));
        }
        let is_due = self.next <= tick;
        let Some(reveal) = reveal else {
            if is_due {
                return Err(format!("it does not reveal the layer of tick {tick}"));
            }
            self.shown = vec![(self.next - 1, self.newest)];
            return Ok(());
        };
        if !is_due {
            return Err(format!("it reveals a layer of tick {tick} once more"));
        }
        let mut layers = Vec::new();
        let maker = &mut self.makers[place];
        let ended = tick / ONION - maker.onion;
        match (ended, reveal.change) {
            (1, Some(change)) => {
                let border = tick / ONION * ONION;
                maker.show(change.last, border, &mut layers)?;
                (maker.newest, maker.promised) = (maker.promised, Some(change.next));
                maker.onion += 1;
            }
            (0, None) => {}
            _ => return Err(format!("an onion changes, or not, at tick {tick}")),
        }
        maker.show(reveal.layer, tick + 1, &mut layers)?;
        let before = |at: &usize| *at != place;
        let others = (0..self.makers.len()).filter(before);
        let others = others.map(|at| self.makers[at].newest.map(|layer| layer.0));
        let others: Option<Vec<[u8; 32]>> = others.collect();
        let others = others.ok_or("nothing is known of another validator's layers")?;
        let others = blake3::derive_key("symbolon 2026 other layers v1", &others.concat());
        let value = |(at, layer): (u64, Hash)| {
            let both = [others, layer.0].concat();
            (at, Hash(blake3::derive_key("symbolon 2026 chance v1", &both)))
        };
        layers.retain(|(at, _)| self.next <= *at);
        self.shown = layers.into_iter().map(value).collect();
        self.newest = self.shown.last().expect("the tick is new").1;
        self.next = tick + 1;
        Ok(())
    }

    /// A validator enters the set at this place, with these onions: the first one stands for the ticks of now.
    pub(super) fn enter(&mut self, place: usize, start: &OnionStart) {
        let onion = self.next / ONION;
        let (newest, promised) = (Some(start.outermost), Some(start.next));
        self.makers.insert(place, Maker { newest, next: onion * ONION, onion, promised });
    }

    /// The validator at this place is in the set no longer.
    pub(super) fn leave(&mut self, place: usize) {
        self.makers.remove(place);
    }

    /// The value that decides what is bound to a tick.
    pub(super) fn at(&self, tick: u64) -> Hash {
        let from = self.shown.partition_point(|(at, _)| *at < tick);
        self.shown.get(from).or(self.shown.last()).expect("a block knows a value").1
    }
}

impl Maker {
    /// Goes outward from the layer before tick `end` to the newest one that is known.
    fn show(&mut self, inner: Hash, end: u64, shown: &mut Vec<(u64, Hash)>) -> Result<(), String> {
        let (mut layer, from) = (inner, shown.len());
        for at in (self.next..end).rev() {
            shown.push((at, layer));
            layer = Hash(blake3::derive_key("symbolon 2026 onion v1", &layer.0));
        }
        if self.newest.is_some_and(|newest| newest != layer) {
            return Err(format!("the layers up to tick {end} do not lead to those before"));
        }
        shown[from..].reverse();
        (self.newest, self.next) = (Some(inner), end);
        Ok(())
    }
}
