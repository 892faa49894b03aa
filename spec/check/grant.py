"""grant.md: chains of links, requests, revocations, sales, tokens."""

from codec import GUARDS, Reader, concat, decode, encode, layout
from content import content_path_holds
from identity import TEXT_MAX, access_secret, seed_of, wrap_secret
from primitives import No, bech32m, derive, ed25519_public, hpke_open, signed

LINKS_MAX = 8
BYTES_MAX = 2048
OBJECTS_MAX, PATH_MAX = 65_536, 16
ABILITIES = 1 | 2 | 4 | 8 | 16
READ, STORE, DELETE = 1, 8, 16

layout("""
choice Caveat: 1 object id b16; 2 abilities set u16; 3 not_before ms u64; 4 not_after ms u64; \\
  5 cells first u64, end u64; 6 node_reads count u64; 7 node_bytes bytes u64; \\
  8 purpose hash b32; 9 depth links u8; 10 staleness ms u64; \\
  11 objects root b32; 12 once until u64
record Link: audience b32, nonce b8, caveats [Caveat], signature b64
record Sale: order b16, holder b32, ends u64
record Member: index u32, count u32, path [b32]
record Grant: version u8, root b32, sale ?Sale, member ~Member, links [Link]
record Token: version u8, chain b32, grant Grant, manifest Manifest, key_box bytes
""")


