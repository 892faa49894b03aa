"""proof.md: parts of shards, outboards, challenges, and the state tree."""

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


@functools.lru_cache(maxsize=1 << 16)
def tree_path(key):
    return derive("symbolon 2026 state path v1", key)


@functools.lru_cache(maxsize=1 << 16)
def tree_leaf(path, value):
    return derive("symbolon 2026 state leaf v1", path + value)


@functools.lru_cache(maxsize=1 << 16)
def value_hash(value):
    return derive("symbolon 2026 state value v1", value)


@functools.lru_cache(maxsize=1 << 17)
def branch(left, right):
    return derive("symbolon 2026 state branch v1", left + right)


def bit(path, depth):
    return path[depth // 8] >> (7 - depth % 8) & 1


def tree(leaves, depth=0):
    """The root over pairs of path and leaf, in order of the paths."""
    if not leaves:
        return NOTHING
    if len(leaves) == 1:
        return leaves[0][1]
    low, high = 0, len(leaves)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if bit(leaves[middle][0], depth) else (middle + 1, high)
    return branch(tree(leaves[:low], depth + 1), tree(leaves[low:], depth + 1))


def state_root(rows):
    """The root over pairs of key and value; pairs of tag 0 are the tree's own."""
    paths = [(tree_path(key), value) for key, value in rows if not key.startswith(b"\0")]
    return tree(sorted((path, tree_leaf(path, value_hash(value))) for path, value in paths))


def row_path_holds(root, key, value, data):
    reader = Reader(data)
    try:
        count = reader.number("u32")
        path = [reader.take(32) for _ in range(count)]
        end = reader.number("u8")
        if end > 2:
            raise No("Malformed")
        other = reader.take(64) if end == 2 else None
        reader.finish()
    except No:
        raise No("Malformed") from None
    if count > 256:
        raise No("TooDeep")
    own = tree_path(key)
    if value is not None and end != 1:
        raise No("End")
    if value is None and end == 1:
        raise No("End")
    if end == 2 and other[:32] == own:
        raise No("End")
    if end == 2 and any(bit(other, depth) != bit(own, depth) for depth in range(count)):
        raise No("Stray")
    node = NOTHING
    if end == 1:
        node = tree_leaf(own, value_hash(value))
    if end == 2:
        node = tree_leaf(other[:32], other[32:])
    for depth in reversed(range(count)):
        node = branch(path[depth], node) if bit(own, depth) else branch(node, path[depth])
    if node != root:
        raise No("WrongRoot")


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


def run_path(case):
    value = None if case["value"] is None else bytes.fromhex(case["value"])
    row_path_holds(bytes.fromhex(case["root"]), bytes.fromhex(case["key"]), value, bytes.fromhex(case["path"]))
    return "ok"


VECTORS = {
    "proof/parts.json": run_part, "proof/shards.json": run_shard, "proof/challenges.json": run_challenge,
    "tree/roots.json": run_roots, "tree/paths.json": run_path,
}
