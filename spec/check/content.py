"""content.md: keys, layout, cells, coding, masks, content roots, manifests; and previews (market.md)."""

import functools

import numpy

from codec import GUARDS, concat, decode, encode, layout
from primitives import No, Stream, aead_open, aead_seal, blake3, chacha20, chacha20_stream, derive, keyed

CELL = 65_536
TAG = 16
CHOSEN_CELLS_MAX = 32
PLAIN = CELL - TAG
STRIPES = 1024
LENGTH_MAX = 1 << 56
SHARD_MAX = 64 << 20
LEAF = 1024

layout("""
record Manifest: version u8, codec u8, mask u8, required u8, total u8, object b16, length u64, commitment b32, content_root b32
record LeafParts: key b32, sealed b32, plain b32
record PreviewCell: cell u64, key b32, sealed bytes, path [b32]
record Preview: cells [PreviewCell], chosen [PreviewCell]
""")


def manifest(reader):
    """A manifest, or the reason why the bytes are not one."""
    value = {"version": reader.number("u8")}
    if value["version"] != 1:
        raise No("Tag")
    value["codec"] = reader.number("u8")
    if value["codec"] != 1:
        raise No("Tag")
    value["mask"] = reader.number("u8")
    if value["mask"] > 1:
        raise No("Tag")
    value["required"], value["total"] = reader.number("u8"), reader.number("u8")
    if scheme_refused(value["required"], value["total"]):
        raise No("Invalid")
    value["object"], value["length"] = reader.take(16), reader.number("u64")
    value["commitment"], value["content_root"] = reader.take(32), reader.take(32)
    if value["length"] > LENGTH_MAX:
        raise No("Invalid")
    return value


GUARDS["Manifest"] = manifest


# Keys.


@functools.lru_cache(maxsize=1024)
def keys(file_key):
    return {
        "content_key": derive("symbolon 2026 content v1", file_key),
        "mask_key": derive("symbolon 2026 mask v1", file_key),
        "commitment": derive("symbolon 2026 commit v1", file_key),
        "object": derive("symbolon 2026 object v1", file_key)[:16],
    }


def deal_opening(file_key, segment):
    return derive("symbolon 2026 deal v1", concat(file_key, ("u32", segment)))


def cell_key(file_key, segment, cell):
    return keyed(keys(file_key)["content_key"], concat(b"cell", ("u32", segment), ("u64", cell)))


def shard_mask(mask_key, segment, index):
    return keyed(mask_key, concat(("u32", segment), ("u8", index)))


# Schemes and layout.


def scheme_refused(required, total):
    if total > 128:
        return "TooMany"
    if required < 1 or total < required:
        return "Required"
    return None


def scheme_for(nodes):
    table = [(1, 1, 1), (2, 1, 2), (4, 2, 3), (7, 3, 5), (19, 4, 8), (35, 8, 20), (79, 16, 32)]
    for most, required, total in table:
        if nodes <= most:
            return required, total
    return 32, 72


