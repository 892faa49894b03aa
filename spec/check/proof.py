"""proof.md: parts of shards, outboards, challenges, and the state tree."""

import bisect
import functools

from codec import Reader, concat, layout
from primitives import No, Stream, blake3, derive, join, subtree

LEAF, GROUP = 1 << 10, 1 << 14

layout("""
record LeafProof: leaf bytes, path [b32]
""")


def ceil(a, b):
    return -(-a // b)


def siblings(index, count):
    """For each level with a sibling: whether it is on the left, and whether the join is the root's."""
    while count > 1:
        if index % 2:
            yield True, count == 2
        elif index + 1 < count:
            yield False, count == 2
        index, count = index // 2, ceil(count, 2)


def part_holds(root, length, size, index, data, path):
    if size < LEAF or size & (size - 1):
        raise No("UnitSize")
    if length == 0:
        raise No("Empty")
    count = ceil(length, size)
    if index >= count:
        raise No("NoSuchUnit")
    if len(data) != min(size, length - index * size):
        raise No("UnitLength")
    sides = list(siblings(index, count))
    if len(path) != len(sides):
        raise No("PathLength")
    node = blake3(data) if count == 1 else subtree(data, index * size)
    for sibling, (left, is_root) in zip(path, sides):
        node = join(sibling, node, is_root) if left else join(node, sibling, is_root)
    if node != root:
        raise No("WrongRoot")


def outboard(data):
    """All nodes from the groups up, without the root."""
    level = [subtree(data[at : at + GROUP], at) for at in range(0, len(data), GROUP)]
    out = []
    while len(level) > 1:
        out += level
        level = [join(*level[at : at + 2]) if at + 1 < len(level) else level[at] for at in range(0, len(level), 2)]
    return b"".join(out)


def outboard_bytes(length):
    count, nodes = ceil(length, GROUP), 0
    while count > 1:
        nodes += count
        count = ceil(count, 2)
    return 32 * nodes


# Challenges.


def challenge_seed(chain, epoch, beacon, node, table):
    return derive("symbolon 2026 challenge seed v1", concat(chain, ("u64", epoch), beacon, node, table))


def counts(slot_bytes):
    if slot_bytes < 64 << 30:
        return 8, 2
    if slot_bytes < 1 << 40:
        return 16, 4
    return 32, 8


def below(number, bound):
    """A number below `bound`, drawn by `number()`."""
    if bound <= 1:
        return 0
    good = 2**64 - 2**64 % bound
    for _ in range(64):
        drawn = number()
        if drawn < good:
            break
    return drawn % bound


def challenges(seed, slots, longest, slot_bytes, length_of):
    if slots == 0:
        return []
    number = Stream("symbolon 2026 challenge picks v1", seed).u64
    by_bytes, by_shard = counts(slot_bytes)
    out = []
    for _ in range(by_bytes):
        best = None
        for _ in range(256):
            slot = below(number, slots)
            length = length_of(slot)
            if below(number, longest) < length:
                break
            if best is None or length > best[1]:
                best = slot, length
        else:
            slot, length = best
        out.append((slot, below(number, ceil(length, LEAF))))
    for _ in range(by_shard):
        slot = below(number, slots)
        out.append((slot, below(number, ceil(length_of(slot), LEAF))))
    return out


# The state tree.

NOTHING = bytes(32)
KEY_MAX = 80


@functools.lru_cache(maxsize=1 << 16)
def leaf(key, value):
    return derive("symbolon 2026 state leaf v2", concat(("u16", len(key)), key, value))


@functools.lru_cache(maxsize=1 << 16)
def value_hash(value):
    return derive("symbolon 2026 state value v1", value)


@functools.lru_cache(maxsize=1 << 17)
def branch(at, left, right):
    return derive("symbolon 2026 state branch v2", concat(("u16", at), left, right))


@functools.lru_cache(maxsize=1 << 16)
def bits(key):
    """A key as a text of 0 and 1."""
    return "".join([f"{byte:08b}" for byte in key])


def tree(rows, low, high):
    """The root over pairs of bits and leaf, in order, from `low` up to `high`."""
    if high - low == 1:
        return rows[low][1]
    first, last = rows[low][0], rows[high - 1][0]
    at = next(at for at in range(len(first)) if first[at] != last[at])
    middle = bisect.bisect_left(rows, first[:at] + "1", low, high, key=lambda row: row[0])
    return branch(at, tree(rows, low, middle), tree(rows, middle, high))


def state_root(rows):
    """The root over pairs of key and value; pairs of tag 0 are the tree's own."""
    leaves = sorted((bits(key), leaf(key, value_hash(value))) for key, value in rows if not key.startswith(b"\0"))
    return tree(leaves, 0, len(leaves)) if leaves else NOTHING


class Keys:
    """Asked: these keys."""

    def __init__(self, keys):
        self.keys = keys

    def has(self, key):
        return key in self.keys

    def may_have(self, begin):
        return any(bits(key).startswith(begin) for key in self.keys)


class Range:
    """Asked: all keys with a prefix, after one and up to another one."""

    def __init__(self, prefix, after, until):
        self.prefix, self.after, self.until = prefix, after, until

    def has(self, key):
        behind = self.after is None or self.after < key
        return key.startswith(self.prefix) and behind and (self.until is None or key <= self.until)

    def may_have(self, begin):
        def both(key):
            length = min(len(begin), 8 * len(key))
            return begin[:length], bits(key)[:length]

        own, prefix = both(self.prefix)
        if own != prefix:
            return False
        if self.after is not None:
            own, after = both(self.after)
            if own < after:
                return False
        if self.until is not None:
            own, until = both(self.until)
            if own > until:
                return False
        return True


class Proof:
    def __init__(self, data, asked, rows):
        self.reader = Reader(data)
        self.asked, self.rows = asked, rows

    def subtree(self, above):
        """Its hash, and the key of a leaf that it shows."""
        kind = self.reader.number("u8")
        if kind == 1:
            return self.reader.take(32), None
        if kind == 2:
            if not self.rows:
                raise No("Places")
            key, value = self.rows.pop(0)
            return leaf(key, value_hash(value)), key
        if kind == 3:
            length = self.reader.number("u8")
            if length > KEY_MAX:
                raise No("Malformed")
            key, value = self.reader.take(length), self.reader.take(32)
            if self.asked.has(key):
                raise No("LeftOut")
            return leaf(key, value), key
        if kind != 4:
            raise No("Malformed")
        at = self.reader.number("u16")
        if at <= above or at >= 8 * KEY_MAX:
            raise No("Bits")
        sides = [self.subtree(at), self.subtree(at)]
        shown = [key for _, key in sides if key is not None]
        if not shown:
            raise No("Hollow")
        begin = bits(shown[0])[:at]
        for (_, key), bit in zip(sides, "01"):
            if key is not None and not bits(key).startswith(begin + bit):
                raise No("Stray")
        for (_, key), bit in zip(sides, "01"):
            if key is None and self.asked.may_have(begin + bit):
                raise No("Hidden")
        return branch(at, sides[0][0], sides[1][0]), shown[0]

    def root(self):
        try:
            if self.reader.data == b"\0":
                self.reader.take(1)
                found, shown = NOTHING, b""
            else:
                found, shown = self.subtree(-1)
            self.reader.finish()
        except No as no:
            raise No("Malformed" if no.name in ("Short", "Trailing") else no.name) from None
        if self.rows:
            raise No("Places")
        if shown is None and self.asked.may_have(""):
            raise No("Hidden")
        return found


def proof_holds(root, asked, rows, data):
    """`rows` are pairs of key and value, in the order of their keys."""
    if any(len(key) > KEY_MAX for key, _ in rows):
        raise No("Outside")
    if Proof(data, asked, list(rows)).root() != root:
        raise No("WrongRoot")


def rows_hold(root, rows, data):
    """Pairs of key and value, or None where there is no such row."""
    asked = {}
    for key, value in rows:
        if asked.setdefault(key, value) != value:
            raise No("Outside")
    there = sorted((key, value) for key, value in asked.items() if value is not None)
    proof_holds(root, Keys(list(asked)), there, data)


def range_holds(root, asked, rows, data):
    keys = [key for key, _ in rows]
    if any(one >= other for one, other in zip(keys, keys[1:])) or not all(asked.has(key) for key in keys):
        raise No("Outside")
    proof_holds(root, asked, rows, data)


# Vectors.


@functools.lru_cache(maxsize=64)
def pattern(start, count):
    return bytes(place % 251 for place in range(start, start + count))


def run_part(case):
    bounds = case["bytes"]
    data = bytearray(pattern(bounds["start"], bounds["count"]))
    if bounds["flip"] is not None:
        data[bounds["flip"]] ^= 1
    path = [bytes.fromhex(sibling) for sibling in case["path"]]
    part_holds(bytes.fromhex(case["root"]), case["length"], case["unit_bytes"], case["unit"], bytes(data), path)
    return "ok"


@functools.lru_cache(maxsize=64)
def _outboard_of(length):
    return outboard(pattern(0, length))


def run_shard(case):
    length = case["length"]
    if case["outboard_bytes"] != outboard_bytes(length):
        return "Outboard"
    if blake3(pattern(0, length)).hex() != case["root"]:
        return "OtherRoot"
    return "ok" if blake3(_outboard_of(length)).hex() == case["outboard_hash"] else "OtherOutboard"


def run_challenge(case):
    read = {name: bytes.fromhex(case[name]) for name in ("chain", "beacon", "node", "table")}
    seed = challenge_seed(read["chain"], case["epoch"], read["beacon"], read["node"], read["table"])
    if seed.hex() != case["seed"]:
        return "OtherSeed"
    lengths = case["lengths"]
    length_of = lambda slot: lengths[slot % len(lengths)]
    longest = case.get("longest", max(lengths, default=0))
    found = challenges(seed, case["slots"], longest, case["slot_bytes"], length_of)
    return "ok" if [list(one) for one in found] == case["challenges"] else "OtherChallenges"


def run_roots(case):
    rows = [(bytes.fromhex(key), bytes.fromhex(value)) for key, value in case["rows"]]
    return "ok" if state_root(rows).hex() == case["root"] else "OtherRoot"


def run_proof(case):
    read = lambda text: None if text is None else bytes.fromhex(text)
    root, proof = read(case["root"]), read(case["proof"])
    rows = [(read(key), read(value)) for key, value in case["rows"]]
    if case["range"] is None:
        rows_hold(root, rows, proof)
    else:
        asked = Range(*[read(case["range"][name]) for name in ("prefix", "after", "until")])
        range_holds(root, asked, rows, proof)
    return "ok"


VECTORS = {
    "proof/parts.json": run_part, "proof/shards.json": run_shard, "proof/challenges.json": run_challenge,
    "tree/roots.json": run_roots, "tree/proofs.json": run_proof,
}
