//! The whole system from a seed: production parts, one thread, virtual time, an auditor who watches.
//!
//! Every scenario runs for several seeds, and each run twice: both must leave the same trace, bit for
//! bit. `SYMBOLON_SEED=7` runs one seed only, `SYMBOLON_SEEDS=100` so many. What fails names its seed.

#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "simulation/at_once.rs"]
mod at_once;
#[path = "simulation/away.rs"]
mod away;
#[path = "simulation/bought.rs"]
mod bought;
#[path = "simulation/bounded.rs"]
mod bounded;
#[path = "simulation/buckets.rs"]
mod buckets;
#[path = "simulation/cared.rs"]
mod cared;
#[path = "simulation/changing.rs"]
mod changing;
#[path = "simulation/cheats.rs"]
mod cheats;
#[path = "simulation/clocks.rs"]
mod clocks;
#[path = "simulation/crash.rs"]
mod crash;
#[path = "simulation/crowd.rs"]
mod crowd;
#[path = "simulation/custodians.rs"]
mod custodians;
#[path = "simulation/devices.rs"]
mod devices;
#[path = "simulation/disputed.rs"]
mod disputed;
#[path = "simulation/droppers.rs"]
mod droppers;
#[path = "simulation/exodus.rs"]
mod exodus;
#[path = "simulation/far.rs"]
mod far;
#[path = "simulation/fees.rs"]
mod fees;
#[path = "simulation/forged.rs"]
mod forged;
#[path = "simulation/given.rs"]
mod given;
#[path = "simulation/goods.rs"]
mod goods;
#[path = "simulation/grown.rs"]
mod grown;
#[path = "simulation/lapsed.rs"]
mod lapsed;
#[path = "simulation/lasting.rs"]
mod lasting;
#[path = "simulation/leaving.rs"]
mod leaving;
#[path = "simulation/liars.rs"]
mod liars;
#[path = "simulation/mended.rs"]
mod mended;
#[path = "simulation/money.rs"]
mod money;
#[path = "simulation/motions.rs"]
mod motions;
#[path = "simulation/names.rs"]
mod names;
#[path = "simulation/places.rs"]
mod places;
#[path = "simulation/poor.rs"]
mod poor;
#[path = "simulation/power.rs"]
mod power;
#[path = "simulation/promises.rs"]
mod promises;
#[path = "simulation/refund.rs"]
mod refund;
#[path = "simulation/refusals.rs"]
mod refusals;
#[path = "simulation/resigning.rs"]
mod resigning;
#[path = "simulation/resumed.rs"]
mod resumed;
#[path = "simulation/road.rs"]
mod road;
#[path = "simulation/rotated.rs"]
mod rotated;
#[path = "simulation/rows.rs"]
mod rows;
#[path = "simulation/sellers.rs"]
mod sellers;
#[path = "simulation/silent.rs"]
mod silent;
#[path = "simulation/stalled.rs"]
mod stalled;
#[path = "simulation/strangers.rs"]
mod strangers;
#[path = "simulation/taken.rs"]
mod taken;
#[path = "simulation/told.rs"]
mod told;
#[path = "simulation/twins.rs"]
mod twins;
#[path = "simulation/unposted.rs"]
mod unposted;
#[path = "simulation/vouchers.rs"]
mod vouchers;

use std::{future::Future, panic::AssertUnwindSafe};

use symbolon_client::{PutOptions, SellOptions};
use symbolon_protocol::{Amount, Millis, content::Scheme};
use symbolon_tests::sim::{Trace, run};

/// Seeds that are run when nothing else is asked for.
const SEEDS: u64 = 3;

fn seeds() -> Vec<u64> {
    let number = |name| std::env::var(name).ok().map(|text: String| text.parse().expect(name));
    match number("SYMBOLON_SEED") {
        Some(seed) => vec![seed],
        None => (1..=number("SYMBOLON_SEEDS").unwrap_or(SEEDS)).collect(),
    }
}

/// Runs a scenario, and says which seed it was when it fails.
fn once<F: Future<Output = Trace>>(name: &str, seed: u64, scenario: fn(u64) -> F) -> Trace {
    let run = AssertUnwindSafe(|| run(|| scenario(seed)));
    std::panic::catch_unwind(run).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        let text = text.unwrap_or_default();
        panic!(
            "seed {seed}: {text}\nagain: SYMBOLON_SEED={seed} cargo test -p symbolon-tests {name}"
        )
    })
}

/// Runs a scenario twice for every seed.
fn repeat<F: Future<Output = Trace>>(name: &str, scenario: fn(u64) -> F) {
    let mut digests = std::collections::BTreeSet::new();
    let seeds = seeds();
    for seed in &seeds {
        let first = once(name, *seed, scenario);
        let second = once(name, *seed, scenario);
        if let Some(difference) = first.first_difference(&second) {
            panic!("seed {seed} does not repeat itself, {name}, {difference}");
        }
        assert!(first.lines.len() > 20, "a trace says what happened");
        digests.insert(first.digest());
    }
    assert_eq!(digests.len(), seeds.len(), "every seed is a run of its own");
}

