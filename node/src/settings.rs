//! What an operator changes while a node runs: bandwidth, the pace of scrubs, and a pause for new shards.
//!
//! The settings are a small text file in the node's folder. The node looks at it every few seconds, so a change needs
//! no restart and no channel into the process. A file that makes no sense changes nothing.

use std::{fmt, fs::File, io, io::Read as _, path::Path};

use symbolon_protocol::MachineTime;
use thiserror::Error;
use tracing::{error, info};

use crate::shared::{Shared, Stopped};

/// Bytes per second; `None` means no bound.
pub type Rate = Option<u64>;

/// The settings of a running node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Bytes per second that the node sends to peers.
    pub send: Rate,
    /// Bytes per second of shards that it receives from peers.
    pub receive: Rate,
    /// How fast it scrubs.
    pub scrub: ScrubRate,
    /// When it takes no new shards.
    pub pause: Option<DayTimes>,
    /// Whether it hands its shards to other nodes and retires.
    pub leaving: bool,
    /// Whether it retires even though owners of vaults count on its shares.
    pub abandons_vaults: bool,
}

/// How fast a node reads its shards to check them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ScrubRate {
    /// So fast that all shards are read in four weeks.
    #[default]
    Weeks,
    /// Not at all.
    Off,
    /// So many bytes per second.
    Bytes(u64),
}

/// A part of every day, in UTC. It may go past midnight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DayTimes {
    /// The first minute of it, from midnight on.
    pub from_minute: u16,
    /// The first minute after it.
    pub to_minute: u16,
}

/// Why settings cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// The file cannot be read or written.
    #[error("cannot use the file {}: {source}", path.display())]
    File {
        /// The file.
        path: std::path::PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// A line makes no sense.
    #[error(
        "line {line} of the settings makes no sense: {text:?}; a line is a setting and its value, such as send 1048576"
    )]
    Line {
        /// The number of the line, from 1.
        line: usize,
        /// The line.
        text: String,
    },
    /// The file is longer than settings can be.
    #[error("the settings are longer than {BYTES_MAX} bytes")]
    TooLong,
}

impl DayTimes {
    /// Whether a time of the day is in it.
    #[must_use]
    pub fn contains(&self, now_ms: MachineTime) -> bool {
        let minute = u16::try_from(now_ms.0 / 60_000 % u64::from(MINUTES)).unwrap_or(0);
        match self.from_minute <= self.to_minute {
            true => (self.from_minute..self.to_minute).contains(&minute),
            false => self.from_minute <= minute || minute < self.to_minute,
        }
    }

    /// Reads `02:00-04:30`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (from, to) = text.split_once('-')?;
        let times = Self { from_minute: minute(from)?, to_minute: minute(to)? };
        (times.from_minute != times.to_minute).then_some(times)
    }
}

impl fmt::Display for DayTimes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { from_minute: from, to_minute: to } = self;
        write!(f, "{:02}:{:02}-{:02}:{:02}", from / 60, from % 60, to / 60, to % 60)
    }
}

fn minute(text: &str) -> Option<u16> {
    let (hour, minute) = text.split_once(':')?;
    let digits = |text: &str| text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(hour) || !digits(minute) {
        return None;
    }
    let (hour, minute) = (hour.parse::<u16>().ok()?, minute.parse::<u16>().ok()?);
    (hour < 24 && minute < 60).then_some(hour * 60 + minute)
}

impl Settings {
    /// The name of the file in a node's folder.
    pub const FILE: &str = "settings";

    /// Reads the settings of a folder; the defaults where it has none.
    pub fn read(dir: &Path) -> Result<Self, SettingsError> {
        let path = dir.join(Self::FILE);
        let failed = |source| SettingsError::File { path: path.clone(), source };
        let file = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            file => file.map_err(failed)?,
        };
        let mut text = String::new();
        file.take(BYTES_MAX + 1).read_to_string(&mut text).map_err(failed)?;
        if BYTES_MAX < text.len() as u64 {
            return Err(SettingsError::TooLong);
        }
        Self::parse(&text)
    }

    /// Reads the text of a file. A setting that has no line has its default.
    pub fn parse(text: &str) -> Result<Self, SettingsError> {
        let mut settings = Self::default();
        let mut seen: Vec<&str> = Vec::new();
        for (number, line) in (1..).zip(text.lines()) {
            let no_sense = || SettingsError::Line { line: number, text: line.to_owned() };
            let (name, value) = line.split_once(' ').ok_or_else(no_sense)?;
            if seen.contains(&name) {
                return Err(no_sense());
            }
            seen.push(name);
            match name {
                "send" => settings.send = Some(rate(value).ok_or_else(no_sense)?),
                "receive" => settings.receive = Some(rate(value).ok_or_else(no_sense)?),
                "scrub" if value == "off" => settings.scrub = ScrubRate::Off,
                "scrub" => settings.scrub = ScrubRate::Bytes(rate(value).ok_or_else(no_sense)?),
                "leaving" if value == "yes" => settings.leaving = true,
                "abandons-vaults" if value == "yes" => settings.abandons_vaults = true,
                "pause" => settings.pause = Some(DayTimes::parse(value).ok_or_else(no_sense)?),
                _ => return Err(no_sense()),
            }
        }
        Ok(settings)
    }

    /// The text of the file.
    #[must_use]
    pub fn to_text(&self) -> String {
        let line = |name: &str, value: Option<String>| {
            value.map_or(String::new(), |value| format!("{name} {value}\n"))
        };
        let scrub = match self.scrub {
            ScrubRate::Weeks => None,
            ScrubRate::Off => Some(String::from("off")),
            ScrubRate::Bytes(rate) => Some(rate.to_string()),
        };
        [
            line("send", self.send.map(|rate| rate.to_string())),
            line("receive", self.receive.map(|rate| rate.to_string())),
            line("scrub", scrub),
            line("pause", self.pause.map(|times| times.to_string())),
            line("leaving", self.leaving.then(|| String::from("yes"))),
            line("abandons-vaults", self.abandons_vaults.then(|| String::from("yes"))),
        ]
        .concat()
    }
}

