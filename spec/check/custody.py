"""market.md: vaults, capsules, delivery keys, releases, deposits."""

from codec import concat, decode, layout
from identity import delivery_secret
from primitives import (
    BASE, NEUTRAL, ORDER, No, add, derive, hpke_open, negate, ristretto_decode, ristretto_encode,
    ristretto_from_wide, signed, times,
)

CUSTODIANS_MAX = 32

layout("""
record VaultKey: commitments [b32]
record Capsule: r b32, r2 b32, c b32, e b32, f b32
record DeliveryKey: point b32, e b32, z b32
record Release: index u8, u b32, v b32, e b32, z_share b32, z_blind b32
record ShownKey: shared b32, e b32, z b32
record CustodyAcceptance: node b32, index u8, expires_ms u64, signature b64
""")

BASE_2 = ristretto_from_wide(derive("symbolon 2026 custody second base v1", b"", 64))


def hash_scalar(context, data):
    return int.from_bytes(derive(context, data, 64), "little") % ORDER


def point(encoding):
    found = ristretto_decode(encoding)
    if found is None:
        raise No("Point")
    if encoding == bytes(32):
        raise No("Identity")
    return found


def scalar(encoding):
    number = int.from_bytes(encoding, "little")
    if number >= ORDER:
        raise No("Scalar")
    return number


def sum_of(*parts):
    """The sum of numbers times points."""
    out = NEUTRAL
    for number, at in parts:
        out = add(out, times(number, at))
    return out


# Vaults.


def index_refused(index):
    return index < 1 or index > CUSTODIANS_MAX


def share_point(vault, index):
    """`Y_i`."""
    if index_refused(index):
        raise No("Index")
    commitments = vault["commitments"]
    if not 1 <= len(commitments) <= CUSTODIANS_MAX:
        raise No("Sharing")
    return sum_of(*((index**k, point(one)) for k, one in enumerate(commitments)))


def vault_refused(vault, custodians):
    """The public side of a vault with this many custodians."""
    if not 1 <= len(vault["commitments"]) <= (custodians + 1) // 2:
        return True
    if custodians > CUSTODIANS_MAX:
        return True
    try:
        for one in vault["commitments"]:
            point(one)
    except No:
        return True
    return False


def share_holds(vault, index, number):
    return ristretto_encode(times(number, BASE)) == ristretto_encode(share_point(vault, index))


# Capsules, delivery keys, releases.


def label(chain, seller, vault, root):
    return derive("symbolon 2026 capsule label v2", concat(chain, seller, vault, root))


def capsule_holds(capsule, of_label):
    r, r2 = point(capsule["r"]), point(capsule["r2"])
    point(capsule["c"])
    e, f = scalar(capsule["e"]), scalar(capsule["f"])
    w = sum_of((f, BASE), (-e, r))
    w2 = sum_of((f, BASE_2), (-e, r2))
    statement = concat(of_label, capsule["c"], capsule["r"], capsule["r2"], ristretto_encode(w), ristretto_encode(w2))
    if hash_scalar("symbolon 2026 capsule proof v1", statement) != e:
        raise No("Proof")


def listing_key(key_point):
    return derive("symbolon 2026 listing key v1", key_point)


def release_context(chain, order, listing):
    return derive("symbolon 2026 release context v1", concat(chain, order, listing))


def claim_context(chain, deal, claimant):
    return derive("symbolon 2026 claim context v1", concat(chain, deal, claimant))


def care_point(chain, owner, deal, index):
    return ristretto_encode(ristretto_from_wide(
        derive("symbolon 2026 care point v1", concat(chain, owner, deal, ("u8", index)), 64)))


def care_key(shared):
    return derive("symbolon 2026 care key v1", shared)


def delivery_holds(delivery, context):
    yb = point(delivery["point"])
    e, z = scalar(delivery["e"]), scalar(delivery["z"])
    a = sum_of((z, BASE), (-e, yb))
    if hash_scalar("symbolon 2026 delivery proof v1", concat(context, delivery["point"], ristretto_encode(a))) != e:
        raise No("Proof")


