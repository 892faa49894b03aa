//! Parameters and motions in words.

use symbolon_protocol::{
    Amount,
    describe::{Described as _, Field, Shape, words},
    ledger::{
        Params,
        changes::{PARAMS, Param},
        rows::{Choice, Failure, Measure, MotionState, ParamChange},
    },
};

use crate::units::{self, show_amount, show_duration};

/// What a parameter counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    Money,
    Time,
    /// Hundredths of a percent.
    Part,
    Count,
}

fn field(number: u8) -> Option<&'static Field> {
    match Params::DESCRIPTION.shape {
        Shape::Record(fields) => fields.get(usize::from(number)),
        Shape::Choice(_) => None,
    }
}

fn unit(number: u8) -> Unit {
    match field(number) {
        Some(field) if field.kind == "Amount" => Unit::Money,
        Some(field) if field.kind == "Millis" => Unit::Time,
        Some(field) if field.name.ends_with("_bp") => Unit::Part,
        _ => Unit::Count,
    }
}

/// A value as people read it.
fn shown(number: u8, value: u128) -> String {
    match unit(number) {
        Unit::Money => show_amount(Amount(value)).to_string(),
        Unit::Time => show_duration(u64::try_from(value).unwrap_or(u64::MAX)),
        Unit::Part => format!("{}.{:02} %", value / 100, value % 100),
        Unit::Count => value.to_string(),
    }
}

/// What a parameter is, in a few words: the first sentence of its description.
fn meaning(number: u8) -> String {
    let text = field(number).map(|field| words(field.notes).collect::<Vec<_>>().join(" "));
    let text = text.unwrap_or_default();
    let sentence = text.split(". ").next().unwrap_or_default().trim_end_matches('.');
    let mut letters = sentence.chars();
    letters.next().map_or(String::new(), |first| first.to_lowercase().chain(letters).collect())
}

/// A change of a parameter as it stands on a command line: `name=value`.
pub(super) fn change(text: &str) -> Result<ParamChange, String> {
    let (name, value) =
        text.split_once('=').ok_or("say a parameter and its value, such as fee_base=0.001")?;
    let (param, _) = Param::named(name)
        .ok_or_else(|| format!("there is no parameter {name}; spec/ledger.md lists them"))?;
    let value = match unit(param) {
        Unit::Money => units::amount(value)?.0,
        Unit::Time => units::duration(value)?.into(),
        Unit::Part => part(value)?,
        Unit::Count => value.parse().map_err(|_| format!("{name} is a number"))?,
    };
    Ok(ParamChange { param, value })
}

/// Hundredths of a percent, or a percentage.
fn part(text: &str) -> Result<u128, String> {
    let wrong =
        || String::from("give hundredths of a percent, such as 250, or a percentage, such as 2.5%");
    let Some(percent) = text.strip_suffix('%') else { return text.parse().map_err(|_| wrong()) };
    let (whole, rest) = percent.split_once('.').unwrap_or((percent, ""));
    let is_number = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || 2 < rest.len() || !is_number(whole) || !is_number(rest) {
        return Err(wrong());
    }
    format!("{whole}{rest:0<2}").parse().map_err(|_| wrong())
}

/// What a motion would change, line by line.
pub(super) fn of_measure(measure: &Measure, params: &Params) -> Vec<String> {
    match measure {
        Measure::Params { changes } => changes.iter().map(|one| of_change(one, params)).collect(),
        Measure::Pay { to, amount } => {
            vec![format!("the treasury pays {} to account {to}", show_amount(*amount))]
        }
        Measure::Rules { version, height } => vec![format!(
            "version {version} of the ledger's rules from block {height} on, if all validators know it then"
        )],
    }
}

fn of_change(change: &ParamChange, params: &Params) -> String {
    let ParamChange { param, value } = *change;
    let Some(known) = PARAMS.get(usize::from(param)) else {
        return format!("parameter {param}, which this program does not know");
    };
    let (now, then) = (shown(param, known.of(params)), shown(param, value));
    format!("{}: {now} -> {then}: {}", known.name, meaning(param))
}

/// What happens with what exists already, for each changed parameter.
pub(super) fn consequences(measure: &Measure) -> Vec<String> {
    let Measure::Params { changes } = measure else { return Vec::new() };
    let known = changes.iter().filter_map(|change| PARAMS.get(usize::from(change.param)));
    known.map(|param| format!("{}: {}", param.name, param.existing.replace('`', ""))).collect()
}

