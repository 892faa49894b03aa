//! Log lines on stderr: as text, or as one JSON object a line.

use std::{collections::BTreeMap, fmt};

use symbolon_net::Host;
use symbolon_view::shell::LogLine;
use tracing::{Event, Subscriber, field::Field};
use tracing_subscriber::{
    EnvFilter,
    fmt::{FmtContext, FormatEvent, FormatFields, format::Writer},
    registry::LookupSpan,
};

use crate::{env, output::log_line};

/// How log lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Sends log lines to stderr.
pub(crate) fn start(verbose: u8, format: LogFormat) {
    let default = match verbose {
        // The transport logs every peer that vanishes; the commands report what follows from it.
        0 => "error,iroh=off,noq=off",
        1 => {
            "warn,iroh=off,noq=off,symbolon=info,symbolon_node=info,symbolon_ledger=info,symbolon_client=info,\
              symbolon_transfer=info"
        }
        2 => {
            "info,symbolon=debug,symbolon_node=debug,symbolon_ledger=debug,symbolon_client=debug,\
              symbolon_transfer=debug,symbolon_net=debug"
        }
        _ => "trace",
    };
    let filter = env::log_filter().unwrap_or_else(|| default.to_owned());
    let filter = EnvFilter::try_new(quieter(&filter));
    let filter = filter.unwrap_or_else(|_| EnvFilter::new(quieter(default)));
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        // Colours are a feature that is not compiled in; to ask for them prints a complaint on every terminal.
        .with_ansi(false);
    match format {
        LogFormat::Text => lines.init(),
        LogFormat::Json => lines.event_format(JsonLines { host: Host::system() }).init(),
    }
}

/// The same directives, behind those for what tells more than its level says. One that names such a part holds.
fn quieter(directives: &str) -> String {
    let named = |part: &str| directives.split(',').any(|one| one.trim().starts_with(part));
    let quiet = LOUD.iter().filter(|(part, _)| !named(part));
    let quiet: String = quiet.map(|(part, level)| format!("{part}={level},")).collect();
    // To see everything is to see everything.
    if directives == "trace" { directives.to_owned() } else { quiet + directives }
}

/// Parts that log at `info` what is a detail here: the agreement's core tells every vote.
const LOUD: [(&str, &str); 1] = [("arc_malachitebft", "warn")];

/// Writes events as JSON. The `json` feature of tracing-subscriber would bring another crate.
struct JsonLines {
    host: Host,
}

impl<S, N> FormatEvent<S, N> for JsonLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let about = event.metadata();
        let line = LogLine {
            at_ms: self.host.now_ms().0,
            level: about.level().as_str().to_lowercase(),
            target: about.target().to_owned(),
            message: fields.0.remove("message").unwrap_or_default(),
            fields: fields.0,
        };
        writer.write_str(&log_line(&line))
    }
}

#[derive(Default)]
struct Fields(BTreeMap<String, String>);

impl tracing::field::Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().to_owned(), value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name().to_owned(), format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_core_of_the_agreement_is_heard_only_if_it_is_named() {
        assert_eq!(quieter("info"), "arc_malachitebft=warn,info");
        assert_eq!(quieter("info,arc_malachitebft=debug"), "info,arc_malachitebft=debug");
        assert_eq!(
            quieter("info, arc_malachitebft_core_consensus=info"),
            "info, arc_malachitebft_core_consensus=info"
        );
        assert_eq!(quieter("trace"), "trace");
        assert!(EnvFilter::try_new(quieter("warn,iroh=off")).is_ok());
    }
}
