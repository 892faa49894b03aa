"""ledger.md, "Motions": what those with stake vote on, and what changes then."""

import ledger
import stake
from codec import decode, encode
from ledger import (
    BALLOTS, BP, DELEGATIONS, KEPT_UNTIL, MOTIONS, MOTIONS_DUE, U128, VALIDATORS, VOICES, big, of_account,
)
from primitives import No

OPEN_MAX, CHANGES_MAX, TEXT_MAX, BALLOTS_LEAVING = 16, 16, 1024, 1366
SIDES = ["yes", "no", "abstain", "veto"]
NO_VOICE = {"operator": None, **dict.fromkeys(SIDES, 0)}


def changed(params, changes):
    """The parameters after changes; None if one of them may not be."""
    of, names = dict(params), list(params)
    for one in changes:
        if one["param"] >= len(names):
            return None
        name, value = names[one["param"]], one["value"]
        how, before = ledger.CHANGES[name], of[name]
        if how == "never" or how == "only to less" and value > before:
            return None
        if how.endswith("neither from nor to 0") and (value == 0) != (before == 0):
            return None
        of[name] = value
    try:
        decode("Params", encode("Params", of))
        ledger.params_hold(of)
    except (No, OverflowError):
        return None
    return of


def tally_of(block, number):
    out, state, unit = dict.fromkeys((*SIDES, "all"), 0), block.state, block.chain["params"]["stake_unit"]
    for key in stake.places(block):
        row, voice = state.get(VALIDATORS, key), state.get(VOICES, big(number) + key) or NO_VOICE
        whole = rest = min(min(row["weight"] * unit, U128) + row["stake"], U128)
        for side in SIDES:
            worth = stake.worth(row, voice[side]) if voice[side] else 0
            out[side] = min(out[side] + worth, U128)
            rest -= worth
        if voice["operator"]:
            side = voice["operator"]["_"]
            out[side] = min(out[side] + rest, U128)
        out["all"] = min(out["all"] + whole, U128)
    return out


def decided(tally, row):
    voted = min(sum(tally[side] for side in SIDES), U128)
    sides = min(tally["yes"] + tally["no"] + tally["veto"], U128)
    if voted * BP < tally["all"] * row["quorum_bp"]:
        return "no_quorum"
    if tally["veto"] * BP > voted * row["veto_bp"]:
        return "vetoed"
    return "passed" if tally["yes"] * BP > sides * row["majority_bp"] else "rejected"


# What a block does first.


def begin(block, is_new_epoch):
    if is_new_epoch:
        for key in block.state.keys(MOTIONS_DUE)[:OPEN_MAX]:
            if int.from_bytes(key[:8], "big") > block.chain["epoch"]:
                break
            block.state.drop(MOTIONS_DUE, key)
            number = int.from_bytes(key[8:], "big")
            row = block.state.get(MOTIONS, big(number))
            (close if row["state"]["_"] == "open" else enact)(block, number, row)
    turn_rules(block)


def settle(block, number, row, state):
    if state["_"] not in ("passed", "pending"):
        block.keep(block.now, {"_": "motion", "motion": number})
    block.state.put(MOTIONS, big(number), row | {"state": state})
    block.report("motion_decided", motion=number, state=state)


def close(block, number, row):
    row["tally"] = tally_of(block, number)
    state = decided(row["tally"], row)
    hold, reason = {"_": "motion", "motion": number}, {"_": "motion", "motion": number}
    if state in ("no_quorum", "vetoed"):
        block.move({"_": "hold", "hold": hold}, {"_": "treasury"}, row["deposit"], reason)
    block.close_hold(hold, row["proposer"], reason)
    block.state.put(KEPT_UNTIL, big(block.now) + encode("Kept", {"_": "ballots", "motion": number}), {})
    if state == "passed":
        block.state.put(MOTIONS_DUE, big(row["effective"]) + big(number), {})
    settle(block, number, row, {"_": state})


def failed(why):
    return {"_": "failed", "why": {"_": why}}


def enact(block, number, row):
    measure, chain, state = row["measure"], block.chain, {"_": "done"}
    kind = measure["_"]
    if kind == "params":
        params = changed(chain["params"], measure["changes"])
        if params:
            chain["params"] = params
        else:
            state = failed("params")
    elif kind == "pay" and block.pools["treasury"] < measure["amount"]:
        state = failed("treasury")
    elif kind == "pay":
        reason = {"_": "motion", "motion": number}
        block.move({"_": "treasury"}, of_account(measure["to"]), measure["amount"], reason)
    elif measure["height"] < chain["height"]:
        state = failed("height")
    elif measure["version"] <= chain["rules"] or chain["next_rules"]:
        state = failed("other_rules")
    else:
        chain["next_rules"] = {"version": measure["version"], "height": measure["height"], "motion": number}
        state = {"_": "pending"}
    settle(block, number, row, state)


