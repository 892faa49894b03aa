"""ledger.md: from one state to the next."""

import itertools
import re

import layouts  # noqa: F401
from codec import TYPES, concat, decode, encode
from content import STRIPES, CELL, Layout
from custody import (
    acceptance_holds, capsule_holds, claim_context, custody_terms, delivery_holds, label, release_context, release_holds,
    vault_refused,
)
from dispute import DISMISSED, UPHELD, Place, asked_place, judge_answers, judge_cell, judge_kept, judge_key, kept_holds, leaf_holds
from grant import mandate_holds, mandate_id, market
from primitives import No, derive, signed
from proof import challenge_seed, challenges, counts, part_holds, state_root

ZERO = bytes(32)
U32, U64, U128 = 2**32 - 1, 2**64 - 1, 2**128 - 1
BP = 10_000
DAY_MS = 86_400_000
WINDOW_MAX = 365 * DAY_MS
TRANSACTION_MAX, BLOCK_MAX, OWN_EVENTS, ROWS_FULL, SHARDS_FULL = 131_072, 1_048_576, 24_576, 4096, 128
SHARD_MAX, LEAF, GIB = 64 << 20, 1024, 1 << 30
ORDERS_MAX, PREVIEWS_MAX, FORGOTTEN_MAX, TURNS_MAX = 100, 1280, 2048, 128
CHANGES_MAX, TURN_CHANGES_MAX, STEPS_MAX, LEAVING_MAX = 384, 128, 512, 1024
TICKS, ONION = 4096, 65_536
# The version of the rules of this page: the first one, and the only one that this checker knows.
FIRST_RULES = 1
KEPT_EPOCHS, LATE_BLOCKS = 100, 8
PRICE_MAX, ENVELOPE = 10**18, 152
GIVEN_MAX, COVERED_MAX, EVENTS_OF_ORDER = 16, 256, 69
# The order of refusals is that of the table.
CODES = {name: place for place, (_, name, _) in enumerate(TYPES["Status"][1])}
CHAIN, POOLS, ACCOUNTS, SEEN, SEEN_UNTIL, HOLDS, NODES, SLOTS, JOINS, DEALS, DEALS_DUE, DEALS_OF, VAULTS, \
    LISTINGS, AWAIT, ORDERS, DUE, REVOCATIONS, ORDERS_OF, ROOTS, WINDOWS, LEAVES, LISTINGS_OF, \
    KEPT_UNTIL, DEGRADED, CARES, REPAIRS, SALES, MANDATES, DRAWS, ANSWERS, REDEMPTIONS, VALIDATORS, RANKS, \
    DELEGATIONS, UNBONDINGS, PAST_SETS, DUTIES, MOTIONS, MOTIONS_DUE, VOICES, BALLOTS = range(1, 43)
ROWS = {
    CHAIN: "Chain", POOLS: "Pools", ACCOUNTS: "Account", SEEN: "Seen", SEEN_UNTIL: "Nothing", HOLDS: "Hold",
    NODES: "Node", SLOTS: "Slot", JOINS: "Join", DEALS: "Deal", DEALS_DUE: "Nothing", DEALS_OF: "Nothing",
    VAULTS: "Vault", LISTINGS: "Listing", AWAIT: "Nothing", ORDERS: "Order", DUE: "Nothing",
    REVOCATIONS: "Revocation", ORDERS_OF: "Nothing", ROOTS: "Root", WINDOWS: "Nothing", LEAVES: "Leave",
    LISTINGS_OF: "Nothing", KEPT_UNTIL: "Nothing", DEGRADED: "Nothing", CARES: "Care", REPAIRS: "Repair",
    SALES: "Sold", MANDATES: "b16", DRAWS: "Draw", ANSWERS: "Answer", REDEMPTIONS: "Redemption",
    VALIDATORS: "ValidatorRow", RANKS: "Nothing", DELEGATIONS: "Delegation", UNBONDINGS: "Unbonding",
    PAST_SETS: "PastSet", DUTIES: "Duties", MOTIONS: "Motion", MOTIONS_DUE: "Nothing", VOICES: "Voice", BALLOTS: "Ballot",
}


def big(number, size=8):
    return number.to_bytes(size, "big")


class Broken(Exception):
    """The rules have reached a state that they exclude."""


class State:
    """Rows by key, with the changes of a block on top."""

    def __init__(self, rows):
        self.rows = dict(rows)
        self.changed = set()

    def get(self, table, key=b""):
        found = self.rows.get(bytes([table]) + key)
        return None if found is None else decode(ROWS[table], found)

    def has(self, table, key):
        return bytes([table]) + key in self.rows

    def put(self, table, key, value):
        self.rows[bytes([table]) + key] = encode(ROWS[table], value)
        self.changed.add(bytes([table]) + key)

    def drop(self, table, key):
        del self.rows[bytes([table]) + key]
        self.changed.add(bytes([table]) + key)

    def keys(self, table, prefix=b""):
        start = bytes([table]) + prefix
        return sorted(key[1:] for key in self.rows if key.startswith(start))


POOLED = ["storage", "repair", "treasury", "deposits", "collateral", "stake", "unbonding", "rewards"]


# Genesis.

RANGES = {
    "epoch_ms": (1000, 30 * DAY_MS), "validity_blocks_max": (1, 10_000_000), "storage_fee_bp": (0, 1000),
    "sale_fee_bp": (0, 1000), "custody_fee_bp": (0, 1000), "repair_reserve_bp": (0, BP),
    "delivery_ms": (1000, 30 * DAY_MS), "window_ms_min": (0, WINDOW_MAX), "deal_epochs_max": (1, 100_000_000),
    "trusting_ms": (DAY_MS, 36_500 * DAY_MS),
    "fee_base": (0, PRICE_MAX), "fee_byte": (0, PRICE_MAX), "fee_check": (0, PRICE_MAX), "duty_fee_bp": (0, BP),
    "deposit": (0, PRICE_MAX), "dead_after_epochs": (2, 1000), "claim_epochs": (1, 1000),
    "collateral_epochs": (0, 1000),
    "repair_price": (0, PRICE_MAX), "allowance": (0, PRICE_MAX), "miss_penalty_bp": (0, BP), "silence_penalty_bp": (0, BP),
    "capacity_deposit": (0, PRICE_MAX), "listing_bond_bp": (0, 10 * BP), "complaint_bond": (0, PRICE_MAX),
    "validators_max": (0, 128), "stake_min": (0, PRICE_MAX), "stake_unit": (1, PRICE_MAX), "power_cap_bp": (1, BP),
    "commission_max_bp": (0, BP), "commission_rise_bp": (0, BP), "turn_penalty": (0, PRICE_MAX),
    "turns_missed_max": (1, 1000), "jail_ms": (0, 30 * DAY_MS), "equivocation_penalty_bp": (0, BP),
    "unbonding_ms": (1000, 36_500 * DAY_MS), "validators_fee_bp": (0, BP),
    "voting_epochs": (1, 1000), "lock_epochs": (1, 1000), "motion_deposit": (0, PRICE_MAX), "quorum_bp": (1000, BP),
    "majority_bp": (5000, 9900), "veto_bp": (1000, BP),
}


# How each parameter may change, by name: from the table of the page.
CHANGES = {row[1]: row[2] for row in map(layouts.cells, layouts.section("ledger.md", "changes").splitlines()) if row[0].isdigit()}


def params_hold(params):
    """Whether parameters are in their ranges and go together."""
    for name, (least, most) in RANGES.items():
        if not least <= params[name] <= most:
            raise No(name)
    if params["allowance_growth_bp"] > params["storage_fee_bp"]:
        raise No("allowance_growth_bp")
    is_play = params["faucet"] > 0 or params["validators_max"] == 0
    if not is_play and params["trusting_ms"] >= params["unbonding_ms"]:
        raise No("trusting_ms")


def genesis(data):
    """The first rows of a ledger."""
    of = decode("Genesis", data)
    params_hold(of["params"])
    validators_hold(of["validators"])
    if len(of["onions"]) != len(of["validators"]["members"]):
        raise No("Onions")
    chain = derive("symbolon 2026 genesis v1", data)
    state = State({})
    state.put(CHAIN, b"", {
        "id": chain, "params": of["params"], "validators": of["validators"], "genesis_ms": of["time_ms"],
        "time_ms": of["time_ms"], "height": 0, "epoch": 0, "counted_ms": 0, "late_blocks": 0,
        "gap_from_ms": of["time_ms"], "gap_until_ms": of["time_ms"],
        "beacon": {"next_tick": 0, "value": ZERO, "onions": [
            {"number": 0, "own": 0, "layer": one["outermost"], "next_tick": 0, "next": one["next"]}
            for one in of["onions"]]},
        "epoch_power": power(of["validators"]), "set_from": 0, "rules": FIRST_RULES, "next_rules": None, "motions": 0,
    })
    state.put(POOLS, b"", dict.fromkeys((*POOLED, "issued"), 0))
    stake.found(state, of["params"], of)
    return state


# Commits, and who believes them.


def validators_hold(validators):
    members = validators["members"]
    if not 1 <= len(members) <= 128:
        raise No("Count")
    keys, power = [one["key"] for one in members], 0
    for at, one in enumerate(members):
        if at and one["key"] <= keys[at - 1]:
            raise No("Order")
        if one["power"] < 1:
            raise No("NoPower")
        power += one["power"]
        if power > U64:
            raise No("TooMuchPower")


def validators_hash(validators):
    return derive("symbolon 2026 validators v2", encode("Validators", validators))


def power(validators, keys=None):
    return sum(one["power"] for one in validators["members"] if keys is None or one["key"] in keys)


def commit_holds(header, commit, validators):
    if validators_hash(validators) != header["validators"]:
        raise No("OtherValidators")
    places = [one["validator"] for one in commit["signatures"]]
    if any(at >= len(validators["members"]) for at in places) or any(a >= b for a, b in zip(places, places[1:])):
        raise No("Order")
    keys = [validators["members"][at]["key"] for at in places]
    if 3 * power(validators, keys) <= 2 * power(validators):
        raise No("TooLittlePower")
    digest = derive("symbolon 2026 commit v1", concat(
        header["chain"], ("u64", header["height"]), ("u32", commit["round"]), header_digest(header)))
    for key, one in zip(keys, commit["signatures"]):
        if not signed(key, digest, one["signature"]):
            raise No("Signature")


def last_holds(parent, validators, last):
    """What a block's facts say of the commit of its parent, which these validators committed."""
    members = validators["members"]
    if (last is not None) != (parent > 0 and len(members) > 1):
        raise No("WrongLast")
    if last is None:
        return
    signers = int.from_bytes(last["signers"], "little")
    keys = [one["key"] for place, one in enumerate(members) if signers >> place & 1]
    if signers >> len(members) or 3 * power(validators, keys) <= 2 * power(validators):
        raise No("WrongLast")


def first_place(chain, validators, height):
    """Who proposes in the first round of a height, by its place."""
    drawn = derive("symbolon 2026 consensus proposer v1", concat(chain, ("u64", height)))
    point = int.from_bytes(drawn[:16], "little") % power(validators)
    for place, one in enumerate(validators["members"]):
        if point < one["power"]:
            return place
        point -= one["power"]


def turns_of(chain, validators, height, rounds):
    """How often each member had its turn in the first rounds of a height."""
    count, first = len(validators["members"]), first_place(chain, validators, height)
    whole, rest = divmod(rounds, count)
    return [whole + ((place - first) % count < rest) for place in range(count)]


def last_is_shown(parent, validators, facts, commit):
    """Whether a block shows how its parent was committed."""
    try:
        last_holds(parent["height"], validators, facts["last"])
    except No as no:
        needed = parent["height"] > 0 and len(validators["members"]) > 1
        raise No("Signers" if needed and facts["last"] else "Presence") from no
    if (commit is None) != (facts["last"] is None):
        raise No("Presence")
    if commit is None:
        return
    signers = 0
    for one in commit["signatures"]:
        signers |= 1 << one["validator"]
    if facts["last"] != {"round": commit["round"], "signers": signers.to_bytes(16, "little")}:
        raise No("OtherFacts")
    commit_holds(parent, commit, validators)


def followed(trusted, signed_header, sets):
    """What a light client trusts after it was given a header."""
    header, commit = signed_header["header"], signed_header["commit"]
    if header["chain"] != trusted["chain"]:
        raise No("OtherLedger")
    if header["height"] < trusted["height"]:
        raise No("Older")
    known = {validators_hash(one): one for one in [trusted["validators"], *sets]}
    digest = header_digest(header)
    if header["height"] == trusted["height"] and digest == trusted["digest"]:
        return trusted
    if header["validators"] not in known:
        raise No("UnknownValidators")
    own = known[header["validators"]]
    commit_holds(header, commit, own)
    if header["height"] == trusted["height"]:
        raise No("Forked")
    is_same = header["validators"] == validators_hash(trusted["validators"])
    if header["height"] == trusted["height"] + 1 and not (is_same and header["parent"] == trusted["digest"]):
        raise No("Forked")
    if not is_same:
        keys = [own["members"][one["validator"]]["key"] for one in commit["signatures"]]
        if 3 * power(trusted["validators"], keys) <= power(trusted["validators"]):
            raise No("TooFewKnown")
    if header["facts"]["time_ms"] < trusted["time_ms"]:
        raise No("TimeBackwards")
    if header["next_validators"] not in known:
        raise No("UnknownValidators")
    return {**trusted, "height": header["height"], "digest": digest, "time_ms": header["facts"]["time_ms"],
            "validators": known[header["next_validators"]]}


# Prices.


def counted(number):
    """All arithmetic is checked, that of products before a division too."""
    if number > U128:
        raise OverflowError
    return number


