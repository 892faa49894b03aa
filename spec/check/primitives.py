"""The primitives that the pages name: BLAKE3, Ed25519, ristretto255, HPKE, ChaCha20, bech32m.

Where another project's library has the primitive, this module uses it. The others are written here from their
own papers: chaining values of BLAKE3, the points of ristretto255, bech32m at lengths that BIP-350 does not allow.
"""

import functools
import hashlib
import hmac

import blake3 as _blake3
import numpy
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from nacl.bindings import crypto_aead_xchacha20poly1305_ietf_decrypt
from nacl.exceptions import CryptoError


class No(Exception):
    """A refusal, with the name of a vector's outcome."""

    def __init__(self, name):
        super().__init__(name)
        self.name = name


# BLAKE3.


def blake3(data):
    return _blake3.blake3(data).digest()


def derive(context, data, length=32):
    return _blake3.blake3(data, derive_key_context=context).digest(length)


def keyed(key, data):
    return _blake3.blake3(data, key=key).digest()


class Stream:
    """The output of BLAKE3's key derivation mode, as an endless stream."""

    def __init__(self, context, data):
        self.hasher = _blake3.blake3(data, derive_key_context=context)
        self.at = 0

    def take(self, count):
        self.at += count
        return self.hasher.digest(count, seek=self.at - count)

    def u64(self):
        return int.from_bytes(self.take(8), "little")


IV = numpy.array(
    [0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19],
    dtype=numpy.uint32,
)
PERMUTATION = [2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8]
QUARTERS = [
    (0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15),
    (0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14),
]
CHUNK_START, CHUNK_END, PARENT, ROOT = 1, 2, 4, 8


def _turn(word, by):
    return (word >> numpy.uint32(by)) | (word << numpy.uint32(32 - by))


def _compress(cv, words, counter, length, flags):
    """BLAKE3's compression of as many blocks at once as there are columns; `cv` and `words` are lists of rows."""
    count = words[0].shape[0]
    fill = lambda value: numpy.full(count, value & 0xFFFFFFFF, dtype=numpy.uint32)
    low = (counter & 0xFFFFFFFF).astype(numpy.uint32)
    high = (counter >> numpy.uint64(32)).astype(numpy.uint32)
    state = list(cv) + [fill(int(IV[i])) for i in range(4)] + [low, high, fill(length), fill(flags)]
    words = list(words)
    for step in range(7):
        for place, (a, b, c, d) in enumerate(QUARTERS):
            for word, (first, second) in ((words[2 * place], (16, 12)), (words[2 * place + 1], (8, 7))):
                state[a] = state[a] + state[b] + word
                state[d] = _turn(state[d] ^ state[a], first)
                state[c] = state[c] + state[d]
                state[b] = _turn(state[b] ^ state[c], second)
        words = [words[i] for i in PERMUTATION]
    return [state[i] ^ state[i + 8] for i in range(8)]


def _chunk(data, counter):
    """The chaining value of one chunk, whole or not, that is not the root."""
    blocks = [data[at : at + 64] for at in range(0, len(data), 64)] or [b""]
    cv = [IV[i : i + 1] for i in range(8)]
    for place, block in enumerate(blocks):
        flags = (CHUNK_START if place == 0 else 0) | (CHUNK_END if place == len(blocks) - 1 else 0)
        row = numpy.frombuffer(block.ljust(64, b"\0"), dtype="<u4").astype(numpy.uint32)
        words = [row[i : i + 1] for i in range(16)]
        cv = _compress(cv, words, numpy.array([counter], dtype=numpy.uint64), len(block), flags)
    return numpy.stack(cv, axis=1)


def _chunks(data, counter):
    """The chaining values of whole chunks, side by side: one row of eight words for each."""
    count = len(data) // 1024
    table = numpy.frombuffer(data, dtype="<u4").reshape(count, 16, 16).astype(numpy.uint32)
    cv = [numpy.full(count, int(IV[i]), dtype=numpy.uint32) for i in range(8)]
    counters = numpy.arange(counter, counter + count, dtype=numpy.uint64)
    for block in range(16):
        flags = (CHUNK_START if block == 0 else 0) | (CHUNK_END if block == 15 else 0)
        words = [numpy.ascontiguousarray(table[:, block, i]) for i in range(16)]
        cv = _compress(cv, words, counters, 64, flags)
    return numpy.stack(cv, axis=1)


