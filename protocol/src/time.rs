//! Time: the ledger's clock, a machine's clock, and lengths of time.
//!
//! [`LedgerTime`] is the time in blocks. The ledger judges deadlines, terms and grants by it, and only the ledger sets
//! it. [`MachineTime`] is the time that a machine's clock shows, and its user can set that to anything. Both count
//! milliseconds since the Unix epoch. They are two types, so that no code takes one for the other. Only
//! [`MachineTime::within`] makes a ledger time of a machine's time, and it needs the bounds that the blocks allow.
//!
//! ```compile_fail
//! # use symbolon_protocol::{LedgerTime, MachineTime};
//! let (deadline, clock) = (LedgerTime(5), MachineTime(5));
//! let late = deadline < clock;
//! ```
//!
//! ```
//! # use symbolon_protocol::{LedgerTime, MachineTime, Millis};
//! let (deadline, clock, last_block) = (LedgerTime(5), MachineTime(5), LedgerTime(4));
//! let late = deadline < clock.within(last_block, last_block.saturating_add(Millis(10)));
//! ```

use alloc::vec::Vec;
use core::{fmt, ops::Div};

use crate::codec::{Decode, DecodeError, Encode, Reader};

/// A length of time in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Millis(pub u64);

/// A moment by the ledger's blocks, in milliseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LedgerTime(pub u64);

/// A moment by a machine's clock, in milliseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MachineTime(pub u64);

impl Millis {
    /// No time.
    pub const ZERO: Self = Self(0);
    /// A second.
    pub const SECOND: Self = Self(1_000);
    /// A day.
    pub const DAY: Self = Self(86_400_000);

    /// The sum, at most the greatest value.
    #[must_use]
    pub const fn saturating_add(self, more: Self) -> Self {
        Self(self.0.saturating_add(more.0))
    }

    /// What is left of this length after `less`, at least nothing.
    #[must_use]
    pub const fn saturating_sub(self, less: Self) -> Self {
        Self(self.0.saturating_sub(less.0))
    }

    /// This length `times` times, at most the greatest value.
    #[must_use]
    pub const fn saturating_mul(self, times: u64) -> Self {
        Self(self.0.saturating_mul(times))
    }

    /// It in its largest whole unit, for a person: from twice the unit on, rounded down.
    #[must_use]
    pub const fn words(self) -> Words {
        Words(self.0)
    }

    /// The number of steps that cover this length. A step of zero counts as a millisecond.
    #[must_use]
    pub fn steps_of(self, step: Self) -> u64 {
        self.0.div_ceil(step.0.max(1))
    }
}

/// One of `parts` equal parts, rounded down.
impl Div<u64> for Millis {
    type Output = Self;

    fn div(self, parts: u64) -> Self {
        Self(self.0 / parts)
    }
}

impl LedgerTime {
    /// Before every block.
    pub const ZERO: Self = Self(0);
    /// After every block: never.
    pub const NEVER: Self = Self(u64::MAX);

    /// The moment that is `later` after this one, at most [`Self::NEVER`].
    #[must_use]
    pub const fn saturating_add(self, later: Millis) -> Self {
        Self(self.0.saturating_add(later.0))
    }

    /// The moment that is `earlier` before this one, at least [`Self::ZERO`].
    #[must_use]
    pub const fn saturating_sub(self, earlier: Millis) -> Self {
        Self(self.0.saturating_sub(earlier.0))
    }

    /// The time since `earlier`, or zero if this is before `earlier`.
    #[must_use]
    pub const fn saturating_since(self, earlier: Self) -> Millis {
        Millis(self.0.saturating_sub(earlier.0))
    }

    /// It as a date, for a person.
    #[must_use]
    pub const fn utc(self) -> Utc {
        Utc(self.0)
    }

    /// The machine time at which the clock of the machine that orders transactions shows this moment: blocks have the
    /// time of that clock.
    #[must_use]
    pub const fn on_ordering_clock(self) -> MachineTime {
        MachineTime(self.0)
    }
}

impl MachineTime {
    /// The ledger's time by this clock: the time it shows, but not before `earliest` nor after `latest`. The caller takes
    /// these bounds from the ledger's blocks. A caller that knows no block gives [`LedgerTime::ZERO`] and
    /// [`LedgerTime::NEVER`], and relies on the clock alone.
    #[must_use]
    pub fn within(self, earliest: LedgerTime, latest: LedgerTime) -> LedgerTime {
        LedgerTime(self.0.min(latest.0).max(earliest.0))
    }

    /// How far this clock is ahead of a moment of the ledger, or zero if it is not.
    #[must_use]
    pub const fn ahead_of(self, moment: LedgerTime) -> Millis {
        Millis(self.0.saturating_sub(moment.0))
    }

    /// How far this clock is behind a moment of the ledger, or zero if it is not.
    #[must_use]
    pub const fn behind(self, moment: LedgerTime) -> Millis {
        Millis(moment.0.saturating_sub(self.0))
    }

    /// The moment that is `later` after this one, at most the greatest value.
    #[must_use]
    pub const fn saturating_add(self, later: Millis) -> Self {
        Self(self.0.saturating_add(later.0))
    }

    /// The time since `earlier`, or zero if this is before `earlier`.
    #[must_use]
    pub const fn saturating_since(self, earlier: Self) -> Millis {
        Millis(self.0.saturating_sub(earlier.0))
    }
}

/// A time as `2026-10-01 12:00:00 UTC`, in the proleptic Gregorian calendar. See [`LedgerTime::utc`].
#[derive(Clone, Copy, Debug)]
pub struct Utc(u64);

