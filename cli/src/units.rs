//! Sizes, durations, prices and dates as people write them, and back. Whole numbers throughout.

use std::fmt;

use jiff::{Timestamp, civil, tz::TimeZone};
use symbolon_client::usual_epochs;
use symbolon_protocol::{Amount, LedgerTime, Millis, amount::CREDIT, content::Scheme};

/// Bytes in a GiB: what storage prices are for.
pub(crate) const GIB: u64 = 1 << 30;

/// Milliseconds in a day.
pub(crate) const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// The month of "credits per GiB and month": 30 days.
pub(crate) const MONTH_MS: u64 = 30 * DAY_MS;

/// A term as the user types it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Term {
    /// That many epochs of the network, however long they are.
    Epochs(u64),
    /// That many milliseconds, rounded up to whole epochs.
    Time(u64),
}

impl Term {
    /// In epochs of a network.
    pub(crate) fn epochs(self, epoch_ms: Millis) -> u64 {
        match self {
            Self::Epochs(count) => count,
            Self::Time(ms) => Millis(ms).steps_of(epoch_ms),
        }
    }
}

/// The epochs to store a file for, and the fewest epochs that a file that is stored already must have left.
pub(crate) fn epochs(asked: Option<Term>, epoch_ms: Millis) -> (u64, u64) {
    usual_epochs(asked.map(|term| term.epochs(epoch_ms)), epoch_ms)
}

/// A storage price as an operator types it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Price {
    /// Per GiB and month of 30 days.
    Month(Amount),
    /// Per GiB and epoch: what the ledger counts in.
    Epoch(Amount),
}

impl Price {
    /// Per GiB and epoch, rounded up: a price is never less than what was asked.
    pub(crate) fn per_epoch(self, epoch_ms: Millis) -> Amount {
        match self {
            Self::Epoch(price) => price,
            Self::Month(price) => price.fraction_up(epoch_ms.0, MONTH_MS).unwrap_or(price),
        }
    }
}

/// A part of a file as the user types it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ByteRange {
    /// From the first up to and without the second; `u64::MAX` stands for the end.
    Between(u64, u64),
    /// This many bytes at the end.
    Last(u64),
}

impl ByteRange {
    /// First byte, and the first one after, in a file of `length` bytes.
    pub(crate) fn within(self, length: u64) -> (u64, u64) {
        match self {
            Self::Between(from, u64::MAX) => (from, length),
            Self::Between(from, to) => (from, to),
            Self::Last(count) => (length.saturating_sub(count), length),
        }
    }
}

/// A point in time as the user types it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum When {
    /// This many milliseconds from now.
    After(u64),
    /// Milliseconds since the Unix epoch.
    At(u64),
}

impl When {
    /// Milliseconds since the Unix epoch.
    pub(crate) fn at(self, now_ms: LedgerTime) -> LedgerTime {
        match self {
            Self::After(ms) => now_ms.saturating_add(Millis(ms)),
            Self::At(ms) => LedgerTime(ms),
        }
    }
}

/// Splits a leading decimal number off: the number times `10^18`, and the rest without spaces.
fn number(text: &str) -> Option<(u128, &str)> {
    const SCALE_DIGITS: usize = 18;
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    if whole.is_empty() || part.contains('.') || part.len() > SCALE_DIGITS || digits.ends_with('.')
    {
        return None;
    }
    format!("{whole}{part:0<SCALE_DIGITS$}").parse().ok().map(|value| (value, rest.trim()))
}

/// `number * unit`, rounded down; `None` past `u64`.
fn scaled(number: u128, unit: u64) -> Option<u64> {
    const SCALE: u128 = 1_000_000_000_000_000_000;
    let (whole, part) = (number / SCALE, number % SCALE);
    // The part is below 10^18 < 2^60, so its product with any u64 unit fits.
    let value = whole.checked_mul(u128::from(unit))? + part * u128::from(unit) / SCALE;
    u64::try_from(value).ok()
}

