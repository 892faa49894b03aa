"""The layouts of rows, actions, blocks and messages, read from the tables of ledger.md and wire.md."""

import pathlib
import re

from codec import GUARDS, SIZES, layout
from primitives import No

PAGES = pathlib.Path(__file__).resolve().parent.parent
SECTIONS = {
    "ledger.md": ["rows", "transactions", "genesis", "blocks", "light"], "wire.md": ["storage messages", "ledger messages", "preview messages"],
}
# Defined elsewhere in this checker, together with its checks.
ELSEWHERE = {"CustodyAcceptance"}
# Requests and answers keep their names from the page; other names are in small letters.
ASKED = {"Action", "LedgerRequest", "LedgerResponse", "PreviewRequest", "PreviewResponse", "StorageRequest", "StorageResponse", "Status"}

layout("""
record PeerAddress: id b32, addresses [text]
record LedgerTicket: chain b32, peers [PeerAddress]
""")


def section(page, name):
    """The text of a page between the marks of this name."""
    text = (PAGES / page).read_text()
    return text.split(f"<!-- code: {name} -->")[1].split(f"<!-- /code: {name} -->")[0]


def cells(line):
    """The cells of a table's row, without marks."""
    return [cell.strip().strip("*`") for cell in line.strip().strip("|").split("|")]


def snake(name):
    return re.sub(r"(?<=.)([A-Z])", r"_\1", name).lower()


def type_of(words, sizes):
    """A type from a table, in the notation of `layout`."""
    for begin, form in (("list of ", "[{}]"), ("option of ", "?{}")):
        if words.startswith(begin):
            return form.format(type_of(words.removeprefix(begin), sizes))
    name = words.strip("`")
    if name == "Amount":
        return "u128"
    if name in sizes and name != "Status":
        return f"b{sizes[name]}"
    if words.endswith(" bytes"):
        return f"b{words.split()[0]}"
    assert name[0].isupper() or name in SIZES or name in ("bool", "text", "bytes"), words
    return name


def tables():
    """All layouts of the tables, one line each."""
    sizes = {row[0]: row[1] for row in map(cells, section("wire.md", "identifiers").splitlines()) if len(row) == 3}
    statuses = [row for row in map(cells, section("ledger.md", "statuses").splitlines()) if row[0].isdigit()]
    out = ["choice Status: " + "; ".join(f"{code} {name}" for code, name, _ in statuses)]
    for page, names in SECTIONS.items():
        for name in names:
            for part in re.split(r"^\*\*`(?=\w+`\*\*:)", section(page, name), flags=re.M)[1:]:
                out += one(part, sizes)
    return "\n".join(out)


def one(part, sizes):
    """The layout of one record or choice, from the text after its name and from its table."""
    name = part.split("`")[0]
    if name in ELSEWHERE:
        return []
    variants, fields, form = [], [], "record"
    for row in [cells(line) for line in part.splitlines() if line.startswith("|")][2:]:
        if len(row) == 4 and row[0]:
            form, fields = "choice", []
            variants.append((f"{row[0]} {row[1] if name in ASKED else snake(row[1])}", fields))
        else:
            field, words = row[-3:-1]
            fields.append(f"{field} {type_of(words, sizes)}")
    body = "; ".join(f"{head} {', '.join(of)}".strip() for head, of in variants) or ", ".join(fields)
    return [f"{form} {name}: {body}"]


layout(tables())

ADDRESSES_MAX, ADDRESS_BYTES_MAX = 16, 256


def _peer_address(reader):
    out = reader.plain("PeerAddress")
    if len(out["addresses"]) > ADDRESSES_MAX:
        raise No("TooMany")
    if any(len(text.encode()) > ADDRESS_BYTES_MAX for text in out["addresses"]):
        raise No("TooMany")
    return out


GUARDS["PeerAddress"] = _peer_address
