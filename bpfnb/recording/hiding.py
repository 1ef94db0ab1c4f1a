"""Values made unreadable: hashed with a key, or cut to the network that an address is in.

Each distinct value is worked on once. What comes out has the type that went in: integers keep their width and sign,
text becomes 16 hexadecimal digits (fewer where the field is shorter), bytes keep their length.
"""

from __future__ import annotations

import hmac
import ipaddress
import re
from collections.abc import Callable
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from bpfnb.frames.columns import TEXT, Column

__all__ = ["Hasher", "address_bytes", "address_text", "kind_of", "masked", "series", "words"]

DIGITS: Final = 16  # of a text's hash
_MAC: Final = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}", re.IGNORECASE)
REMEMBERED: Final = 1 << 20  # distinct values whose hashes are kept


class Hasher:
    """HMAC-SHA256 with *key*: equal values give equal hashes, whatever column they stand in."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._known: dict[bytes, bytes] = {}

    def digest(self, value: bytes, size: int = 32) -> bytes:
        """*size* bytes that say which of the values seen *value* is, and nothing else to who has no key."""
        found = self._known.get(value)
        if found is None:
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            found = self._known[value] = hmac.digest(self._key, value, "sha256")
        if size <= len(found):
            return found[:size]
        more = (hmac.digest(self._key, found + bytes([n]), "sha256") for n in range(1, -(-size // 32)))
        return (found + b"".join(more))[:size]

    def text(self, value: str, size: int = DIGITS) -> str:
        """*size* digits; nothing for nothing."""
        return self.digest(value.encode(errors="surrogateescape")).hex()[: min(size, DIGITS)] if value else ""

    def numbers(self, values: npt.NDArray[Any], bits: int = 64) -> npt.NDArray[Any]:
        """Integers of the same dtype, of at most so many *bits*."""
        distinct, places = np.unique(values, return_inverse=True)
        hashed: Any = np.array(
            [int.from_bytes(self.digest(b"%d" % one)[:8], "little") for one in distinct.tolist()], np.uint64
        )
        if bits < 8 * values.dtype.itemsize:
            drop = np.uint64(64 - bits)
            hashed = hashed << drop
            signed = values.dtype.kind == "i"
            hashed = (hashed.view(np.int64) >> drop.astype(np.int64)) if signed else hashed >> drop
        narrow = hashed.astype(f"u{values.dtype.itemsize}").view(values.dtype)
        return np.ascontiguousarray(narrow[places.reshape(values.shape)])

    def column(self, column: Column, values: Any) -> Any:
        """A decoded column, numbers of NumPy or text and bytes of pyarrow."""
        if isinstance(values, np.ndarray):
            return self.numbers(values, column.bits[1] if column.bits else 64)
        return self.arrow(values, column.size if column.kind == "text" and column.size else DIGITS)

    def arrow(self, values: pa.Array, digits: int = DIGITS) -> pa.Array:
        """Text, bytes, integers, and lists of them."""
        kind = values.type
        if pa.types.is_fixed_size_list(kind):
            inner = self.arrow(values.flatten(), digits)
            return pa.FixedSizeListArray.from_arrays(inner, kind.list_size)
        if pa.types.is_list(kind) or pa.types.is_large_list(kind):
            inner = self.arrow(values.flatten(), digits)
            offsets = pa.compute.subtract(values.offsets, values.offsets[0])
            made = pa.ListArray if pa.types.is_list(kind) else pa.LargeListArray
            return made.from_arrays(offsets, inner, mask=values.is_null() if values.null_count else None)
        if pa.types.is_integer(kind):
            filled = values.fill_null(0).to_numpy(zero_copy_only=False)
            mask = values.is_null().to_numpy(zero_copy_only=False) if values.null_count else None
            return pa.array(self.numbers(filled), kind, mask=mask)
        if pa.types.is_fixed_size_binary(kind):
            return words(values, lambda one: self.digest(one, kind.byte_width))
        if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
            return words(values, lambda one: self.digest(one, DIGITS // 2))
        return words(values, lambda one: self.text(one, digits))


def words(values: pa.Array, change: Callable[[Any], Any]) -> pa.Array:
    """Text or bytes, each distinct value changed once; what is missing stays missing."""
    encoded = values.dictionary_encode()
    changed = pa.array([change(one) for one in encoded.dictionary.to_pylist()], values.type)
    return changed.take(encoded.indices)


def masked(column: Column, values: Any) -> Any:
    """Decoded addresses with their networks alone: /24 of IPv4, /48 of IPv6, a MAC address's maker."""
    if isinstance(values, np.ndarray):  # ipv4_t, in the order of the network
        kept: npt.NDArray[Any] = values & np.frombuffer(b"\xff\xff\xff\0", np.uint32)[0].astype(values.dtype)
        return kept
    return words(values, address_text if column.kind == "text" else address_bytes)