/// Reads `100GiB`, `1.5 MB` or plain bytes.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    let problem = || "a size looks like 4096, 500MB or 100GiB".to_owned();
    let (value, unit) = number(text.trim()).ok_or_else(problem)?;
    let unit = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        "g" | "gib" => GIB,
        "t" | "tib" => 1 << 40,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "tb" => 1_000_000_000_000,
        _ => return Err(problem()),
    };
    scaled(value, unit).ok_or_else(|| "that is more bytes than can be counted".into())
}

/// Reads `10s`, `90 min`, `30d` or `1h30m`, in milliseconds.
pub(crate) fn duration(text: &str) -> Result<u64, String> {
    let problem = || "a duration looks like 10s, 1h30m or 30d".to_owned();
    let too_long = || "that is longer than can be counted".to_owned();
    let (mut rest, mut total) = (text.trim(), 0_u64);
    if rest.is_empty() {
        return Err(problem());
    }
    while !rest.is_empty() {
        let (value, after) = number(rest).ok_or_else(problem)?;
        let end = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let unit = match unit.to_ascii_lowercase().as_str() {
            "ms" => 1,
            "s" | "sec" | "second" | "seconds" => 1_000,
            "m" | "min" | "minute" | "minutes" => 60_000,
            "h" | "hour" | "hours" => 3_600_000,
            "d" | "day" | "days" => DAY_MS,
            "w" | "week" | "weeks" => 7 * DAY_MS,
            "mo" | "month" | "months" => MONTH_MS,
            "y" | "year" | "years" => 365 * DAY_MS,
            _ => return Err(problem()),
        };
        let part = scaled(value, unit).ok_or_else(too_long)?;
        total = total.checked_add(part).ok_or_else(too_long)?;
        rest = after.trim_start();
    }
    Ok(total)
}

/// Reads a term: `30d`, or `100 epochs`.
pub(crate) fn term(text: &str) -> Result<Term, String> {
    let trimmed = text.trim();
    let digits = trimmed.trim_end_matches(|c: char| c.is_ascii_alphabetic()).trim_end();
    let unit = trimmed[digits.len()..].trim().to_ascii_lowercase();
    let term = match unit.as_str() {
        "epoch" | "epochs" | "e" => {
            Term::Epochs(digits.parse().map_err(|_| "a term looks like 30d or 100epochs")?)
        }
        "" => return Err("say the unit: 30d for days, 30epochs for epochs".into()),
        _ => Term::Time(duration(trimmed).map_err(|_| "a term looks like 30d or 100epochs")?),
    };
    match term {
        Term::Epochs(0) | Term::Time(0) => Err("it has to be longer than zero".into()),
        term => Ok(term),
    }
}

/// Reads `2.5` or `2.5 credits`.
pub(crate) fn amount(text: &str) -> Result<Amount, String> {
    let text = text.trim();
    let bare = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    match text[bare.len()..].to_ascii_lowercase().as_str() {
        "" | "credit" | "credits" | "cr" => {
            Amount::parse(bare.trim_end()).map_err(|error| error.to_string())
        }
        other => Err(format!("{other} is not a unit of money; write 2.5 or 2.5credits")),
    }
}

/// Reads a storage price: `1`, `1/month` or `0.001/epoch`.
pub(crate) fn price(text: &str) -> Result<Price, String> {
    match text.split_once('/') {
        None => amount(text).map(Price::Month),
        Some((value, "month" | "mo" | "30d")) => amount(value).map(Price::Month),
        Some((value, "epoch")) => amount(value).map(Price::Epoch),
        Some(_) => Err("a storage price looks like 1, 1/month or 0.001/epoch".into()),
    }
}

