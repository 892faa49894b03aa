"""ledger.md, "Validators and stake": who is in the set, what stands for them, and what of it is lost."""

import consensus
import ledger
import motion
from ledger import BP, DUTIES, DELEGATIONS, ONION, PAST_SETS, RANKS, U32, U64, U128, UNBONDINGS, VALIDATORS, big, of_account, part
from primitives import No

POWER_MAX, RANKS_SEEN, PAID_MAX, PAST_MAX, READY_EPOCHS, MEMBERS_MAX = 1 << 55, 256, 128, 8, 2, 128
COUNTS = ["blocks", "signed", "turns", "missed"]
NO_DUTY = dict.fromkeys((*COUNTS, "missed_in_row"), 0)


def new_row(operator, onion):
    return {
        "operator": operator, "peer": operator, "addresses": [], "commission_bp": 0, "raised_epoch": 0,
        "raised_from_bp": 0, "stake": 0, "shares": 0, "own_shares": 0, "unbonding": 0, "unbonding_shares": 0,
        "weight": 0, "state": {"_": "waiting"}, "ready_epoch": 0, "onion": onion, "own": 0, "joined": 0,
        "turns": 0, "missed": 0, "blocks": 0, "signed": 0, "rules": ledger.FIRST_RULES,
    }


def worth(row, shares):
    return row["stake"] * shares // row["shares"] if row["shares"] else row["stake"]