/// Four of eight, for so many epochs.
fn put_options(epochs: u64) -> PutOptions {
    let scheme = Some(Scheme::new(4, 8).unwrap());
    PutOptions { epochs: Some(epochs), least: Some(0), scheme, ..PutOptions::default() }
}

/// Ten minutes of access for a price, as long as the file is there.
fn sell_options(title: &str, price: Amount) -> SellOptions {
    SellOptions {
        title: title.into(),
        description: String::new(),
        price,
        licence_text: String::new(),
        access_ms: Some(Millis(600_000)),
        window_ms: Some(Millis(10_000)),
        preview_cells: 0,
        ..SellOptions::default()
    }
}

#[test]
fn a_file_outlives_what_its_nodes_agreed_to_and_grows_with_the_network() {
    repeat("a_file_outlives_what_its_nodes_agreed_to_and_grows_with_the_network", grown::grown);
}

#[test]
fn the_whole_road() {
    repeat("the_whole_road", road::whole_road);
}

#[test]
fn a_network_with_fees() {
    repeat("a_network_with_fees", fees::fees);
}

#[test]
fn parameters_change_under_those_who_store() {
    repeat("parameters_change_under_those_who_store", motions::motions);
}

#[test]
fn what_cannot_be_done_is_refused_for_its_own_reason() {
    repeat("what_cannot_be_done_is_refused_for_its_own_reason", refusals::refusals);
}

#[test]
fn liars_are_named_and_not_paid() {
    repeat("liars_are_named_and_not_paid", liars::liars);
}

#[test]
fn no_node_is_believed_about_what_it_keeps() {
    repeat("no_node_is_believed_about_what_it_keeps", promises::promises);
}

#[test]
fn no_buyer_is_given_what_is_not_as_listed() {
    repeat("no_buyer_is_given_what_is_not_as_listed", sellers::sellers);
}

#[test]
fn a_cheated_buyer_has_the_money_back_and_an_honest_seller_is_paid() {
    repeat("a_cheated_buyer_has_the_money_back_and_an_honest_seller_is_paid", disputed::cheated);
}

#[test]
fn complaints_that_are_not_true_cost_their_bond_and_silent_nodes_pay() {
    repeat("complaints_that_are_not_true_cost_their_bond_and_silent_nodes_pay", disputed::wronged);
}

#[test]
fn an_id_that_others_saw_first_stays_its_owners() {
    repeat("an_id_that_others_saw_first_stays_its_owners", taken::taken);
}

#[test]
fn custodians_who_lie_hold_up_no_sale() {
    repeat("custodians_who_lie_hold_up_no_sale", custodians::custodians);
}

#[test]
fn what_a_ledger_cannot_prove_costs_no_party_anything() {
    repeat("what_a_ledger_cannot_prove_costs_no_party_anything", told::told);
}

#[test]
fn a_sale_without_custodians_is_refunded() {
    repeat("a_sale_without_custodians_is_refunded", refund::refund);
}

#[test]
fn no_buyer_pays_for_what_is_not_there() {
    repeat("no_buyer_pays_for_what_is_not_there", goods::goods);
}

#[test]
fn what_is_cut_short_goes_on_and_is_paid_once() {
    repeat("what_is_cut_short_goes_on_and_is_paid_once", crash::crash);
}

#[test]
fn a_node_that_was_away_for_long_goes_on() {
    repeat("a_node_that_was_away_for_long_goes_on", away::away);
}

#[test]
fn a_put_whose_deal_has_ended_begins_anew() {
    repeat("a_put_whose_deal_has_ended_begins_anew", lapsed::lapsed);
}

#[test]
fn names_cut_short_are_the_same_on_every_device() {
    repeat("names_cut_short_are_the_same_on_every_device", names::names);
}

#[test]
fn publishing_to_other_devices_costs_no_more_than_was_allowed() {
    repeat("publishing_to_other_devices_costs_no_more_than_was_allowed", bounded::bounded);
}

#[test]
fn two_devices_lose_and_pay_nothing_twice() {
    repeat("two_devices_lose_and_pay_nothing_twice", devices::devices);
}

#[test]
fn a_ledger_that_is_set_back_loses_no_names() {
    repeat("a_ledger_that_is_set_back_loses_no_names", at_once::set_back);
}

#[test]
fn a_put_asks_a_few_nodes_however_many_are_registered() {
    repeat("a_put_asks_a_few_nodes_however_many_are_registered", strangers::strangers);
}

#[test]
fn money_is_sent_once_whatever_is_lost() {
    repeat("money_is_sent_once_whatever_is_lost", money::money);
}

#[test]
fn clocks_that_jump_hold_nothing_up() {
    repeat("clocks_that_jump_hold_nothing_up", clocks::clocks);
}