def repair_at(required, total):
    return min(total - 1, required + (total - required) // 2)


def enough(required, total):
    at = repair_at(required, total)
    return at + ceil(total - at, 2)


def ceil(a, b):
    return -(-a // b)


def up(a, b):
    return ceil(a, b) * b


def padme(length):
    if length < 2:
        return length
    e = length.bit_length() - 1
    k = e.bit_length()
    return up(length, 1 << max(0, e - k))


class Layout:
    """The place of every byte of a file."""

    def __init__(self, required, total, length):
        refused = scheme_refused(required, total)
        if refused:
            raise No(refused)
        if length > LENGTH_MAX:
            raise No("TooLong")
        self.required, self.total, self.length = required, total, length
        stripe = required * PLAIN
        segment = stripe * STRIPES
        self.segments = max(1, ceil(length, segment))
        self.padded_length = min(padme(length), self.segments * segment)
        in_last = self.padded_length - (self.segments - 1) * segment
        self.last_stripes = max(1, ceil(in_last, stripe))
        rest = in_last - (self.last_stripes - 1) * stripe
        self.last_cell_bytes = up(ceil(rest, required) + TAG, LEAF)
        self.last_shard_length = (self.last_stripes - 1) * CELL + self.last_cell_bytes

    @property
    def cells(self):
        return ((self.segments - 1) * STRIPES + self.last_stripes) * self.required

    @property
    def stored_bytes(self):
        return ((self.segments - 1) * STRIPES * CELL + self.last_shard_length) * self.total

    def stripes(self, segment):
        return self.last_stripes if segment == self.segments - 1 else STRIPES

    def cell_bytes(self, segment, stripe):
        last = segment == self.segments - 1 and stripe == self.last_stripes - 1
        return self.last_cell_bytes if last else CELL

    def place(self, cell):
        """A cell of the whole file: segment, number in the segment, first byte of the file, plain size, bound length."""
        segment, inside = divmod(cell, STRIPES * self.required)
        stripe, column = divmod(inside, self.required)
        room = self.cell_bytes(segment, stripe) - TAG
        start = (segment * STRIPES + stripe) * self.required * PLAIN + column * room
        end = self.length if cell == self.cells - 1 else None
        return segment, inside, start, room, end


def shard_refused(required, total, length):
    """The layout that follows from a shard's length alone."""
    refused = scheme_refused(required, total)
    if refused:
        return refused
    if length == 0 or length > SHARD_MAX or length % LEAF:
        return "ShardLength"
    return "ok"


# Cells.


def bound(end):
    return b"" if end is None else encode("u64", end)


def seal(key, end, plain):
    return aead_seal(key, bytes(12), bound(end), plain)


def open_cell(key, end, sealed, size):
    if len(sealed) != size + TAG:
        raise No("Length")
    plain = aead_open(key, bytes(12), bound(end), sealed)
    if plain is None:
        raise No("Forged")
    return plain


def key_hash(key):
    return derive("symbolon 2026 cell key v1", key)


def sealed_hash(sealed):
    return derive("symbolon 2026 sealed cell v1", sealed)


def plain_hash(key, plain):
    return keyed(derive("symbolon 2026 plain cell key v1", key), plain)


def leaf_of(number, parts):
    return derive("symbolon 2026 content leaf v1", concat(
        ("u64", number), parts["key"], parts["sealed"], parts["plain"]))


def leaf(number, key, sealed, plain):
    return leaf_of(number, {"key": key_hash(key), "sealed": sealed_hash(sealed), "plain": plain_hash(key, plain)})


def content_node(left, right):
    return derive("symbolon 2026 content node v1", left + right)


def split(count):
    """The largest power of two that is smaller than a number of leaves."""
    return 1 << (count - 1).bit_length() - 1


def top(leaves):
    if not leaves:
        return bytes(32)
    if len(leaves) == 1:
        return leaves[0]
    middle = split(len(leaves))
    return content_node(top(leaves[:middle]), top(leaves[middle:]))


def content_root(leaves):
    return derive("symbolon 2026 content root v1", concat(("u64", len(leaves)), top(leaves)))


def content_path_holds(root, index, count, own, path):
    if index >= count:
        raise No("Index")
    sides, at, size = [], index, count
    while size > 1:
        middle = split(size)
        sides.append(at >= middle)
        at, size = (at - middle, size - middle) if at >= middle else (at, middle)
    if len(path) != len(sides):
        raise No("PathLength")
    for sibling, right in zip(path, reversed(sides)):
        own = content_node(sibling, own) if right else content_node(own, sibling)
    if derive("symbolon 2026 content root v1", concat(("u64", count), own)) != root:
        raise No("Root")


# Coding.

EXP, LOG = [0] * 512, [0] * 256
_x = 1
for _i in range(255):
    EXP[_i], LOG[_x] = _x, _i
    _x <<= 1
    if _x & 256:
        _x ^= 0b1_0001_1101
for _i in range(255, 512):
    EXP[_i] = EXP[_i - 255]


def gf_mul(a, b):
    return EXP[LOG[a] + LOG[b]] if a and b else 0


def gf_inverse(a):
    return EXP[255 - LOG[a]]


def gf_pow(a, n):
    out = 1
    for _ in range(n):
        out = gf_mul(out, a)
    return out


def gf_product(a, b):
    columns = list(zip(*b))
    return [[functools.reduce(int.__xor__, map(gf_mul, row, column), 0) for column in columns] for row in a]


def gf_inverted(matrix):
    size = len(matrix)
    rows = [list(row) + [int(i == j) for j in range(size)] for i, row in enumerate(matrix)]
    for at in range(size):
        swap = next(i for i in range(at, size) if rows[i][at])
        rows[at], rows[swap] = rows[swap], rows[at]
        factor = gf_inverse(rows[at][at])
        rows[at] = [gf_mul(factor, value) for value in rows[at]]
        for i in range(size):
            if i != at:
                factor = rows[i][at]
                rows[i] = [value ^ gf_mul(factor, other) for value, other in zip(rows[i], rows[at])]
    return [row[size:] for row in rows]


@functools.lru_cache(maxsize=64)
def coding_matrix(required, total):
    vandermonde = [[gf_pow(row, column) for column in range(required)] for row in range(total)]
    return gf_product(vandermonde, gf_inverted(vandermonde[:required]))


@functools.lru_cache(maxsize=256)
def _multiples(factor):
    return numpy.array([gf_mul(factor, value) for value in range(256)], dtype=numpy.uint8)


def gf_combine(row, cells):
    out = numpy.zeros(len(cells[0]), dtype=numpy.uint8)
    for factor, cell in zip(row, cells):
        out ^= _multiples(factor)[numpy.frombuffer(cell, dtype=numpy.uint8)]
    return out.tobytes()


def code(required, total, data):
    """All cells of a stripe from its data cells."""
    matrix = coding_matrix(required, total)
    return list(data) + [gf_combine(row, data) for row in matrix[required:]]


def recover(required, total, cells):
    """The data cells from any `required` cells, by index; None for a missing one."""
    used = [index for index in range(total) if cells[index] is not None][:required]
    matrix = coding_matrix(required, total)
    inverse = gf_inverted([matrix[index] for index in used])
    there = [cells[index] for index in used]
    return [cells[i] if cells[i] is not None else gf_combine(inverse[i], there) for i in range(required)]


# Masks, whole files.


def mask(mode, mask_key, segment, index, offset, data):
    if mode == 0:
        return data
    return chacha20(shard_mask(mask_key, segment, index), offset, data)


def store(file_key, mode, required, total, data):
    """Manifest, leaves, and the shards of each segment."""
    plan = Layout(required, total, len(data))
    found, leaves, segments = keys(file_key), [], []
    for segment in range(plan.segments):
        shards = [[] for _ in range(total)]
        for stripe in range(plan.stripes(segment)):
            cells = []
            for column in range(required):
                number = (segment * STRIPES + stripe) * required + column
                _, inside, start, room, end = plan.place(number)
                plain = data[start : start + room].ljust(room, b"\0")
                key = cell_key(file_key, segment, inside)
                cells.append(seal(key, end, plain))
                leaves.append(leaf(number, key, cells[-1], plain))
            for index, cell in enumerate(code(required, total, cells)):
                shards[index].append(mask(mode, found["mask_key"], segment, index, stripe * CELL, cell))
        segments.append([b"".join(shard) for shard in shards])
    made = {
        "version": 1, "codec": 1, "mask": mode, "required": required, "total": total, "object": found["object"],
        "length": len(data), "commitment": found["commitment"], "content_root": content_root(leaves),
    }
    return made, leaves, segments


def check_key(of, file_key):
    found = keys(file_key)
    if found["commitment"] != of["commitment"]:
        raise No("Key")
    if found["object"] != of["object"]:
        raise No("Key")


def read(of, file_key, segments):
    """The file, from the shards that exist; segments by number, shards by index."""
    check_key(of, file_key)
    plan = Layout(of["required"], of["total"], of["length"])
    mask_key, out, leaves = keys(file_key)["mask_key"], [], []
    for segment, shards in enumerate(segments):
        for stripe in range(plan.stripes(segment)):
            size, at = plan.cell_bytes(segment, stripe), stripe * CELL
            cells = [None if shard is None else shard[at : at + size] for shard in shards]
            whole = plan.last_shard_length if segment == plan.segments - 1 else STRIPES * CELL
            if any(shard is not None and len(shard) != whole for shard in shards):
                raise No("ShardLength")
            if sum(cell is not None for cell in cells) < plan.required:
                raise No("NotEnoughShards")
            cells = [
                None if cell is None else mask(of["mask"], mask_key, segment, index, at, cell)
                for index, cell in enumerate(cells)
            ]
            for column, sealed in enumerate(recover(plan.required, plan.total, cells)):
                number = (segment * STRIPES + stripe) * plan.required + column
                _, inside, _, room, end = plan.place(number)
                key = cell_key(file_key, segment, inside)
                try:
                    plain = open_cell(key, end, sealed, room)
                except No:
                    raise No("CellForged" if cells[column] is not None else "RebuiltForged") from None
                out.append(plain)
                leaves.append(leaf(number, key, sealed, plain))
    if content_root(leaves) != of["content_root"]:
        raise No("mismatch")
    return b"".join(out)[: plan.length]


# Previews.


def preview_picks(seed, cells, count):
    """`count` different cells, or all cells if there are fewer, in file order."""
    stream, picked = Stream("symbolon 2026 preview picks v1", seed), set()
    fair = 2**64 - 1 - (2**64 - 1) % max(1, cells)
    while len(picked) < min(count, cells):
        number = stream.u64()
        if number < fair:
            picked.add(number % cells)
    return sorted(picked)


def open_fresh(of, listing, nonce, count, cells):
    """The cells of a fresh preview, after checks that the viewer's number picked them and that they are part of the file."""
    seed = derive("symbolon 2026 fresh preview v1", of["content_root"] + listing + nonce)
    if [cell["cell"] for cell in cells] != preview_picks(seed, Layout(of["required"], of["total"], of["length"]).cells, count):
        raise No("OtherCells")
    return open_public(of, cells)


def open_preview(of, seed, count, posted):
    """The public cells, after checks that the beacon picked them and that they are part of the listed file."""
    cells = Layout(of["required"], of["total"], of["length"]).cells
    if [cell["cell"] for cell in posted["cells"]] != preview_picks(seed, cells, count):
        raise No("OtherCells")
    chosen = [cell["cell"] for cell in posted["chosen"]]
    if len(chosen) > CHOSEN_CELLS_MAX:
        raise No("TooMany")
    if chosen != sorted(set(chosen)) or any(cell >= cells for cell in chosen):
        raise No("Order")
    return open_public(of, posted["cells"]), open_public(of, posted["chosen"])


def open_public(of, cells):
    """Cells that anyone may read, after checks that they are part of the listed file."""
    plan, out = Layout(of["required"], of["total"], of["length"]), []
    for cell in cells:
        _, _, start, room, end = plan.place(cell["cell"])
        if len(cell["sealed"]) != room + TAG:
            raise No("Size")
        try:
            plain = open_cell(cell["key"], end, cell["sealed"], room)
        except No:
            raise No("Sealed") from None
        own = leaf(cell["cell"], cell["key"], cell["sealed"], plain)
        try:
            content_path_holds(of["content_root"], cell["cell"], plan.cells, own, cell["path"])
        except No:
            raise No("NotListed") from None
        out.append(plain[: max(0, plan.length - start)])
    return out


# Vectors.


def _hex(case, name):
    return bytes.fromhex(case[name])


def _same(holds):
    return "ok" if holds else "mismatch"


def counting(length):
    return (bytes(range(256)) * (length // 256 + 1))[:length]


def run_keys(case):
    file_key = _hex(case, "file_key")
    found = keys(file_key) | {
        "deal_opening": deal_opening(file_key, 2), "cell_key": cell_key(file_key, 2, 5),
        "shard_mask_key": shard_mask(keys(file_key)["mask_key"], 2, 7),
    }
    return _same(all(case[name] == value.hex() for name, value in found.items()))


def run_layout(case):
    if "shard_length" in case:
        return shard_refused(case["required"], case["total"], case["shard_length"])
    plan = Layout(case["required"], case["total"], case["length"])
    names = ["padded_length", "segments", "cells", "stored_bytes", "last_stripes", "last_shard_length",
             "last_cell_bytes"]
    return _same(all(case[name] == getattr(plan, name) for name in names))


def run_schemes(case):
    required, total = scheme_for(case["nodes"])
    found = [required, total, repair_at(required, total), enough(required, total)]
    return _same(found == [case[name] for name in ("required", "total", "repair_at", "enough")])


def run_cells(case):
    key = cell_key(_hex(case, "file_key"), case["segment"], case["cell"])
    plain = _hex(case, "plain")
    return _same(open_cell(key, case["end"], _hex(case, "sealed"), len(plain)) == plain)


def run_parity(case):
    required, data, size = case["required"], _hex(case, "data"), len(_hex(case, "data")) // case["required"]
    cells = [data[at : at + size] for at in range(0, len(data), size)]
    return _same(b"".join(code(required, case["total"], cells)[required:]) == _hex(case, "parity"))


def run_mask(case):
    key = keys(_hex(case, "file_key"))["mask_key"]
    stream = mask(case["mode"], key, case["segment"], case["shard"], case["offset"], bytes(32))
    return _same(stream == _hex(case, "stream"))


def _hashes(data):
    return [data[at : at + 32] for at in range(0, len(data), 32)]


def run_roots(case):
    own, index = _hex(case, "leaf"), case["index"]
    content_path_holds(_hex(case, "root"), index, case["count"], own, _hashes(_hex(case, "path")))
    return _same(leaf(index, _hex(case, "cell_key"), _hex(case, "sealed"), _hex(case, "plain")) == own)


def run_files(case):
    of = decode("Manifest", _hex(case, "manifest"))
    shards = [None if shard is None else bytes.fromhex(shard) for shard in case["shards"]]
    return _same(read(of, _hex(case, "file_key"), [shards]) == _hex(case, "file"))


def run_stored(case):
    """Large files: the hashes of the stored bytes."""
    made, _, segments = store(
        _hex(case, "file_key"), case["mode"], case["required"], case["total"], counting(case["length"]))
    found = [[blake3(shard).hex() for shard in shards] for shards in segments]
    if encode("Manifest", made).hex() != case["manifest"]:
        return "OtherManifest"
    if found != case["segments"]:
        return "OtherShards"
    for lost in case["lost"]:
        left = [[None if index in lost else shard for index, shard in enumerate(shards)] for shards in segments]
        if read(made, _hex(case, "file_key"), left) != counting(case["length"]):
            return "mismatch"
    return "ok"


def run_primitives(case):
    kind = case["primitive"]
    if kind == "chacha20-poly1305":
        plain = aead_open(_hex(case, "key"), _hex(case, "nonce"), _hex(case, "data"),
                          _hex(case, "sealed") + _hex(case, "tag"))
        return "Forged" if plain is None else _same(plain == _hex(case, "plain"))
    if kind == "chacha20":
        nonce = case["counter"].to_bytes(4, "little") + _hex(case, "nonce")
        return _same(chacha20_stream(_hex(case, "key"), nonce, _hex(case, "plain")) == _hex(case, "sealed"))
    if kind == "blake3 keyed_hash":
        return _same(keyed(_hex(case, "key"), _hex(case, "input")) == _hex(case, "hash"))
    return _same(derive(case["context"], _hex(case, "input")) == _hex(case, "hash"))


def run_preview(case):
    if "picks" in case:
        return _same(preview_picks(_hex(case, "seed"), case["cells"], case["count"]) == case["picks"])
    of, posted = decode("Manifest", _hex(case, "manifest")), decode("Preview", _hex(case, "preview"))
    drawn, chosen = open_preview(of, _hex(case, "seed"), case["count"], posted)
    return _same([plain.hex() for plain in drawn] == case["plain"] and [plain.hex() for plain in chosen] == case["chosen"])


def run_fresh(case):
    of, posted = decode("Manifest", _hex(case, "manifest")), decode("Preview", _hex(case, "preview"))
    found = open_fresh(of, _hex(case, "listing"), _hex(case, "nonce"), case["count"], posted["cells"])
    return _same([plain.hex() for plain in found] == case["plain"])


VECTORS = {
    "content/keys.json": run_keys, "content/layout.json": run_layout, "content/cells.json": run_cells,
    "content/parity.json": run_parity, "content/mask.json": run_mask, "content/roots.json": run_roots,
    "content/files.json": run_files, "content/primitives.json": run_primitives,
    "content/stored.json": run_stored, "content/schemes.json": run_schemes,
    "content/preview.json": run_preview, "content/fresh.json": run_fresh,
}