def _link(reader):
    """A link, with bounds while it is read."""
    begin = reader.at
    out = {"audience": reader.take(32), "nonce": reader.take(8), "caveats": []}
    for _ in range(reader.count(BYTES_MAX // 2)):
        out["caveats"].append(reader.value("Caveat"))
        if reader.at - begin > BYTES_MAX:
            raise No("TooMany")
    out["signature"] = reader.take(64)
    return out


def _grant(reader):
    begin = reader.at
    out = {"version": reader.number("u8")}
    if out["version"] not in (1, 2):
        raise No("Tag")
    out |= {"root": reader.take(32), "sale": reader.value("?Sale"), "member": None, "links": []}
    if out["version"] == 2:
        out["member"] = {"index": reader.number("u32"), "count": reader.number("u32")}
        out["member"]["path"] = [reader.take(32) for _ in range(reader.count(PATH_MAX))]
    for _ in range(reader.count(LINKS_MAX)):
        out["links"].append(reader.value("Link"))
        if reader.at - begin > BYTES_MAX:
            raise No("TooMany")
    return out


GUARDS["Link"] = _link
GUARDS["Grant"] = _grant


def root_digest(chain, root):
    return derive("symbolon 2026 grant root v2", concat(("u8", 1), chain, root))


def link_digest(before, link):
    signed_part = concat(link["audience"], link["nonce"], ("[Caveat]", link["caveats"]))
    return derive("symbolon 2026 grant link v1", before + signed_part)


def market(chain):
    """The audience of mandates."""
    return derive("symbolon 2026 grant market v1", chain)


def digests(chain, grant):
    """The links' digests, and the one of the whole chain."""
    out, before = [], root_digest(chain, grant["root"])
    for place, link in enumerate(grant["links"]):
        before = link_digest(before, link)
        out.append(before)
        if grant["sale"] and place == 0:
            before = derive("symbolon 2026 grant sale v1", before + encode("Sale", grant["sale"]))
    return out, before


def holders(grant):
    """Who holds the chain up to each link, and its sale."""
    out = [link["audience"] for link in grant["links"]]
    if grant["sale"]:
        out[0] = grant["sale"]["holder"]
    return out


def once_of(grant):
    """The place of the link that is redeemed, and its end."""
    found = [
        (place, caveat["until"])
        for place, link in enumerate(grant["links"]) for caveat in link["caveats"] if caveat["_"] == "once"
    ]
    if len(found) > 1:
        raise No("OnceRepeated")
    return found[0] if found else (None, None)


def check_sale(chain, grant):
    first, sale = grant["links"][0]["audience"], grant["sale"]
    if sale and first != market(chain):
        raise No("NoMandate")
    if sale and sale["holder"] in (grant["root"], first):
        raise No("HolderRepeated")
    if not sale and first == market(chain) and len(grant["links"]) > 1:
        raise No("NoOrder")


def verify(chain, grant):
    """Refuses a grant that is not a valid chain for this ledger; gives the links' digests, and its own."""
    links = grant["links"]
    if not 1 <= len(links) <= LINKS_MAX:
        raise No("Links")
    if len(encode("Grant", grant)) > BYTES_MAX:
        raise No("TooLarge")
    for place, link in enumerate(links):
        above = [grant["root"]] + [one["audience"] for one in links[:place]]
        if grant["sale"] and place:
            above.append(grant["sale"]["holder"])
        if link["audience"] in above:
            raise No("AudienceRepeated")
        for caveat in link["caveats"]:
            if caveat["_"] == "abilities" and caveat["set"] & ~ABILITIES:
                raise No("UnknownAbility")
            if caveat["_"] == "depth" and len(links) - 1 - place > caveat["links"]:
                raise No("TooDeep")
    sets = [sum(caveat["_"] == "objects" for caveat in link["caveats"]) for link in links]
    if sets[0] != bool(grant["member"]) or any(sets[1:]):
        raise No("Membership")
    once_of(grant)
    check_sale(chain, grant)
    found, own = digests(chain, grant)
    issuers = [grant["root"]] + holders(grant)
    for issuer, digest, link in zip(issuers, found, links):
        if not signed(issuer, digest, link["signature"]):
            raise No("Signature")
    return found, own


def revocations(chain, grant):
    """Pairs of link id and account, none of which may be on the ledger."""
    above, out, once = [grant["root"]], [], once_of(grant)[0]
    for place, (digest, holder) in enumerate(zip(digests(chain, grant)[0], holders(grant))):
        out += [(digest[:16], account) for account in above]
        if place != once:
            above.append(holder)
    return out


def authorize(chain, grant, owner, object_id, peer, ability, cells, now, paid, redeemed=None):
    """Refuses a request that a verified chain does not allow; gives the conditions that the node must enforce."""
    links = grant["links"]
    if owner != grant["root"]:
        raise No("NotOwner")
    if peer != holders(grant)[-1]:
        raise No("NotHolder")
    if ability == 0 or ability & ~ABILITIES:
        raise No("NotAllowed")
    if cells is not None and cells[0] >= cells[1]:
        raise No("WrongCells")
    named = {caveat["_"] for caveat in links[0]["caveats"]}
    if not named & {"object", "objects"}:
        raise No("Unnamed")
    if "abilities" not in named:
        raise No("Unnamed")
    left = {
        "quotas": [], "order": None, "staleness": None, "purpose": None, "ends": None,
        "revocations": revocations(chain, grant),
    }
    for digest, link in zip(digests(chain, grant)[0], links):
        reads = sizes = None
        for caveat in link["caveats"]:
            kind = caveat["_"]
            if kind == "object" and caveat["id"] != object_id:
                raise No("WrongObject")
            if kind == "objects" and not proves(grant["member"], caveat["root"], object_id):
                raise No("WrongObject")
            if kind == "abilities" and ability & ~caveat["set"]:
                raise No("NotAllowed")
            if kind == "not_before" and now < caveat["ms"]:
                raise No("NotYet")
            if kind == "not_after" and now >= caveat["ms"]:
                raise No("Expired")
            if kind == "once" and now >= caveat["until"]:
                raise No("Expired")
            if kind == "cells" and cells is None:
                raise No("WrongCells")
            if kind == "cells" and not (caveat["first"] <= cells[0] and cells[1] <= caveat["end"]):
                raise No("WrongCells")
            if kind == "node_reads":
                reads = least(reads, caveat["count"])
            if kind == "node_bytes":
                sizes = least(sizes, caveat["bytes"])
            if kind == "staleness":
                left["staleness"] = least(left["staleness"], caveat["ms"])
            if kind == "not_after":
                left["ends"] = least(left["ends"], caveat["ms"])
            if kind == "once":
                left["ends"] = least(left["ends"], caveat["until"])
            if kind == "purpose":
                if left["purpose"] not in (None, caveat["hash"]):
                    raise No("PurposesDiffer")
                left["purpose"] = caveat["hash"]
        if reads is not None or sizes is not None:
            left["quotas"].append((digest[:16], reads, sizes))
    if grant["sale"]:
        check_order(digests(chain, grant)[0][0], grant["sale"], paid, now)
        left["order"] = grant["sale"]["order"]
        left["ends"] = least(left["ends"], grant["sale"]["ends"])
    check_redemption(grant, redeemed)
    return left


def check_redemption(grant, redeemed):
    """Refuses a chain that does not go on to the peer that its voucher was redeemed for."""
    place, until = once_of(grant)
    if place is None:
        return
    if place + 1 == len(grant["links"]):
        raise No("NotRedeemed")
    if redeemed is None:
        raise No("UnknownRedemption")
    if redeemed["until"] < until:
        raise No("RedemptionEnds")
    if redeemed["holder"] != grant["links"][place + 1]["audience"]:
        raise No("RedeemedElsewhere")


def proves(member, root, object_id):
    """Whether an object is one of those under a root."""
    if member["count"] > OBJECTS_MAX:
        return False
    leaf = derive("symbolon 2026 grant object v1", object_id)
    try:
        content_path_holds(root, member["index"], member["count"], leaf, member["path"])
    except No:
        return False
    return True


def check_order(mandate, sale, paid, now):
    """Refuses a sale that is not what the ledger's rows say of its order."""
    if now >= sale["ends"]:
        raise No("Expired")
    if paid is None:
        raise No("UnknownOrder")
    if paid["mandate"] != mandate:
        raise No("OrderDiffers")
    if paid["holder"] != sale["holder"]:
        raise No("OrderDiffers")
    if paid["ends"] != sale["ends"]:
        raise No("OrderDiffers")
    if paid["refunded"]:
        raise No("OrderRefunded")


def least(one, other):
    return other if one is None else min(one, other)


# Sales.


def mandate_holds(chain, seller, link, object_id):
    """Whether a ledger accepts a mandate for a listing."""
    caveats = link["caveats"]
    named = {kind: [caveat for caveat in caveats if caveat["_"] == kind] for kind in {c["_"] for c in caveats}}
    forbidden = {"not_before", "not_after", "cells", "node_reads", "node_bytes", "staleness", "objects", "once"}
    if link["audience"] != market(chain):
        return False
    if not named.get("object") or any(caveat["id"] != object_id for caveat in named["object"]):
        return False
    if not named.get("abilities"):
        return False
    if any(not caveat["set"] & READ for caveat in named["abilities"]):
        return False
    if any(caveat["set"] & (STORE | DELETE) for caveat in named["abilities"]):
        return False
    if len({caveat["hash"] for caveat in named.get("purpose", [])}) > 1:
        return False
    if forbidden & set(named):
        return False
    try:
        verify(chain, {"version": 1, "root": seller, "sale": None, "member": None, "links": [link]})
    except No:
        return False
    return True


def mandate_id(chain, seller, link):
    return link_digest(root_digest(chain, seller), link)[:16]


# Tokens.


def read_token(text):
    """A token, and the digest of its grant."""
    data = bech32m("grant", text, TEXT_MAX)
    if data[:1] not in (b"", b"\x01", b"\x02"):
        raise No("Version")
    try:
        read = decode("Token", data)
    except No as no:
        raise No(f"Layout.{no.name}") from None
    if len(read["key_box"]) != 80:
        raise No("Sealed")
    if read["version"] == 2 and not read["grant"]["member"]:
        raise No("Grant.Membership")
    try:
        last = verify(read["chain"], read["grant"])[1]
    except No as no:
        raise No(f"Grant.{no.name}") from None
    return read, last


def token(text, wrap_secret):
    """The file key in a token, and the token."""
    read, last = read_token(text)
    aad = concat(read["chain"], last, ("Manifest", read["manifest"]))
    info = b"symbolon 2026 grant folder box v1" if read["version"] == 2 else b"symbolon 2026 grant key box v1"
    key = hpke_open(wrap_secret, info, aad, read["key_box"])
    if key is None or len(key) != 32:
        raise No("Sealed")
    if derive("symbolon 2026 commit v1", key) != read["manifest"]["commitment"]:
        raise No("WrongKey")
    return key, read


# Vouchers.

VOUCHER_BEGINS = "symbolon://redeem/"


def voucher(text):
    """The file key in a voucher, its token, and when it ends."""
    if not text.startswith(VOUCHER_BEGINS) or "#" not in text:
        raise No("Form")
    front, secret = text[len(VOUCHER_BEGINS):].split("#", 1)
    bad = ("TooLong", "Form", "Prefix", "Damaged")
    # The grant's own faults come first, then those of the secret.
    try:
        read, _ = read_token(front)
    except No as no:
        raise No("Token.Text" if no.name in bad else f"Token.{no.name.split('.')[0]}") from None
    try:
        entropy = bech32m("voucher", secret, 128)
    except No as no:
        raise No(f"Secret.{no.name}") from None
    if len(entropy) != 32:
        raise No("Length")
    place, until = once_of(read["grant"])
    if place is None or place + 1 != len(read["grant"]["links"]):
        raise No("NotOnce")
    seed = seed_of(entropy)
    if holders(read["grant"])[-1] != ed25519_public(access_secret(seed)):
        raise No("OtherSecret")
    return token(front, wrap_secret(seed))[0], read, until


# Vectors.


def _hex(case, name):
    return bytes.fromhex(case[name])


def _same(holds):
    return "ok" if holds else "mismatch"


def run_verify(case):
    reader = Reader(_hex(case, "grant"))
    try:
        grant = reader.value("Grant")
        reader.finish()
    except No as no:
        raise No(f"Decode.{no.name}") from None
    chain = _hex(case, "chain")
    found, _ = verify(chain, grant)
    if [digest[:16].hex() for digest in found] != case["link_ids"]:
        return "mismatch"
    if "revocations" in case:
        pairs = [[link.hex(), account.hex()] for link, account in revocations(chain, grant)]
        return _same(pairs == case["revocations"])
    return "ok"


def run_authorize(case):
    chain, grant = _hex(case, "chain"), decode("Grant", _hex(case, "grant"))
    verify(chain, grant)
    paid = case["paid"] and {
        "mandate": _hex(case["paid"], "mandate"), "holder": _hex(case["paid"], "holder"),
        "ends": case["paid"]["ends_ms"], "refunded": case["paid"]["refunded"],
    }
    row = case.get("redeemed")
    redeemed = row and {"holder": _hex(row, "holder"), "until": row["until_ms"]}
    left = authorize(
        chain, grant, _hex(case, "owner"), _hex(case, "object"), _hex(case, "peer"), case["ability"], case["cells"],
        case["now_ms"], paid, redeemed)
    reads = [reads for _, reads, _ in left["quotas"] if reads is not None]
    sizes = [sizes for _, _, sizes in left["quotas"] if sizes is not None]
    found = {"node_reads": min(reads, default=None), "order": left["order"] and left["order"].hex()}
    if "ends_ms" in case:
        found["ends_ms"] = left["ends"]
    if "link_revocations" in case:
        found["link_revocations"] = [[link.hex(), account.hex()] for link, account in left["revocations"]]
    if "quotas" in case:
        found["quotas"] = [[link.hex(), reads, sizes] for link, reads, sizes in left["quotas"]]
        found["node_bytes"] = min(sizes, default=None)
        found["staleness_ms"] = left["staleness"]
        found["purpose"] = left["purpose"] and left["purpose"].hex()
        found["revocations"] = [[link.hex(), account.hex()] for link, account in left["revocations"]]
    return _same(all(case[name] == value for name, value in found.items()))


def run_objects(case):
    try:
        grant = decode("Grant", _hex(case, "grant"))
    except No as no:
        raise No(f"Decode.{no.name}") from None
    chain = _hex(case, "chain")
    verify(chain, grant)
    authorize(
        chain, grant, _hex(case, "owner"), _hex(case, "object"), _hex(case, "peer"), READ, [0, 4], 5, None)
    return "ok"


def run_token(case):
    text = ("TooLong", "Form", "Prefix", "Damaged")
    try:
        key, _ = token(case["token"], _hex(case, "wrap_secret"))
    except No as no:
        raise No(f"Text.{no.name}" if no.name in text else no.name) from None
    return _same(key.hex() == case["file_key"])


def run_voucher(case):
    key, read, until = voucher(case["voucher"])
    once = read["grant"]["links"][-1]["audience"].hex()
    return _same(key.hex() == case["file_key"] and until == case["until_ms"] and once == case["account"])


def run_sale(case):
    """A mandate alone, and the chain of it and an order."""
    chain, mandate, seller = _hex(case, "chain"), decode("Link", _hex(case, "mandate")), _hex(case, "seller")
    if not mandate_holds(chain, seller, mandate, _hex(case, "object")):
        return "NotAMandate"
    if mandate_id(chain, seller, mandate) != _hex(case, "mandate_id"):
        return "mismatch"
    if market(chain) != _hex(case, "audience"):
        return "mismatch"
    sale = {"order": _hex(case, "order"), "holder": _hex(case, "holder"), "ends": case["ends_ms"]}
    _, own = verify(chain, {"version": 1, "root": seller, "sale": sale, "member": None, "links": [mandate]})
    return "ok" if own == _hex(case, "digest") else "OtherDigest"


VECTORS = {
    "grant/verify.json": run_verify, "grant/authorize.json": run_authorize, "grant/token.json": run_token,
    "grant/limits.json": run_verify, "grant/quotas.json": run_authorize, "grant/sale.json": run_sale,
    "grant/objects.json": run_objects, "grant/redeemed.json": run_authorize, "grant/voucher.json": run_voucher,
}