#[test]
fn where_all_are_slow_no_node_is_too_slow() {
    repeat("where_all_are_slow_no_node_is_too_slow", far::far);
}

#[test]
fn what_another_device_says_is_believed_where_it_fits() {
    repeat("what_another_device_says_is_believed_where_it_fits", rows::rows);
}

#[test]
fn what_is_there_keeps_its_place() {
    repeat("what_is_there_keeps_its_place", places::places);
}

#[test]
fn where_no_node_answers_nothing_is_said_to_be_lost() {
    repeat("where_no_node_answers_nothing_is_said_to_be_lost", silent::silent);
}

#[test]
fn a_key_that_is_not_posted_earns_nothing() {
    repeat("a_key_that_is_not_posted_earns_nothing", unposted::unposted);
}

#[test]
fn a_vault_is_dealt_anew_and_silent_custodians_pay() {
    repeat("a_vault_is_dealt_anew_and_silent_custodians_pay", rotated::rotated);
}

#[test]
fn a_source_that_changes_is_never_sealed_twice() {
    // Once for each seed: what a file is known by, its place and number on the disk, repeats itself nowhere.
    for seed in seeds() {
        once("a_source_that_changes_is_never_sealed_twice", seed, changing::changing);
    }
}

#[test]
fn what_is_promised_outlives_a_power_cut() {
    // Once for each seed: files are known by their numbers on the disk, which repeat themselves nowhere.
    for seed in seeds() {
        once("what_is_promised_outlives_a_power_cut", seed, power::power);
    }
}

#[test]
fn no_item_of_a_bucket_is_lost_to_a_power_cut() {
    // Once for each seed, as above.
    for seed in seeds() {
        once("no_item_of_a_bucket_is_lost_to_a_power_cut", seed, buckets::buckets);
    }
}

#[test]
fn what_an_earlier_get_left_is_checked_before_it_counts() {
    repeat("what_an_earlier_get_left_is_checked_before_it_counts", resumed::resumed);
}

#[test]
fn what_was_put_for_ten_epochs_lasts_for_a_hundred() {
    repeat("what_was_put_for_ten_epochs_lasts_for_a_hundred", lasting::lasting);
}

#[test]
fn what_is_lost_is_rebuilt_while_its_owner_is_away() {
    repeat("what_is_lost_is_rebuilt_while_its_owner_is_away", cared::cared);
}

#[test]
fn caretakers_that_cheat_are_not_paid() {
    repeat("caretakers_that_cheat_are_not_paid", cheats::cheats);
}

#[test]
fn a_node_that_leaves_gets_its_own_back_and_one_that_dies_pays() {
    repeat("a_node_that_leaves_gets_its_own_back_and_one_that_dies_pays", leaving::leaving);
}

#[test]
fn what_is_damaged_is_stored_anew() {
    repeat("what_is_damaged_is_stored_anew", mended::mended);
}

#[test]
fn an_order_gives_what_was_paid_for() {
    repeat("an_order_gives_what_was_paid_for", bought::bought);
}

#[test]
fn a_grant_is_worth_what_it_says_to_its_holder_and_nothing_to_others() {
    repeat("a_grant_is_worth_what_it_says_to_its_holder_and_nothing_to_others", given::given);
}

#[test]
fn a_voucher_is_worth_a_grant_to_one_reader() {
    repeat("a_voucher_is_worth_a_grant_to_one_reader", vouchers::vouchers);
}

#[test]
fn who_keeps_less_than_it_is_paid_for_is_caught() {
    repeat("who_keeps_less_than_it_is_paid_for_is_caught", droppers::droppers);
}

#[test]
fn what_is_given_up_before_it_is_asked_for_is_paid_for() {
    repeat("what_is_given_up_before_it_is_asked_for_is_paid_for", resigning::resigning);
}

#[test]
fn two_names_need_two_shards_on_their_disk() {
    repeat("two_names_need_two_shards_on_their_disk", twins::twins);
}

#[test]
fn eighty_names_on_one_machine_get_one_shard_of_a_segment() {
    repeat("eighty_names_on_one_machine_get_one_shard_of_a_segment", crowd::crowd);
}

#[test]
fn a_third_of_the_nodes_leaves_at_once_and_no_file_is_unreadable() {
    repeat("a_third_of_the_nodes_leaves_at_once_and_no_file_is_unreadable", exodus::exodus);
}

#[test]
fn an_owner_without_money_is_repaired_as_far_as_the_reserve_goes() {
    repeat("an_owner_without_money_is_repaired_as_far_as_the_reserve_goes", poor::poor);
}

#[test]
fn a_ledger_that_stands_still_costs_no_party_anything() {
    repeat("a_ledger_that_stands_still_costs_no_party_anything", stalled::stalled);
}

#[test]
fn the_auditor_finds_what_is_forged() {
    forged::forged();
}