/// The values of a parameter now and then, as numbers.
pub(super) fn values(change: &ParamChange, params: &Params) -> Option<(&'static str, u128, u128)> {
    let known = PARAMS.get(usize::from(change.param))?;
    Some((known.name, known.of(params), change.value))
}

pub(super) fn of_kind(measure: &Measure) -> &'static str {
    match measure {
        Measure::Params { .. } => "params",
        Measure::Pay { .. } => "treasury",
        Measure::Rules { .. } => "rules",
    }
}

pub(super) fn of_state(state: MotionState) -> &'static str {
    match state {
        MotionState::Open => "open",
        MotionState::Passed => "passed",
        MotionState::Pending => "pending",
        MotionState::Done => "done",
        MotionState::Rejected => "rejected",
        MotionState::NoQuorum => "no_quorum",
        MotionState::Vetoed => "vetoed",
        MotionState::Failed { .. } => "failed",
    }
}

/// How a motion stands, for people.
pub(super) fn state_in_words(state: MotionState) -> String {
    match state {
        MotionState::Open => "it is voted on".into(),
        MotionState::Passed => "passed; it waits to take effect".into(),
        MotionState::Pending => "passed; it waits for its block".into(),
        MotionState::Done => "it has taken effect".into(),
        MotionState::Rejected => "rejected: too few were for it".into(),
        MotionState::NoQuorum => "too few voted: its deposit is lost".into(),
        MotionState::Vetoed => "stopped by a veto: its deposit is lost".into(),
        MotionState::Failed { why } => format!("passed, without effect: {}", of_failure(why)),
    }
}

/// What would come of it if the vote ended now.
pub(super) fn outlook(state: MotionState) -> &'static str {
    match state {
        MotionState::NoQuorum => "too few have voted",
        MotionState::Vetoed => "it is stopped by a veto",
        MotionState::Rejected => "it is rejected",
        _ => "it is passed",
    }
}

pub(super) fn of_failure(why: Failure) -> &'static str {
    match why {
        Failure::Params => "a parameter may not change like this any more",
        Failure::Treasury => "the treasury has less than that",
        Failure::Height => "the block from which on the rules were to change is over",
        Failure::NotReady => "a validator does not know these rules",
        Failure::OtherRules => "other rules are in force, or wait for their block",
    }
}

pub(super) fn of_choice(choice: Choice) -> &'static str {
    match choice {
        Choice::Yes => "yes",
        Choice::No => "no",
        Choice::Abstain => "abstain",
        Choice::Veto => "veto",
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test")]

    use super::*;

    fn says(text: &str) -> String {
        of_change(&change(text).unwrap(), &Params::development())
    }

    #[test]
    fn a_change_is_said_in_words() {
        assert_eq!(
            says("fee_base=0.001"),
            "fee_base: 0 credits -> 0.001 credits: the fee of every transaction, to the treasury"
        );
        let percent = says("quorum_bp=33.5%");
        assert!(
            percent.starts_with("quorum_bp: 40.00 % -> 33.50 %: the part of what may vote"),
            "{percent}"
        );
        let time = says("jail_ms=5m");
        assert!(time.starts_with("jail_ms: 10m -> 5m: how long a jailed"), "{time}");
        assert!(says("dead_after_epochs=3").starts_with("dead_after_epochs: 10 -> 3: after"));
        assert_eq!(part("250"), Ok(250));
        assert_eq!(part("2.5%"), Ok(250));
        assert_eq!(part("7%"), Ok(700));
    }

    #[test]
    fn a_change_that_says_nothing_is_refused() {
        for text in
            ["fee_base", "fee=1", "fee_base=much", "jail_ms=5", "quorum_bp=1.234%", "quorum_bp=%"]
        {
            assert!(change(text).is_err(), "{text}");
        }
        assert!(change("dead_after_epochs=-1").is_err());
    }

    #[test]
    fn each_parameter_has_words() {
        for (number, param) in (0..).zip(PARAMS) {
            let text = meaning(number);
            assert!(!text.is_empty() && !param.existing.is_empty(), "{}", param.name);
            assert_eq!(field(number).unwrap().name, param.name);
        }
    }
}
