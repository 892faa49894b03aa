"""wire.md: messages, frames, deletion receipts, tickets, and what a client checks of a ledger's answers."""

import content  # noqa: F401 - layouts of manifests
import custody  # noqa: F401 - layouts of vaults, capsules and releases
import grant  # noqa: F401 - layouts of links and grants
import layouts  # noqa: F401
import proof
from codec import TYPES, Reader, concat, decode, encode
from primitives import No, bech32m, derive, signed

MESSAGE_MAX = 2_097_152
TICKET_MAX = 8192


def frame(data):
    """The message of a frame, and what follows it."""
    if len(data) < 4:
        raise No("Ended")
    length = int.from_bytes(data[:4], "little")
    if length > MESSAGE_MAX:
        raise No("TooLarge")
    if len(data) - 4 < length:
        raise No("Ended")
    return data[4 : 4 + length], data[4 + length :]


def receipt_holds(chain, receipt):
    signed_part = concat(chain, receipt["deal"], ("u8", receipt["index"]), receipt["node"], receipt["root"],
                         ("u64", receipt["time_ms"]))
    digest = derive("symbolon 2026 deletion receipt v1", signed_part)
    if not signed(receipt["node"], digest, receipt["signature"]):
        raise No("SignatureError")


def ticket(text):
    return decode("LedgerTicket", bech32m("ledger", text, TICKET_MAX))


def header_digest(header):
    return derive("symbolon 2026 header v1", encode("Header", header))


def header_holds(header, chain, authority):
    """That a signed header is this ledger's."""
    if header["header"]["chain"] != chain:
        raise No("OtherChain")
    if not signed(authority, header_digest(header["header"]), header["signature"]):
        raise No("Signature")


def row_holds(header, asked, row):
    if row["key"] != asked:
        raise No("OtherKey")
    proof.row_path_holds(header["header"]["state_root"], row["key"], row["value"], row["path"])


def scan_holds(header, prefix, after, limit, rows):
    last = after
    if len(rows) > limit:
        raise No("TooMany")
    for row in rows:
        if not row["key"].startswith(prefix):
            raise No("OtherKey")
        if last is not None and row["key"] <= last:
            raise No("Order")
        if row["value"] is None:
            raise No("Absent")
        row_holds(header, row["key"], row)
        last = row["key"]


# Vectors.

KINDS = {"request": "StorageRequest", "response": "StorageResponse"}


def _hex(case, name):
    return bytes.fromhex(case[name])


def _one_encoding(kind, data):
    return "ok" if encode(kind, decode(kind, data)) == data else "mismatch"


def run_messages(case):
    return _one_encoding(KINDS[case["message"]], _hex(case, "bytes"))


def run_receipt(case):
    receipt_holds(_hex(case, "chain"), decode("DeletionReceipt", _hex(case, "receipt")))
    return "ok"


def run_values(case):
    """A value of any kind that the pages name, by its bytes."""
    assert case["kind"] in TYPES or case["kind"][0] in "ub?[t", case["kind"]
    return _one_encoding(case["kind"], _hex(case, "bytes"))


def run_frames(case):
    data = _hex(case, "bytes") + bytes(case.get("zeros", 0))
    out = []
    while data:
        message, data = frame(data)
        if "kind" in case:
            _one_encoding(case["kind"], message)
        out.append(len(message))
    return "ok" if out == case["messages"] else "mismatch"


def run_tickets(case):
    try:
        found = ticket(case["ticket"])
    except No as no:
        text = no.name in ("TooLong", "Form", "Prefix", "Damaged")
        raise No("Kind" if no.name == "Prefix" else "Text" if text else "Bytes") from None
    address = found["address"]
    same = (found["chain"].hex(), found["authority"].hex(), address["id"].hex(), address["addresses"]) == (
        case["chain"], case["authority"], case["peer"], case["addresses"])
    return "ok" if same else "mismatch"


def run_answers(case):
    """An answer of a ledger, with what its client knows and asked."""
    answer = decode("LedgerResponse", _hex(case, "answer"))
    header_holds(answer["header"], _hex(case, "chain"), _hex(case, "authority"))
    if answer["header"]["header"]["height"] < case["known_height"]:
        raise No("Behind")
    if "known_digest" in case and answer["header"]["header"]["height"] == case["known_height"]:
        if header_digest(answer["header"]["header"]).hex() != case["known_digest"]:
            raise No("Fork")
    if "keys" in case:
        if len(answer["rows"]) != len(case["keys"]):
            raise No("OtherKey")
        for asked, row in zip(case["keys"], answer["rows"]):
            row_holds(answer["header"], bytes.fromhex(asked), row)
    if "prefix" in case:
        after = None if case["after"] is None else _hex(case, "after")
        scan_holds(answer["header"], _hex(case, "prefix"), after, case["limit"], answer["rows"])
    return "ok"


VECTORS = {
    "wire/deletion.json": run_messages, "wire/deletion_receipt.json": run_receipt, "wire/values.json": run_values,
    "wire/frames.json": run_frames, "wire/tickets.json": run_tickets, "wire/answers.json": run_answers,
}
