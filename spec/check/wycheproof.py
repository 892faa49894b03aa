"""Runs Project Wycheproof's cases against these primitives, as the pages use them."""

from primitives import aead_open, aead_seal, signed, x25519


def _hex(case, name):
    return bytes.fromhex(case[name])


def _accepted(case, accepted):
    """A checker may accept or refuse Wycheproof's `acceptable` cases."""
    if case["result"] == "acceptable":
        return "ok"
    return "ok" if accepted == (case["result"] == "valid") else "wrongly accepted" if accepted else "wrongly refused"


def run_aead(case):
    key, nonce, aad = _hex(case, "key"), _hex(case, "iv"), _hex(case, "aad")
    if len(nonce) != 12:
        return _accepted(case, False)
    sealed = _hex(case, "ct") + _hex(case, "tag")
    plain = aead_open(key, nonce, aad, sealed)
    if plain is not None and aead_seal(key, nonce, aad, plain) != sealed:
        return "sealed otherwise"
    return _accepted(case, plain == _hex(case, "msg"))


def run_ed25519(case):
    return _accepted(case, signed(_hex(case, "public"), _hex(case, "msg"), _hex(case, "sig")))


def run_x25519(case):
    shared = x25519(_hex(case, "private"), _hex(case, "public"))
    if shared is None:
        return "ok" if "ZeroSharedSecret" in case["flags"] else "wrongly refused"
    return "ok" if shared == _hex(case, "shared") and "ZeroSharedSecret" not in case["flags"] else "mismatch"


VECTORS = {
    "wycheproof/chacha20_poly1305.json": run_aead, "wycheproof/ed25519.json": run_ed25519,
    "wycheproof/x25519.json": run_x25519,
}