def release_holds(release, vault, capsule, delivery, context):
    statement = derive("symbolon 2026 release statement v1", concat(
        context, ("VaultKey", vault), ("Capsule", capsule), ("DeliveryKey", delivery)))
    release_proven(release, vault, capsule["r"], delivery, statement)


def claim_release_holds(release, vault, base, delivery, context):
    """A release for a shard of a claim, whose `R` is the shard's point."""
    statement = derive("symbolon 2026 claim statement v1", concat(
        context, ("VaultKey", vault), base, ("DeliveryKey", delivery)))
    release_proven(release, vault, base, delivery, statement)


def release_proven(release, vault, base, delivery, statement):
    y_i = share_point(vault, release["index"])
    u, v = point(release["u"]), point(release["v"])
    r, yb = point(base), point(delivery["point"])
    e, z_share, z_blind = scalar(release["e"]), scalar(release["z_share"]), scalar(release["z_blind"])
    a1 = sum_of((z_share, BASE), (-e, y_i))
    a2 = sum_of((z_blind, BASE), (-e, u))
    a3 = sum_of((z_share, r), (z_blind, yb), (-e, v))
    hashed = concat(statement, ("u8", release["index"]), release["u"], release["v"],
                    *map(ristretto_encode, (a1, a2, a3)))
    if hash_scalar("symbolon 2026 release proof v1", hashed) != e:
        raise No("Proof")


def combine(capsule, releases, secret, required):
    """The key point `K` from verified releases."""
    return combined(releases, secret, required, point(capsule["c"]))


def combine_claimed(releases, secret, required):
    """`x` times the point of a shard."""
    return combined(releases, secret, required, None)


def combined(releases, secret, required, c):
    """`c - xR`, or `xR` without a `c`."""
    seen = set()
    for release in releases:
        if index_refused(release["index"]):
            raise No("Index")
        if release["index"] in seen:
            raise No("Repeated")
        seen.add(release["index"])
    if len(releases) < required or required < 1:
        raise No("TooFew")
    blinds, values = weighted(releases[:required])
    shared = add(values, negate(times(secret, blinds)))
    key = ristretto_encode(shared if c is None else add(c, negate(shared)))
    if key == bytes(32):
        raise No("Identity")
    return key


def weighted(used):
    """The sums of `l_i U_i` and `l_i V_i`, with the Lagrange coefficients at zero."""
    blinds, values = NEUTRAL, NEUTRAL
    for release in used:
        own, factor = release["index"], 1
        for other in (one["index"] for one in used if one["index"] != own):
            factor = factor * other * pow(other - own, -1, ORDER) % ORDER
        blinds = add(blinds, times(factor, point(release["u"])))
        values = add(values, times(factor, point(release["v"])))
    return blinds, values


def shown_point(shown, capsule, releases, required, delivery, context):
    """The key point that releases open, as their buyer shows it; all zero if the capsule holds no key."""
    if len(releases) < required or required < 1:
        raise No("TooFew")
    blinds, values = weighted(releases[:required])
    yb = point(delivery["point"])
    # Custodians who work together can make a sum the identity.
    shared = ristretto_decode(shown["shared"])
    if shared is None:
        raise No("Point")
    e, z = scalar(shown["e"]), scalar(shown["z"])
    a = sum_of((z, BASE), (-e, yb))
    b = sum_of((z, blinds), (-e, shared))
    statement = concat(context, delivery["point"], ristretto_encode(blinds), shown["shared"],
                       *map(ristretto_encode, (a, b)))
    if hash_scalar("symbolon 2026 shown key proof v1", statement) != e:
        raise No("Proof")
    return ristretto_encode(add(point(capsule["c"]), negate(add(values, negate(shared)))))


# The way of a share to a custodian.


def custody_terms(chain, vault_id, owner, vault, index, node):
    return concat(chain, vault_id, owner, ("VaultKey", vault), ("u8", index), node)


def request_holds(terms, owner, signature):
    if not signed(owner, derive("symbolon 2026 custody request v1", terms), signature):
        raise No("Signature")


def open_share(terms, vault, index, sealed, secret):
    aad = derive("symbolon 2026 custody share aad v1", terms)
    plain = hpke_open(secret, b"symbolon 2026 custody share v1", aad, sealed)
    if plain is None or len(plain) != 32:
        raise No("Sealed")
    number = scalar(plain)
    if not share_holds(vault, index, number):
        raise No("Share")
    return number