def power_of(params, row):
    return min(row["weight"] + row["stake"] // params["stake_unit"], POWER_MAX)


def rank(params, row):
    """The power of a validator that may be in the set."""
    backed = row["weight"] > 0 or worth(row, row["own_shares"]) >= params["stake_min"]
    return power_of(params, row) if row["state"]["_"] in ("waiting", "member") and backed else 0


def put(state, params, key, row):
    before, after = state.get(VALIDATORS, key), rank(params, row)
    before = before and rank(params, before)
    if before != after:
        if before:
            state.drop(RANKS, big(U64 - before) + key)
        if after:
            state.put(RANKS, big(U64 - after) + key, {})
    state.put(VALIDATORS, key, row)


def found(state, params, of):
    """The rows of the validators of a genesis."""
    for one, onion in zip(of["validators"]["members"], of["onions"]):
        row = new_row(one["key"], onion) | {"weight": one["power"], "state": {"_": "member"}}
        put(state, params, one["key"], row)


# The set.


def places(block):
    return [one["key"] for one in block.chain["validators"]["members"]]


def capped(powers, bp):
    """The powers of the strongest, who come first, cut to what one may have."""
    for first, power in enumerate(powers):
        left = BP - first * bp
        if left <= 0:
            break
        most = sum(powers[first:]) * bp // left
        if power <= most:
            return [most] * first + powers[first:]
    return [powers[-1]] * len(powers)


def choose(block):
    state, params = block.state, block.chain["params"]
    most, strongest = params["validators_max"] or MEMBERS_MAX, []
    for key in state.keys(RANKS)[:RANKS_SEEN]:
        row = state.get(VALIDATORS, key[8:])
        is_ready = row["ready_epoch"] <= block.chain["epoch"] and block.chain["rules"] <= row["rules"]
        if row["state"]["_"] == "member" or is_ready:
            strongest.append((U64 - int.from_bytes(key[:8], "big"), key[8:]))
    strongest = strongest[:most]
    if strongest:
        powers = capped([one for one, _ in strongest], params["power_cap_bp"])
        replace(block, dict(sorted((key, one) for one, (_, key) in zip(powers, strongest))))
    block.chain["epoch_power"] = ledger.power(block.chain["validators"])


def replace(block, powers):
    """Another set, by key and power."""
    for key in places(block):
        if key not in powers:
            remove(block, key, {"_": "out"})
    beacon, state = block.chain["beacon"], block.state
    onions, duties = dict(zip(places(block), beacon["onions"])), state.get(DUTIES)
    done = dict(zip(places(block), duties["members"])) if duties else {}
    number = beacon["next_tick"] // ONION
    for key in powers:
        if key not in onions:
            row = state.get(VALIDATORS, key)
            onions[key] = {"number": number, "own": row["own"], "layer": row["onion"]["outermost"],
                           "next_tick": number * ONION, "next": row["onion"]["next"]}
            row["state"] = {"_": "member"}
            put(state, block.chain["params"], key, row)
    beacon["onions"] = [onions[key] for key in powers]
    block.chain["validators"] = {"members": [{"key": key, "power": one} for key, one in powers.items()]}
    if duties:
        duties["members"] = [done.get(key, NO_DUTY) for key in powers]
        state.put(DUTIES, b"", duties)


def can_spare(block, key):
    rest = ledger.power(block.chain["validators"]) - ledger.power(block.chain["validators"], [key])
    return 3 * rest > 2 * block.chain["epoch_power"]


def record(row, duty):
    for name in COUNTS:
        row[name] = min(row[name] + duty[name], U64)


def remove(block, key, state):
    row = block.state.get(VALIDATORS, key)
    row["state"] = state
    if key in places(block):
        at = places(block).index(key)
        del block.chain["validators"]["members"][at]
        row["own"] = block.chain["beacon"]["onions"].pop(at)["own"] + 2
        duties = block.state.get(DUTIES)
        if duties:
            record(row, duties["members"].pop(at))
            block.state.put(DUTIES, b"", duties)
    put(block.state, block.chain["params"], key, row)


# What a block does before its transactions.


def begin(block, facts, is_new_epoch):
    if facts["last"]:
        count_last(block, facts["last"])
    if is_new_epoch:
        share_out(block)
        choose(block)
    pay_due(block)
    count, duties = len(places(block)), block.state.get(DUTIES)
    if count > 1 or len(block.committing["members"]) > 1:
        members = duties["members"] if duties else []
        members += [NO_DUTY] * (count - len(members))
        block.state.put(DUTIES, b"", {"proposer": facts["proposer"], "members": members})
    elif duties:
        block.state.drop(DUTIES, b"")


def count_last(block, last):
    chain, state = block.chain, block.state
    height, duties = chain["height"] - 1, state.get(DUTIES)
    past = state.get(PAST_SETS, big(height))
    parents = past["validators"] if past else block.committing
    if not duties:
        return
    had = ledger.turns_of(chain["id"], parents, height, min(last["round"] + 1, U32))
    missed = ledger.turns_of(chain["id"], parents, height, last["round"])
    missed[duties["proposer"]] = 0
    keys = places(block)
    for place, one in enumerate(parents["members"]):
        if one["key"] not in keys:
            continue
        duty = duties["members"][keys.index(one["key"])]
        signed = int.from_bytes(last["signers"], "little") >> place & 1
        for name, more in zip(COUNTS, (1, signed, had[place], missed[place])):
            duty[name] = min(duty[name] + more, U32)
        in_row = 0 if place == duties["proposer"] else duty["missed_in_row"]
        duty["missed_in_row"] = min(in_row + missed[place], U32)
    state.put(DUTIES, b"", duties)
    for place, one in enumerate(parents["members"]):
        if missed[place]:
            penalise(block, one["key"], missed[place])


def penalise(block, key, missed):
    state, params = block.state, block.chain["params"]
    row = state.get(VALIDATORS, key)
    price = min(params["turn_penalty"] * missed, row["stake"])
    if price:
        row["stake"] -= price
        put(state, params, key, row)
        block.move({"_": "stake"}, {"_": "treasury"}, price, {"_": "missed_turn", "validator": key})
    if key not in places(block):
        return
    in_row = state.get(DUTIES)["members"][places(block).index(key)]["missed_in_row"]
    if in_row >= params["turns_missed_max"] and can_spare(block, key):
        remove(block, key, {"_": "jailed", "until_ms": min(block.now + params["jail_ms"], U64)})
        block.report("validator_jailed", validator=key)


def share_out(block):
    state, params, pot = block.state, block.chain["params"], block.pools["rewards"]
    members, duties = block.chain["validators"]["members"], state.get(DUTIES)
    if len(members) == 1:
        weights = [members[0]["power"]]
    else:
        done = duties["members"] if duties else []
        done += [NO_DUTY] * (len(members) - len(done))
        weights = [one["power"] * duty["signed"] for one, duty in zip(members, done)]
    total = sum(weights)
    for at, one in enumerate(members):
        key, row = one["key"], state.get(VALIDATORS, one["key"])
        if duties and at < len(duties["members"]):
            duty = duties["members"][at]
            record(row, duty)
            duties["members"][at] = NO_DUTY | {"missed_in_row": duty["missed_in_row"]}
            put(state, params, key, row)
        reward = pot * weights[at] // total if total else 0
        if reward:
            commission = part(reward, row["commission_bp"]) if row["shares"] else reward
            reason = {"_": "reward", "validator": key}
            block.move({"_": "rewards"}, of_account(row["operator"]), commission, reason)
            row["stake"] += reward - commission
            put(state, params, key, row)
            block.move({"_": "rewards"}, {"_": "stake"}, reward - commission, reason)
    if duties:
        state.put(DUTIES, b"", duties)
    if total:
        block.move({"_": "rewards"}, {"_": "treasury"}, block.pools["rewards"], {"_": "fee"})


def pay_due(block):
    state, params = block.state, block.chain["params"]
    for key in state.keys(UNBONDINGS)[:PAID_MAX]:
        if int.from_bytes(key[:8], "big") > block.now:
            break
        validator, account, shares = key[8:40], key[40:], state.get(UNBONDINGS, key)["shares"]
        row = state.get(VALIDATORS, validator)
        value = row["unbonding"] * shares // row["unbonding_shares"]
        row["unbonding"] -= value
        row["unbonding_shares"] -= shares
        put(state, params, validator, row)
        state.drop(UNBONDINGS, key)
        block.move({"_": "unbonding"}, of_account(account), value, {"_": "stake", "validator": validator})
        block.give_back(account, 1)
    for key in state.keys(PAST_SETS)[:PAST_MAX]:
        is_over = state.get(PAST_SETS, key)["until_ms"] + params["unbonding_ms"] < block.now
        if is_over and int.from_bytes(key, "big") + 1 < block.chain["height"]:
            state.drop(PAST_SETS, key)


# Actions.


def bad_words(block, action):
    """What a validator says of itself."""
    bad = set()
    if len(action["addresses"]) > 16 or any(not 1 <= len(text.encode()) <= 256 for text in action["addresses"]):
        bad.add("BadField")
    if action["commission_bp"] > block.chain["params"]["commission_max_bp"]:
        bad.add("BadField")
    return bad


def join(block, sender, action):
    bad, chain = bad_words(block, action), block.chain
    if action["amount"] == 0:
        bad.add("BadField")
    if block.state.has(VALIDATORS, sender):
        bad.add("Exists")
    if chain["params"]["validators_max"] == 0:
        bad.add("ValidatorClosed")
    row = new_row(action["operator"], action["onion"])
    row |= {name: action[name] for name in ("peer", "addresses", "commission_bp")}
    row |= dict.fromkeys(("stake", "shares", "own_shares"), action["amount"])
    row |= {"ready_epoch": chain["epoch"] + READY_EPOCHS, "joined": chain["height"]}

    def apply():
        put(block.state, chain["params"], sender, row)
        reason = {"_": "stake", "validator": sender}
        block.move(of_account(sender), {"_": "stake"}, action["amount"], reason)

    return bad, apply


def commanded(block, sender, action):
    row = block.state.get(VALIDATORS, action["validator"])
    if not row:
        return row, {"UnknownValidator"}
    return row, set() if row["operator"] == sender else {"NotYours"}


def change(block, sender, action):
    row, bad = commanded(block, sender, action)
    bad |= bad_words(block, action)
    if not row:
        return bad, None
    if row["raised_epoch"] != block.chain["epoch"]:
        row["raised_epoch"], row["raised_from_bp"] = block.chain["epoch"], row["commission_bp"]
    if action["commission_bp"] > row["raised_from_bp"] + block.chain["params"]["commission_rise_bp"]:
        bad.add("TooEarly")
    for name in ("peer", "addresses", "commission_bp"):
        row[name] = action[name]
    return bad, lambda: put(block.state, block.chain["params"], action["validator"], row)


def leave(block, sender, action):
    row, bad = commanded(block, sender, action)
    if not row:
        return bad, None
    key, kind = action["validator"], row["state"]["_"]
    if kind not in ("waiting", "member"):
        bad.add("ValidatorClosed")
    if kind == "member" and len(places(block)) == 1:
        bad.add("LastValidator")

    def apply():
        row["weight"] = 0
        if kind == "member" and not can_spare(block, key):
            row["state"] = {"_": "leaving"}
            put(block.state, block.chain["params"], key, row)
        else:
            put(block.state, block.chain["params"], key, row)
            remove(block, key, {"_": "out"})

    return bad, apply


def rejoin(block, sender, action):
    row, bad = commanded(block, sender, action)
    if not row:
        return bad, None
    state = row["state"]
    if state["_"] not in ("out", "jailed"):
        bad.add("ValidatorClosed")
    if state["_"] == "jailed" and block.now < state["until_ms"]:
        bad.add("TooEarly")
    row["state"], row["onion"] = {"_": "waiting"}, action["onion"]
    row["ready_epoch"] = block.chain["epoch"] + READY_EPOCHS
    return bad, lambda: put(block.state, block.chain["params"], action["validator"], row)


def delegate(block, sender, action):
    key, amount = action["validator"], action["amount"]
    bad, row = {"BadField"} if amount == 0 else set(), block.state.get(VALIDATORS, key)
    if not row:
        return bad | {"UnknownValidator"}, None
    if row["state"]["_"] == "barred" or row["shares"] and not row["stake"]:
        return bad | {"ValidatorClosed"}, None
    shares = amount * row["shares"] // row["stake"] if row["shares"] else amount
    if shares > U128 or row["shares"] + shares > U128:
        bad.add("Overflow")
    if shares == 0:
        bad.add("StakeTooLow")

    def apply():
        row["stake"] += amount
        row["shares"] += shares
        if sender == row["operator"]:
            row["own_shares"] += shares
        else:
            own = block.state.get(DELEGATIONS, key + sender) or {"shares": 0}
            block.state.put(DELEGATIONS, key + sender, {"shares": own["shares"] + shares})
        put(block.state, block.chain["params"], key, row)
        block.move(of_account(sender), {"_": "stake"}, amount, {"_": "stake", "validator": key})

    return bad, apply


def unbonding_key(block, validator, account):
    return big(min(block.now + block.chain["params"]["unbonding_ms"], U64)) + validator + account


def undelegate(block, sender, action):
    key, amount = action["validator"], action["amount"]
    bad, row = {"BadField"} if amount == 0 else set(), block.state.get(VALIDATORS, key)
    if not row:
        return bad | {"UnknownValidator"}, None
    if row["unbonding_shares"] and not row["unbonding"]:
        bad.add("ValidatorClosed")
    part_of = block.state.get(DELEGATIONS, key + sender) or {"shares": 0}
    own = row["own_shares"] if sender == row["operator"] else part_of["shares"]
    if amount is None:
        shares = own
    elif row["stake"] == 0:
        shares = own + 1
    else:
        shares = -(-amount * row["shares"] // row["stake"])
    value = worth(row, shares) if 0 < shares <= own else 0
    if value == 0:
        return bad | {"StakeTooLow"}, None
    waiting = value * row["unbonding_shares"] // row["unbonding"] if row["unbonding"] else value
    if row["unbonding_shares"] + waiting > U128:
        bad.add("Overflow")

    def apply():
        if sender == row["operator"]:
            row["own_shares"] -= shares
        elif own == shares:
            block.state.drop(DELEGATIONS, key + sender)
            block.give_back(sender, 1)
        else:
            block.state.put(DELEGATIONS, key + sender, {"shares": own - shares})
        if sender != row["operator"]:
            motion.took_back(block, key, sender, own - shares)
        for name, by in (("stake", -value), ("shares", -shares), ("unbonding", value), ("unbonding_shares", waiting)):
            row[name] += by
        put(block.state, block.chain["params"], key, row)
        at = unbonding_key(block, key, sender)
        before = block.state.get(UNBONDINGS, at) or {"shares": 0}
        block.state.put(UNBONDINGS, at, {"shares": before["shares"] + waiting})
        block.move({"_": "stake"}, {"_": "unbonding"}, value, {"_": "stake", "validator": key})

    return bad, apply


def set_of(block, height):
    """The set that committed a block, while evidence about it still counts."""
    later, chain = [key for key in block.state.keys(PAST_SETS) if int.from_bytes(key, "big") >= height], block.chain
    if not later:
        return block.committing if chain["set_from"] <= height <= chain["height"] else None
    past = block.state.get(PAST_SETS, later[0])
    counts = past["from"] <= height and block.now <= past["until_ms"] + chain["params"]["unbonding_ms"]
    return past["validators"] if counts else None


def report(block, sender, action):
    evidence, chain = action["evidence"], block.chain
    try:
        key = consensus.convicted(evidence, chain["id"], None)
    except No:
        return {"BadProof"}, None
    height = evidence["first"]["height"]
    validators = set_of(block, height)
    if validators and key not in [one["key"] for one in validators["members"]]:
        return {"BadProof"}, None
    row = block.state.get(VALIDATORS, key)
    if not row:
        return {"UnknownValidator"}, None
    bad = set()
    if row["state"]["_"] == "barred":
        bad.add("ValidatorClosed")
    if places(block) == [key]:
        bad.add("LastValidator")
    if not validators:
        bad.add("TooEarly" if height > chain["height"] else "TooLate")

    def apply():
        remove(block, key, {"_": "barred"})
        row, bp = block.state.get(VALIDATORS, key), chain["params"]["equivocation_penalty_bp"]
        lost, lost_of_unbonding = part(row["stake"], bp), part(row["unbonding"], bp)
        row["stake"] -= lost
        row["unbonding"] -= lost_of_unbonding
        row["weight"] = 0
        put(block.state, chain["params"], key, row)
        reason = {"_": "equivocation", "validator": key}
        block.move({"_": "stake"}, {"_": "treasury"}, lost, reason)
        block.move({"_": "unbonding"}, {"_": "treasury"}, lost_of_unbonding, reason)
        block.report("validator_barred", validator=key)

    return bad, apply


ACTIONS = {
    "JoinValidators": join, "ChangeValidator": change, "LeaveValidators": leave, "RejoinValidators": rejoin,
    "Delegate": delegate, "Undelegate": undelegate, "ReportEquivocation": report,
}