def length_class(length):
    """The least number of doublings of a leaf that reach this length."""
    return (-(-length // LEAF) - 1).bit_length()


def slot_rate(price, length):
    return -(-counted(price * length) // GIB)


def deal_cost(params, length, epochs, prices):
    """Rate, storage, reserve, fee and total, or None if a number exceeds its type."""
    try:
        rate = 0
        for price in prices:
            rate = counted(rate + slot_rate(price, length))
    except OverflowError:
        return None
    return cost_of(params, rate, epochs)


def cost_of(params, rate, epochs):
    try:
        storage = counted(rate * epochs)
        reserve = counted(storage * params["repair_reserve_bp"]) // BP
        fee = counted(storage * params["storage_fee_bp"]) // BP
        return rate, storage, reserve, fee, counted(counted(storage + reserve) + fee)
    except OverflowError:
        return None


def part(amount, bp):
    return amount * bp // BP


# What stands for the bytes of a node. A need beyond counting is the largest amount.

WINDOWS_REMEMBERED, FORGIVEN, PAUSE = 2**30 - 1, 2, 7


def repair_cost(params, length):
    return -(-params["repair_price"] * length // GIB)


def needed(params, rate, length):
    pay, repair = rate * params["collateral_epochs"], repair_cost(params, length) * params["repair_cover_bp"] // BP
    return min(max(pay, repair), U128)


def backing(node):
    return node["collateral"] + node["withheld"]


def covers(params, node, length, price):
    """Whether a node may keep a shard more. A price beyond counting is refused elsewhere."""
    try:
        rate = node["bound_rate"] + slot_rate(price, length)
    except OverflowError:
        return True
    allowed = params["allowance"] + part(node["record"], params["allowance_growth_bp"])
    return needed(params, min(rate, U128), node["used"] + length) <= min(backing(node) + allowed, U128)


def withholds(params, node):
    lacks = max(needed(params, node["bound_rate"], node["used"]) - backing(node), 0)
    bp = 7500 if node["clean"] < 30 else 5000 if node["clean"] < 60 else 2500
    return min(part(node["rate"], bp), lacks)


def take(node, amount):
    """Withheld pay goes first."""
    withheld = min(amount, node["withheld"])
    node["withheld"] -= withheld
    node["collateral"] -= amount - withheld


def share_of(params, node, length, cost_bp):
    """What the collateral gives for a shard whose room is still bound."""
    try:
        own = counted(backing(node) * length) // node["used"]
    except OverflowError:
        own = backing(node)
    return min(own, repair_cost(params, length) * cost_bp // BP)


def is_open(block, node):
    return not node["dead"] and not node["leaving"] and node["paused_until"] <= block.chain["epoch"]


# What a transaction costs besides its action. Units are as in the table of the page, without the sender's signature.

UNITS = {
    "OpenDeal": lambda action: len(action["acceptances"]), "PlaceShards": lambda action: len(action["acceptances"]),
    "ExtendDeals": lambda action: len(action["deals"]),
    "OpenVault": lambda action: len(action["custodians"]) + len(action["key"]["commitments"]),
    "RotateVault": lambda action: len(action["custodians"]) + len(action["key"]["commitments"]),
    "SetCare": lambda action: len(action["deals"]), "ClaimRepair": lambda action: 1,
    "List": lambda action: 5, "Order": lambda action: 1, "PostRelease": lambda action: 5,
    "CoverListing": lambda action: len(action["deals"]), "Complain": lambda action: 5, "AnswerCell": lambda action: 5,
    "ReportEquivocation": lambda action: 2,
}
WEIGHTS = {
    "RegisterNode": lambda action: 4, "OpenDeal": lambda action: 4 + action["terms"]["total"],
    "OpenVault": lambda action: 4, "List": lambda action: 8, "Order": lambda action: 4, "Revoke": lambda action: 1,
    "Redeem": lambda action: 1, "JoinValidators": lambda action: 4, "Delegate": lambda action: 1,
    "Undelegate": lambda action: 1, "ProposeMotion": lambda action: 4, "CastBallot": lambda action: 1,
    "SetRoot": lambda action: 8, "SetCare": lambda action: sum(care_weight(len(one["pads"])) for one in action["deals"]) if action["caretakers"] else 0,
}
NONE = lambda action: 0
DUTY_ACTIONS = ["Prove", "PostRelease", "Acknowledge", "AnswerCell"]


def care_weight(shards):
    return 4 + -(-shards // 4)


def fee_of(params, action):
    kind = action["_"]
    units = 1 + UNITS.get(kind, NONE)(action)
    size = ENVELOPE + len(encode("Action", action))
    fee = params["fee_base"] + params["fee_byte"] * size + params["fee_check"] * units
    if kind == "Faucet":
        return 0
    return part(fee, params["duty_fee_bp"]) if kind in DUTY_ACTIONS else fee


def receivers(action):
    """The accounts that an action names as receivers of money."""
    kind = action["_"]
    if kind == "Transfer":
        return {action["to"]}
    if kind == "RegisterNode":
        return {action["payout"]}
    if kind == "JoinValidators":
        return {action["operator"]}
    return {split["account"] for split in action["terms"]["splits"]} if kind == "List" else set()


# A block.


def outward(inner, end, onion, layers):
    """From a validator's layer before tick `end` to the newest one that is known of it."""
    layer = inner
    for tick in range(end - 1, onion["next_tick"] - 1, -1):
        layers[tick] = layer
        layer = derive("symbolon 2026 onion v1", layer)
    if layer != onion["layer"]:
        raise No("WrongReveal")
    onion["layer"], onion["next_tick"] = inner, end


class Block:
    """A block in the making, on top of a state."""

    def __init__(self, state, facts):
        self.state = State(state.rows)
        self.chain = self.state.get(CHAIN)
        self.pools = self.state.get(POOLS)
        self.events, self.event_bytes, self.bytes, self.shards = [], 0, 0, 0
        chain = self.chain
        if facts["time_ms"] < chain["time_ms"]:
            raise No("TimeBackwards")
        parent_ms = chain["time_ms"]
        past = self.state.get(PAST_SETS, big(chain["height"]))
        last_holds(chain["height"], past["validators"] if past else chain["validators"], facts["last"])
        self.committing = {"members": [dict(one) for one in chain["validators"]["members"]]}
        chain["height"] += 1
        chain["time_ms"] = facts["time_ms"]
        epoch = chain["epoch"]
        self.count_time(parent_ms)
        self.reveal(facts["proposer"], facts["reveal"])
        motion.begin(self, epoch < chain["epoch"])
        if chain["rules"] > FIRST_RULES:
            raise No("UnknownRules")
        stake.begin(self, facts, epoch < chain["epoch"])
        self.close_due(parent_ms)
        self.pick_previews()
        self.forget_seen()
        self.close_deals(self.take_turns())
        self.remove_kept()
        self.state.changed.clear()

    @property
    def now(self):
        return self.chain["time_ms"]

    def report(self, kind, **fields):
        self.events.append({"_": kind} | fields)
        self.event_bytes += len(encode("Event", self.events[-1]))

    # Money.

    def account(self, who):
        return self.state.get(ACCOUNTS, who) or {"balance": 0, "deposits": 0, "faucet_height": 0}

    def balance(self, who):
        return self.account(who)["balance"]

    def _change(self, place, by):
        kind = place["_"]
        if kind == "outside":
            self.pools["issued"] -= by
        elif kind == "account":
            row = self.account(place["account"])
            row["balance"] += by
            if row["balance"] < 0:
                raise Broken("an account below zero")
            self.state.put(ACCOUNTS, place["account"], row)
        elif kind == "hold":
            key = encode("HoldKey", place["hold"])
            row = self.state.get(HOLDS, key)
            row["amount"] += by
            self.state.put(HOLDS, key, row)
        else:
            self.pools[kind] += by
            if self.pools[kind] < 0:
                raise Broken("a pool below zero")

    def move(self, source, to, amount, reason):
        if amount == 0:
            return
        self._change(source, -amount)
        self._change(to, amount)
        self.report("moved", **{"from": source, "to": to, "amount": amount, "reason": reason})

    def bill(self, sender, action):
        """Fee, with the rows of new accounts, and deposit."""
        params, kind = self.chain["params"], action["_"]
        there = kind == "RegisterNode" and self.state.has(NODES, sender) \
            or kind == "SetRoot" and self.state.has(ROOTS, sender)
        if kind == "Delegate":
            row = self.state.get(VALIDATORS, action["validator"])
            there = row and row["operator"] == sender or self.state.has(DELEGATIONS, action["validator"] + sender)
        if kind == "Undelegate":
            there = self.state.has(UNBONDINGS, stake.unbonding_key(self, action["validator"], sender))
        if kind == "CastBallot":
            there = self.state.has(BALLOTS, big(action["motion"]) + action["validator"] + sender)
        weight = 0 if there else WEIGHTS.get(kind, NONE)(action)
        if kind == "SetCare" and action["caretakers"]:
            weight -= sum(care_weight(len(one["pads"])) for one in action["deals"]
                          if self.state.has(CARES, owned_id("deal id v2", sender, one["opening"])))
        new = [account for account in receivers(action) if not self.state.has(ACCOUNTS, account)]
        draws = kind == "List" and action["terms"]["preview_cells"] > 0 \
            and not self.state.has(DRAWS, action["terms"]["manifest"]["content_root"])
        return fee_of(params, action) + params["deposit"] * (len(new) + draws), params["deposit"] * weight

    def give_back(self, to, weight):
        self.bind(to, -self.chain["params"]["deposit"] * weight)

    def bind(self, who, amount):
        """Moves an account's money to the deposits, or back."""
        if amount:
            row = self.account(who)
            row["deposits"] += amount
            self.state.put(ACCOUNTS, who, row)
        ends = of_account(who), {"_": "deposits"}
        self.move(*(ends if amount > 0 else ends[::-1]), abs(amount), {"_": "deposit"})

    def place_hold(self, hold, payer, amount, reason):
        self.state.put(HOLDS, encode("HoldKey", hold), {"payer": payer, "amount": 0, "forfeited": 0})
        self.move(of_account(payer), {"_": "hold", "hold": hold}, amount, reason)

    def close_hold(self, hold, to, reason):
        key = encode("HoldKey", hold)
        row = self.state.get(HOLDS, key)
        self.move({"_": "hold", "hold": hold}, of_account(to), row["amount"] - row["forfeited"], reason)
        self.move({"_": "hold", "hold": hold}, {"_": "repair"}, row["forfeited"], reason)
        self.state.drop(HOLDS, key)

    def forfeit(self, node_id, node, deal, amount):
        """Collateral pays for the repair of a shard."""
        take(node, amount)
        hold = {"_": "deal", "deal": deal}
        self.move({"_": "collateral"}, {"_": "hold", "hold": hold}, amount, {"_": "collateral", "node": node_id})
        self.note_forfeited(hold, amount)

    def note_forfeited(self, hold, by):
        if by:
            row = self.state.get(HOLDS, encode("HoldKey", hold))
            row["forfeited"] += by
            self.state.put(HOLDS, encode("HoldKey", hold), row)

    # What falls due.

    def close_due(self, parent_ms):
        chain, params = self.chain, self.chain["params"]
        late = max(params["delivery_ms"] // 64, 1000)
        if self.now - parent_ms >= late:
            chain["gap_from_ms"], chain["gap_until_ms"] = parent_ms, self.now
        events = ORDERS_MAX * EVENTS_OF_ORDER
        for key in self.state.keys(DUE)[:ORDERS_MAX]:
            due_ms, order_id = int.from_bytes(key[:8], "big"), key[8:]
            if due_ms > self.now:
                break
            order = self.state.get(ORDERS, order_id)
            asked, kind = order["asked"], order["state"]["_"]
            events -= max(EVENTS_OF_ORDER, 4 + len(asked["keys"]) if asked else 0)
            if events < 0:
                break
            stood_still = chain["gap_from_ms"] < due_ms and due_ms + late <= chain["gap_until_ms"]
            again = min(self.now + params["delivery_ms"], U64)
            if self.state.get(LISTINGS, order["listing"])["state"]["_"] == "frozen":
                self.refund(order_id, order, "frozen")
            elif kind == "delivered":
                self.settle(order_id, order, b"")
            elif stood_still and (kind == "asked" or again < order["access_until_ms"]):
                self.set_due(order_id, order, again)
            elif kind == "asked":
                self.unanswered(order_id, order)
            else:
                if not stood_still:
                    self.penalise_silent(order_id, order)
                self.refund(order_id, order, "not_delivered")

    def penalise_silent(self, order_id, order):
        """Custodians that had the whole time and have posted nothing lose a part of their collateral."""
        vault = self.state.get(VAULTS, self.state.get(LISTINGS, order["listing"])["terms"]["vault"])
        if vault["dealing"] != order["dealing"] or order["ordered_ms"] < vault["since_ms"]:
            return
        posted = [one["node"] for one in order["releases"]]
        for node_id in vault["custodians"]:
            node = self.state.get(NODES, node_id)
            if not node or node_id in posted:
                continue
            penalty = part(backing(node), self.chain["params"]["silence_penalty_bp"])
            take(node, penalty)
            self.state.put(NODES, node_id, node)
            reason = {"_": "silent", "node": node_id, "order": order_id}
            self.move({"_": "collateral"}, {"_": "repair"}, penalty, reason)

    def set_due(self, order_id, order, due_ms):
        self.state.drop(DUE, big(order["due_ms"]) + order_id)
        order["due_ms"] = due_ms
        self.state.put(DUE, big(due_ms) + order_id, {})
        self.state.put(ORDERS, order_id, order)

    # What a sale binds.

    def sold(self, seller, object_id):
        return self.state.get(SALES, seller + object_id) or {"listings": 0, "orders": 0, "until_ms": 0}

    def sale_binds(self, seller, object_id):
        row = self.sold(seller, object_id)
        return row["listings"] > 0 or row["orders"] > 0 or self.now < row["until_ms"]

    def change_sale(self, listing, listings, orders, until_ms=0):
        key = listing["seller"] + listing["terms"]["manifest"]["object"]
        row = self.sold(listing["seller"], listing["terms"]["manifest"]["object"])
        row["listings"] += listings
        row["orders"] += orders
        row["until_ms"] = max(row["until_ms"], until_ms)
        self.state.put(SALES, key, row)

    def close_sale(self, listing_id, listing, until_ms):
        """An order binds no more money."""
        listing["open"] -= 1
        self.change_sale(listing, 0, -1, until_ms)
        self.free_bond(listing_id, listing)
        self.state.put(LISTINGS, listing_id, listing)

    def free_bond(self, listing_id, listing):
        if listing["state"]["_"] == "ended" and listing["open"] == 0:
            self.close_hold({"_": "listing", "listing": listing_id}, listing["seller"], {"_": "bond", "listing": listing_id})

    # Disputes.

    def uphold(self, order_id, order, why):
        listing_id, reason = order["listing"], {"_": "bond", "listing": order["listing"]}
        listing = self.state.get(LISTINGS, listing_id)
        before, listing["state"] = listing["state"]["_"], {"_": "frozen"}
        if before != "frozen":
            self.state.put(LISTINGS, listing_id, listing)
            hold = {"_": "listing", "listing": listing_id}
            self.move({"_": "hold", "hold": hold}, {"_": "treasury"}, listing["terms"]["bond"] // 2, reason)
            self.close_hold(hold, order["buyer"], reason)
            if before == "open":
                self.change_sale(listing, -1, 0)
            self.report("listing_frozen", listing=listing_id)
        self.refund(order_id, order, why)

    def unanswered(self, order_id, order):
        """Too few nodes have given a cell. Those that were silent lose a part of their collateral."""
        asked, epoch = order["asked"], self.chain["epoch"]
        deal = self.state.get(DEALS, asked["deal"])
        kept = kept_shards(deal) if epoch < deal["end"] else []
        for index, shard in kept:
            if shard["from"] <= epoch and index not in asked["answered"]:
                node = self.state.get(NODES, shard["node"])
                self.penalise(shard["node"], node)
                self.state.put(NODES, shard["node"], node)
        self.refund(order_id, order, "unavailable")

    def give(self, order_id, order):
        """The nodes have given the listed cell: the bond of the complaint is theirs."""
        asked, reason = order["asked"], {"_": "complaint", "order": order_id}
        source = {"_": "hold", "hold": {"_": "complaint", "order": order_id}}
        deal, left = self.state.get(DEALS, asked["deal"]), self.state.get(HOLDS, encode("HoldKey", source["hold"]))["amount"]
        each = left // len(asked["answered"])
        for index in asked["answered"]:
            shard = dict(kept_shards(deal)).get(index)
            node = shard and self.state.get(NODES, shard["node"])
            if node:
                self.move(source, of_account(node["payout"]), each, reason)
                left -= each
        self.move(source, {"_": "treasury"}, left, reason)
        until_ms = asked["window_until_ms"]
        self.forget_asked(order_id, order)
        order["state"] = {"_": "delivered"}
        order["given"] += 1
        self.set_due(order_id, order, max(until_ms, min(self.now + self.chain["params"]["delivery_ms"], U64)))
        self.report("complaint_dismissed", order=order_id)

    def forget_asked(self, order_id, order):
        asked, order["asked"] = order["asked"], None
        if asked:
            for index in asked["answered"]:
                if self.state.has(ANSWERS, order_id + bytes([index])):
                    self.state.drop(ANSWERS, order_id + bytes([index]))
            hold = {"_": "complaint", "order": order_id}
            self.close_hold(hold, order["buyer"], hold)

    def refund(self, order_id, order, why):
        self.close_hold({"_": "order", "order": order_id}, order["buyer"], {"_": "sale", "order": order_id})
        self.close_sale(order["listing"], self.state.get(LISTINGS, order["listing"]), 0)
        self.forget_asked(order_id, order)
        self.state.drop(DUE, big(order["due_ms"]) + order_id)
        order["state"], order["refund"] = {"_": "refunded"}, {"_": why}
        self.state.put(ORDERS, order_id, order)
        self.keep(order["access_until_ms"], {"_": "order", "order": order_id})
        self.report("order_refunded", order=order_id)

    def settle(self, order_id, order, named):
        listing = self.state.get(LISTINGS, order["listing"])
        vault = self.state.get(VAULTS, listing["terms"]["vault"])
        amount = order["amount"]
        hold = {"_": "order", "order": order_id}
        source, reason = {"_": "hold", "hold": hold}, {"_": "sale", "order": order_id}
        fee = part(amount, order["sale_fee_bp"])
        custody = part(amount, order["custody_fee_bp"])
        indexes = list(named) or [one["index"] for one in order["releases"]]
        present = vault["custodians"] if vault["dealing"] == order["dealing"] else []
        known = dict(enumerate(present, 1)) | {one["index"]: one["node"] for one in order["releases"]}
        nodes = [self.state.get(NODES, known[index]) for index in indexes if index in known]
        nodes = [node for node in nodes if node]
        each = custody // len(nodes) if nodes else 0
        rest = amount - fee - each * len(nodes)
        self.move(source, {"_": "treasury"}, fee, {"_": "fee"})
        for node in nodes:
            self.move(source, of_account(node["payout"]), each, reason)
        for split in listing["terms"]["splits"]:
            self.move(source, of_account(split["account"]), part(rest, split["share_bp"]), reason)
        self.close_hold(hold, listing["seller"], reason)
        listing["sold"] += 1
        self.close_sale(order["listing"], listing, order["access_until_ms"])
        self.forget_asked(order_id, order)
        self.state.drop(DUE, big(order["due_ms"]) + order_id)
        order["state"] = {"_": "settled"}
        self.state.put(ORDERS, order_id, order)
        self.keep(order["access_until_ms"], {"_": "order", "order": order_id})
        self.report("order_settled", order=order_id)

    def pick_previews(self):
        for key in self.state.keys(AWAIT)[:PREVIEWS_MAX]:
            tick, listing_id = int.from_bytes(key[:8], "big"), key[8:]
            if tick >= self.chain["beacon"]["next_tick"]:
                break
            listing = self.state.get(LISTINGS, listing_id)
            root = listing["terms"]["manifest"]["content_root"]
            seed = derive("symbolon 2026 preview v2", self.value_of(tick) + root)
            draw = self.state.get(DRAWS, root) or {"seed": seed}
            self.state.put(DRAWS, root, draw)
            listing["preview_seed"] = draw["seed"]
            self.state.put(LISTINGS, listing_id, listing)
            self.state.drop(AWAIT, key)
            self.report("preview_picked", listing=listing_id)

    def forget_seen(self):
        for key in self.state.keys(SEEN_UNTIL)[:FORGOTTEN_MAX]:
            if int.from_bytes(key[:8], "big") >= self.chain["height"]:
                break
            self.state.drop(SEEN_UNTIL, key)
            self.state.drop(SEEN, key[8:])

    # Epochs and windows.

    def count_time(self, parent_ms):
        chain, length = self.chain, self.chain["params"]["epoch_ms"]
        due = (chain["epoch"] + 1) * length
        for key in self.state.keys(WINDOWS)[:1]:
            due = min(due, int.from_bytes(key[:8], "big"))
        due = max(due, chain["counted_ms"])
        reached = chain["counted_ms"] + self.now - parent_ms
        if reached < due + length // 4:
            chain["counted_ms"], chain["late_blocks"] = reached, 0
        elif chain["late_blocks"] < LATE_BLOCKS:
            chain["late_blocks"] += 1
        else:
            chain["counted_ms"] = due
        if chain["epoch"] < chain["counted_ms"] // length:
            chain["epoch"] += 1
            self.report("epoch_began", epoch=chain["epoch"])

    # Ticks and layers.

    def tick_at(self, counted_ms):
        return counted_ms * TICKS // self.chain["params"]["epoch_ms"]

    def begin_of(self, tick):
        return -(-tick * self.chain["params"]["epoch_ms"] // TICKS)

    def reveal(self, proposer, of):
        """Takes the proposer's layer of the block's tick. `values` are those that the block may use, by tick."""
        beacon, tick = self.chain["beacon"], self.tick_at(self.chain["counted_ms"])
        if proposer >= len(beacon["onions"]):
            raise No("NoProposer")
        first = beacon["next_tick"]
        if (of is not None) != (tick >= first):
            raise No("WrongReveal")
        if not of:
            self.values = {first - 1: beacon["value"]}
            return
        onion, layers = beacon["onions"][proposer], {}
        if tick // ONION != onion["number"] + (of["change"] is not None):
            raise No("WrongReveal")
        if of["change"]:
            outward(of["change"]["last"], (onion["number"] + 1) * ONION, onion, layers)
            onion["number"] += 1
            onion["own"] += 1
            onion["layer"], onion["next"] = onion["next"], of["change"]["next"]
        outward(of["layer"], tick + 1, onion, layers)
        others = [one["layer"] for place, one in enumerate(beacon["onions"]) if place != proposer]
        others = derive("symbolon 2026 other layers v1", b"".join(others))
        self.values = {at: derive("symbolon 2026 chance v1", others + layers[at]) for at in range(first, tick + 1)}
        beacon["next_tick"], beacon["value"] = tick + 1, self.values[tick]

    def value_of(self, tick):
        return self.values[min(max(tick, min(self.values)), max(self.values))]

    def window_due(self, node_id, epoch):
        offset = derive("symbolon 2026 window offset v2", self.chain["id"] + node_id)[:8]
        return self.begin_of(epoch * TICKS + int.from_bytes(offset, "little") % TICKS)

    def take_turns(self):
        now = self.chain["counted_ms"]
        due = [key for key in self.state.keys(WINDOWS)[:TURNS_MAX] if int.from_bytes(key[:8], "big") <= now]
        left = CHANGES_MAX
        for key in due:
            if not left:
                break
            self.state.drop(WINDOWS, key)
            due_ms = int.from_bytes(key[:8], "big")
            left -= self.take_turn(due_ms, key[8:], min(left, TURN_CHANGES_MAX))
        return CHANGES_MAX - left

    def take_turn(self, due_ms, node_id, most):
        node, now = self.state.get(NODES, node_id), self.chain["counted_ms"]
        epoch, window = node["next_epoch"], node["window"]
        if window:
            missed = node["passed_epoch"] != window["epoch"]
            node["misses"] = (node["misses"] << 1 | missed) & WINDOWS_REMEMBERED
            if missed:
                self.miss(node_id, node, window["epoch"])
        node["window"] = None
        if node["dead"]:
            taken = self.evict(node_id, node, epoch, most // 2)
            if taken < most // 2:
                rest = backing(node)
                take(node, rest)
                self.move({"_": "collateral"}, {"_": "repair"}, rest, {"_": "collateral", "node": node_id})
                now = self.open_window(node_id, node, {"epoch": epoch})
            self.wait(node_id, node, now)
            self.state.put(NODES, node_id, node)
            return 2 * taken
        made = 0
        for table, change in ((LEAVES, self.leave), (JOINS, self.join)):
            for key in self.state.keys(table, node_id)[:most - made]:
                if int.from_bytes(key[32:40], "big") <= epoch:
                    change(node_id, node, key)
                    made += 1
        if made < most:
            now = self.open_window(node_id, node, {"epoch": epoch, "beacon": self.value_of(self.tick_at(due_ms))})
        self.wait(node_id, node, now)
        self.state.put(NODES, node_id, node)
        return made

    def miss(self, node_id, node, epoch):
        node["missed"] += 1
        node["missed_in_row"] = min(node["missed_in_row"] + 1, U32)
        reason, params = {"_": "missed", "node": node_id, "epoch": epoch}, self.chain["params"]
        self.move({"_": "storage"}, {"_": "repair"}, node["rate"], reason)
        if node["missed_in_row"] >= params["dead_after_epochs"]:
            node["dead"], node["clean"], node["record"], node["proven"] = True, 0, 0, 0
            self.report("node_died", node=node_id)
        elif node["misses"].bit_count() > FORGIVEN:
            self.penalise(node_id, node)
            node["paused_until"] = self.chain["epoch"] + PAUSE

    def penalise(self, node_id, node):
        penalty = part(backing(node), self.chain["params"]["miss_penalty_bp"])
        take(node, penalty)
        for name in ("clean", "record", "proven"):
            node[name] //= 2
        self.move({"_": "collateral"}, {"_": "repair"}, penalty, {"_": "collateral", "node": node_id})

    def evict(self, node_id, node, epoch, most):
        """Takes shards from a dead node. Says how many."""
        kept = self.state.keys(LEAVES, node_id)[:most]
        for key in kept:
            before, position = dict(node), self.state.get(LEAVES, key)["position"]
            length = self.state.get(SLOTS, node_id + big(position, 4))["length"]
            share = share_of(self.chain["params"], before, length, 11_000)
            slot = self.leave(node_id, node, key)
            self.vacate(node_id, node, slot["deal"], epoch, slot["rate"] * max(slot["leaves"] - epoch, 0), share)
        waiting = self.state.keys(JOINS, node_id)[:most - len(kept)]
        for key in waiting:
            deal, first = key[40:], int.from_bytes(key[32:40], "big")
            row = self.state.get(DEALS, deal)
            price = next(shard["price"] for _, shard in kept_shards(row) if shard["node"] == node_id)
            share, rate = share_of(self.chain["params"], node, row["length"], 11_000), slot_rate(price, row["length"])
            self.spare(node_id, node, deal, first, row["length"], rate)
            self.vacate(node_id, node, deal, first, rate * (row["end"] - first), share)
        return len(kept) + len(waiting)

    def spare(self, node_id, node, deal, first, length, rate):
        """A shard waits to join no longer."""
        self.state.drop(JOINS, node_id + big(first) + deal)
        node["used"] -= length
        node["bound_rate"] -= rate
        self.report("shard_spared", node=node_id, deal=deal)

    def vacate(self, node_id, node, deal, first, freed, share):
        """A node keeps its shard of a deal until this epoch. A share of its collateral goes with it."""
        row, reason, to = self.state.get(DEALS, deal), {"_": "deal", "deal": deal}, {"_": "repair"}
        if row:
            is_open = row["state"]["_"] == "open"
            to = {"_": "hold", "hold": {"_": "deal", "deal": deal}} if is_open else of_account(row["owner"])
        self.move({"_": "storage"}, to, freed, reason)
        if row and is_open:
            for index, shard in kept_shards(row):
                if shard["node"] == node_id:
                    row["rate"] -= slot_rate(shard["price"], row["length"])
                    shard["lost"] = first
                    self.put_deal(deal, row)
                    self.forfeit(node_id, node, deal, share)
                    self.report("shard_lost", deal=deal, index=index, node=node_id)

    def put_deal(self, deal, row):
        """Writes a deal's row, and where it stands among those with a lost shard."""
        before = self.state.get(DEALS, deal)
        for of, change in ((before, self.state.drop), (row, lambda *key: self.state.put(*key, {}))):
            if of and of["state"]["_"] == "open" and any(shard and shard["lost"] is not None for shard in of["shards"]):
                spare = max(len(kept_shards(of)) - of["required"], 0)
                change(DEGRADED, big(spare, 1) + deal)
        self.state.put(DEALS, deal, row)

    def move_leave(self, node_id, deal, before, after):
        """A shard leaves its table with another epoch."""
        leave = self.state.get(LEAVES, node_id + big(before) + deal)
        place = node_id + big(leave["position"], 4)
        slot = self.state.get(SLOTS, place)
        slot["leaves"] = after
        self.state.put(SLOTS, place, slot)
        self.state.drop(LEAVES, node_id + big(before) + deal)
        self.state.put(LEAVES, node_id + big(after) + deal, leave)

    def wait(self, node_id, node, turn_ms):
        node["turn_ms"] = turn_ms
        if turn_ms is not None:
            self.state.put(WINDOWS, big(turn_ms) + node_id, {})

    def open_window(self, node_id, node, window):
        """Opens the window, if there is something to prove, and says when the next turn is."""
        waiting = self.state.keys(JOINS, node_id)
        if node["slots"]:
            node["window"], node["next_epoch"] = window, window["epoch"] + 1
            self.report("window_opened", node=node_id, epoch=window["epoch"])
        elif waiting:
            node["next_epoch"] = int.from_bytes(waiting[0][32:40], "big")
        else:
            node["next_epoch"] = None
            return None
        least = self.chain["counted_ms"] + self.chain["params"]["epoch_ms"] // 2
        least = next(begin for begin in map(self.begin_of, itertools.count(self.tick_at(least))) if begin >= least)
        return max(self.window_due(node_id, node["next_epoch"]), least)

    def join(self, node_id, node, key):
        deal, index = key[40:], self.state.get(JOINS, key)["index"]
        row = self.state.get(DEALS, deal)
        shard, position = row["shards"][index], node["slots"]
        rate = slot_rate(shard["price"], row["length"])
        slot = {"deal": deal, "index": index, "root": shard["root"], "length": row["length"], "rate": rate}
        slot["leaves"] = row["end"]
        self.state.drop(JOINS, key)
        self.state.put(LEAVES, node_id + big(row["end"]) + deal, {"position": position})
        self.state.put(SLOTS, node_id + big(position, 4), slot)
        node["slots"] += 1
        node["slot_bytes"] += row["length"]
        node["rate"] += rate
        node["lengths"] += [0] * (length_class(row["length"]) + 1 - len(node["lengths"]))
        node["lengths"][length_class(row["length"])] += 1
        node["table"] = slot_joins(node["table"], position, slot)
        self.report("shard_joined", node=node_id, deal=deal)

    def leave(self, node_id, node, key):
        position, last = self.state.get(LEAVES, key)["position"], node["slots"] - 1
        gone = self.state.get(SLOTS, node_id + big(position, 4))
        self.state.drop(LEAVES, key)
        if position != last:
            moved = self.state.get(SLOTS, node_id + big(last, 4))
            self.state.put(LEAVES, node_id + big(moved["leaves"]) + moved["deal"], {"position": position})
            self.state.put(SLOTS, node_id + big(position, 4), moved)
        self.state.drop(SLOTS, node_id + big(last, 4))
        node["slots"] = last
        node["slot_bytes"] -= gone["length"]
        node["used"] -= gone["length"]
        node["bound_rate"] -= gone["rate"]
        node["rate"] -= gone["rate"]
        node["lengths"][length_class(gone["length"])] -= 1
        while node["lengths"] and not node["lengths"][-1]:
            node["lengths"].pop()
        node["table"] = slot_leaves(node["table"], position)
        self.report("shard_left", node=node_id, deal=key[40:])
        return gone

    # Deals that are over.

    def close_deals(self, slot_changes):
        steps, now = STEPS_MAX - slot_changes, self.chain["epoch"]
        for key in self.state.keys(DEALS_DUE)[:steps]:
            deal = key[8:]
            if int.from_bytes(key[:8], "big") > now:
                break
            row = self.state.get(DEALS, deal)
            is_open = row["state"]["_"] == "open"
            if is_open:
                steps -= 1 + (1 + len(rewards_of(self, deal)) if self.state.has(REPAIRS, deal) else 0)
            else:
                steps -= 1 + len(row["shards"]) // 16 + self.state.has(CARES, deal)
            if steps < 0:
                break
            self.state.drop(DEALS_DUE, key)
            if is_open:
                row["state"] = {"_": "completed"}
                self.put_deal(deal, row)
                self.state.put(DEALS_DUE, big(row["end"] + KEPT_EPOCHS) + deal, {})
                self.report("deal_ended", deal=deal)
                settle_repairs(self, deal, row, False)
                self.close_hold({"_": "deal", "deal": deal}, row["owner"], {"_": "deal", "deal": deal})
            elif any(self.has_slot(shard, deal, row) for _, shard in kept_shards(row)):
                self.state.put(DEALS_DUE, big(now + 1) + deal, {})
            else:
                self.state.drop(DEALS, deal)
                self.state.drop(DEALS_OF, row["owner"] + deal)
                if self.state.has(CARES, deal):
                    self.state.drop(CARES, deal)
                    self.give_back(row["owner"], care_weight(len(row["shards"])))
                self.give_back(row["owner"], 4 + len(row["shards"]))

    def has_slot(self, shard, deal, row):
        node_id = shard["node"]
        node = self.state.get(NODES, node_id)
        next_epoch = node and node["next_epoch"]
        return next_epoch is not None and (
            self.state.has(LEAVES, node_id + big(leaves_with(row, next_epoch)) + deal)
            or self.state.has(JOINS, node_id + big(shard["from"]) + deal))

    # What is over and leaves.

    def keep(self, end_ms, what):
        until = max(end_ms, self.now) + KEPT_EPOCHS * self.chain["params"]["epoch_ms"]
        self.state.put(KEPT_UNTIL, big(min(until, U64)) + encode("Kept", what), {})

    def keep_if_over(self, listing_id, row):
        if row["state"]["_"] != "open" and row["orders"] == 0:
            self.keep(self.now, {"_": "listing", "listing": listing_id})

    def remove_kept(self):
        ballots = motion.BALLOTS_LEAVING
        for key in self.state.keys(KEPT_UNTIL)[:LEAVING_MAX]:
            if int.from_bytes(key[:8], "big") > self.now:
                break
            self.state.drop(KEPT_UNTIL, key)
            what = decode("Kept", key[8:])
            if what["_"] == "order":
                self.remove_order(what["order"])
            elif what["_"] == "listing":
                row = self.state.get(LISTINGS, what["listing"])
                if row["terms"]["preview_cells"] and row["preview_seed"] is None:
                    self.keep_if_over(what["listing"], row)
                    continue
                self.state.drop(LISTINGS, what["listing"])
                sold = row["seller"] + row["terms"]["manifest"]["object"]
                self.state.drop(LISTINGS_OF, sold + what["listing"])
                self.state.drop(MANDATES, mandate_id(self.chain["id"], row["seller"], row["terms"]["mandate"]))
                if not self.state.keys(LISTINGS_OF, sold):
                    self.state.drop(SALES, sold)
                self.give_back(row["seller"], 8)
            elif what["_"] == "motion":
                motion.leave(self, what["motion"])
            elif what["_"] == "ballots":
                ballots = motion.ballots_leave(self, key[:8], what["motion"], ballots)
            elif what["_"] == "redemption":
                self.state.drop(REDEMPTIONS, what["once"])
                self.give_back(what["once"], 1)
            else:
                self.state.drop(REVOCATIONS, what["link"] + what["by"])
                self.give_back(what["by"], 1)

    def remove_order(self, order_id):
        order = self.state.get(ORDERS, order_id)
        listing_id = order["listing"]
        listing = self.state.get(LISTINGS, listing_id)
        for account in {order["buyer"], listing["seller"]}:
            self.state.drop(ORDERS_OF, account + listing_id + order_id)
        self.state.drop(ORDERS, order_id)
        listing["orders"] -= 1
        self.state.put(LISTINGS, listing_id, listing)
        self.keep_if_over(listing_id, listing)
        self.give_back(order["buyer"], 4)

    # Transactions.

    def push(self, data):
        """Applies a transaction; refuses with the first of the statuses that apply."""
        of = decode("Transaction", data)
        if self.is_full(of["action"], len(data)):
            raise No("Full")
        self.envelope(of, data)
        sender, action = of["sender"], of["action"]
        fee, deposit = self.bill(sender, action)
        bad, apply = ACTIONS[action["_"]](self, sender, action)
        spent = self.spends(sender, action)
        if spent is not None and self.balance(sender) < fee + deposit + spent:
            bad.add("BalanceTooLow")
        if bad:
            raise No(min(bad, key=CODES.get))
        height = self.chain["height"]
        key = of["sender"] + of["id"]
        self.state.put(SEEN, key, {"digest": transaction_digest(of), "height": height})
        self.state.put(SEEN_UNTIL, big(of["valid_until"]) + key, {})
        self.bytes += len(data)
        shared = part(fee, self.chain["params"]["validators_fee_bp"])
        self.move(of_account(sender), {"_": "treasury"}, fee - shared, {"_": "fee"})
        self.move(of_account(sender), {"_": "rewards"}, shared, {"_": "fee"})
        self.bind(sender, deposit)
        apply()

    def spends(self, sender, action):
        """What an action takes from its sender's balance; None if that cannot be computed."""
        if action["_"] == "Transfer":
            return action["amount"]
        if action["_"] in ("JoinValidators", "Delegate"):
            return action["amount"]
        if action["_"] == "ProposeMotion":
            return action["deposit"]
        if action["_"] == "Order":
            return action["price"]
        if action["_"] == "List":
            return action["terms"]["bond"]
        if action["_"] == "Complain":
            return 0 if judged(self, sender, action)[1] == UPHELD else self.chain["params"]["complaint_bond"]
        if action["_"] == "OpenDeal":
            terms, prices = action["terms"], [one["price"] for one in action["acceptances"]]
            cost = deal_cost(self.chain["params"], terms["length"], terms["epochs"], prices)
            return cost and cost[4]
        if action["_"] == "ExtendDeals":
            rows = [self.state.get(DEALS, deal) for deal in action["deals"]]
            costs = [cost_of(self.chain["params"], row["rate"], action["epochs"]) for row in rows if row]
            total = None if None in costs else sum(cost[4] for cost in costs)
            return total if total is not None and total <= U128 else None
        if action["_"] == "PlaceShards":
            placed = placement(self, sender, action)
            return placed and placed["own"]
        if action["_"] == "RegisterNode":
            row = self.state.get(NODES, sender)
            return max(self.capacity_deposit(action["capacity"]) - (row["deposit"] if row else 0), 0)
        if action["_"] == "Stake":
            return action["amount"]
        return 0

    def capacity_deposit(self, capacity):
        return -(-self.chain["params"]["capacity_deposit"] * capacity // GIB)

    def is_full(self, action, more):
        shards = len(action["acceptances"]) if action["_"] in ("OpenDeal", "PlaceShards") else 0
        return self.bytes + self.event_bytes + more + OWN_EVENTS > BLOCK_MAX \
            or len(self.state.changed) >= ROWS_FULL \
            or self.shards + shards > SHARDS_FULL

    def envelope(self, of, data):
        chain = self.chain
        if of["chain"] != chain["id"]:
            raise No("WrongChain")
        if len(data) > TRANSACTION_MAX:
            raise No("TooLarge")
        digest = transaction_digest(of)
        if not signed(of["sender"], digest, of["signature"]):
            raise No("BadSignature")
        if of["valid_until"] < chain["height"]:
            raise No("Expired")
        if of["valid_until"] - chain["height"] > chain["params"]["validity_blocks_max"]:
            raise No("TooFarAhead")
        seen = self.state.get(SEEN, of["sender"] + of["id"])
        if seen:
            # With the same digest it is in a block already and does not go into another: a replay says this too.
            raise No("IdReused")
        if self.balance(of["sender"]) < fee_of(chain["params"], of["action"]):
            raise No("FeeNotCovered")

    def finish(self):
        if self.chain["validators"] != self.committing:
            past = {"validators": self.committing, "from": self.chain["set_from"], "until_ms": self.now}
            self.state.put(PAST_SETS, big(self.chain["height"]), past)
            self.chain["set_from"] = self.chain["height"] + 1
        self.state.put(CHAIN, b"", self.chain)
        self.state.put(POOLS, b"", self.pools)
        money = sum(self.state.get(ACCOUNTS, key)["balance"] for key in self.state.keys(ACCOUNTS))
        money += sum(self.state.get(HOLDS, key)["amount"] for key in self.state.keys(HOLDS))
        money += sum(self.pools[name] for name in POOLED)
        if money != self.pools["issued"]:
            raise Broken("money was made or lost")
        return self.state, state_root(self.state.rows.items())


def leaves_with(deal, next_epoch):
    """The epoch with which a shard leaves the table of a node with this next window."""
    return next_epoch if deal["state"]["_"] == "cancelled" else deal["end"]


def kept_shards(deal):
    """The shards that nodes keep, with their indexes."""
    return [(index, shard) for index, shard in enumerate(deal["shards"]) if shard and shard["lost"] is None]


def of_account(account):
    return {"_": "account", "account": account}


def slot_joins(table, position, slot):
    return derive("symbolon 2026 slot table v1", concat(table, ("u8", 1), ("u32", position), encode("Slot", slot)[:-8]))


def slot_leaves(table, position):
    return derive("symbolon 2026 slot table v1", concat(table, ("u8", 2), ("u32", position)))


def transaction_digest(of):
    return derive("symbolon 2026 transaction v1", concat(
        of["chain"], of["sender"], of["id"], ("u64", of["valid_until"]), ("Action", of["action"])))


def acceptance_digest(chain, terms, of):
    return derive("symbolon 2026 acceptance v2", concat(
        chain, ("DealTerms", terms), of["node"], ("u8", of["index"]), of["root"], ("u128", of["price"]),
        ("u64", of["until"]), ("u64", of["expires_ms"])))


# Actions: each gives the statuses that apply, and what to do when none does.


def faucet(block, sender, action):
    params, bad, row = block.chain["params"], set(), block.account(sender)
    if params["faucet"] == 0:
        bad.add("FaucetClosed")
    waited = block.chain["height"] - row["faucet_height"]
    if row["faucet_height"] != 0 and waited < max(params["faucet_blocks"], 1):
        bad.add("FaucetEmpty")
    if block.pools["issued"] + params["faucet"] > U128:
        bad.add("Overflow")

    def apply():
        row["faucet_height"] = block.chain["height"]
        block.state.put(ACCOUNTS, sender, row)
        block.move({"_": "outside"}, of_account(sender), params["faucet"], {"_": "faucet"})

    return bad, apply


def transfer(block, sender, action):
    bad = set()
    if action["amount"] == 0:
        bad.add("BadField")
    if action["to"] == sender:
        bad.add("BadField")
    apply = lambda: block.move(of_account(sender), of_account(action["to"]), action["amount"], {"_": "transfer"})
    return bad, apply


def register_node(block, sender, action):
    bad = set()
    if len(action["addresses"]) > 16:
        bad.add("BadField")
    if any(not 1 <= len(text.encode()) <= 256 for text in action["addresses"]):
        bad.add("BadField")
    row = block.state.get(NODES, sender) or {
        "deposit": 0, "collateral": 0, "withheld": 0, "used": 0, "bound_rate": 0,
        "slots": 0, "lengths": [], "slot_bytes": 0, "table": ZERO, "rate": 0, "window": None,
        "next_epoch": None, "turn_ms": None, "passed_epoch": None, "passed": 0, "missed": 0, "missed_in_row": 0,
        "misses": 0, "clean": 0, "record": 0, "proven": 0, "paused_until": 0, "dead": False,
    }
    if row["dead"] and row["used"] == 0:
        row["dead"], row["missed_in_row"], row["misses"], row["paused_until"] = False, 0, 0, 0
    if action["capacity"] < row["used"]:
        bad.add("NodeFull")
    for name in ("payout", "operator", "addresses", "custody_key", "caretaker", "price", "agrees_until", "capacity", "leaving"):
        row[name] = action[name]
    before, row["deposit"] = row["deposit"], block.capacity_deposit(action["capacity"])

    def apply():
        block.bind(sender, row["deposit"] - before)
        block.state.put(NODES, sender, row)

    return bad, apply


def stake_node(block, sender, action):
    bad, node = set(), block.state.get(NODES, action["node"])
    if action["amount"] == 0:
        bad.add("BadField")
    if not node:
        return bad | {"UnknownNode"}, None
    if node["dead"]:
        bad.add("NodeClosed")

    def apply():
        node["collateral"] += action["amount"]
        block.state.put(NODES, action["node"], node)
        reason = {"_": "collateral", "node": action["node"]}
        block.move(of_account(sender), {"_": "collateral"}, action["amount"], reason)

    return bad, apply


def unstake_node(block, sender, action):
    bad, node, amount = set(), block.state.get(NODES, sender), action["amount"]
    if amount == 0:
        bad.add("BadField")
    if not node:
        return bad | {"UnknownNode"}, None
    if node["dead"]:
        bad.add("NodeClosed")
    if backing(node) - amount < needed(block.chain["params"], node["bound_rate"], node["used"]):
        bad.add("CollateralTooLow")

    def apply():
        take(node, amount)
        block.state.put(NODES, sender, node)
        reason = {"_": "collateral", "node": sender}
        block.move({"_": "collateral"}, of_account(node["payout"]), amount, reason)

    return bad, apply


def retire_node(block, sender, action):
    node = block.state.get(NODES, sender)
    if not node:
        return {"UnknownNode"}, None
    bad = {"TooEarly"} if node["used"] else set()

    def apply():
        block.move({"_": "collateral"}, of_account(node["payout"]), backing(node), {"_": "collateral", "node": sender})
        block.bind(sender, -node["deposit"])
        block.give_back(sender, 4)
        if node["turn_ms"] is not None:
            block.state.drop(WINDOWS, big(node["turn_ms"]) + sender)
        block.state.drop(NODES, sender)
        block.report("node_retired", node=sender)

    return bad, apply


def cannot_take(block, nodes, acceptances, length):
    """Why these nodes may not take a shard each."""
    bad, there = set(), [(node, one) for node, one in zip(nodes, acceptances) if node]
    if any(not is_open(block, node) for node, _ in there):
        bad.add("NodeClosed")
    if any(not covers(block.chain["params"], node, length, one["price"]) for node, one in there):
        bad.add("CollateralTooLow")
    return bad


def owned_id(kind, owner, opening):
    return derive("symbolon 2026 " + kind, owner + opening)[:16]


def shard_of(accepted, first):
    return {"node": accepted["node"], "root": accepted["root"], "price": accepted["price"], "from": first,
            "until": accepted["until"], "lost": None}


def free(node):
    return node["capacity"] - node["used"]


def join_from(block, deal, index, node_id, first, length, price):
    """A node binds room for a shard, which waits to join with this epoch."""
    node = block.state.get(NODES, node_id)
    node["used"] += length
    node["bound_rate"] += slot_rate(price, length)
    if node["next_epoch"] is None:
        node["next_epoch"] = first
        block.wait(node_id, node, block.window_due(node_id, first))
    block.state.put(NODES, node_id, node)
    block.state.put(JOINS, node_id + big(first) + deal, {"index": index})
    block.shards += 1


def is_overdue(block, node_id):
    turn_ms = block.state.get(NODES, node_id)["turn_ms"]
    return turn_ms is not None and turn_ms <= block.chain["counted_ms"]


def bad_places(block, terms, acceptances):
    """What is wrong with the fields of terms and acceptances."""
    bad, params = set(), block.chain["params"]
    if not 1 <= terms["required"] <= terms["total"] <= 128:
        bad.add("BadField")
    if not 1 <= terms["epochs"] <= params["deal_epochs_max"]:
        bad.add("BadField")
    if not LEAF <= terms["length"] <= SHARD_MAX or terms["length"] % LEAF:
        bad.add("BadField")
    if any(one["index"] >= terms["total"] for one in acceptances):
        bad.add("BadField")
    if len({one["index"] for one in acceptances}) < len(acceptances):
        bad.add("BadField")
    if len({one["node"] for one in acceptances}) < len(acceptances):
        bad.add("BadField")
    return bad


def open_deal(block, sender, action):
    params, terms, acceptances = block.chain["params"], action["terms"], action["acceptances"]
    deal = owned_id("deal id v2", terms["owner"], terms["opening"])
    bad = bad_places(block, terms, acceptances)
    if len(acceptances) < terms["required"]:
        bad.add("BadField")
    if not all(signed(one["node"], acceptance_digest(block.chain["id"], terms, one), one["signature"])
               for one in acceptances):
        bad.add("BadAcceptance")
    nodes = [block.state.get(NODES, one["node"]) for one in acceptances]
    if not all(nodes):
        bad.add("UnknownNode")
    if terms["owner"] != sender:
        bad.add("NotYours")
    if block.state.has(DEALS, deal):
        bad.add("Exists")
    cost = deal_cost(params, terms["length"], terms["epochs"], [one["price"] for one in acceptances])
    if cost and cost[4] + sum(block.bill(sender, action)) > action["cost_max"]:
        bad.add("TermsChanged")
    bad |= cannot_take(block, nodes, acceptances, terms["length"])
    if any(node and free(node) < terms["length"] for node in nodes):
        bad.add("NodeFull")
    end = block.chain["epoch"] + 1 + terms["epochs"]
    if any(one["expires_ms"] < block.now or one["until"] < end for one in acceptances):
        bad.add("AcceptanceExpired")
    if not cost:
        bad.add("Overflow")

    def apply():
        rate, storage, reserve, fee, _ = cost
        reason = {"_": "deal", "deal": deal}
        start = block.chain["epoch"] + 1
        shards = [None] * terms["total"]
        for one in acceptances:
            shards[one["index"]] = shard_of(one, start)
        block.move(of_account(sender), {"_": "storage"}, storage, reason)
        block.move(of_account(sender), {"_": "treasury"}, fee, {"_": "fee"})
        block.place_hold({"_": "deal", "deal": deal}, sender, reserve, reason)
        for one in sorted(acceptances, key=lambda one: one["index"]):
            join_from(block, deal, one["index"], one["node"], start, terms["length"], one["price"])
        end = start + terms["epochs"]
        block.state.put(DEALS, deal, {
            "owner": sender, "object": terms["object"], "segment": terms["segment"], "required": terms["required"],
            "length": terms["length"], "access": terms["access"], "start": start, "end": end, "rate": rate,
            "shards": shards, "state": {"_": "open"},
        })
        block.state.put(DEALS_OF, sender + deal, {})
        block.state.put(DEALS_DUE, big(end) + deal, {})

    return bad, apply


def end_deal(block, sender, action):
    bad, deal = set(), action["deal"]
    row = block.state.get(DEALS, deal)
    if not row:
        return {"UnknownDeal"}, None
    if row["owner"] != sender:
        bad.add("NotYours")
    epoch = block.chain["epoch"]
    if row["state"]["_"] != "open" or row["end"] <= epoch:
        bad.add("DealClosed")
    if any(is_overdue(block, shard["node"]) for _, shard in kept_shards(row)):
        bad.add("TooEarly")
    if block.sale_binds(row["owner"], row["object"]):
        bad.add("SaleBinds")

    def apply():
        before, reason, back, spared = row["end"], {"_": "deal", "deal": deal}, 0, []
        row["end"], row["state"] = row["start"] if epoch < row["start"] else epoch + 1, {"_": "cancelled"}
        for _, shard in kept_shards(row):
            node_id, node, rate = shard["node"], block.state.get(NODES, shard["node"]), slot_rate(shard["price"], row["length"])
            if block.state.has(LEAVES, node_id + big(before) + deal):
                first = node["next_epoch"]
                block.move_leave(node_id, deal, before, first)
            else:
                first = shard["from"] + 1
                spared.append((node_id, shard["from"], rate))
            back += rate * (before - first)
        block.move({"_": "storage"}, of_account(sender), back, reason)
        settle_repairs(block, deal, row, True)
        block.close_hold({"_": "deal", "deal": deal}, sender, reason)
        block.state.drop(DEALS_DUE, big(before) + deal)
        block.state.put(DEALS_DUE, big(row["end"] + KEPT_EPOCHS) + deal, {})
        block.put_deal(deal, row)
        for node_id, first, rate in spared:
            pay_off(block, node_id, deal, first, row["length"], rate, rate)
        block.report("deal_ended", deal=deal)

    return bad, apply


def pay_off(block, node_id, deal, first, length, rate, pay):
    """A shard that waits goes, and its node is paid for an epoch."""
    node = block.state.get(NODES, node_id)
    block.spare(node_id, node, deal, first, length, rate)
    block.state.put(NODES, node_id, node)
    block.move({"_": "storage"}, of_account(node["payout"]), pay, {"_": "deal", "deal": deal})


def agreed(block, shard):
    node = block.state.get(NODES, shard["node"])
    agrees = node["agrees_until"] if not node["leaving"] and node["price"] <= shard["price"] else 0
    return max(shard["until"], agrees)


def extend_deals(block, sender, action):
    bad, deals, epochs, chain = set(), action["deals"], action["epochs"], block.chain
    rows = [block.state.get(DEALS, deal) for deal in deals]
    there = [row for row in rows if row]
    longest = chain["params"]["deal_epochs_max"]
    if not 1 <= len(deals) <= 64:
        bad.add("BadField")
    if len(set(deals)) < len(deals):
        bad.add("BadField")
    if not 1 <= epochs <= longest:
        bad.add("BadField")
    if any(row["end"] + epochs - chain["epoch"] > longest + 1 for row in there):
        bad.add("BadField")
    if sum(len(row["shards"]) for row in there) > 384:
        bad.add("BadField")
    if len(there) < len(rows):
        return bad | {"UnknownDeal"}, None
    total = block.spends(sender, action)
    if total is None:
        bad.add("Overflow")
    elif total + sum(block.bill(sender, action)) > action["cost_max"]:
        bad.add("TermsChanged")
    if any(row["state"]["_"] != "open" or row["end"] <= chain["epoch"] for row in rows):
        bad.add("DealClosed")
    if any(agreed(block, shard) < row["end"] + epochs for row in rows for _, shard in kept_shards(row)):
        bad.add("AcceptanceExpired")

    def apply():
        for deal, row in zip(deals, rows):
            _, storage, reserve, fee, _ = cost_of(chain["params"], row["rate"], epochs)
            reason, before, end = {"_": "deal", "deal": deal}, row["end"], row["end"] + epochs
            block.move(of_account(sender), {"_": "storage"}, storage, reason)
            block.move(of_account(sender), {"_": "treasury"}, fee, {"_": "fee"})
            block.move(of_account(sender), {"_": "hold", "hold": reason}, reserve, reason)
            for _, shard in kept_shards(row):
                if block.state.has(LEAVES, shard["node"] + big(before) + deal):
                    block.move_leave(shard["node"], deal, before, end)
            block.state.drop(DEALS_DUE, big(before) + deal)
            block.state.put(DEALS_DUE, big(end) + deal, {})
            row["end"] = end
            block.put_deal(deal, row)
            block.report("deal_extended", deal=deal, end=end)

    return bad, apply


def declare_lost(block, sender, action):
    bad, shards, node = set(), action["shards"], block.state.get(NODES, sender)
    if not 1 <= len(shards) <= 64:
        bad.add("BadField")
    if len({lost["deal"] for lost in shards}) < len(shards):
        bad.add("BadField")
    if not node:
        bad.add("UnknownNode")
    rows = [block.state.get(DEALS, lost["deal"]) for lost in shards]
    if not all(rows):
        bad.add("UnknownDeal")
    for lost, row in zip(shards, rows):
        if row and not any(index == lost["index"] and shard["node"] == sender for index, shard in kept_shards(row)):
            bad.add("NotYours")
        if row and (row["state"]["_"] != "open" or row["end"] <= block.chain["epoch"]):
            bad.add("DealClosed")
    if node and is_overdue(block, sender):
        bad.add("TooEarly")

    def apply():
        for lost, row in zip(shards, rows):
            deal, shard, node = lost["deal"], row["shards"][lost["index"]], block.state.get(NODES, sender)
            share, rate = share_of(block.chain["params"], node, row["length"], BP), slot_rate(shard["price"], row["length"])
            if block.state.has(LEAVES, sender + big(row["end"]) + deal):
                first = node["next_epoch"]
                if first != row["end"]:
                    block.move_leave(sender, deal, row["end"], first)
            else:
                first = shard["from"]
                block.spare(sender, node, deal, first, row["length"], rate)
            block.vacate(sender, node, deal, first, rate * (row["end"] - first), share)
            block.state.put(NODES, sender, node)

    return bad, apply


def placement(block, sender, action):
    """What a placement does and costs, or None if a number exceeds its type or there is no deal."""
    terms, begin = action["terms"], block.chain["epoch"] + 1
    deal = owned_id("deal id v2", terms["owner"], terms["opening"])
    row = block.state.get(DEALS, deal)
    if not row:
        return None
    by = placed_by(block, sender, deal, row, action["acceptances"])
    hold = block.state.get(HOLDS, encode("HoldKey", {"_": "deal", "deal": deal}))
    left, cost, of_lost, freed, before = max(row["end"] - begin, 0), 0, 0, 0, []
    for one in action["acceptances"]:
        try:
            pay = counted(slot_rate(one["price"], row["length"]) * left)
            cost = counted(cost + pay)
        except OverflowError:
            return None
        was = row["shards"][one["index"]] if one["index"] < len(row["shards"]) else None
        if was and was["lost"] is not None:
            of_lost += pay
        kept = dict(kept_shards(row)).get(one["index"])
        if not kept:
            before.append(None)
            continue
        rate = slot_rate(kept["price"], row["length"])
        if block.state.has(LEAVES, kept["node"] + big(row["end"]) + deal):
            freed += rate * left
            before.append(("table", kept, 0))
        else:
            freed += rate * (row["end"] - kept["from"] - 1)
            before.append(("waits", kept, rate))
    has_hold = hold and by in ("owner", "claimant")
    own, forfeited = (hold["amount"] - hold["forfeited"], hold["forfeited"]) if has_hold else (0, 0)
    own += repairs_now(block, deal, row)[1] if has_hold else 0
    forfeited = min(forfeited, of_lost)
    held = min(cost, freed + own + forfeited)
    own = cost - held
    return {"deal": deal, "row": row, "by": by, "before": before, "freed": freed, "held": held, "forfeited": forfeited,
            "own": 0 if by == "claimant" else own, "short": by == "claimant" and own > 0}


def placed_by(block, sender, deal, row, acceptances):
    """As what a sender places shards, or None."""
    if sender == row["owner"]:
        return "owner"
    kept = dict(kept_shards(row))
    if all(one["index"] in kept and kept[one["index"]]["node"] == sender for one in acceptances):
        return "keeper"
    if not block.state.has(CARES, deal):
        return None
    claim = repairs_now(block, deal, row)[0]["claim"]
    if claim and claim["claimant"] == sender and all(one["index"] in claim["rebuild"] for one in acceptances):
        return "claimant"
    return None


def place_shards(block, sender, action):
    terms, acceptances = action["terms"], action["acceptances"]
    bad, placed = bad_places(block, terms, acceptances), placement(block, sender, action)
    deal = owned_id("deal id v2", terms["owner"], terms["opening"])
    row, begin = block.state.get(DEALS, deal), block.chain["epoch"] + 1
    if not 1 <= len(acceptances) <= 64:
        bad.add("BadField")
    if not all(signed(one["node"], acceptance_digest(block.chain["id"], terms, one), one["signature"])
               for one in acceptances):
        bad.add("BadAcceptance")
    nodes = [block.state.get(NODES, one["node"]) for one in acceptances]
    if not all(nodes):
        bad.add("UnknownNode")
    if not row:
        return bad | {"UnknownDeal"}, None
    if any(terms[name] != row[name] for name in ("object", "segment", "required", "length", "access")):
        bad.add("BadAcceptance")
    if terms["total"] != len(row["shards"]):
        bad.add("BadAcceptance")
    kept = dict(kept_shards(row))
    for one in acceptances:
        known = row["shards"][one["index"]] if one["index"] < len(row["shards"]) else None
        if known and known["root"] != one["root"]:
            bad.add("BadAcceptance")
        if any(shard["node"] == one["node"] and index != one["index"] for index, shard in kept.items()):
            bad.add("Exists")
        if one["index"] in kept and is_overdue(block, kept[one["index"]]["node"]):
            bad.add("TooEarly")
        if one["expires_ms"] < block.now or one["until"] < row["end"]:
            bad.add("AcceptanceExpired")
    by = placed_by(block, sender, deal, row, acceptances)
    if not by:
        bad.add("NotYours")
    waiting = [one for one in acceptances if one["index"] in kept and not block.state.has(
        LEAVES, kept[one["index"]]["node"] + big(row["end"]) + deal)]
    if by == "keeper" and waiting:
        bad.add("TooEarly")
    if by == "claimant":
        if any(one["node"] == sender for one in acceptances):
            bad.add("NotCaretaker")
        if any(one["price"] > block.state.get(CARES, deal)["price_max"] for one in acceptances):
            bad.add("TermsChanged")
    if not placed:
        bad.add("Overflow")
    elif placed["short"]:
        bad.add("ReserveTooLow")
    elif by != "claimant" and placed["own"] + sum(block.bill(sender, action)) > action["cost_max"]:
        bad.add("TermsChanged")
    if row["state"]["_"] != "open" or row["end"] <= begin:
        bad.add("DealClosed")
    bad |= cannot_take(block, nodes, acceptances, row["length"])
    if any(node and free(node) < row["length"] for node in nodes):
        bad.add("NodeFull")

    def apply():
        reason, hold = {"_": "deal", "deal": deal}, {"_": "hold", "hold": {"_": "deal", "deal": deal}}
        repairs = tidy_repairs(block, deal, row)
        block.move({"_": "storage"}, hold, placed["freed"], reason)
        block.note_forfeited(hold["hold"], -placed["forfeited"])
        block.move(hold, {"_": "storage"}, placed["held"], reason)
        block.move(of_account(sender), {"_": "storage"}, placed["own"], reason)
        for one, before in zip(acceptances, placed["before"]):
            if before:
                how, shard, pay = before
                row["rate"] -= slot_rate(shard["price"], row["length"])
                if how == "table":
                    block.move_leave(shard["node"], deal, row["end"], begin)
                else:
                    rate = slot_rate(shard["price"], row["length"])
                    pay_off(block, shard["node"], deal, shard["from"], row["length"], rate, pay)
            row["rate"] += slot_rate(one["price"], row["length"])
            row["shards"][one["index"]] = shard_of(one, begin)
            join_from(block, deal, one["index"], one["node"], begin, row["length"], one["price"])
            after_placing(block, deal, repairs, by, one, begin)
            block.report("shard_placed", deal=deal, index=one["index"], node=one["node"])
        save_repairs(block, deal, row["owner"], repairs)
        block.put_deal(deal, row)

    return bad, apply


# Caretakers.


def hold_of_repairs(deal):
    return {"_": "hold", "hold": {"_": "repair", "deal": deal}}


def rewards_of(block, deal):
    row = block.state.get(REPAIRS, deal)
    return row["rewards"] if row else []


def repairs_now(block, deal, row):
    """What caretakers do for a deal now, and what is free of their hold."""
    now, free = block.state.get(REPAIRS, deal) or {"claim": None, "rewards": []}, 0
    claim = now["claim"]
    if claim and claim["until"] <= block.chain["epoch"]:
        free += claim["fee"] * len(claim["rebuild"])
        claim["rebuild"] = b""
    left, term = [], block.chain["params"]["claim_epochs"]
    for one in now["rewards"]:
        if stands(row, one):
            left.append(one)
            continue
        free += one["fee"]
        if block.chain["epoch"] < row["shards"][one["index"]]["lost"] + term:
            left.append(one | {"fee": 0})
    now["rewards"] = left
    return now, free


def stands(row, reward):
    shard = row["shards"][reward["index"]]
    return shard["lost"] is None and (shard["node"], shard["from"]) == (reward["node"], reward["from"])


def tidy_repairs(block, deal, row):
    now, free = repairs_now(block, deal, row)
    reason = {"_": "deal", "deal": deal}
    block.move(hold_of_repairs(deal), {"_": "hold", "hold": reason}, free, reason)
    return now


def save_repairs(block, deal, owner, now):
    if now["claim"] or now["rewards"]:
        block.state.put(REPAIRS, deal, now)
    elif block.state.has(REPAIRS, deal):
        block.state.drop(REPAIRS, deal)
        block.close_hold({"_": "repair", "deal": deal}, owner, {"_": "deal", "deal": deal})


def pay_caretaker(block, deal, caretaker, amount):
    node = block.state.get(NODES, caretaker)
    payout = node["payout"] if node else caretaker
    block.move(hold_of_repairs(deal), of_account(payout), amount, {"_": "repaired", "deal": deal})


def is_proven(block, reward):
    node = block.state.get(NODES, reward["node"])
    passed = node["passed_epoch"] if node else None
    return passed is not None and passed >= reward["from"]


def without(claim, index):
    """The claim without one of its shards, or None if none is left."""
    claim["rebuild"] = bytes(wanted for wanted in claim["rebuild"] if wanted != index)
    return claim if claim["rebuild"] else None


def after_placing(block, deal, now, by, one, begin):
    """What a placed shard changes for the deal's caretakers."""
    index, claim, reason = one["index"], now["claim"], {"_": "deal", "deal": deal}
    if by == "claimant":
        now["rewards"] = [reward for reward in now["rewards"] if reward["index"] != index]
        now["rewards"].append({"index": index, "caretaker": claim["claimant"], "node": one["node"], "from": begin,
                               "fee": claim["fee"]})
        now["claim"] = without(claim, index)
    elif by == "owner":
        if claim and index in claim["rebuild"]:
            block.move(hold_of_repairs(deal), {"_": "hold", "hold": reason}, claim["fee"], reason)
            now["claim"] = without(claim, index)
        for reward in [reward for reward in now["rewards"] if reward["index"] == index]:
            now["rewards"].remove(reward)
            pay_caretaker(block, deal, reward["caretaker"], reward["fee"])
    else:
        for reward in now["rewards"]:
            if reward["index"] == index:
                reward["node"], reward["from"] = one["node"], begin


def settle_repairs(block, deal, row, by_owner):
    if not block.state.has(REPAIRS, deal):
        return
    due = {}
    for one in repairs_now(block, deal, row)[0]["rewards"]:
        if by_owner or is_proven(block, one):
            due[one["caretaker"]] = due.get(one["caretaker"], 0) + one["fee"]
    for caretaker in sorted(due):
        pay_caretaker(block, deal, caretaker, due[caretaker])
    block.state.drop(REPAIRS, deal)
    block.close_hold({"_": "repair", "deal": deal}, row["owner"], {"_": "deal", "deal": deal})


def set_care(block, sender, action):
    bad, caretakers, deals = set(), action["caretakers"], action["deals"]
    if not 0 <= len(caretakers) <= 8:
        bad.add("BadField")
    if len(set(caretakers)) < len(caretakers):
        bad.add("BadField")
    if not 1 <= len(deals) <= 64:
        bad.add("BadField")
    if len({one["opening"] for one in deals}) < len(deals):
        bad.add("BadField")
    pads = sum(len(one["pads"]) for one in deals)
    if not 1 <= pads <= 512 if caretakers else pads:
        bad.add("BadField")
    ids = [owned_id("deal id v2", sender, one["opening"]) for one in deals]
    rows = [block.state.get(DEALS, deal) for deal in ids]
    for one, row in zip(deals, rows):
        if not row:
            bad.add("UnknownDeal")
            continue
        if caretakers and len(one["pads"]) != len(row["shards"]):
            bad.add("BadField")
        if caretakers and row["access"]["_"] == "public":
            bad.add("BadField")
        if row["state"]["_"] != "open" or row["end"] <= block.chain["epoch"]:
            bad.add("DealClosed")
    nodes = [block.state.get(NODES, node) for node in caretakers]
    if not all(nodes):
        bad.add("UnknownNode")
    if any(node and not node["caretaker"] for node in nodes):
        bad.add("NotCaretaker")
    vault = block.state.get(VAULTS, action["vault"])
    if not vault:
        bad.add("UnknownVault")
    elif vault["owner"] != sender:
        bad.add("NotYours")

    def apply():
        for deal, one, row in zip(ids, deals, rows):
            if not caretakers:
                if block.state.has(CARES, deal):
                    block.state.drop(CARES, deal)
                    block.give_back(sender, care_weight(len(row["shards"])))
                continue
            block.state.put(CARES, deal, {
                "vault": action["vault"], "opening": one["opening"], "caretakers": caretakers, "spare": action["spare"],
                "fee": action["fee"], "price_max": action["price_max"], "pads": one["pads"],
            })

    return bad, apply


def is_ascending(indexes, most):
    return 1 <= len(indexes) <= most and all(one < after for one, after in zip(indexes, indexes[1:]))


def claim_repair(block, sender, action):
    bad, deal, epoch = set(), action["deal"], block.chain["epoch"]
    rebuild, read = list(action["rebuild"]), list(action["read"])
    if not is_ascending(rebuild, 64):
        bad.add("BadField")
    if not is_ascending(read, 128):
        bad.add("BadField")
    if set(rebuild) & set(read):
        bad.add("BadField")
    try:
        delivery_holds(action["delivery"], claim_context(block.chain["id"], deal, sender))
    except No:
        bad.add("BadProof")
    node, row, care = block.state.get(NODES, sender), block.state.get(DEALS, deal), block.state.get(CARES, deal)
    if not node:
        bad.add("UnknownNode")
    if not row:
        return bad | {"UnknownDeal"}, None
    kept = dict(kept_shards(row))
    lost = [index for index, shard in enumerate(row["shards"]) if shard and index not in kept]
    if len(read) != row["required"]:
        bad.add("WrongShards")
    if not set(rebuild) <= set(lost):
        bad.add("WrongShards")
    if not set(read) <= set(kept):
        bad.add("WrongShards")
    if any(shard["node"] == sender for shard in kept.values()):
        bad.add("NotCaretaker")
    if row["state"]["_"] != "open" or row["end"] <= epoch + 1:
        bad.add("DealClosed")
    if not care:
        return bad | {"NotCaretaker"}, None
    if sender not in care["caretakers"]:
        bad.add("NotCaretaker")
    if node and not node["caretaker"]:
        bad.add("NotCaretaker")
    vault = block.state.get(VAULTS, care["vault"])
    if len(vault["key"]["commitments"]) == 1 and sender in vault["custodians"]:
        bad.add("NotCaretaker")
    if max(len(kept) - row["required"], 0) > care["spare"]:
        bad.add("TooEarly")
    (now, free), term = repairs_now(block, deal, row), block.chain["params"]["claim_epochs"]
    if now["claim"]:
        if now["claim"]["rebuild"]:
            bad.add("TooEarly")
        if now["claim"]["claimant"] == sender and epoch < now["claim"]["until"] + term:
            bad.add("TooEarly")
    if any(one["caretaker"] == sender and not stands(row, one) for one in now["rewards"]):
        bad.add("TooEarly")
    if len(now["rewards"]) + len(rebuild) > 64:
        bad.add("TooEarly")
    fees, hold = care["fee"] * len(rebuild), {"_": "deal", "deal": deal}
    held = block.state.get(HOLDS, encode("HoldKey", hold))
    if fees > free + (held["amount"] - held["forfeited"] if held else 0):
        bad.add("ReserveTooLow")

    def apply():
        now = tidy_repairs(block, deal, row)
        if not block.state.has(REPAIRS, deal):
            block.place_hold({"_": "repair", "deal": deal}, row["owner"], 0, hold)
        block.move({"_": "hold", "hold": hold}, hold_of_repairs(deal), fees, hold)
        block.report("repair_claimed", deal=deal, node=sender)
        now["claim"] = {"claimant": sender, "delivery": action["delivery"], "read": action["read"],
                        "rebuild": action["rebuild"], "until": epoch + term, "fee": care["fee"]}
        save_repairs(block, deal, row["owner"], now)

    return bad, apply


def collect_repair(block, sender, action):
    bad, deal, shards = set(), action["deal"], list(action["shards"])
    if not is_ascending(shards, 64):
        bad.add("BadField")
    node, row = block.state.get(NODES, sender), block.state.get(DEALS, deal)
    if not node:
        bad.add("UnknownNode")
    if not row:
        return bad | {"UnknownDeal"}, None
    own = {one["index"]: one for one in repairs_now(block, deal, row)[0]["rewards"]
           if one["caretaker"] == sender and stands(row, one)}
    due = [own[index] for index in shards if index in own]
    if len(due) < len(shards):
        bad.add("NotYours")
    if not all(is_proven(block, one) for one in due):
        bad.add("TooEarly")

    def apply():
        now = tidy_repairs(block, deal, row)
        now["rewards"] = [one for one in now["rewards"] if one["index"] not in shards]
        pay_caretaker(block, deal, sender, sum(one["fee"] for one in due))
        save_repairs(block, deal, row["owner"], now)

    return bad, apply


def prove(block, sender, action):
    node, chain = block.state.get(NODES, sender), block.chain
    if not node:
        return {"UnknownNode"}, None
    if node["slots"] == 0:
        return {"BadField"}, None
    bad = set()
    window = node["window"]
    if not window or action["epoch"] != window["epoch"]:
        # Whether it is right for another window cannot be said.
        return {"WrongEpoch"}, None
    slot = lambda position: block.state.get(SLOTS, sender + big(position, 4))
    if len(action["leaves"]) != sum(counts(node["slot_bytes"])):
        bad.add("BadProof")
    else:
        seed = challenge_seed(chain["id"], window["epoch"], window["beacon"], sender, node["table"])
        asked = challenges(
            seed, node["slots"], LEAF << len(node["lengths"]) - 1, node["slot_bytes"], lambda position: slot(position)["length"])
        for (position, leaf), proof in zip(asked, action["leaves"]):
            row = slot(position)
            try:
                part_holds(row["root"], row["length"], LEAF, leaf, proof["leaf"], proof["path"])
            except No:
                bad.add("BadProof")
    if node["passed_epoch"] == window["epoch"]:
        bad.add("AlreadyProven")

    def apply():
        node["passed_epoch"] = window["epoch"]
        node["passed"] += 1
        node["missed_in_row"] = 0
        withheld = withholds(chain["params"], node)
        node["withheld"] += withheld
        node["clean"] += 1
        node["record"] = node["record"] + node["rate"] if node["record"] + node["rate"] <= U128 else node["record"]
        node["proven"] = min(node["proven"] + node["slot_bytes"], U64)
        block.state.put(NODES, sender, node)
        reason = {"_": "proven", "node": sender, "epoch": window["epoch"]}
        block.move({"_": "storage"}, {"_": "collateral"}, withheld, reason)
        block.move({"_": "storage"}, of_account(node["payout"]), node["rate"] - withheld, reason)

    return bad, apply


def is_run_by(block, node_id, account):
    node = block.state.get(NODES, node_id)
    return bool(node) and account in (node_id, node["payout"], node["operator"])


def own_among(block, owner, custodians):
    return sum(is_run_by(block, one["node"], owner) for one in custodians)


def dealt(block, sender, vault, action):
    """What is wrong with a dealing of a vault's secret."""
    bad, key, custodians = set(), action["key"], action["custodians"]
    if [one["index"] for one in custodians] != list(range(1, len(custodians) + 1)):
        bad.add("BadField")
    if len({one["node"] for one in custodians}) < len(custodians):
        bad.add("BadField")
    if vault_refused(key, len(custodians)):
        bad.add("BadField")
    nodes = [block.state.get(NODES, one["node"]) for one in custodians]
    for one, node in zip(custodians, nodes):
        terms = custody_terms(block.chain["id"], vault, sender, key, one["index"], one["node"])
        try:
            acceptance_holds(terms, one["node"], one["index"], one)
        except No:
            bad.add("BadAcceptance")
        if node and node["custody_key"] is None:
            bad.add("BadAcceptance")
        if not node:
            bad.add("UnknownNode")
    if any(one["expires_ms"] < block.now for one in custodians):
        bad.add("AcceptanceExpired")
    return bad


def vault_row(block, sender, action, dealing):
    custodians = action["custodians"]
    return {"owner": sender, "key": action["key"], "custodians": [one["node"] for one in custodians],
            "dealing": dealing, "since_ms": block.now, "own": own_among(block, sender, custodians)}


def open_vault(block, sender, action):
    vault = owned_id("vault id v1", sender, action["opening"])
    bad = dealt(block, sender, vault, action)
    if block.state.has(VAULTS, vault):
        bad.add("Exists")
    return bad, lambda: block.state.put(VAULTS, vault, vault_row(block, sender, action, 1))


def rotate_vault(block, sender, action):
    vault, bad = action["vault"], dealt(block, sender, action["vault"], action)
    before = block.state.get(VAULTS, vault)
    if not before:
        return bad | {"UnknownVault"}, None
    if action["key"]["commitments"][:1] != before["key"]["commitments"][:1]:
        bad.add("BadField")
    if before["own"] == 0 and own_among(block, sender, action["custodians"]):
        bad.add("BadField")
    if before["owner"] != sender:
        bad.add("NotYours")
    return bad, lambda: block.state.put(VAULTS, vault, vault_row(block, sender, action, before["dealing"] + 1))


def control(letter):
    """Unicode's general category Cc."""
    return ord(letter) < 0x20 or 0x7F <= ord(letter) <= 0x9F


def list_for_sale(block, sender, action):
    bad, terms, chain = set(), action["terms"], block.chain
    listing = owned_id("listing id v1", sender, action["opening"])
    if not 1 <= len(terms["title"].encode()) <= 120:
        bad.add("BadField")
    if any(control(letter) for letter in terms["title"]):
        bad.add("BadField")
    plan = Layout(terms["manifest"]["required"], terms["manifest"]["total"], terms["manifest"]["length"])
    if plan.cells != terms["cells"]:
        bad.add("BadField")
    if len(terms["splits"]) > 32:
        bad.add("BadField")
    if any(split["share_bp"] == 0 for split in terms["splits"]):
        bad.add("BadField")
    if sum(split["share_bp"] for split in terms["splits"]) > BP:
        bad.add("BadField")
    if terms["window_ms"] < chain["params"]["window_ms_min"]:
        bad.add("BadField")
    if terms["window_ms"] > WINDOW_MAX:
        bad.add("BadField")
    if terms["access_ms"] < terms["window_ms"] + 2 * chain["params"]["delivery_ms"]:
        bad.add("BadField")
    if terms["bond"] < bond_min(chain["params"], terms["price"]):
        bad.add("BadField")
    if terms["manifest"]["mask"] == 0:
        bad.add("BadField")
    if terms["preview_cells"] > 64:
        bad.add("BadField")
    if terms["preview_cells"] > terms["cells"]:
        bad.add("BadField")
    if len(encode("Link", terms["mandate"])) > 512:
        bad.add("BadField")
    mandate, root = mandate_id(chain["id"], sender, terms["mandate"]), terms["manifest"]["content_root"]
    if not mandate_holds(chain["id"], sender, terms["mandate"], terms["manifest"]["object"]):
        bad.add("BadProof")
    if block.state.has(REVOCATIONS, mandate + sender):
        bad.add("BadProof")
    try:
        of_label = label(chain["id"], sender, terms["vault"], terms["manifest"]["content_root"])
        capsule_holds(terms["capsule"], of_label)
    except No:
        bad.add("BadLabel")
    vault = block.state.get(VAULTS, terms["vault"])
    if not vault:
        bad.add("UnknownVault")
    if vault and vault["own"] and not terms["own_custodians"]:
        bad.add("BadField")
    if vault and vault["owner"] != sender:
        bad.add("NotYours")
    if block.state.has(LISTINGS, listing):
        bad.add("Exists")
    if block.state.has(MANDATES, mandate):
        bad.add("Exists")

    def apply():
        row = {
            "seller": sender, "terms": terms, "state": {"_": "open"}, "listed_ms": block.now,
            "preview_seed": None, "preview": None, "cover": {"until": None, "shown": 0, "shown_until": U64},
            "sold": 0, "orders": 0, "open": 0,
        }
        block.state.put(MANDATES, mandate, listing)
        block.state.put(LISTINGS_OF, sender + terms["manifest"]["object"] + listing, {})
        block.change_sale(row, 1, 0)
        block.place_hold({"_": "listing", "listing": listing}, sender, terms["bond"], {"_": "bond", "listing": listing})
        draw = block.state.get(DRAWS, root)
        if terms["preview_cells"] and draw:
            row["preview_seed"] = draw["seed"]
            block.report("preview_picked", listing=listing)
        elif terms["preview_cells"]:
            block.state.put(AWAIT, big(chain["beacon"]["next_tick"]) + listing, {})
        block.state.put(LISTINGS, listing, row)

    return bad, apply


def bond_min(params, price):
    try:
        return -(-counted(price * params["listing_bond_bp"]) // BP)
    except OverflowError:
        return U128


def is_of(row, object_id, segment, plan):
    """Whether a deal keeps this segment of an object."""
    length = plan.last_shard_length if segment == plan.segments - 1 else STRIPES * CELL
    same = (row["object"], row["segment"], row["required"], len(row["shards"]), row["length"])
    return same == (object_id, segment, plan.required, plan.total, length) and len(kept_shards(row)) >= row["required"]


def cover_listing(block, sender, action):
    bad, deals, first, epoch = set(), action["deals"], action["first"], block.chain["epoch"]
    if not 1 <= len(deals) <= COVERED_MAX:
        bad.add("BadField")
    if len(set(deals)) < len(deals):
        bad.add("BadField")
    rows = [block.state.get(DEALS, deal) for deal in deals]
    listing = block.state.get(LISTINGS, action["listing"])
    if not all(rows):
        bad.add("UnknownDeal")
    if not listing:
        bad.add("UnknownListing")
    if bad:
        return bad, None
    if listing["seller"] != sender:
        bad.add("NotYours")
    if any(row["owner"] != sender for row in rows):
        bad.add("NotYours")
    if listing["state"]["_"] != "open":
        bad.add("ListingEnded")
    if any(row["state"]["_"] != "open" or row["end"] <= epoch for row in rows):
        bad.add("DealClosed")
    of, cover = listing["terms"]["manifest"], listing["cover"]
    plan = Layout(of["required"], of["total"], of["length"])
    if first == 0:
        cover["shown"], cover["shown_until"] = 0, U64
    if first != cover["shown"]:
        bad.add("TooEarly")
    if not all(number < plan.segments and is_of(row, of["object"], number, plan)
               for number, row in enumerate(rows, first)):
        bad.add("NotCovered")
    cover["shown"] += len(rows)
    cover["shown_until"] = min([cover["shown_until"], *(row["end"] for row in rows)])
    if cover["shown"] == plan.segments:
        listing["cover"] = {"until": cover["shown_until"], "shown": 0, "shown_until": U64}
    return bad, lambda: block.state.put(LISTINGS, action["listing"], listing)


def post_preview(block, sender, action):
    bad, row = set(), block.state.get(LISTINGS, action["listing"])
    if not row:
        return {"UnknownListing"}, None
    if row["terms"]["preview_cells"] == 0:
        bad.add("BadField")
    if row["seller"] != sender:
        bad.add("NotYours")
    if row["preview"]:
        bad.add("Exists")
    if not row["preview_seed"]:
        bad.add("TooEarly")
    row["preview"] = action["preview"]
    return bad, lambda: block.state.put(LISTINGS, action["listing"], row)


def end_listing(block, sender, action):
    bad, row = set(), block.state.get(LISTINGS, action["listing"])
    if not row:
        return {"UnknownListing"}, None
    if row["seller"] != sender:
        bad.add("NotYours")
    if row["state"]["_"] != "open":
        bad.add("ListingEnded")
    row["state"] = {"_": "ended"}

    def apply():
        block.state.put(LISTINGS, action["listing"], row)
        block.change_sale(row, -1, 0)
        block.free_bond(action["listing"], row)
        block.keep_if_over(action["listing"], row)

    return bad, apply


def place_order(block, sender, action):
    bad, chain = set(), block.chain
    order = owned_id("order id v1", sender, action["opening"])
    listing = block.state.get(LISTINGS, action["listing"])
    if listing and action["holder"] == listing["seller"]:
        bad.add("BadField")
    if listing and action["holder"] == market(chain["id"]):
        bad.add("BadField")
    try:
        delivery_holds(action["delivery"], release_context(chain["id"], order, action["listing"]))
    except No:
        bad.add("BadProof")
    if block.state.has(ORDERS, order):
        bad.add("Exists")
    if not listing:
        return bad | {"UnknownListing"}, None
    terms, seller = listing["terms"], listing["seller"]
    if listing["state"]["_"] != "open":
        bad.add("ListingEnded")
    if listing["listed_ms"] != action["listed_ms"]:
        bad.add("TermsChanged")
    if terms["price"] != action["price"]:
        bad.add("TermsChanged")
    if terms["licence"] != action["licence"]:
        bad.add("TermsChanged")
    access_until = min(block.now + terms["access_ms"], U64)
    covered = listing["cover"]["until"]
    if covered is None or access_until > begins(chain, covered):
        bad.add("NotCovered")

    def apply():
        due = min(block.now + chain["params"]["delivery_ms"], U64)
        block.place_hold({"_": "order", "order": order}, sender, action["price"], {"_": "sale", "order": order})
        block.state.put(DUE, big(due) + order, {})
        for account in (sender, seller):
            block.state.put(ORDERS_OF, account + action["listing"] + order, {})
        listing["orders"] += 1
        listing["open"] += 1
        block.change_sale(listing, 0, 1)
        block.state.put(LISTINGS, action["listing"], listing)
        block.state.put(ORDERS, order, {
            "listing": action["listing"], "buyer": sender, "holder": action["holder"], "delivery": action["delivery"],
            "amount": action["price"], "state": {"_": "paid"}, "ordered_ms": block.now,
            **{name: chain["params"][name] for name in ("sale_fee_bp", "custody_fee_bp")},
            "access_until_ms": access_until, "due_ms": due, "dealing": block.state.get(VAULTS, terms["vault"])["dealing"],
            "releases": [], "asked": None, "given": 0, "refund": None,
        })
        block.report("order_paid", order=order)

    return bad, apply


def begins(chain, epoch):
    """When an epoch begins at the earliest."""
    length = chain["params"]["epoch_ms"]
    started = chain["time_ms"] - (chain["counted_ms"] - chain["epoch"] * length)
    return started + (epoch - chain["epoch"]) * length


def post_release(block, sender, action):
    bad, order, release = set(), block.state.get(ORDERS, action["order"]), action["release"]
    if not order:
        return {"UnknownOrder"}, None
    listing = block.state.get(LISTINGS, order["listing"])
    vault = block.state.get(VAULTS, listing["terms"]["vault"])
    context = release_context(block.chain["id"], action["order"], order["listing"])
    try:
        release_holds(release, vault["key"], listing["terms"]["capsule"], order["delivery"], context)
    except No:
        bad.add("BadProof")
    custodian = vault["custodians"][release["index"] - 1 : release["index"]]
    if custodian != [sender] and (order["buyer"] != sender or not custodian):
        bad.add("NotYours")
    if order["state"]["_"] == "paid" and order["dealing"] != vault["dealing"]:
        order["dealing"], order["releases"] = vault["dealing"], []
    if any(one["index"] == release["index"] for one in order["releases"]):
        bad.add("Exists")
    if order["state"]["_"] in ("settled", "refunded"):
        bad.add("OrderClosed")
    if order["state"]["_"] in ("delivered", "asked"):
        bad.add("TooLate")

    def apply():
        order["releases"].append({"index": release["index"], "node": custodian[0], "u": release["u"], "v": release["v"]})
        if len(order["releases"]) >= len(vault["key"]["commitments"]):
            block.state.drop(DUE, big(order["due_ms"]) + action["order"])
            order["state"] = {"_": "delivered"}
            order["due_ms"] = min(block.now + listing["terms"]["window_ms"], U64)
            block.state.put(DUE, big(order["due_ms"]) + action["order"], {})
            block.report("order_delivered", order=action["order"])
        block.state.put(ORDERS, action["order"], order)

    return bad, apply


def acknowledge(block, sender, action):
    bad, order, named = set(), block.state.get(ORDERS, action["order"]), action["custodians"]
    if len(set(named)) < len(named):
        bad.add("BadField")
    if 0 in named:
        bad.add("BadField")
    if not order:
        return bad | {"UnknownOrder"}, None
    vault = block.state.get(VAULTS, block.state.get(LISTINGS, order["listing"])["terms"]["vault"])
    most = len(vault["custodians"]) if vault["dealing"] == order["dealing"] else 32
    if any(index > most for index in named):
        bad.add("BadField")
    if order["buyer"] != sender:
        bad.add("NotYours")
    if order["state"]["_"] in ("settled", "refunded"):
        bad.add("OrderClosed")
    return bad, lambda: block.settle(action["order"], order, named)


# Disputes.


def judged(block, sender, action):
    """The statuses that apply to a complaint; whether it is upheld, or None if nodes are asked; and why, or the place."""
    bad, order, complaint = set(), block.state.get(ORDERS, action["order"]), action["complaint"]
    kind, deal = complaint["_"], None
    if kind in ("other_cell", "unavailable"):
        deal = block.state.get(DEALS, complaint["deal"])
        if not deal:
            return {"UnknownDeal"}, DISMISSED
    if not order:
        return {"UnknownOrder"}, DISMISSED
    # What an order's state does not allow is not judged.
    if order["buyer"] != sender:
        return {"NotYours"}, DISMISSED
    if order["state"]["_"] in ("settled", "refunded"):
        return {"OrderClosed"}, DISMISSED
    if order["state"]["_"] == "paid":
        return {"TooEarly"}, DISMISSED
    if order["state"]["_"] == "asked" and kind == "unavailable":
        return {"TooEarly"}, DISMISSED
    terms = block.state.get(LISTINGS, order["listing"])["terms"]
    of = terms["manifest"]
    try:
        if kind == "bad_key":
            context = release_context(block.chain["id"], action["order"], order["listing"])
            return bad, judge_key(terms, order["releases"], order["delivery"], context, complaint["shown"], complaint["fault"])
        if kind == "bad_cell":
            return bad, judge_cell(of, complaint["leaf"], complaint["key"], complaint["sealed"])
        if kind == "other_cell":
            place = leaf_holds(of, complaint["leaf"])
        else:
            place = asked_place(terms, complaint["leaf"], complaint["keys"], complaint["path"])
        seller = block.state.get(LISTINGS, order["listing"])["seller"]
        same = (deal["owner"], deal["object"], deal["segment"], deal["required"], len(deal["shards"]))
        if same != (seller, of["object"], place.segment, of["required"], of["total"]):
            raise No("Deal")
        if deal["state"]["_"] == "cancelled":
            return {"DealClosed"}, DISMISSED
        if kind == "other_cell":
            shard = deal["shards"][place.shard]
            if not shard:
                raise No("Shard")
            return bad, judge_kept(terms, complaint["leaf"], complaint["masks"], complaint["key"], shard["root"],
                                   complaint["kept"], complaint["path"])
    except No:
        return {"BadProof"}, DISMISSED
    due = min(block.now + block.chain["params"]["delivery_ms"], U64)
    if begins(block.chain, deal["end"]) < due:
        bad.add("DealClosed")
    if order["given"] >= GIVEN_MAX:
        bad.add("TooLate")
    if order["access_until_ms"] < due:
        bad.add("TooLate")
    return bad, None


def complain(block, sender, action):
    (bad, verdict), complaint = judged(block, sender, action), action["complaint"]
    order_id, bond = action["order"], block.chain["params"]["complaint_bond"]
    order, hold = block.state.get(ORDERS, order_id), {"_": "complaint", "order": order_id}

    def apply():
        if verdict is None:
            block.place_hold(hold, sender, bond, hold)
            order["asked"] = {
                "cell": complaint["leaf"]["cell"], "sealed": complaint["leaf"]["parts"]["sealed"],
                "deal": complaint["deal"], "keys": complaint["keys"], "answered": b"", "window_until_ms": order["due_ms"],
            }
            order["state"] = {"_": "asked"}
            block.set_due(order_id, order, min(block.now + block.chain["params"]["delivery_ms"], U64))
            block.report("cell_asked", order=order_id, deal=complaint["deal"])
        elif verdict == UPHELD:
            block.uphold(order_id, order, complaint["_"])
        else:
            block.move(of_account(sender), {"_": "treasury"}, bond, hold)
            block.report("complaint_dismissed", order=order_id)

    return bad, apply


def answer_cell(block, sender, action):
    bad, order_id, kept = set(), action["order"], action["kept"]
    order = block.state.get(ORDERS, order_id)
    if not order:
        return {"UnknownOrder"}, None
    asked = order["asked"]
    if not asked:
        return {"OrderClosed" if order["state"]["_"] in ("settled", "refunded") else "TooLate"}, None
    deal = block.state.get(DEALS, asked["deal"])
    own = [(index, shard) for index, shard in kept_shards(deal) if shard["node"] == sender]
    if not own:
        return {"NotYours"}, None
    [(index, shard)] = own
    of = block.state.get(LISTINGS, order["listing"])["terms"]["manifest"]
    place = Place(of, asked["cell"])
    try:
        kept_holds(of, place, shard["root"], kept, action["path"])
    except No:
        bad.add("BadProof")
    if index in asked["answered"]:
        bad.add("Exists")

    def apply():
        before = asked["answered"]
        asked["answered"] += bytes([index])
        if index != place.shard and len(asked["answered"]) < of["required"]:
            block.state.put(ANSWERS, order_id + bytes([index]), {"kept": kept})
            block.state.put(ORDERS, order_id, order)
            return
        answers = {at: block.state.get(ANSWERS, order_id + bytes([at]))["kept"] for at in before} | {index: kept}
        if judge_answers(of, place, asked["sealed"], asked["keys"], answers) == UPHELD:
            block.uphold(order_id, order, "other_cell")
        else:
            block.give(order_id, order)

    return bad, apply


def revoke(block, sender, action):
    key, bad = action["link"] + sender, set()
    if block.state.has(REVOCATIONS, key):
        bad.add("Exists")
    listing = block.state.get(LISTINGS, block.state.get(MANDATES, action["link"]) or b"")
    if listing and listing["seller"] == sender \
            and block.sale_binds(listing["seller"], listing["terms"]["manifest"]["object"]):
        bad.add("SaleBinds")

    def apply():
        until_ms = action["until_ms"]
        block.state.put(REVOCATIONS, key, {"height": block.chain["height"], "until_ms": until_ms})
        if until_ms is not None:
            block.keep(until_ms, {"_": "revocation", "link": action["link"], "by": sender})
        block.report("revoked", link=action["link"], by=sender)

    return bad, apply


def redeem(block, sender, action):
    bad, until_ms = set(), action["until_ms"]
    if block.state.has(REDEMPTIONS, sender):
        bad.add("Exists")
    if until_ms <= block.now:
        bad.add("TooLate")

    def apply():
        block.state.put(REDEMPTIONS, sender, {"holder": action["holder"], "until_ms": until_ms})
        block.keep(until_ms, {"_": "redemption", "once": sender})

    return bad, apply


def set_root(block, sender, action):
    bad, expected, size = set(), action["expected_version"], len(action["blob"])
    if size == 0 or size > 4096 or size % 512:
        bad.add("BadField")
    if expected == U64:
        bad.add("BadField")
    row = block.state.get(ROOTS, sender)
    if (row["version"] if row else 0) != expected:
        bad.add("RootMoved")
    return bad, lambda: block.state.put(ROOTS, sender, {"version": expected + 1, "blob": action["blob"]})


# Imported here, since it needs what stands above.
import motion  # noqa: E402
import stake  # noqa: E402

ACTIONS = {
    **stake.ACTIONS, **motion.ACTIONS,
    "Faucet": faucet, "Transfer": transfer, "RegisterNode": register_node, "OpenDeal": open_deal, "EndDeal": end_deal,
    "Prove": prove, "ExtendDeals": extend_deals, "PlaceShards": place_shards, "DeclareLost": declare_lost,
    "SetCare": set_care, "ClaimRepair": claim_repair, "CollectRepair": collect_repair,
    "RetireNode": retire_node, "Stake": stake_node, "Unstake": unstake_node,
    "OpenVault": open_vault, "RotateVault": rotate_vault, "List": list_for_sale, "Preview": post_preview,
    "EndListing": end_listing, "Order": place_order, "PostRelease": post_release, "Acknowledge": acknowledge,
    "CoverListing": cover_listing, "Complain": complain, "AnswerCell": answer_cell,
    "Revoke": revoke, "Redeem": redeem, "SetRoot": set_root,
}


def transactions_root(transactions):
    leaves = [derive("symbolon 2026 block transaction v1", data) for data in transactions]
    return derive("symbolon 2026 block transactions v1", b"".join(leaves))


def events_root(events):
    leaves = [derive("symbolon 2026 block event v1", encode("Event", one)) for one in events]
    return derive("symbolon 2026 block events v1", b"".join(leaves))


def header_digest(header):
    return derive("symbolon 2026 header v2", encode("Header", header))


def first_header(state, of):
    """The header of block 0."""
    chain, validators = state.get(CHAIN), validators_hash(of["validators"])
    facts = {"time_ms": of["time_ms"], "proposer": 0, "reveal": None, "last": None}
    return {
        "chain": chain["id"], "height": 0, "parent": ZERO, "facts": facts, "transactions_root": transactions_root([]),
        "events_root": events_root([]), "state_root": state_root(state.rows.items()), "validators": validators,
        "next_validators": validators,
    }


def block_of(state, facts, transactions):
    """Applies a finished block's transactions to a state; refuses an invalid block."""
    if sum(map(len, transactions)) > BLOCK_MAX:
        raise No("TooLarge")
    block = Block(state, facts)
    for one in transactions:
        block.push(one)
    return block


# Vectors.


def unfolded(text):
    """The bytes of hexadecimal digits, where `(00*300)` stands for a byte 300 times."""
    parts = re.split(r"\((..)\*(\d+)\)", text)
    out = bytes.fromhex(parts[0])
    for at in range(1, len(parts), 3):
        out += bytes.fromhex(parts[at]) * int(parts[at + 1]) + bytes.fromhex(parts[at + 2])
    return out


class History:
    """A ledger from its genesis on: accepted blocks lengthen it, refused ones do not."""

    def __init__(self):
        self.state = None
        self.parent = ZERO

    def __call__(self, case):
        if "genesis" in case:
            data = bytes.fromhex(case["genesis"])
            self.state = genesis(data)
            self.parent = header_digest(first_header(self.state, decode("Genesis", data)))
            if self.state.get(CHAIN)["id"].hex() != case["chain"]:
                return "OtherChain"
            return self.same(case, state_root(self.state.rows.items()))
        facts = decode("BlockInputs", bytes.fromhex(case["facts"]))
        transactions = [unfolded(one) for one in case["transactions"]]
        block = block_of(self.state, facts, transactions)
        state, root = block.finish()
        found = self.same(case, root)
        if found == "ok":
            found = self.kept(case, facts, transactions, block, root)
        if found == "ok":
            self.state = state
        return found

    def same(self, case, root):
        return "ok" if root.hex() == case["state_root"] else f"root {root.hex()[:8]}"

    def kept(self, case, facts, transactions, block, root):
        """The parts of a block besides its transactions: the signed header and the events."""
        signed_header = decode("SignedHeader", bytes.fromhex(case["header"]))
        chain = block.chain
        header = {
            "chain": chain["id"], "height": chain["height"], "parent": self.parent, "facts": facts,
            "transactions_root": transactions_root(transactions), "events_root": events_root(block.events),
            "state_root": root, "validators": validators_hash(block.committing),
            "next_validators": validators_hash(chain["validators"]),
        }
        digest = header_digest(header)
        if signed_header["header"] != header:
            return "OtherHeader"
        if digest.hex() != case["digest"]:
            return "OtherDigest"
        commit_holds(header, signed_header["commit"], block.committing)
        events = unfolded(case["events"])
        if encode("[Event]", block.events) != events or decode("[Event]", events) != block.events:
            return "OtherEvents"
        self.parent = digest
        return "ok"


def run_prices(case):
    params = {"repair_reserve_bp": case["repair_reserve_bp"], "storage_fee_bp": case["storage_fee_bp"]}
    cost = deal_cost(params, case["length"], case["epochs"], map(int, case["prices"]))
    if not cost:
        return "Overflow"
    return "ok" if (str(cost[0]), str(cost[4])) == (case["rate"], case["total"]) else "mismatch"


def run_cover(case):
    params, node = (decode(kind, bytes.fromhex(case[name])) for kind, name in (("Params", "params"), ("Node", "node")))
    try:
        slot_rate(int(case["price"]), case["length"])
        covered = covers(params, node, case["length"], int(case["price"]))
    except OverflowError:
        covered = None
    allowed = params["allowance"] + part(node["record"], params["allowance_growth_bp"])
    found = [needed(params, node["bound_rate"], node["used"]), allowed, withholds(params, node)]
    found += [share_of(params, node, 1024, BP), share_of(params, node, 1024, 11_000)]
    said = [int(case[name]) for name in ("needs", "allowance", "withholds", "declared", "dead")]
    return "ok" if (found, covered) == (said, case["covers"]) else "mismatch"


def run_genesis(case):
    state = genesis(bytes.fromhex(case["genesis"]))
    return "ok" if state.get(CHAIN)["id"].hex() == case["chain"] else "OtherChain"


def run_light(case):
    trusted = decode("Trusted", bytes.fromhex(case["trusted"]))
    sets = [decode("Validators", bytes.fromhex(one)) for one in case["sets"]]
    after = followed(trusted, decode("SignedHeader", bytes.fromhex(case["header"])), sets)
    return "ok" if encode("Trusted", after).hex() == case["after"] else "OtherTrust"


def run_last(case):
    parent, validators, facts = (
        decode(kind, bytes.fromhex(case[name]))
        for kind, name in (("Header", "parent"), ("Validators", "validators"), ("BlockInputs", "facts")))
    commit = case["last"] and decode("Commit", bytes.fromhex(case["last"]))
    last_is_shown(parent, validators, facts, commit)
    return "ok"


def run_turns(case):
    chain, validators = bytes.fromhex(case["chain"]), decode("Validators", bytes.fromhex(case["validators"]))
    first = validators["members"][first_place(chain, validators, case["height"])]["key"].hex()
    turns = turns_of(chain, validators, case["height"], case["rounds"])
    return "ok" if (first, turns) == (case["first"], case["turns"]) else "mismatch"


VECTORS = {
    "ledger/last.json": run_last, "ledger/turns.json": run_turns, "ledger/stake.json": History,
    "ledger/motions.json": History, "ledger/votes.json": History, "ledger/rules.json": History,
    "ledger/turns_missed.json": History, "ledger/equivocation.json": History,
    "ledger/light.json": run_light, "ledger/history.json": History, "ledger/accounts.json": History, "ledger/deals.json": History, "ledger/tables.json": History,
    "ledger/late.json": History, "ledger/chance.json": History,
    "ledger/sales.json": History, "ledger/due.json": History, "ledger/vaults.json": History, "ledger/kept.json": History,
    "ledger/lasting.json": History, "ledger/placed.json": History, "ledger/dead.json": History, "ledger/dying.json": History,
    "ledger/care.json": History, "ledger/claims.json": History,
    "ledger/claimants.json": History, "ledger/resting.json": History,
    "ledger/fees.json": History, "ledger/prices.json": run_prices, "ledger/cover.json": run_cover,
    "ledger/collateral.json": History, "ledger/faults.json": History,
    "ledger/genesis.json": run_genesis, "ledger/disputes.json": History, "ledger/answers.json": History,
    "ledger/covered.json": History,
}
