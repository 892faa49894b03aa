"""The one encoding of every value (wire.md), driven by layouts written as text.

A value is a number, bytes, a text, a list or None. A record or choice is a dictionary of its fields. A choice has
its variant's name under "_".
"""

from primitives import No

LIST_MAX = 131_072
SIZES = {"u8": 1, "u16": 2, "u32": 4, "u64": 8, "u128": 16}
TYPES = {}
# Types that refuse more than their fields do: name to function of (reader, fields) to value.
GUARDS = {}


def layout(text):
    """Registers layouts: `record Name: field type, ...` and `choice Name: 1 Variant field type, ...; 2 ...`."""
    for line in text.replace("\\\n", " ").splitlines():
        line = line.split("#")[0].strip()
        if not line:
            continue
        kind, rest = line.split(" ", 1)
        name, body = (part.strip() for part in rest.split(":", 1))
        assert name not in TYPES, name
        if kind == "record":
            TYPES[name] = ("record", _fields(body))
        else:
            variants = [part.split(None, 2) for part in body.split(";") if part.strip()]
            TYPES[name] = ("choice", [
                (int(parts[0]), parts[1], _fields(parts[2] if len(parts) > 2 else "")) for parts in variants
            ])


def _fields(body):
    return [tuple(field.split()) for field in body.split(",") if field.strip()]


class Reader:
    def __init__(self, data):
        self.data = data
        self.at = 0

    def left(self):
        return len(self.data) - self.at

    def take(self, count):
        if count > self.left():
            raise No("Short")
        self.at += count
        return self.data[self.at - count : self.at]

    def number(self, kind):
        return int.from_bytes(self.take(SIZES[kind]), "little")

    def count(self, most=LIST_MAX):
        count = self.number("u32")
        if count > most:
            raise No("TooMany")
        return count

    def value(self, kind):
        if kind in SIZES:
            return self.number(kind)
        if kind in TYPES:
            return self.fields(kind)
        if kind[0] == "b" and kind[1:].isdigit():
            return self.take(int(kind[1:]))
        if kind[0] == "?":
            flag = self.number("u8")
            if flag > 1:
                raise No("Tag")
            return self.value(kind[1:]) if flag == 1 else None
        if kind == "bytes":
            return self.take(self.count())
        if kind[0] == "[":
            return [self.value(kind[1:-1]) for _ in range(self.count())]
        if kind == "text":
            try:
                return self.take(self.count()).decode("utf-8")
            except UnicodeDecodeError:
                raise No("Invalid") from None
        if kind == "bool":
            flag = self.number("u8")
            if flag > 1:
                raise No("Tag")
            return flag == 1
        raise AssertionError(f"no such type: {kind}")

    def fields(self, kind):
        if kind in GUARDS:
            return GUARDS[kind](self)
        return self.plain(kind)

    def plain(self, kind):
        """A record or a choice, without the further refusals of its type."""
        form, body = TYPES[kind]
        if form == "record":
            return {name: self.value(of) for name, of in body}
        tag = self.number("u8")
        for number, name, fields in body:
            if number == tag:
                return {"_": name} | {field: self.value(of) for field, of in fields}
        raise No("Tag")

    def finish(self):
        if self.left():
            raise No("Trailing")


def decode(kind, data):
    reader = Reader(data)
    value = reader.value(kind)
    reader.finish()
    return value


def encode(kind, value):
    if kind in SIZES:
        return value.to_bytes(SIZES[kind], "little")
    if kind in TYPES:
        form, body = TYPES[kind]
        if form == "record":
            return b"".join([encode(of, value[name]) for name, of in body])
        for number, name, fields in body:
            if name == value["_"]:
                return bytes([number]) + b"".join([encode(of, value[field]) for field, of in fields])
    if kind[0] == "b" and kind[1:].isdigit():
        assert len(value) == int(kind[1:]), kind
        return value
    if kind[0] == "?":
        return b"\0" if value is None else b"\1" + encode(kind[1:], value)
    if kind[0] == "~":
        # A field that is there or not by the version of its record: a guard reads it.
        return b"" if value is None else encode(kind[1:], value)
    if kind == "bytes":
        return encode("u32", len(value)) + value
    if kind[0] == "[":
        return encode("u32", len(value)) + b"".join([encode(kind[1:-1], one) for one in value])
    if kind == "text":
        return encode("bytes", value.encode())
    if kind == "bool":
        return bytes([value])
    raise AssertionError(f"no such type: {kind}")


def concat(*pairs):
    """`a | b`: each argument is bytes, or a pair of a type and a value."""
    return b"".join([one if isinstance(one, bytes) else encode(*one) for one in pairs])