def acceptance_holds(terms, node, index, acceptance):
    digest = derive("symbolon 2026 custody acceptance v2", concat(terms, ("u64", acceptance["expires_ms"])))
    if acceptance["node"] != node:
        raise No("Signature")
    if acceptance["index"] != index:
        raise No("Signature")
    if not signed(node, digest, acceptance["signature"]):
        raise No("Signature")


# Vectors.


def _hex(case, name):
    return bytes.fromhex(case[name])


def _of(case, name, kind):
    return decode(kind, _hex(case, name))


def _context(case):
    return release_context(_hex(case, "chain"), _hex(case, "order"), _hex(case, "listing"))


def run_capsule(case):
    found = label(*(_hex(case, name) for name in ("chain", "seller", "vault", "content_root")))
    capsule_holds(_of(case, "capsule", "Capsule"), found)
    return "ok"


def run_delivery(case):
    delivery_holds(_of(case, "delivery", "DeliveryKey"), _context(case))
    return "ok"


def run_release(case):
    release_holds(
        _of(case, "release", "Release"), _of(case, "vault_key", "VaultKey"), _of(case, "capsule", "Capsule"),
        _of(case, "delivery", "DeliveryKey"), _context(case))
    return "ok"


def run_combine(case):
    releases = [decode("Release", bytes.fromhex(one)) for one in case["releases"]]
    required = len(_of(case, "vault_key", "VaultKey")["commitments"])
    secret = delivery_secret(_hex(case, "delivery_seed"))
    key = combine(_of(case, "capsule", "Capsule"), releases, secret, required)
    return "ok" if listing_key(key).hex() == case["listing_key"] else "WrongKey"


def run_claim(case):
    chain, owner, deal = _hex(case, "chain"), _hex(case, "owner"), _hex(case, "deal")
    vault, delivery = _of(case, "vault_key", "VaultKey"), _of(case, "delivery", "DeliveryKey")
    context = claim_context(chain, deal, _hex(case, "claimant"))
    delivery_holds(delivery, context)
    releases = [decode("Release", bytes.fromhex(one)) for one in case["releases"]]
    base = care_point(chain, owner, deal, case["index"])
    for release in releases:
        claim_release_holds(release, vault, base, delivery, context)
    secret = delivery_secret(_hex(case, "delivery_seed"))
    key = care_key(combine_claimed(releases, secret, len(vault["commitments"])))
    opened = bytes(a ^ b for a, b in zip(_hex(case, "pad"), key))
    return "ok" if opened == _hex(case, "index_key") else "WrongKey"


def run_shown(case):
    releases = [decode("PostedRelease", bytes.fromhex(one)) for one in case["releases"]]
    found = shown_point(_of(case, "shown", "ShownKey"), _of(case, "capsule", "Capsule"), releases, case["required"],
                        _of(case, "delivery", "DeliveryKey"), _context(case))
    if found == bytes(32):
        raise No("Identity")
    return "ok" if listing_key(found).hex() == case["listing_key"] else "WrongKey"


def run_deposit(case):
    vault, owner, node = _of(case, "vault_key", "VaultKey"), _hex(case, "owner"), _hex(case, "node")
    terms = custody_terms(_hex(case, "chain"), _hex(case, "vault"), owner, vault, case["index"], node)
    request_holds(terms, owner, _hex(case, "request"))
    open_share(terms, vault, case["index"], _hex(case, "sealed"), _hex(case, "custody_secret"))
    acceptance_holds(terms, node, case["index"], _of(case, "acceptance", "CustodyAcceptance"))
    return "ok"


VECTORS = {
    "custody/capsule.json": run_capsule, "custody/delivery.json": run_delivery,
    "custody/release.json": run_release, "custody/combine.json": run_combine,
    "custody/deposit.json": run_deposit, "custody/claim.json": run_claim, "custody/shown.json": run_shown, "custody/capsule_limits.json": run_capsule,
    "custody/release_limits.json": run_release, "custody/combine_limits.json": run_combine,
    "custody/deposit_limits.json": run_deposit,
}
