"""identity.md: phrase, keys, recipients, texts, key files, envelopes."""

import functools
import hashlib
import pathlib
import unicodedata

from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from codec import concat, decode, layout
from primitives import (
    BASE, ORDER, No, aead_open, bech32m, derive, ed25519_public, hpke_open, ristretto_encode, signed, times,
    x25519_public,
)

TEXT_MAX = 4096

layout("""
record Recipient: version u8, account b32, access b32, wrap b32, signature b64
record SealedHead: memory u32, passes u32, lanes u32, salt b16, nonce b12
""")

WORDS = (pathlib.Path(__file__).resolve().parent.parent / "vectors/identity/english.txt").read_text().split()


# Phrase and keys.


def entropy_of(text):
    words = text.lower().split()
    if len(words) != 24:
        raise No("Count")
    if not all(word in WORDS for word in words):
        raise No("Word")
    bits = 0
    for word in words:
        bits = bits << 11 | WORDS.index(word)
    entropy = (bits >> 8).to_bytes(32, "big")
    if bits & 0xFF != hashlib.sha256(entropy).digest()[0]:
        raise No("Checksum")
    return entropy


def phrase_of(entropy):
    bits = int.from_bytes(entropy, "big") << 8 | hashlib.sha256(entropy).digest()[0]
    return " ".join(WORDS[bits >> 11 * place & 2047] for place in reversed(range(24)))


def seed_of(entropy):
    return hashlib.pbkdf2_hmac("sha512", phrase_of(entropy).encode(), b"mnemonic", 2048)


def scalar(context, data):
    return int.from_bytes(derive(context, data, 64), "little") % ORDER


def account_secret(seed):
    return derive("symbolon 2026 identity account v1", seed)


def access_secret(seed):
    return derive("symbolon 2026 identity access v1", seed)


def wrap_secret(seed):
    return derive("symbolon 2026 identity wrap v1", seed)


def names_key(seed):
    return derive("symbolon 2026 identity names v1", seed)


def vault_secret(vault_bytes):
    return scalar("symbolon 2026 vault secret v1", vault_bytes)


def delivery_secret(delivery_bytes):
    return scalar("symbolon 2026 delivery secret v1", delivery_bytes)


def vault_bytes(seed, chain, vault):
    return derive("symbolon 2026 identity vault v2", concat(seed, chain, vault))


def delivery_bytes(seed, chain, order):
    return derive("symbolon 2026 identity delivery v2", concat(seed, chain, order))


def order_opening(seed, chain, listing, attempt):
    return derive("symbolon 2026 identity order v3", concat(seed, chain, listing, ("u32", attempt)))


# Recipients.


def recipient(text):
    data = bech32m("recipient", text, TEXT_MAX)
    if data[:1] not in (b"", b"\x01"):
        raise No("Version")
    try:
        read = decode("Recipient", data)
    except No as no:
        raise No(f"Layout.{no.name}") from None
    digest = derive("symbolon 2026 recipient v1", data[:97])
    if not signed(read["account"], digest, read["signature"]):
        raise No("Signature")
    return read


# Key files.

MAGIC = b"symbolon key\n"
MEMORY_MAX, PASSES_MAX, LANES_MAX = 1 << 20, 16, 16


@functools.lru_cache(maxsize=64)
def stretch(passphrase, salt, memory, passes, lanes):
    text = unicodedata.normalize("NFKD", passphrase).encode()
    kdf = Argon2id(salt=salt, length=32, iterations=passes, lanes=lanes, memory_cost=memory)
    return kdf.derive(text)


def key_file(data, passphrase):
    """The entropy in a key file."""
    if not data.startswith(MAGIC):
        raise No("NotAKeyfile")
    rest = data[len(MAGIC) :]
    if rest and rest[0] != 1:
        raise No("Version")
    if data[-16:] != derive("symbolon 2026 keyfile check v1", data[:-16])[:16]:
        raise No("Damaged")
    kind, body = rest[1], rest[2:-16]
    if kind == 0 and len(body) == 32:
        return body
    if kind != 1 or len(body) != 88:
        raise No("Damaged")
    head = decode("SealedHead", body[:40])
    if passphrase is None:
        raise No("PassphraseNeeded")
    memory, passes, lanes = head["memory"], head["passes"], head["lanes"]
    if memory > MEMORY_MAX:
        raise No("Cost")
    if passes > PASSES_MAX:
        raise No("Cost")
    if lanes > LANES_MAX:
        raise No("Cost")
    if passes < 1 or lanes < 1 or memory < 8 * lanes:
        raise No("Cost")
    key = stretch(passphrase, head["salt"], memory, passes, lanes)
    entropy = aead_open(key, head["nonce"], data[:-64], body[40:])
    if entropy is None:
        raise No("WrongPassphrase")
    return entropy


# Vectors.


def _hex(case, name):
    return bytes.fromhex(case[name])


def _same(holds):
    return "ok" if holds else "mismatch"


def run_phrase(case):
    entropy = entropy_of(case["words"])
    words = " ".join(case["words"].lower().split())
    return _same(entropy.hex() == case["entropy"] and seed_of(entropy).hex() == case["seed"]
                 and phrase_of(entropy) == words)


def public(number):
    return ristretto_encode(times(number, BASE)).hex()


def run_keys(case):
    seed, chain = _hex(case, "seed"), _hex(case, "chain")
    found = {
        "account": ed25519_public(account_secret(seed)).hex(),
        "peer": ed25519_public(access_secret(seed)).hex(),
        "wrap": x25519_public(wrap_secret(seed)).hex(),
        "names": names_key(seed).hex(),
        "vault_01": public(vault_secret(vault_bytes(seed, chain, b"\x01" * 16))),
        "delivery_02": public(delivery_secret(delivery_bytes(seed, chain, b"\x02" * 16))),
        "order_03_0": order_opening(seed, chain, b"\x03" * 16, 0).hex(),
        "order_03_1": order_opening(seed, chain, b"\x03" * 16, 1).hex(),
    }
    return _same(all(case[name] == value for name, value in found.items()))


def run_orders(case):
    found = order_opening(_hex(case, "seed"), _hex(case, "chain"), _hex(case, "listing"), case["attempt"])
    return _same(found.hex() == case["opening"])


def run_recipient(case):
    try:
        return _same(recipient(case["text"])["account"].hex() == case["account"])
    except No as no:
        text = no.name in ("TooLong", "Form", "Prefix", "Damaged")
        raise No(f"Text.{no.name}" if text else no.name) from None


def run_keyfile(case):
    return _same(key_file(_hex(case, "file"), case["passphrase"]).hex() == case["entropy"])


def run_envelope(case):
    found = hpke_open(_hex(case, "secret"), _hex(case, "info"), _hex(case, "aad"), _hex(case, "sealed"))
    return "Closed" if found is None else _same(found.hex() == case["plain"])


VECTORS = {
    "identity/phrase.json": run_phrase, "identity/keys.json": run_keys, "identity/recipient.json": run_recipient,
    "identity/keyfile.json": run_keyfile, "identity/envelope.json": run_envelope,
    "identity/orders.json": run_orders, "identity/texts.json": run_recipient,
    "identity/keyfile_limits.json": run_keyfile, "identity/spacing.json": run_phrase,
}