/// Reads a byte range: `1MiB-2MiB` or `1MiB..2MiB`, `4096-` to the end, `-1MiB` for the last MiB.
pub(crate) fn range(text: &str) -> Result<ByteRange, String> {
    let problem = "a range looks like 1MiB-2MiB, 0..1MiB, 4096- or -1MiB (the last MiB)";
    let parts = text.split_once("..").or_else(|| text.split_once('-'));
    let (start, end) = parts.ok_or(problem)?;
    let dashed = !text.contains("..");
    let number = |text: &str| size(text).map_err(|_| problem.to_owned());
    let range = match (start.trim(), end.trim()) {
        ("", "") => return Err(problem.into()),
        ("", last) if dashed => ByteRange::Last(number(last)?),
        ("", end) => ByteRange::Between(0, number(end)?),
        (start, "") => ByteRange::Between(number(start)?, u64::MAX),
        (start, end) => ByteRange::Between(number(start)?, number(end)?),
    };
    match range {
        ByteRange::Between(start, end) if end <= start => Err("the range is empty".into()),
        ByteRange::Last(0) => Err("the range is empty".into()),
        range => Ok(range),
    }
}

/// Reads a scheme: `16/32`.
pub(crate) fn scheme(text: &str) -> Result<Scheme, String> {
    let problem =
        || "a scheme looks like 16/32: the shards that suffice, and all of them".to_owned();
    let (required, total) = text.trim().split_once('/').ok_or_else(problem)?;
    let required = required.trim().parse().map_err(|_| problem())?;
    let total = total.trim().parse().map_err(|_| problem())?;
    Scheme::new(required, total).map_err(|error| error.to_string())
}

/// Reads a range of whole numbers: `0..16`.
pub(crate) fn cells(text: &str) -> Result<(u64, u64), String> {
    let problem = || "cells look like 0..16: the first, and the first one after".to_owned();
    let (first, end) = text.split_once("..").ok_or_else(problem)?;
    let first = first.parse().map_err(|_| problem())?;
    let end = end.parse().map_err(|_| problem())?;
    if first < end { Ok((first, end)) } else { Err("the range is empty".into()) }
}

/// The format of a date without a time of day.
const DATE: &str = "2026-12-31";

/// Reads `2026-12-31`, `2026-12-31T18:00Z`, `2026-12-31 18:00+02:00`, or a duration from now.
pub(crate) fn when(text: &str) -> Result<When, String> {
    let problem = || "a time looks like 30d, 2026-12-31 or 2026-12-31T18:00Z".to_owned();
    if let Ok(ms) = duration(text) {
        return Ok(When::After(ms));
    }
    let day = |date: civil::Date| date.to_zoned(TimeZone::UTC).map(|day| day.timestamp());
    // Without a time of day, the beginning of the day; with one, the offset from UTC has to be given.
    let time = match text.trim().parse::<civil::Date>() {
        Ok(date) if text.trim().len() == DATE.len() => day(date),
        _ => text.trim().parse::<Timestamp>(),
    };
    let ms = time.map_err(|_| problem())?.as_millisecond();
    u64::try_from(ms).map(When::At).map_err(|_| "that is before 1970".into())
}

/// A moment to show to people, by either clock.
pub(crate) trait Moment {
    /// Milliseconds since the Unix epoch.
    fn ms(self) -> u64;
}

impl Moment for u64 {
    fn ms(self) -> u64 {
        self
    }
}

impl Moment for LedgerTime {
    fn ms(self) -> u64 {
        self.0
    }
}

/// A time as `2026-11-22 17:34:48Z`.
pub(crate) fn show_time(moment: impl Moment) -> String {
    // Past the year 9999 there is no date.
    let time = i64::try_from(moment.ms()).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    time.map_or_else(|| "never".into(), |time| time.strftime("%Y-%m-%d %H:%M:%SZ").to_string())
}

/// A size with its unit: `15241 B`, `1.4 MiB`.
pub(crate) fn show_size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes < 1 << 10 {
        return format!("{bytes} B");
    }
    let mut unit = 0;
    // In 1024ths of the unit shown.
    let mut value = u128::from(bytes);
    while value >= 1024 * 1024 && unit + 1 < UNITS.len() {
        value /= 1024;
        unit += 1;
    }
    let tenths = (value * 10 + 512) / 1024;
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
}

