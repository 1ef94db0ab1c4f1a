"""The peers: bcc from the distribution, and libbpf's C consumer compiled on the spot."""

from __future__ import annotations

import ctypes
import functools
import importlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from types import ModuleType

__all__ = ["bcc", "c_consumer", "run_program"]

# The least that bcc's helpers need. Real kernel headers make bcc slower to compile, so this favours bcc.
KCONFIG = """
#define CONFIG_BPF_SYSCALL 1
#define CONFIG_ARCH_HAS_SYSCALL_WRAPPER 1
#define CONFIG_64BIT 1
#include <uapi/linux/types.h>
typedef __u8 u8; typedef __u16 u16; typedef __u32 u32; typedef __u64 u64;
typedef __s8 s8; typedef __s16 s16; typedef __s32 s32; typedef __s64 s64;
typedef unsigned long size_t, uintptr_t;
typedef _Bool bool;
typedef int pid_t;
"""


@functools.cache
def _headers() -> Path:
    root = Path(tempfile.mkdtemp(prefix="bench-bcc-"))
    machine = os.uname().machine
    arch = {"x86_64": "x86", "aarch64": "arm64"}[machine]
    uapi = root / "include/uapi"
    (uapi / "linux").mkdir(parents=True)
    for header in Path("/usr/include/linux").iterdir():
        if header.name != "bpf.h":  # bcc brings its own
            (uapi / "linux" / header.name).symlink_to(header)
    (uapi / "linux/bpf.h").touch()
    (uapi / "asm-generic").symlink_to("/usr/include/asm-generic")
    (root / f"arch/{arch}/include/uapi").mkdir(parents=True)
    (root / f"arch/{arch}/include/uapi/asm").symlink_to(f"/usr/include/{machine}-linux-gnu/asm")
    (root / f"arch/{arch}/include/asm").mkdir()
    (root / f"arch/{arch}/include/asm/page.h").write_text("#define PAGE_SIZE 4096\n")
    linux = root / "include/linux"
    linux.mkdir()
    (linux / "kconfig.h").write_text(KCONFIG)
    (linux / "log2.h").touch()
    (linux / "version.h").write_text(
        "#define LINUX_VERSION_CODE 0x061200\n#define KERNEL_VERSION(a,b,c) (((a) << 16) + ((b) << 8) + (c))\n"
    )
    return root


@functools.cache
def bcc() -> ModuleType:
    """The distribution's bcc, set up to compile without kernel headers."""
    os.environ["BCC_KERNEL_SOURCE"] = str(_headers())
    places = [path for path in Path("/usr/lib/python3/dist-packages").glob("bcc") if path.is_dir()]
    if not places:
        raise SystemExit("bench: python3-bpfcc is not installed")
    sys.path.append(str(places[0].parent))
    return importlib.import_module("bcc")


@functools.cache
def c_consumer() -> ctypes.CDLL:
    """libbpf's ring buffer consumer with a memcpy callback, as a shared library."""
    built = Path(tempfile.mkdtemp(prefix="bench-c-")) / "consumer.so"
    source = Path(__file__).with_name("consumer.c")
    subprocess.run(
        ["gcc", "-O2", "-shared", "-fPIC", str(source), "-o", str(built), "-l:libbpf.so.1"], check=True
    )
    library = ctypes.CDLL(str(built))
    library.consume.restype = ctypes.c_uint64
    library.consume.argtypes = [
        ctypes.c_int,
        ctypes.c_void_p,
        ctypes.c_uint64,
        ctypes.POINTER(ctypes.c_uint64),
    ]
    return library


class _TestRun(ctypes.Structure):
    _fields_ = [
        ("prog_fd", ctypes.c_uint32),
        ("retval", ctypes.c_uint32),
        ("data_size_in", ctypes.c_uint32),
        ("data_size_out", ctypes.c_uint32),
        ("data_in", ctypes.c_uint64),
        ("data_out", ctypes.c_uint64),
        ("repeat", ctypes.c_uint32),
        ("duration", ctypes.c_uint32),
        ("rest", ctypes.c_uint8 * 64),
    ]


def run_program(fd: int, times: int) -> None:
    """Run an XDP program *times* in the kernel, which is how both sides get exactly the same events."""
    packet = ctypes.create_string_buffer(64)
    attr = _TestRun(prog_fd=fd, data_size_in=64, data_in=ctypes.addressof(packet), repeat=times)
    syscall = ctypes.CDLL(None, use_errno=True).syscall
    number = {"x86_64": 321, "aarch64": 280}[os.uname().machine]
    if syscall(number, 10, ctypes.byref(attr), ctypes.sizeof(attr)) != 0:
        raise OSError(ctypes.get_errno(), "BPF_PROG_TEST_RUN")
