//! A bar on stderr while bytes move, when a person looks on.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use symbolon_client::{Progress, Step};

use crate::output::Output;

/// How often the bar is drawn, per second: enough to see it move, little to draw.
const DRAWS_PER_SECOND: u8 = 8;

/// How often the bar shows signs of life while nothing moves, in milliseconds.
const TICK_MS: u64 = 200;

/// A bar, or nothing when nobody looks.
#[derive(Debug)]
pub(crate) struct Bar {
    bar: Option<ProgressBar>,
}

/// Starts a bar; `doing` is what it says.
pub(crate) fn bar(out: &Output, doing: &'static str) -> Bar {
    if !out.is_watched() {
        return Bar { bar: None };
    }
    let bar =
        ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(DRAWS_PER_SECOND));
    bar.set_style(style("{spinner} {prefix} {bytes} {bytes_per_sec} {msg}"));
    bar.set_prefix(doing);
    bar.enable_steady_tick(std::time::Duration::from_millis(TICK_MS));
    Bar { bar: Some(bar) }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

impl Bar {
    /// Where the client tells its steps.
    pub(crate) fn progress(&self) -> Progress {
        let Some(bar) = self.bar.clone() else { return Progress::silent() };
        Progress::new(move |step| match step {
            Step::Planned { total_bytes: Some(total) } => {
                bar.set_length(total);
                bar.set_style(style(
                    "{prefix} [{bar:30}] {bytes} of {total_bytes} {bytes_per_sec} {eta} left {msg}",
                ));
            }
            Step::Moved { bytes } => {
                bar.inc(bytes);
                bar.set_message("");
            }
            Step::Waiting { node, what } => bar.set_message(match node {
                Some(node) => format!("{what} (node {})", &node.to_string()[..8]),
                None => what,
            }),
            Step::Note(text) => bar.println(text),
            _ => {}
        })
    }

    /// Takes the bar away: the result follows.
    pub(crate) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