impl fmt::Display for Utc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DAY_S: u64 = 86_400;
        let seconds = self.0 / 1000;
        let (days, rest) = (seconds / DAY_S, seconds % DAY_S);
        // Years begin on 1 March and are counted from year 0, so that the leap day comes last. Between that
        // day and 1 January 1970 lie 719468 days; 400 years have 146097 days.
        let shifted = days + 719_468;
        let (era, day) = (shifted / 146_097, shifted % 146_097);
        let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
        let day = day - (365 * year + year / 4 - year / 100);
        let month = (5 * day + 2) / 153;
        let date = day - (153 * month + 2) / 5 + 1;
        let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
        let year = era * 400 + year + next;
        let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
        write!(f, "{year:04}-{month:02}-{date:02} {hour:02}:{minute:02}:{second:02} UTC")
    }
}

/// A length of time in its largest whole unit, such as `10 min`. See [`Millis::words`].
#[derive(Clone, Copy, Debug)]
pub struct Words(u64);

impl fmt::Display for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (second, minute, hour, day) = (1_000, 60_000, 3_600_000, 86_400_000);
        match self.0 {
            ms if ms < 2 * second => write!(f, "{ms} ms"),
            ms if ms < 2 * minute => write!(f, "{} s", ms / second),
            ms if ms < 2 * hour => write!(f, "{} min", ms / minute),
            ms if ms < 2 * day => write!(f, "{} h", ms / hour),
            ms => write!(f, "{} days", ms / day),
        }
    }
}

macro_rules! as_numbers {
    ($($name:ident),*) => {$(
        impl Encode for $name {
            fn encode(&self, out: &mut Vec<u8>) {
                self.0.encode(out);
            }
        }

        impl Decode for $name {
            fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
                u64::decode(input).map(Self)
            }
        }

        /// The number of milliseconds.
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )*};
}

as_numbers!(Millis, LedgerTime, MachineTime);

#[cfg(test)]
mod tests {
    use std::string::ToString;

    use super::*;

    #[test]
    fn times_are_dates() {
        for (time_ms, text) in [
            (0, "1970-01-01 00:00:00 UTC"),
            (951_782_400_000, "2000-02-29 00:00:00 UTC"),
            (951_868_800_000, "2000-03-01 00:00:00 UTC"),
            (1_790_855_999_999, "2026-10-01 11:59:59 UTC"),
            (4_107_542_399_000, "2100-02-28 23:59:59 UTC"),
            (4_107_542_400_000, "2100-03-01 00:00:00 UTC"),
        ] {
            assert_eq!(LedgerTime(time_ms).utc().to_string(), text);
        }
        // The largest time does not overflow.
        assert!(LedgerTime::NEVER.utc().to_string().ends_with("UTC"));
    }

    #[test]
    fn lengths_are_told_in_their_largest_unit() {
        for (ms, text) in [
            (0, "0 ms"),
            (1_999, "1999 ms"),
            (2_000, "2 s"),
            (119_999, "119 s"),
            (600_000, "10 min"),
            (7_200_000, "2 h"),
            (172_800_000, "2 days"),
        ] {
            assert_eq!(Millis(ms).words().to_string(), text);
        }
    }

    #[test]
    fn a_clock_is_believed_within_what_blocks_say() {
        let (earliest, latest) = (LedgerTime(1_000), LedgerTime(2_000));
        for (shows, is) in [(0, 1_000), (1_000, 1_000), (1_500, 1_500), (2_001, 2_000)] {
            assert_eq!(MachineTime(shows).within(earliest, latest), LedgerTime(is));
        }
        // A block's time is certain, `latest` is an estimate.
        assert_eq!(MachineTime(5).within(latest, earliest), latest);
        assert_eq!(MachineTime(7).within(LedgerTime::ZERO, LedgerTime::NEVER), LedgerTime(7));
        let clock = MachineTime(1_500);
        assert_eq!((clock.ahead_of(earliest), clock.ahead_of(latest)), (Millis(500), Millis::ZERO));
        assert_eq!((clock.behind(earliest), clock.behind(latest)), (Millis::ZERO, Millis(500)));
        assert_eq!(latest.on_ordering_clock(), MachineTime(2_000));
    }

    #[test]
    fn arithmetic_ends_where_counting_does() {
        assert_eq!(LedgerTime(5).saturating_add(Millis(u64::MAX)), LedgerTime::NEVER);
        assert_eq!(LedgerTime(5).saturating_sub(Millis(6)), LedgerTime::ZERO);
        assert_eq!(LedgerTime(5).saturating_since(LedgerTime(2)), Millis(3));
        assert_eq!(LedgerTime(2).saturating_since(LedgerTime(5)), Millis::ZERO);
        assert_eq!(Millis(u64::MAX).saturating_add(Millis(1)), Millis(u64::MAX));
        assert_eq!(Millis(5).saturating_sub(Millis(6)), Millis::ZERO);
        assert_eq!(Millis(u64::MAX).saturating_mul(2), Millis(u64::MAX));
        assert_eq!(Millis(7) / 2, Millis(3));
        assert_eq!(Millis(7).steps_of(Millis(2)), 4);
        assert_eq!(Millis(7).steps_of(Millis::ZERO), 7);
    }

    #[test]
    fn bytes_are_those_of_the_number() {
        assert_eq!(LedgerTime(258).to_bytes(), 258_u64.to_bytes());
        assert_eq!(LedgerTime::from_bytes(&258_u64.to_bytes()), Ok(LedgerTime(258)));
    }
}
