"""names.md: changes, parts, root records, and the merging of runs."""

from codec import GUARDS, Reader, concat, encode, layout
from content import check_key
from primitives import No, derive, xaead_open

CHANGES_MAX = 1 << 22
KEY_MAX, VALUE_MAX = 8192, 1 << 20
DEVICES_MAX, RUNS_MAX, PARTS_MAX, PART_BYTES_MAX = 16, 6, 16, 64 << 20
STEP, BLOB_MAX = 512, 4096

layout("""
record Change: table u8, key bytes, value ?bytes
record Part: key b32, manifest Manifest
record DeviceSeen: device u64, moment u64
""")


def _change(reader):
    out = {"table": reader.number("u8"), "key": reader.take(reader.count(KEY_MAX))}
    if not out["key"]:
        raise No("Invalid")
    flag = reader.number("u8")
    if flag > 1:
        raise No("Tag")
    out["value"] = reader.take(reader.count(VALUE_MAX)) if flag else None
    return out


GUARDS["Change"] = _change


def place(change):
    return change["table"], change["key"]


def changes(reader):
    out = []
    for _ in range(reader.count(CHANGES_MAX)):
        out.append(reader.value("Change"))
        if len(out) > 1 and place(out[-2]) >= place(out[-1]):
            raise No("Invalid")
    return out


def encode_changes(of):
    return encode("u32", len(of)) + b"".join(encode("Change", one) for one in of)


def part(data):
    """The content of a stored object of a run."""
    reader = Reader(data)
    if reader.number("u8") != 1:
        raise No("Tag")
    out = changes(reader)
    reader.finish()
    return out


def root_record(data):
    reader = Reader(data)
    if reader.number("u8") != 2:
        raise No("Tag")
    out = {"until": reader.number("u64"), "runs": []}
    out["seen"] = [reader.value("DeviceSeen") for _ in range(reader.number("u8"))]
    for _ in range(reader.number("u8")):
        run = {"end": reader.number("u64"), "entries": reader.number("u64")}
        run["parts"] = [reader.value("Part") for _ in range(reader.number("u8"))]
        out["runs"].append(run)
    out["tail"] = changes(reader)
    record_holds(out)
    reader.finish()
    return out


def record_holds(record):
    devices = [one["device"] for one in record["seen"]]
    if len(devices) > DEVICES_MAX:
        raise No("TooMany")
    if any(one >= other for one, other in zip(devices, devices[1:])):
        raise No("Invalid")
    runs = record["runs"]
    if any(one["end"] > other["end"] for one, other in zip(runs, runs[1:])):
        raise No("Invalid")
    if len(runs) > RUNS_MAX:
        raise No("TooMany")
    if sum(len(run["parts"]) for run in runs) > PARTS_MAX:
        raise No("TooMany")
    for run in runs:
        if not run["parts"]:
            raise No("Invalid")
        if run["entries"] == 0:
            raise No("Invalid")
        for one in run["parts"]:
            if one["manifest"]["length"] > PART_BYTES_MAX:
                raise No("Invalid")
            try:
                check_key(one["manifest"], one["key"])
            except No:
                raise No("Invalid") from None


def encode_record(record):
    out = concat(("u8", 2), ("u64", record["until"]), ("u8", len(record["seen"])))
    out += b"".join(encode("DeviceSeen", one) for one in record["seen"])
    out += concat(("u8", len(record["runs"])))
    for run in record["runs"]:
        out += concat(("u64", run["end"]), ("u64", run["entries"]), ("u8", len(run["parts"])))
        out += b"".join(encode("Part", one) for one in run["parts"])
    return out + encode_changes(record["tail"])


def open_blob(names_key, chain, account, version, blob):
    if not blob or len(blob) > BLOB_MAX or len(blob) % STEP:
        raise No("Length")
    key = derive("symbolon 2026 names root v1", names_key)
    plain = xaead_open(key, blob[:24], concat(chain, account, ("u64", version)), blob[24:])
    if plain is None:
        raise No("Sealed")
    length, rest = int.from_bytes(plain[:2], "little"), plain[2:]
    if any(rest[length:]):
        raise No("Padding")
    if -(-(24 + 2 + length + 16) // STEP) * STEP != len(blob):
        raise No("Padding")
    try:
        return root_record(rest[:length])
    except No as no:
        raise No(f"Record.{no.name}") from None


# Publishing and pulling.


def merged(older, newer):
    """Both lists merged; for a key in both, the newer change holds."""
    out = {place(one): one for one in older} | {place(one): one for one in newer}
    return [out[at] for at in sorted(out)]


def runs_to_merge(runs, fresh):
    """How many of the newest runs are merged with a tail of this many bytes; runs by their bytes, oldest first."""
    taken, size = 0, fresh
    while taken < len(runs):
        oldest_taken = runs[len(runs) - 1 - taken]
        room = len(runs) - taken < RUNS_MAX
        if oldest_taken >= 4 * size and room:
            break
        size += oldest_taken
        taken += 1
    return taken


def without_removals(of):
    return [one for one in of if one["value"] is not None]


# Vectors.


def _hex(case, name):
    return bytes.fromhex(case[name])


def _same(holds):
    return "ok" if holds else "mismatch"


def run_run(case):
    data = _hex(case, "bytes")
    found = part(data)
    return _same(b"\x01" + encode_changes(found) == data and len(found) == case["entries"])


def run_root(case):
    blob = _hex(case, "blob")
    record = open_blob(_hex(case, "names_key"), _hex(case, "chain"), _hex(case, "account"), case["version"], blob)
    return _same(encode_record(record).hex() == case["record"])


def run_merge(case):
    if "runs" in case:
        return _same(runs_to_merge(case["runs"], case["fresh"]) == case["taken"])
    older, newer = part(_hex(case, "older")), part(_hex(case, "newer"))
    found = merged(older, newer)
    if case["lowest"]:
        found = without_removals(found)
    return _same(b"\x01" + encode_changes(found) == _hex(case, "merged"))


VECTORS = {
    "names/run.json": run_run, "names/root.json": run_root, "names/root_limits.json": run_root,
    "names/merge.json": run_merge,
}
