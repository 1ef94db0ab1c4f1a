"""One value of a C type to Python and back, for keys, values and global variables that people read and write.

Python's side: int, bool and float for numbers, str for ``char[N]``, bytes for ``unsigned char[N]``, a dict for a
struct or union, a list for other arrays, the name for an enumeration's value, text for addresses (``ipv4_t``,
``ipv6_t``, ``ip_t``, ``mac_t``), the host's number for ``port_be_t``.
"""

from __future__ import annotations

import signal
import socket
import struct
from collections.abc import Mapping, Sequence
from dataclasses import fields as dataclass_fields
from dataclasses import is_dataclass
from typing import Any, Final, NoReturn

from bpfnb.annotations import NONE, Annotations, of, of_type
from bpfnb.btf import Array, Btf, Composite, Enum, Float, Int, Member, Pointer, Type, fields
from bpfnb.errors import MapTypeError, nearest
from bpfnb.frames.columns import ERRORS, ip_text
from bpfnb.frames.syscalls import syscall_names

__all__ = ["decode", "encode"]

_FLOATS: Final = {2: "<e", 4: "<f", 8: "<d"}
_ADDRESSES: Final = {"ipv4": 4, "ipv6": 16, "ip": 16, "mac": 6}


def encode(btf: Btf, type_id: int, value: object) -> bytes:
    """The bytes of *value* as a C program holds it, padding and fields left out as zeros.

    A struct takes a mapping or dataclass by field names, or a tuple in the order of its fields; a union takes one of
    its members by name. Any type but a number takes its exact bytes. An enumeration takes a name or a number, error
    numbers and system calls too. Raises MapTypeError that names the field and what it takes.
    """
    out = bytearray(btf.size(type_id))
    _Encoder(btf, out).put("", type_id, 0, 0, value, NONE)
    return bytes(out)


def decode(btf: Btf, type_id: int, data: bytes) -> Any:
    """The value that *data* holds; bytes behind the type's size are ignored. A union gives all its members."""
    size = btf.size(type_id)
    if len(data) < size:
        raise MapTypeError(f"{btf.describe(type_id)} takes {size} bytes, not {len(data)}")
    return _decode(btf, type_id, data, 0, 0, NONE)


