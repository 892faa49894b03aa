//! The progress of a long command: a bar for people, JSON lines for programs, or nothing.
//!
//! It shows how much is done, the rate, the time left, and, when nothing moves, which parties the command waits for.

mod tracker;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use symbolon_client::{Progress, Step};
use symbolon_view::progress::Event;
use tokio::task::JoinHandle;

use crate::output::{Output, one_line};
pub(crate) use tracker::Tracker;

/// How often the bar is drawn, per second: enough to see it move, little to draw.
const DRAWS_PER_SECOND: u8 = 8;

/// Time between two updates of the bar.
const LOOK: Duration = Duration::from_millis(200);

/// Time between two JSON events.
const EVENT: Duration = Duration::from_millis(500);

/// Time between two lines of text.
const LINE: Duration = Duration::from_secs(5);

/// How progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Show {
    /// A bar on a terminal.
    Bar,
    /// JSON lines on stderr.
    Events,
    /// Now and then a line on stderr.
    Lines,
    /// Nothing.
    Nothing,
}

/// The display of a long command. It ends when this value is dropped.
#[derive(Debug)]
pub(crate) struct Bar {
    shared: Arc<Shared>,
    ticker: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    out: Output,
    show: Show,
    bar: Option<ProgressBar>,
    began: Instant,
    tracker: Mutex<Tracker>,
}

/// Starts the display; `doing` names the work.
pub(crate) fn bar(out: &Output, doing: &'static str) -> Bar {
    let show = out.progress();
    let bar = (show == Show::Bar).then(|| {
        let target = ProgressDrawTarget::stderr_with_hz(DRAWS_PER_SECOND);
        let bar = ProgressBar::with_draw_target(None, target);
        bar.set_style(style("{spinner} {prefix} {msg}"));
        bar.set_prefix(doing);
        bar
    });
    let tracker = Mutex::new(Tracker::new(doing));
    let shared = Arc::new(Shared { out: out.clone(), show, bar, began: Instant::now(), tracker });
    let pace = match show {
        Show::Bar => Some(LOOK),
        Show::Events => Some(EVENT),
        Show::Lines => Some(LINE),
        Show::Nothing => None,
    };
    let ticker = pace.map(|pace| {
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            let mut ticks = tokio::time::interval(pace);
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            // The first tick comes at once, before there is any progress.
            ticks.tick().await;
            loop {
                ticks.tick().await;
                shared.look();
            }
        })
    });
    Bar { shared, ticker }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

impl Shared {
    fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn tracker(&self) -> MutexGuard<'_, Tracker> {
        // Counts stay consistent even if a thread panicked while it held the lock.
        self.tracker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hear(&self, step: &Step) {
        let now_ms = self.now_ms();
        let first = self.tracker().hear(now_ms, step);
        match (self.show, step) {
            (Show::Bar, Step::Planned { total_bytes: Some(total) }) => {
                if let Some(bar) = &self.bar {
                    bar.set_length(*total);
                    bar.set_style(style("{prefix} [{bar:30}] {msg}"));
                }
            }
            (Show::Bar, Step::Note(text)) => {
                if let Some(bar) = &self.bar {
                    bar.println(one_line(text));
                }
            }
            (Show::Lines, Step::Note(text)) => self.out.aside(text),
            (Show::Events, Step::Note(_) | Step::Fault { .. }) => {
                if let Some(event) = Event::of(step) {
                    self.out.aside_event(&event);
                }
            }
            // A program that waits for a first event gets one at once.
            (Show::Events, _) if first => self.look(),
            _ => {}
        }
    }

    /// Shows the current state.
    fn look(&self) {
        let now_ms = self.now_ms();
        match self.show {
            Show::Bar => {
                if let Some(bar) = &self.bar {
                    let (done, line) = {
                        let tracker = self.tracker();
                        (tracker.done(), tracker.line(now_ms))
                    };
                    bar.set_position(done);
                    bar.set_message(line);
                    bar.tick();
                }
            }
            Show::Events => {
                let event = self.tracker().event(now_ms);
                self.out.aside_event(&event);
            }
            Show::Lines => {
                let line = {
                    let tracker = self.tracker();
                    format!("{} {}", tracker.doing(), tracker.line(now_ms))
                };
                self.out.aside(&line);
            }
            Show::Nothing => {}
        }
    }
}

impl Bar {
    /// The receiver of the client's steps.
    pub(crate) fn progress(&self) -> Progress {
        let shared = Arc::clone(&self.shared);
        Progress::new(move |step| shared.hear(&step))
    }

    /// How far it has come, for the message that it stopped: `312.0 MiB of 1.0 GiB`.
    pub(crate) fn so_far(&self) -> String {
        self.shared.tracker().so_far()
    }

    /// Shows the last state and removes the bar: the result follows.
    pub(crate) fn finish(&self) {
        if let Some(ticker) = &self.ticker {
            ticker.abort();
        }
        if self.shared.show == Show::Events {
            self.shared.look();
        }
        if let Some(bar) = &self.shared.bar {
            bar.finish_and_clear();
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        if let Some(ticker) = &self.ticker {
            ticker.abort();
        }
    }
}