/// Whole bytes per second, at least [`RATE_MIN`].
fn rate(text: &str) -> Option<u64> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|rate| is_number && RATE_MIN <= *rate)
}

/// Takes over changes of the file until the node stops.
pub(crate) async fn watch_file(shared: &Shared) {
    let mut refused = None;
    loop {
        if shared.sleep_ms(LOOK_MS).await == Err(Stopped) {
            return;
        }
        let dir = shared.options.dir.clone();
        match shared.host.blocking(move || Settings::read(&dir)).await {
            Ok(settings) => {
                refused = None;
                if shared.set_settings(settings) {
                    info!(?settings, "the settings have changed");
                }
            }
            Err(why) => {
                let why = why.to_string();
                // Once for each fault, and not every few seconds.
                if refused.as_ref() != Some(&why) {
                    error!(why, "the settings cannot be used; those before stay");
                }
                refused = Some(why);
            }
        }
    }
}

/// The smallest rate, in bytes per second. With less, the largest slice would take minutes, and every peer would give
/// up.
pub const RATE_MIN: u64 = 16 * 1024;

/// The most bytes of the file.
const BYTES_MAX: u64 = 4096;
/// Minutes of a day.
const MINUTES: u16 = 24 * 60;
/// Milliseconds between two looks at the file.
const LOOK_MS: u64 = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_come_back_as_they_went() {
        let pause = DayTimes::parse("23:30-04:05");
        for settings in [
            Settings::default(),
            Settings {
                send: Some(RATE_MIN),
                receive: Some(u64::MAX),
                scrub: ScrubRate::Off,
                pause,
                leaving: true,
                abandons_vaults: true,
            },
            Settings { scrub: ScrubRate::Bytes(1 << 20), ..Settings::default() },
        ] {
            assert_eq!(Settings::parse(&settings.to_text()).unwrap(), settings);
        }
        assert_eq!(Settings::default().to_text(), "");
    }

    #[test]
    fn lines_that_make_no_sense_are_refused() {
        for text in [
            "send",
            "send ",
            "send 16383",
            "send +20000",
            "send 1MiB",
            "send 99999999999999999999",
            "send 20000\nsend 20000",
            "more 20000",
            "scrub 5",
            "leaving no",
            "abandons-vaults no",
            "pause 02:00",
            "pause 2:00-03:00",
            "pause 24:00-01:00",
            "pause 02:60-03:00",
            "pause 02:00-02:00",
            "\n",
            "# send 20000",
        ] {
            assert!(Settings::parse(text).is_err(), "{text:?}");
        }
        let error = Settings::parse("send 20000\nreceive x").unwrap_err();
        assert!(matches!(error, SettingsError::Line { line: 2, .. }), "{error}");
    }

    #[test]
    fn a_folder_without_the_file_has_the_defaults_and_a_long_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Settings::read(dir.path()).unwrap(), Settings::default());
        let path = dir.path().join(Settings::FILE);
        std::fs::write(&path, "receive 20000\n").unwrap();
        assert_eq!(Settings::read(dir.path()).unwrap().receive, Some(20_000));
        std::fs::write(&path, "\n".repeat(5_000)).unwrap();
        assert!(matches!(Settings::read(dir.path()), Err(SettingsError::TooLong)));
        std::fs::write(&path, [0xff, 0xfe]).unwrap();
        assert!(matches!(Settings::read(dir.path()), Err(SettingsError::File { .. })));
    }

    #[test]
    fn a_pause_may_go_past_midnight() {
        let at = |minute: u64| MachineTime(20_000 * 86_400_000 + minute * 60_000);
        let night = DayTimes::parse("23:00-01:00").unwrap();
        assert!(night.contains(at(23 * 60)) && night.contains(at(0)) && night.contains(at(59)));
        assert!(!night.contains(at(60)) && !night.contains(at(23 * 60 - 1)));
        let noon = DayTimes::parse("12:00-13:00").unwrap();
        assert!(noon.contains(at(12 * 60)) && !noon.contains(at(13 * 60)) && !noon.contains(at(0)));
    }
}