def _parents(rows, flags=PARENT):
    words = [numpy.ascontiguousarray(column) for column in rows.reshape(-1, 16).T]
    cv = [numpy.full(len(words[0]), int(IV[i]), dtype=numpy.uint32) for i in range(8)]
    return numpy.stack(_compress(cv, words, numpy.zeros(len(words[0]), dtype=numpy.uint64), 64, flags), axis=1)


@functools.lru_cache(maxsize=4096)
def subtree(data, offset):
    """The chaining value of bytes that are not a whole input and begin at `offset` of it."""
    whole = len(data) // 1024 * 1024
    with numpy.errstate(over="ignore"):
        rows = []
        if whole:
            rows.append(_chunks(data[:whole], offset // 1024))
        if len(data) > whole:
            rows.append(_chunk(data[whole:], (offset + whole) // 1024))
        rows = numpy.concatenate(rows)
        while len(rows) > 1:
            pairs = len(rows) // 2 * 2
            joined = _parents(rows[:pairs])
            rows = joined if pairs == len(rows) else numpy.concatenate([joined, rows[pairs:]])
    return rows[0].astype("<u4").tobytes()


@functools.lru_cache(maxsize=1 << 16)
def join(left, right, root=False):
    with numpy.errstate(over="ignore"):
        row = numpy.frombuffer(left + right, dtype="<u4").astype(numpy.uint32)
        return _parents(row, PARENT | (ROOT if root else 0))[0].astype("<u4").tobytes()


# The curve of Ed25519 and ristretto255, in extended coordinates.

P = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P
SQRT_M1 = pow(2, (P - 1) // 4, P)
NEUTRAL = (0, 1, 1, 0)


def add(one, two):
    x1, y1, z1, t1 = one
    x2, y2, z2, t2 = two
    a = (y1 - x1) * (y2 - x2) % P
    b = (y1 + x1) * (y2 + x2) % P
    c = 2 * t1 * t2 * D % P
    d = 2 * z1 * z2 % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % P, g * h % P, f * g % P, e * h % P


def double(point):
    x, y, z, _ = point
    a = x * x % P
    b = y * y % P
    h = a + b
    e = h - (x + y) * (x + y)
    g = a - b
    f = 2 * z * z + g
    return e * f % P, g * h % P, f * g % P, e * h % P


def negate(point):
    x, y, z, t = point
    return -x % P, y, z, -t % P


@functools.lru_cache(maxsize=1 << 12)
def times(number, point):
    number %= ORDER
    table = [NEUTRAL]
    for _ in range(15):
        table.append(add(table[-1], point))
    out = NEUTRAL
    for at in reversed(range(0, 256, 4)):
        out = double(double(double(double(out))))
        digit = number >> at & 15
        if digit:
            out = add(out, table[digit])
    return out


def _recover(y, sign):
    """The x of a point of the curve from its y (RFC 8032, 5.1.3), or None."""
    over = (y * y - 1) % P
    under = (D * y * y + 1) % P
    x = over * pow(under, 3, P) * pow(over * pow(under, 7, P), (P - 5) // 8, P) % P
    if under * x * x % P == -over % P:
        x = x * SQRT_M1 % P
    if under * x * x % P != over:
        return None
    return -x % P if x & 1 != sign else x


BASE_Y = 4 * pow(5, -1, P) % P
BASE = (_recover(BASE_Y, 0), BASE_Y, 1, _recover(BASE_Y, 0) * BASE_Y % P)


# Ed25519, by the strict rules of identity.md.


@functools.lru_cache(maxsize=1 << 12)
def small_order(encoding):
    """Whether eight times a point is the neutral one; None for bytes that are not the one encoding of a point."""
    number = int.from_bytes(encoding, "little")
    y = number & (1 << 255) - 1
    if y >= P:
        return None
    x = _recover(y, number >> 255)
    if x is None:
        return None
    point = double(double(double((x, y, 1, x * y % P))))
    return point[0] % P == 0 and (point[1] - point[2]) % P == 0


@functools.lru_cache(maxsize=1 << 14)
def _equation_holds(public, message, signature):
    """`SB = R + kA` without the cofactor, with R compared by its bytes."""
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
        return True
    except (InvalidSignature, ValueError):
        return False


def signed(public, message, signature):
    """Whether a signature verifies: strictly, so that all verifiers agree."""
    if len(signature) != 64:
        return False
    if int.from_bytes(signature[32:], "little") >= ORDER:
        return False
    if small_order(public) is not False:
        return False
    if small_order(signature[:32]) is not False:
        return False
    return _equation_holds(public, message, signature)


def ed25519_public(seed):
    key = Ed25519PrivateKey.from_private_bytes(seed).public_key()
    return key.public_bytes(Encoding.Raw, PublicFormat.Raw)


def x25519_public(secret):
    return X25519PrivateKey.from_private_bytes(secret).public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


def x25519(secret, public):
    """The agreed bytes, or None if the other key makes them independent of the secret."""
    try:
        return X25519PrivateKey.from_private_bytes(secret).exchange(X25519PublicKey.from_public_bytes(public))
    except ValueError:
        return None


# ristretto255 (RFC 9496).

INVSQRT_A_MINUS_D = None


def _sqrt_ratio(over, under):
    """RFC 9496, 4.2."""
    root = over * pow(under, 3, P) * pow(over * pow(under, 7, P), (P - 5) // 8, P) % P
    check = under * root * root % P
    square = check in (over % P, -over % P)
    if check in (-over % P, -over * SQRT_M1 % P):
        root = root * SQRT_M1 % P
    return square, -root % P if root & 1 else root


INVSQRT_A_MINUS_D = _sqrt_ratio(1, (-1 - D) % P)[1]
SQRT_AD_MINUS_ONE = -_sqrt_ratio((-D - 1) % P, 1)[1] % P
ONE_MINUS_D_SQ = (1 - D * D) % P
D_MINUS_ONE_SQ = (D - 1) ** 2 % P


@functools.lru_cache(maxsize=1 << 12)
def ristretto_decode(encoding):
    """A point from its one encoding, or None."""
    s = int.from_bytes(encoding, "little")
    if s >= P or s & 1:
        return None
    ss = s * s % P
    u1, u2 = (1 - ss) % P, (1 + ss) % P
    v = (-(D * u1 * u1) - u2 * u2) % P
    square, inverse = _sqrt_ratio(1, v * u2 * u2 % P)
    den_x = inverse * u2 % P
    den_y = inverse * den_x * v % P
    x = 2 * s * den_x % P
    x = -x % P if x & 1 else x
    y = u1 * den_y % P
    t = x * y % P
    if not square or t & 1 or y == 0:
        return None
    return x, y, 1, t


@functools.lru_cache(maxsize=1 << 12)
def ristretto_encode(point):
    x0, y0, z0, t0 = point
    u1 = (z0 + y0) * (z0 - y0) % P
    u2 = x0 * y0 % P
    _, inverse = _sqrt_ratio(1, u1 * u2 * u2 % P)
    den1, den2 = inverse * u1 % P, inverse * u2 % P
    z_inverse = den1 * den2 * t0 % P
    if t0 * z_inverse % P & 1:
        x, y = y0 * SQRT_M1 % P, x0 * SQRT_M1 % P
        den = den1 * INVSQRT_A_MINUS_D % P
    else:
        x, y, den = x0, y0, den2
    if x * z_inverse % P & 1:
        y = -y % P
    s = den * (z0 - y) % P
    return (-s % P if s & 1 else s).to_bytes(32, "little")


def _ristretto_map(t):
    r = SQRT_M1 * t * t % P
    u = (r + 1) * ONE_MINUS_D_SQ % P
    v = (-1 - r * D) * (r + D) % P
    square, s = _sqrt_ratio(u, v)
    s_other = s * t % P
    s_other = s_other if s_other & 1 else -s_other % P
    if not square:
        s = s_other
    c = -1 % P if square else r
    n = (c * (r - 1) * D_MINUS_ONE_SQ - v) % P
    w0, w1 = 2 * s * v % P, n * SQRT_AD_MINUS_ONE % P
    w2, w3 = (1 - s * s) % P, (1 + s * s) % P
    return w0 * w3 % P, w2 * w1 % P, w1 * w3 % P, w0 * w2 % P


def ristretto_from_wide(wide):
    """RFC 9496, 4.3.4."""
    halves = [int.from_bytes(wide[at : at + 32], "little") & (1 << 255) - 1 for at in (0, 32)]
    return add(_ristretto_map(halves[0]), _ristretto_map(halves[1]))


# HPKE (RFC 9180), base mode, X25519, HKDF-SHA256, ChaCha20Poly1305; one message.


def _extract(suite, salt, label, secret):
    return hmac.digest(salt or bytes(32), b"HPKE-v1" + suite + label + secret, hashlib.sha256)


def _expand(suite, secret, label, info, length):
    info = length.to_bytes(2, "big") + b"HPKE-v1" + suite + label + info
    out, block = b"", b""
    while len(out) < length:
        block = hmac.digest(secret, block + info + bytes([len(out) // 32 + 1]), hashlib.sha256)
        out += block
    return out[:length]


@functools.lru_cache(maxsize=256)
def hpke_open(secret, info, aad, sealed):
    """The sealed content, or None."""
    enc, box = sealed[:32], sealed[32:]
    shared = x25519(secret, enc) if len(enc) == 32 else None
    if shared is None:
        return None
    kem = b"KEM\x00\x20"
    secret_prk = _extract(kem, b"", b"eae_prk", shared)
    shared = _expand(kem, secret_prk, b"shared_secret", enc + x25519_public(secret), 32)
    suite = b"HPKE\x00\x20\x00\x01\x00\x03"
    context = b"\0" + _extract(suite, b"", b"psk_id_hash", b"") + _extract(suite, b"", b"info_hash", info)
    schedule = _extract(suite, shared, b"secret", b"")
    key = _expand(suite, schedule, b"key", context, 32)
    nonce = _expand(suite, schedule, b"base_nonce", context, 12)
    return aead_open(key, nonce, aad, box)


# ChaCha20.


def aead_open(key, nonce, aad, box):
    try:
        return ChaCha20Poly1305(key).decrypt(nonce, box, aad)
    except (InvalidTag, ValueError):
        return None


def aead_seal(key, nonce, aad, plain):
    return ChaCha20Poly1305(key).encrypt(nonce, plain, aad)


def xaead_open(key, nonce, aad, box):
    try:
        return crypto_aead_xchacha20poly1305_ietf_decrypt(box, aad, nonce, key)
    except CryptoError:
        return None


def chacha20(key, offset, data):
    """XORs `data` with the key stream of nonce zero from `offset` on."""
    block, skip = divmod(offset, 64)
    nonce = block.to_bytes(4, "little") + bytes(12)
    return chacha20_stream(key, nonce, bytes(skip) + data)[skip:]


def chacha20_stream(key, start, data):
    """`start` is the first block's number in four bytes, and the nonce."""
    return Cipher(ChaCha20(key, start), mode=None).encryptor().update(data)


# bech32m (BIP-350) at any length.

LETTERS = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"


def _polymod(values):
    check = 1
    for value in values:
        top = check >> 25
        check = (check & 0x1FFFFFF) << 5 ^ value
        for place, generator in enumerate((0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)):
            if top >> place & 1:
                check ^= generator
    return check


def bech32m(prefix, text, longest):
    """The bytes of a text of this prefix; refuses with the names of identity.md's vectors."""
    text = text.strip()
    if len(text.encode()) > longest:
        raise No("TooLong")
    head, one, tail = text.rpartition("1")
    known = all(letter in LETTERS for letter in tail.lower())
    if not one or not head or not known or len(tail) < 6:
        raise No("Form")
    if text.lower() != text and text.upper() != text:
        raise No("Form")
    if head.lower() != prefix:
        raise No("Prefix")
    head, values = head.lower(), [LETTERS.index(letter) for letter in tail.lower()]
    spread = [ord(letter) >> 5 for letter in head] + [0] + [ord(letter) & 31 for letter in head]
    if _polymod(spread + values) != 0x2BC830A3:
        raise No("Damaged")
    bits = 0
    for value in values[:-6]:
        bits = bits << 5 | value
    size, padding = divmod(5 * len(values[:-6]), 8)
    if padding > 4 or bits & (1 << padding) - 1:
        raise No("Damaged")
    return (bits >> padding).to_bytes(size, "big")