/// A duration in its two largest units: `30d`, `1h 30m`, `1.4s`.
pub(crate) fn show_duration(ms: u64) -> String {
    const UNITS: [(u64, &str); 4] = [(DAY_MS, "d"), (3_600_000, "h"), (60_000, "m"), (1000, "s")];
    if ms < 1000 {
        return format!("{ms} ms");
    }
    if ms < 60_000 {
        let tenths = ms / 100;
        return if ms % 1000 < 100 {
            format!("{}s", ms / 1000)
        } else {
            format!("{}.{}s", tenths / 10, tenths % 10)
        };
    }
    let first = UNITS.iter().position(|(unit, _)| ms >= *unit).unwrap_or(UNITS.len() - 1);
    let (unit, name) = UNITS[first];
    let rest = ms % unit;
    match UNITS.get(first + 1).filter(|(unit, _)| rest >= *unit) {
        Some((small, small_name)) => format!("{}{name} {}{small_name}", ms / unit, rest / small),
        None => format!("{}{name}", ms / unit),
    }
}

/// Money with its unit: `2.5 credits`, `1 credit`.
pub(crate) fn show_amount(amount: Amount) -> Credits {
    Credits(amount)
}

/// Money that prints with its unit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Credits(Amount);

impl fmt::Display for Credits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = if self.0.0 == CREDIT { "credit" } else { "credits" };
        f.pad(&format!("{} {unit}", self.0))
    }
}

/// Hundredths of a percent in words.
pub(crate) fn percent(bp: u16) -> String {
    match bp % 100 {
        0 => format!("{} %", bp / 100),
        rest => format!("{}.{rest:02} %", bp / 100),
    }
}

