"""What is inside a kernel image: the ELF vmlinux in a bzImage, and the types (BTF) in an ELF vmlinux.

The layout of a bzImage is that of Documentation/arch/x86/boot.rst: at 0x1f1 the number of setup sectors, at 0x248 and
0x24c the place of the compressed kernel, whose last four bytes are its size unpacked.
"""

from __future__ import annotations

import io
import lzma
import re
import struct
import zlib

from bpfnb.errors import BadValue

__all__ = ["btf_of", "release_of", "vmlinux_of"]


def vmlinux_of(image: bytes) -> bytes:
    """The ELF kernel in *image*, which is a bzImage or the ELF itself. Raises BadValue."""
    if image[:4] == b"\x7fELF":
        return image
    if image[0x202:0x206] != b"HdrS":
        raise BadValue("this file is no kernel: neither ELF nor a bzImage")
    start = (image[0x1F1] + 1) * 512 + struct.unpack_from("<I", image, 0x248)[0]
    payload = image[start : start + struct.unpack_from("<I", image, 0x24C)[0]]
    return _unpack(payload[:-4], struct.unpack("<I", payload[-4:])[0])


def _unpack(data: bytes, size: int) -> bytes:
    if data[:6] == b"\xfd7zXZ\0":
        return lzma.LZMADecompressor().decompress(data)
    if data[:4] == b"\x28\xb5\x2f\xfd":
        import pyarrow as pa

        return bytes(pa.Codec("zstd").decompress(data, decompressed_size=size))
    if data[:4] == b"\x02\x21\x4c\x18":
        import pyarrow as pa

        return bytes(pa.input_stream(io.BytesIO(data), compression="lz4").read())
    if data[:2] == b"\x1f\x8b":
        return zlib.decompressobj(31).decompress(data)
    if data[:3] == b"\x5d\0\0":
        return lzma.LZMADecompressor(lzma.FORMAT_ALONE).decompress(data)
    raise BadValue(f"the kernel is compressed in a way that is not known here ({data[:4].hex()})")


def btf_of(vmlinux: bytes) -> bytes:
    """The kernel's types: the section .BTF. Raises BadValue where it has none (CONFIG_DEBUG_INFO_BTF=n)."""
    offset, size, count, names = struct.unpack_from("<Q10xHHH", vmlinux, 0x28)
    headers = [struct.unpack_from("<IIQQQQ", vmlinux, offset + size * number) for number in range(count)]
    strings = headers[names][4] if headers else 0
    for name, _, _, _, place, length in headers:
        if vmlinux[strings + name : strings + name + 5] == b".BTF\0":
            return vmlinux[place : place + length]
    raise BadValue("this kernel has no type information", hints=["it needs CONFIG_DEBUG_INFO_BTF=y"])


def release_of(vmlinux: bytes) -> str:
    """The kernel's release, as ``uname -r`` gives it there."""
    found = re.search(rb"Linux version (\S+) \(", vmlinux)
    if not found:
        raise BadValue("this file is no Linux kernel")
    return found[1].decode()