def turn_rules(block):
    following = block.chain["next_rules"]
    if not following or following["height"] > block.chain["height"]:
        return
    block.chain["next_rules"] = None
    rows = [block.state.get(VALIDATORS, key) for key in stake.places(block)]
    number, state = following["motion"], failed("not_ready")
    if all(row["rules"] >= following["version"] for row in rows):
        block.chain["rules"], state = following["version"], {"_": "done"}
    settle(block, number, block.state.get(MOTIONS, big(number)), state)


def ballots_leave(block, since, number, most):
    """Returns how many of the most that may leave are left."""
    keys = block.state.keys(BALLOTS, big(number))
    for key in keys[:most]:
        block.state.drop(BALLOTS, key)
        if block.state.has(VOICES, key[:40]):
            block.state.drop(VOICES, key[:40])
        block.give_back(key[40:], 1)
    if len(keys) > most:
        block.state.put(KEPT_UNTIL, since + encode("Kept", {"_": "ballots", "motion": number}), {})
    return most - len(keys[:most])


def leave(block, number):
    row = block.state.get(MOTIONS, big(number))
    block.state.drop(MOTIONS, big(number))
    block.give_back(row["proposer"], 4)


def took_back(block, validator, account, left):
    for due in block.state.keys(MOTIONS_DUE)[:OPEN_MAX]:
        at, of = due[8:] + validator + account, due[8:] + validator
        ballot, voice = block.state.get(BALLOTS, at), block.state.get(VOICES, of)
        if ballot and voice and ballot["shares"] > left:
            voice[ballot["choice"]["_"]] -= ballot["shares"] - left
            block.state.put(VOICES, of, voice)
            block.state.put(BALLOTS, at, ballot | {"shares": left})


# Actions.


def propose(block, sender, action):
    bad, chain, measure = set(), block.chain, action["measure"]
    params, kind = chain["params"], measure["_"]
    if not 1 <= len(action["text"].encode()) <= TEXT_MAX or action["deposit"] < params["motion_deposit"]:
        bad.add("BadField")
    if kind == "params":
        numbers = [one["param"] for one in measure["changes"]]
        if not 1 <= len(numbers) <= CHANGES_MAX or numbers != sorted(set(numbers)):
            bad.add("BadField")
        elif changed(params, measure["changes"]) is None:
            bad.add("BadField")
    if kind == "pay" and measure["amount"] == 0:
        bad.add("BadField")
    if kind == "rules" and measure["version"] <= chain["rules"]:
        bad.add("BadField")
    if kind == "rules" and measure["height"] <= chain["height"]:
        bad.add("TooLate")
    if len(block.state.keys(MOTIONS_DUE)) >= OPEN_MAX:
        bad.add("MotionsFull")
    closes = chain["epoch"] + params["voting_epochs"]

    def apply():
        chain["motions"] += 1
        number = chain["motions"]
        hold = {"_": "motion", "motion": number}
        block.place_hold(hold, sender, action["deposit"], hold)
        block.state.put(MOTIONS_DUE, big(closes) + big(number), {})
        block.state.put(MOTIONS, big(number), {
            "proposer": sender, "measure": measure, "text": action["text"], "deposit": action["deposit"],
            "height": chain["height"], "closes": closes, "effective": closes + params["lock_epochs"],
            **{name: params[name] for name in ("quorum_bp", "majority_bp", "veto_bp")},
            "state": {"_": "open"}, "tally": None,
        })
        block.report("motion_made", motion=number)

    return bad, apply


def vote(block, sender, action):
    number, validator, choice = action["motion"], action["validator"], action["choice"]
    motion, row = block.state.get(MOTIONS, big(number)), block.state.get(VALIDATORS, validator)
    bad = set()
    if not motion:
        bad.add("UnknownMotion")
    elif motion["state"]["_"] != "open":
        bad.add("MotionClosed")
    if not row:
        return bad | {"UnknownValidator"}, None
    is_operator = sender == row["operator"]
    own = block.state.get(DELEGATIONS, validator + sender)
    shares = own["shares"] if own and not is_operator else 0
    if not is_operator and shares == 0:
        bad.add("StakeTooLow")

    def apply():
        at, of = big(number) + validator + sender, big(number) + validator
        voice, before = block.state.get(VOICES, of) or dict(NO_VOICE), block.state.get(BALLOTS, at)
        if before:
            voice[before["choice"]["_"]] -= before["shares"]
        voice[choice["_"]] += shares
        if is_operator:
            voice["operator"] = choice
        block.state.put(VOICES, of, voice)
        block.state.put(BALLOTS, at, {"choice": choice, "shares": shares})

    return bad, apply


def declare(block, sender, action):
    key, row, bad = action["validator"], block.state.get(VALIDATORS, action["validator"]), set()
    if not row:
        return {"UnknownValidator"}, None
    if sender not in (key, row["operator"]):
        bad.add("NotYours")
    if row["rules"] == action["version"]:
        bad.add("NothingNew")
    row["rules"] = action["version"]
    return bad, lambda: block.state.put(VALIDATORS, key, row)


ACTIONS = {"ProposeMotion": propose, "CastBallot": vote, "DeclareRules": declare}