def _decode(btf: Btf, type_id: int, data: bytes, at: int, bits: int, stated: Annotations) -> Any:
    stated = stated.over(of_type(btf, type_id))
    found, first = btf.resolve(type_id), at // 8
    size = btf.size(found)
    raw = data[first : first + size]
    match stated.format:
        case "ipv4" if size == 4:
            return socket.inet_ntop(socket.AF_INET, raw)
        case "ipv6" if size == 16:
            return socket.inet_ntop(socket.AF_INET6, raw)
        case "ip" if size == 16:
            return ip_text(raw)
        case "mac" if size == 6:
            return raw.hex(":")
        case "port_be" if size == 2:
            return int.from_bytes(raw, "big")
    match found:
        case Int() | Enum() | Pointer():
            at, bits = _bits(found, at, bits, size)
            number = (
                int.from_bytes(data[at // 8 : (at + bits + 7) // 8], "little") >> at % 8 & (1 << bits) - 1
            )
            if not isinstance(found, Pointer) and found.signed and number >> (bits - 1):
                number -= 1 << bits
            if isinstance(found, Enum):
                return next((name for name, value in found.values if value == number), number)
            return bool(number) if isinstance(found, Int) and found.bool else number
        case Float() if size in _FLOATS:
            return struct.unpack(_FLOATS[size], raw)[0]
        case Array():
            text = _is_text(btf, found, stated)
            if text is not None:
                return raw.split(b"\0", 1)[0].decode(errors="replace") if text else raw
            width = 8 * btf.size(found.element)
            return [_decode(btf, found.element, data, at + i * width, 0, stated) for i in range(found.count)]
        case Composite():
            values: dict[str, Any] = {}
            for index, member in enumerate(found.members):
                if not btf.size(member.type):
                    continue  # a flexible array
                own = of(btf, found.id, index)
                inner = _decode(btf, member.type, data, at + member.bit_offset, member.bit_size, own)
                if member.name:
                    values[member.name] = inner
                elif isinstance(inner, dict):
                    values.update(inner)
            return values
    return raw


def _bits(found: Type, at: int, bits: int, size: int) -> tuple[int, int]:
    """First bit and width of a number; old compilers write bit fields into the integer type."""
    if isinstance(found, Int) and not bits and found.bits < 8 * size:
        return at + found.offset, found.bits
    return at, bits or 8 * size


def _is_text(btf: Btf, array: Array, stated: Annotations) -> bool | None:
    """Whether an array is text (True), bytes (False), or an array of something else (None)."""
    element = btf.resolve(array.element)
    if not isinstance(element, Int) or element.size != 1 or element.bool:
        return None
    if element.char or stated.format == "text":
        return True
    return None if element.signed else False


def _width(btf: Btf, member: Member) -> int:
    return member.bit_size or 8 * btf.size(member.type)


def _in_order(btf: Btf, found: Composite) -> list[str]:
    """Names of the fields that a tuple gives: of an anonymous union only its widest member, as in frames."""
    members = [member for member in found.members if btf.size(member.type)]
    if found.kind == "union":
        members = [max(members, key=lambda member: _width(btf, member))] if members else []
    names: list[str] = []
    for member in members:
        inner = btf.resolve(member.type)
        if member.name:
            names.append(member.name)
        elif isinstance(inner, Composite):
            names += _in_order(btf, inner)
    return names


class _Encoder:
    def __init__(self, btf: Btf, out: bytearray) -> None:
        self.btf = btf
        self.out = out

    def put(self, path: str, type_id: int, at: int, bits: int, value: Any, stated: Annotations) -> None:
        """Writes *value* at bit *at*; *path* names the field in messages."""
        btf = self.btf
        stated = stated.over(of_type(btf, type_id))
        found = btf.resolve(type_id)
        size = btf.size(found)
        exact = isinstance(value, bytes | bytearray | memoryview) and len(value) == size
        if exact and not isinstance(found, Int | Float | Enum | Pointer):
            self.out[at // 8 : at // 8 + size] = value
            return
        if isinstance(value, str) and size == _ADDRESSES.get(stated.format or ""):
            self.out[at // 8 : at // 8 + size] = self.address(path, stated.format or "", value)
            return
        match found:
            case Int() | Enum() | Pointer():
                number = self.number(path, type_id, found, value, stated)
                if stated.format == "port_be" and size == 2 and 0 <= number < 1 << 16:
                    number = (number & 0xFF) << 8 | number >> 8
                at, bits = _bits(found, at, bits, size)
                self.integer(path, type_id, found, at, bits, number)
            case Float() if size in _FLOATS:
                if isinstance(value, str | bytes) or not hasattr(value, "__float__"):
                    self.refuse(path, type_id, value, "a number")
                self.out[at // 8 : at // 8 + size] = struct.pack(_FLOATS[size], float(value))
            case Array():
                self.array(path, type_id, found, at, value, stated)
            case Composite():
                self.composite(path, found, at, value)
            case _:
                self.refuse(path, type_id, value, f"{size} bytes")

    def number(self, path: str, type_id: int, found: Type, value: Any, stated: Annotations) -> int:
        """An integer from what people write: a number, a name, a character."""
        if isinstance(value, str):
            names: dict[str, int] = {}
            if isinstance(found, Enum):
                names = dict(found.values)
            elif stated.format == "errno":
                names = {name: -number for number, name in ERRORS.items()}
            elif stated.format == "signal":
                names = {one.name: int(one) for one in signal.Signals}
            elif stated.format == "syscall":
                names = {name: number for number, name in syscall_names().items()}
            elif isinstance(found, Int) and found.char and len(value.encode()) == 1:
                return int.from_bytes(value.encode(), "little", signed=found.signed)
            if value in names:
                return names[value]
            near = nearest(value, list(names), 1)
            self.refuse(path, type_id, value, "a known name or a number" if names else "a number", near)
        if not hasattr(value, "__index__"):
            self.refuse(path, type_id, value, "a whole number")
        return int(value.__index__())

    def integer(self, path: str, type_id: int, found: Type, at: int, bits: int, number: int) -> None:
        signed = not isinstance(found, Pointer) and isinstance(found, Int | Enum) and found.signed
        low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
        if isinstance(found, Int) and found.bool:
            high = 1
        if not low <= number <= high:
            self.refuse(path, type_id, number, f"{low} to {high}")
        first, last = at // 8, (at + bits + 7) // 8
        mask = (1 << bits) - 1 << at % 8
        old = int.from_bytes(self.out[first:last], "little")
        new = old & ~mask | (number << at % 8 & mask)
        self.out[first:last] = new.to_bytes(last - first, "little")

    def address(self, path: str, kind: str, text: str) -> bytes:
        try:
            if kind == "mac":
                data = bytes.fromhex(text.replace(":", " ").replace("-", " "))
                if len(data) != 6:
                    raise ValueError(text)
                return data
            if kind == "ip" and ":" not in text:
                text = f"::ffff:{text}"
            return socket.inet_pton(socket.AF_INET if kind == "ipv4" else socket.AF_INET6, text)
        except (OSError, ValueError):
            raise MapTypeError(f"{path or 'the value'} takes an address ({kind}), not {text!r}") from None

    def array(self, path: str, type_id: int, found: Array, at: int, value: Any, stated: Annotations) -> None:
        first, size = at // 8, self.btf.size(found)
        text = _is_text(self.btf, found, stated)
        if text and isinstance(value, str | bytes):
            data = value.encode() if isinstance(value, str) else value
            if len(data) > size:
                self.refuse(path, type_id, value, f"at most {size} bytes of text")
            self.out[first : first + len(data)] = data
            return
        if hasattr(value, "tolist"):  # NumPy's and Arrow's arrays
            value = value.tolist()
        if not isinstance(value, Sequence) or isinstance(value, str | bytes) or len(value) != found.count:
            wanted = "text or bytes" if text else "bytes" if text is False else "a list"
            self.refuse(path, type_id, value, f"{wanted} of {found.count}")
        width = 8 * self.btf.size(found.element)
        for index, item in enumerate(value):
            self.put(
                f"{path}.{index}" if path else str(index), found.element, at + index * width, 0, item, stated
            )

    def composite(self, path: str, found: Composite, at: int, value: Any) -> None:
        known = [member.name for member in fields(self.btf, found)]
        if isinstance(value, tuple) and hasattr(value, "_asdict"):
            value = value._asdict()
        elif is_dataclass(value) and not isinstance(value, type):
            value = {field.name: getattr(value, field.name) for field in dataclass_fields(value)}
        elif isinstance(value, tuple | list) and found.kind == "struct":
            order = _in_order(self.btf, found)
            if len(value) != len(order):
                self.refuse(path, found.id, value, f"its {len(order)} fields in order ({', '.join(order)})")
            value = dict(zip(order, value, strict=True))
        if not isinstance(value, Mapping):
            self.refuse(path, found.id, value, f"a dict of its fields ({', '.join(known)})")
        for name in value:
            if name not in known:
                raise MapTypeError(
                    f"{self.btf.describe(found)} has no field {name!r}",
                    hints=[
                        f"Did you mean {near[0]}?"
                        if isinstance(name, str) and (near := nearest(name, known, 1))
                        else f"Its fields are {', '.join(known)}."
                    ],
                )
        self.members(path, found, at, value)

    def members(self, path: str, found: Composite, at: int, value: Mapping[str, Any]) -> None:
        order = list(enumerate(found.members))
        if found.kind == "union":  # of several members the widest decides, as decode() gives all of them
            order.sort(key=lambda pair: _width(self.btf, pair[1]))
        for index, member in order:
            where = at + member.bit_offset
            if member.name and member.name in value:
                inner = f"{path}.{member.name}" if path else member.name
                stated = of(self.btf, found.id, index)
                self.put(inner, member.type, where, member.bit_size, value[member.name], stated)
            elif not member.name and isinstance(opened := self.btf.resolve(member.type), Composite):
                self.members(path, opened, where, value)

    def refuse(
        self, path: str, type_id: int, value: object, wanted: str, near: Sequence[str] = ()
    ) -> NoReturn:
        what = f"{path} ({self.btf.describe(type_id)})" if path else self.btf.describe(type_id)
        raise MapTypeError(
            f"{what} takes {wanted}, not {value!r}", hints=[f"Did you mean {name}?" for name in near]
        )