def address_bytes(address: bytes) -> bytes:
    """The network of 4, 6 (MAC) or 16 bytes; IPv4 within IPv6 (``::ffff:10.0.0.1``) keeps its /24."""
    if len(address) == 16:
        mapped = address[:12] == bytes(10) + b"\xff\xff"
        return address[:15] + b"\0" if mapped else address[:6] + bytes(10)
    return address[:3] + bytes(len(address) - 3)


def address_text(text: str) -> str:
    """``10.0.0.1:443`` is ``10.0.0.0:443``, ``[2001:db8::1]:443`` is ``[2001:db8::]:443``; what is none is ``*``."""
    if not text:
        return text
    host, port = text, ""
    if text.startswith("["):
        host, bracket, port = text[1:].partition("]")
        if not bracket or (port and not (port[0] == ":" and port[1:].isdigit())):
            return "*"
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
        if not port.isdigit():
            return "*"
        port = f":{port}"
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return f"{text[:9]}00:00:00" if _MAC.fullmatch(text) else "*"
    network = str(ipaddress.ip_address(address_bytes(address.packed)))
    return f"[{network}]{port}" if text.startswith("[") else f"{network}{port}"


def series(values: pd.Series[Any], change: Callable[[pa.Array], pa.Array]) -> Any:
    """A column of a DataFrame through *change*, with the dtype that it had."""
    if isinstance(values.dtype, pd.CategoricalDtype):
        names = change(pa.array(values.cat.categories, from_pandas=True))
        places, kept = pd.factorize(names.to_pandas())  # two names can become one
        codes = values.cat.codes.to_numpy()
        index = (
            pd.Index(TEXT.__from_arrow__(pa.array(kept, names.type))) if _text(names.type) else pd.Index(kept)
        )
        return pd.Categorical.from_codes(np.where(codes < 0, -1, places[codes]), categories=index)
    array = pa.array(values, from_pandas=True)
    changed = change(array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array)
    if isinstance(values.dtype, np.dtype) and values.dtype.kind in "iu":
        return changed.to_numpy(zero_copy_only=False)
    if _text(changed.type):
        return TEXT.__from_arrow__(changed)
    if isinstance(values.dtype, np.dtype):
        return pd.Series(changed.to_pandas().to_numpy(), index=values.index, dtype=values.dtype)
    return pd.array(changed.to_pandas(), dtype=values.dtype)


def _text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def kind_of(column: pd.Series[Any]) -> str:
    """What a column of a frame holds."""
    kind = column.dtype
    if isinstance(kind, pd.CategoricalDtype):
        kind = kind.categories.dtype
    if isinstance(kind, pd.StringDtype):
        return "text"
    if isinstance(kind, pd.ArrowDtype):
        arrow = kind.pyarrow_dtype
    elif pd.api.types.is_bool_dtype(kind) or pd.api.types.is_float_dtype(kind):
        return "float"
    elif pd.api.types.is_integer_dtype(kind):
        return "int"
    elif kind.kind == "O":
        try:
            arrow = pa.array(column.dropna(), from_pandas=True).type
        except (pa.ArrowInvalid, pa.ArrowTypeError):  # values of several types
            return "unknown"
    else:
        return "other"
    if pa.types.is_null(arrow):
        return "unknown"
    if pa.types.is_string(arrow) or pa.types.is_large_string(arrow):
        return "text"
    if pa.types.is_list(arrow) or pa.types.is_large_list(arrow) or pa.types.is_fixed_size_list(arrow):
        return "list"
    if pa.types.is_binary(arrow) or pa.types.is_large_binary(arrow) or pa.types.is_fixed_size_binary(arrow):
        return "bytes"
    return "int" if pa.types.is_integer(arrow) else "other"
