"""wire.md: messages, frames, deletion receipts, tickets."""

import content  # noqa: F401 - layouts of manifests
import custody  # noqa: F401 - layouts of vaults, capsules and releases
import grant  # noqa: F401 - layouts of links and grants
import layouts  # noqa: F401
import names  # noqa: F401 - layouts of changes
from codec import concat, decode, encode
from primitives import No, bech32m, derive, signed

MESSAGE_MAX = 2_097_152
TICKET_MAX = 8192
READ_ROWS_MAX = 975


def frame(data):
    """The message of a frame, and the bytes after it."""
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


def read_log_holds(chain, log):
    signed_part = chain + encode("ReadLog", log)[:-64]
    if not signed(log["node"], derive("symbolon 2026 read log v1", signed_part), log["signature"]):
        raise No("Signature.SignatureError")
    days = [row["day"] for row in log["rows"]]
    if log["from_day"] >= log["end_day"] or days != sorted(days) or len(days) > READ_ROWS_MAX:
        raise No("Rows")
    if any(not log["from_day"] <= day < log["end_day"] for day in days):
        raise No("Rows")


def ticket(text):
    found = decode("LedgerTicket", bech32m("ledger", text, TICKET_MAX))
    if not 1 <= len(found["peers"]) <= 8:
        raise No("Peers")
    return found


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


def run_read_log(case):
    read_log_holds(_hex(case, "chain"), decode("ReadLog", _hex(case, "log")))
    return "ok"


def run_read_question(case):
    asked = b"".join(_hex(case, name) for name in ("chain", "node", "peer", "owner", "object"))
    if not signed(_hex(case, "owner"), derive("symbolon 2026 read question v1", asked), _hex(case, "signature")):
        raise No("SignatureError")
    return "ok"


def run_values(case):
    """A value of any kind that the pages name, by its bytes."""
    data = _hex(case, "bytes")
    if "fill" in case:
        at, byte, count = case["fill"]
        data = data[:at] + bytes([byte]) * count + data[at:]
    return _one_encoding(case["kind"], data)


def run_frames(case):
    data = _hex(case, "bytes") + bytes(case.get("zeros", 0))
    out = []
    while data:
        message, data = frame(data)
        out.append(len(message))
    return "ok" if out == case["messages"] else "mismatch"


def run_tickets(case):
    try:
        found = ticket(case["ticket"])
    except No as no:
        text = no.name in ("TooLong", "Form", "Prefix", "Damaged")
        raise No("Kind" if no.name == "Prefix" else "Text" if text else "Peers" if no.name == "Peers" else "Bytes") from None
    same = found["chain"].hex() == case["chain"] and len(found["peers"]) == case["peers"] and all(
        (peer["id"].hex(), peer["addresses"]) == (case["peer"], case["addresses"]) for peer in found["peers"])
    return "ok" if same else "mismatch"


VECTORS = {
    "wire/deletion.json": run_messages, "wire/deletion_receipt.json": run_receipt, "wire/values.json": run_values,
    "wire/read_log.json": run_read_log, "wire/read_question.json": run_read_question, "wire/frames.json": run_frames, "wire/tickets.json": run_tickets,
}