/// `1 node`, `8 nodes`.
pub(crate) fn count(number: impl fmt::Display, thing: &str) -> String {
    let number = number.to_string();
    let plural = if number == "1" { "" } else { "s" };
    format!("{number} {thing}{plural}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("0", 0),
            ("4096", 4096),
            ("1.5KiB", 1536),
            ("100GiB", 100 * GIB),
            ("100 gib", 100 * GIB),
            ("2g", 2 * GIB),
            ("500MB", 500_000_000),
            ("0.1k", 102),
        ] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in ["", "GiB", "-1", "1e3", "5.", "1.2.3", "10 furlongs", "99999999999TiB"] {
            assert!(size(text).is_err(), "{text}");
        }
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (15_241, "14.9 KiB"),
            (100 * GIB, "100.0 GiB"),
            (u64::MAX, "16384.0 PiB"),
        ] {
            assert_eq!(show_size(bytes), text);
        }
    }

    #[test]
    fn durations() {
        for (text, ms) in [
            ("10s", 10_000),
            ("1h30m", 5_400_000),
            ("1h 30m", 5_400_000),
            ("0.5s", 500),
            ("250ms", 250),
            ("30d", MONTH_MS),
            ("2 weeks", 14 * DAY_MS),
        ] {
            assert_eq!(duration(text), Ok(ms), "{text}");
        }
        for text in ["", "10", "s", "10 parsecs", "1h30", "-1s", "99999999999999y"] {
            assert!(duration(text).is_err(), "{text}");
        }
        for (ms, text) in [
            (12, "12 ms"),
            (1_000, "1s"),
            (1_450, "1.4s"),
            (5_400_000, "1h 30m"),
            (MONTH_MS, "30d"),
            (DAY_MS + 1, "1d"),
        ] {
            assert_eq!(show_duration(ms), text);
        }
    }

    #[test]
    fn terms_and_prices() {
        assert_eq!(term("30d"), Ok(Term::Time(MONTH_MS)));
        assert_eq!(term("12epochs"), Ok(Term::Epochs(12)));
        assert_eq!(term("12 epochs"), Ok(Term::Epochs(12)));
        assert!(term("12").unwrap_err().contains("unit"));
        assert!(term("0s").is_err());
        assert!(term("-3epochs").is_err());
        assert_eq!(Term::Time(10_001).epochs(Millis(10_000)), 2);
        assert_eq!(amount("2.5 credits"), Ok(Amount(2_500_000_000)));
        assert!(amount("2.5 euro").is_err());
        assert_eq!(price("1"), Ok(Price::Month(Amount::credits(1))));
        assert_eq!(price("0.5/epoch"), Ok(Price::Epoch(Amount(CREDIT / 2))));
        assert!(price("1/year").is_err());
        // One credit a month is 3858.02.. units per 10 s: rounded up.
        assert_eq!(Price::Month(Amount::credits(1)).per_epoch(Millis(10_000)), Amount(3859));
    }

    #[test]
    fn ranges() {
        use ByteRange::{Between, Last};
        for (text, range_of, within) in [
            ("0..1MiB", Between(0, 1 << 20), (0, 1 << 20)),
            ("1MiB-2MiB", Between(1 << 20, 2 << 20), (1 << 20, 2 << 20)),
            ("5-6", Between(5, 6), (5, 6)),
            ("..10", Between(0, 10), (0, 10)),
            ("4096..", Between(4096, u64::MAX), (4096, 5_000_000)),
            ("4096-", Between(4096, u64::MAX), (4096, 5_000_000)),
            ("-1MiB", Last(1 << 20), (5_000_000 - (1 << 20), 5_000_000)),
            ("-1GiB", Last(1 << 30), (0, 5_000_000)),
        ] {
            assert_eq!(range(text), Ok(range_of), "{text}");
            assert_eq!(range_of.within(5_000_000), within, "{text}");
        }
        for text in ["5..5", "6-5", "-", "..", "", "-0", "5", "x-y", "1-2-3"] {
            assert!(range(text).is_err(), "{text}");
        }
        assert_eq!(scheme("16/32").map(|scheme| (scheme.required, scheme.total)), Ok((16, 32)));
        for text in ["16", "0/4", "5/4", "1/200", "4/8/9", "a/b"] {
            assert!(scheme(text).is_err(), "{text}");
        }
        assert_eq!(cells("0..16"), Ok((0, 16)));
        assert!(cells("3..3").is_err());
    }

    #[test]
    fn times_go_there_and_back() {
        assert_eq!(when("1h"), Ok(When::After(3_600_000)));
        assert_eq!(when("1970-01-01"), Ok(When::At(0)));
        assert_eq!(when("2000-03-01T12:30:05Z"), Ok(When::At(951_913_805_000)));
        assert_eq!(show_time(951_913_805_000), "2000-03-01 12:30:05Z");
        assert_eq!(show_time(u64::MAX), "never");
        for text in ["2026-02-29", "2026-13-01", "2026-12-31T18:00", "tomorrow", "2026-12"] {
            assert!(when(text).is_err(), "{text}");
        }
        assert!(when("2028-02-29").is_ok());
        // One moment in three time zones; and a refusal where the zone is missing.
        for text in [
            "2026-12-31T18:00Z",
            "2026-12-31 18:00Z",
            "2026-12-31T20:00+02:00",
            "2026-12-31T12:30-05:30",
        ] {
            assert_eq!(when(text), Ok(When::At(1_798_740_000_000)), "{text}");
        }
        assert_eq!(show_time(1_798_740_000_000), "2026-12-31 18:00:00Z");
        for text in
            ["1969-12-31", "2026-12-31 18:00", "20261231T18", "10000-01-01", "-002026-01-01"]
        {
            assert!(when(text).is_err(), "{text}");
        }
        assert_eq!(show_time(253_402_128_000_000), "9999-12-30 00:00:00Z");
        assert_eq!(show_time(253_402_300_800_000), "never");
    }
}
