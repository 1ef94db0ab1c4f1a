"""The tree of kernel headers that bcc compiles against, made from BTF for one program or for all.

bcc wants a directory with ``include/linux/kconfig.h``, which it includes before anything else. So that one file
holds everything, and the headers that a program includes are empty files beside it.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from bpfnb.bcc import scan as scanning
from bpfnb.bcc.derived import derived
from bpfnb.bcc.emit import Emitter
from bpfnb.bcc.kept import kept
from bpfnb.bcc.kernel import Found, Kernel
from bpfnb.bcc.pack import Macro, close, pack
from bpfnb.bcc.scan import Definitions, Text, scan
from bpfnb.bcc.tree import home, place, write
from bpfnb.bcc.virtual import identity_of_library, own_headers
from bpfnb.kernel.system import mount_tracefs

__all__ = ["Headers", "Program", "for_program", "static_tree"]


_TAG = re.compile(r"\b(struct|union|enum)\s+([A-Za-z_]\w*)")
_ITERATOR = re.compile(r"\bBPF_ITER\s*\(\s*(\w+)\s*\)")

_BASICS = {
    **{f"__u{bits}": f"unsigned {name}" for bits, name in ((8, "char"), (16, "short"), (32, "int"), (64, "long long"))},
    **{f"__s{bits}": f"signed {name}" for bits, name in ((8, "char"), (16, "short"), (32, "int"), (64, "long long"))},
    **{f"{sign}{bits}": f"__{sign}{bits}" for sign in "us" for bits in (8, 16, 32, 64)},
    **{f"__{order}{bits}": f"__u{bits}" for order in ("be", "le") for bits in (16, 32, 64)},
    **{f"uint{bits}_t": f"__u{bits}" for bits in (8, 16, 32, 64)},
    **{f"int{bits}_t": f"__s{bits}" for bits in (8, 16, 32, 64)},
    **{f"u_int{bits}_t": f"__u{bits}" for bits in (8, 16, 32, 64)},
    "__wsum": "__u32", "__sum16": "__u16", "bool": "_Bool", "size_t": "unsigned long", "ssize_t": "long",
    "uintptr_t": "unsigned long", "intptr_t": "long", "ptrdiff_t": "long", "loff_t": "long long", "off_t": "long",
    "pid_t": "int", "uid_t": "unsigned int", "gid_t": "unsigned int", "dev_t": "__u32", "mode_t": "unsigned short",
    "umode_t": "unsigned short", "gfp_t": "unsigned int", "fmode_t": "unsigned int", "sector_t": "__u64",
    "time64_t": "__s64", "ktime_t": "__s64", "clockid_t": "int", "key_t": "int", "ino_t": "unsigned long",
    "u_char": "unsigned char", "u_short": "unsigned short", "u_int": "unsigned int", "u_long": "unsigned long",
    "ushort": "unsigned short", "uint": "unsigned int", "ulong": "unsigned long", "blk_opf_t": "__u32",
    "atomic_t": "struct { int counter; }", "__poll_t": "unsigned int", "socklen_t": "int",
    "sa_family_t": "unsigned short", "irqreturn_t": "int",
}  # fmt: skip
# What bcc's bpf.h and helpers.h are written with. Others are declared where the program names them.
_ALWAYS = (
    *(f"{u}{s}{bits}" for u in ("__", "") for s in "us" for bits in (8, 16, 32, 64)),
    *(f"__{order}{bits}" for order in ("be", "le") for bits in (16, 32, 64)),
    "__wsum", "__sum16", "bool", "size_t", "pid_t",
)  # fmt: skip

_HEAD = """/* Made by bpfnb from the BTF of kernel {release}. */
#ifndef __LINUX_KCONFIG_H
#define __LINUX_KCONFIG_H
#define __LINUX_COMPILER_TYPES_H
/* Tracepoints describe per-CPU pointers with gcc's address spaces, of which BPF has none. */
#undef __seg_gs
#define __seg_gs
#undef __seg_fs
#define __seg_fs
"""
_PROTOTYPES = """#define __aligned_u64 __u64 __attribute__((aligned(8)))
#define __aligned_be64 __be64 __attribute__((aligned(8)))
#define __aligned_le64 __le64 __attribute__((aligned(8)))
void *memcpy(void *, const void *, unsigned long);
void *memset(void *, int, unsigned long);
void *memmove(void *, const void *, unsigned long);
int memcmp(const void *, const void *, unsigned long);
"""
# Directories of the kernel's include path. A header elsewhere is the program's own, and missed where it is missing.
_FOLDERS = """acpi asm asm-generic clocksource crypto drm dt-bindings generated keys kunit kvm linux math-emu media
    memory misc net pcmcia ras rdma scsi soc sound target trace uapi ufs vdso video xen"""
_KERNEL_FOLDERS = frozenset(_FOLDERS.split())


@dataclass(frozen=True)
class Program:
    """What is known of a program before it is compiled: its text, clang's options, and where it looks for headers."""

    text: str
    cflags: tuple[str, ...] = ()
    directory: Path | None = None

    @property
    def folders(self) -> list[Path]:
        """Where its own headers may be: bcc puts the working directory first."""
        base = self.directory or Path.cwd()
        given = [flag[2:] for flag in self.cflags if flag.startswith("-I") and len(flag) > 2]
        return [base, *(base / folder for folder in given)]

    @property
    def macros(self) -> frozenset[str]:
        """Names that options define, or undefine."""
        return frozenset(re.split(r"[=(]", flag[2:])[0] for flag in self.cflags if flag[:2] in ("-D", "-U"))


@dataclass(frozen=True)
class Headers:
    """The tree (``path``, what BCC_KERNEL_SOURCE wants) and what was decided for it.

    ``types`` are the kernel types in it by their C names, ``macros`` the names of the macros, ``texts`` the program's
    own texts: itself first, then the headers that it includes. ``kernel`` is the one that they were made for, with the
    modules that they were found in.
    """

    path: Path
    types: Mapping[str, Found]
    macros: frozenset[str]
    texts: tuple[Text, ...]
    kernel: Kernel


def for_program(program: Program, kernel: Kernel) -> Headers:
    """The tree with what one program names, and nothing else. Takes some milliseconds; equal trees are one."""
    own = _own(identity_of_library())
    texts = _texts(program)
    includes = frozenset(name for text in texts for name in text.includes)
    later = [own["bcc/helpers.h"], *([own["bcc/proto.h"]] if "bcc/proto.h" in includes else [])]
    before = own["bcc/bpf.h"].definitions
    after = Definitions(macros=program.macros)
    for text in (*texts, *later):
        after |= text.definitions
    formats = scan(_formats(texts))
    probed = frozenset(word.split("__", 1)[-1] for text in texts for word in text.words)
    kernel = kernel.reaching(_foreign(texts, kernel, own, before | after) | _enums(formats), probed)
    # Names in the bodies of bcc's macros count where the program uses the macro: PT_REGS_PARM1 reads ctx->di.
    bodies = own["bcc/helpers.h"].bodies
    named = set(_closure(frozenset().union(*(text.words for text in texts)), bodies))
    macros = _macros(kernel, named | own["bcc/helpers.h"].words, before | after)
    wide = close(macros, named)
    members = frozenset(named.union(*(macro.words for macro in wide.values())))
    words = members | formats.words

    code = "\n".join([*(text.code for text in texts), *(macro.text for macro in wide.values())])
    tags = {*_TAG.findall(code), *(("struct", f"bpf_iter__{name}") for name in _ITERATOR.findall(code))}
    emitter = Emitter(kernel, members, before, after)
    for kind, name in sorted(tags):
        if found := kernel.tag(kind, name):
            emitter.claim(found)
    basics = _basics(emitter, kernel, words | {word for text in later for word in text.words}, after)
    for name in sorted(words | own["bcc/helpers.h"].words):
        if found := kernel.enumerator(name):
            emitter.want(found)
    for name in sorted(words):
        if found := kernel.typedef(name):
            emitter.want(found)
    used = {tag for name, body in _bodies(own["bcc/helpers.h"]).items() if name in named for tag in body}
    for kind, name in sorted({*tags, *used, ("struct", "pt_regs")}):
        if found := kernel.tag(kind, name):
            emitter.want(found)
    for kind, name in sorted({*_tags(own["bcc/helpers.h"]), *_tags(formats)}):
        if (
            kind != "enum"
            and f"{kind} {name}" not in after.tags
            and name in words | own["bcc/helpers.h"].words
        ):
            emitter.declare(kind, name)
    for kind, name in sorted(_tags(formats)):
        if kind == "enum" and (found := kernel.tag(kind, name)):
            emitter.want(found)
    if (
        further := kernel.reaching(emitter.unknown)
    ) is not kernel:  # pointers into modules, perhaps dereferenced
        return for_program(program, further)
    types = emitter.take()
    files = _files(kernel, words | members | own["bcc/helpers.h"].words, basics, types, macros)
    included = includes.union(*(text.includes for text in later))
    files |= {f"include/{name}": "" for name in _stubs(included, program) if f"include/{name}" not in files}
    return Headers(write(files), emitter.emitted, frozenset(macros), tuple(texts), kernel)


def static_tree(kernel: Kernel | None = None) -> Path:
    """A tree with all types of a kernel (the running one), for programs that are compiled where bpfnb cannot see them.

    Point BCC_KERNEL_SOURCE at it. Made once for each kernel (1.5 s); a program compiles against it in about half a
    second. A program that defines a type of the kernel's own, or includes a header that the tree has no file for,
    does not compile with it. Types of modules are in it for ``Kernel.running().complete()``, which makes it twice as
    large and as slow where a hundred modules are loaded.
    """
    kernel = kernel or Kernel.running()
    own = _own(identity_of_library())
    identity = hashlib.sha256(
        "\0".join([kernel.identity, *sorted(own_headers().values()), _digest_of_pack()]).encode()
    )
    path = home() / f"static-{identity.hexdigest()[:32]}"
    if path.is_dir():
        return path
    after = own["bcc/helpers.h"].definitions | own["bcc/proto.h"].definitions
    emitter = Emitter(kernel, None, own["bcc/bpf.h"].definitions, after)
    everything = frozenset(_BASICS)
    basics = _basics(emitter, kernel, everything, after)
    for btf in (kernel.btf, *kernel.reached):
        for kind in ("enum", "enum64", "struct", "union", "typedef"):
            for number in btf.named(kind).values():
                emitter.want((btf, number))
        for kind in ("enum", "enum64"):
            for number in btf.ids(kind):
                emitter.want((btf, number))
    macros = _macros(kernel, pack(kernel.machine), own["bcc/bpf.h"].definitions | after)
    files = _files(kernel, frozenset(kernel.config), basics, emitter.take(), macros)
    names = Path(__file__).with_name("headers.txt").read_text().split()
    files |= {f"include/{name}": "" for name in names if f"include/{name}" not in files}
    return place(files, path)


@lru_cache(maxsize=1)
def _own(identity: str) -> Mapping[str, Text]:
    """bcc's own headers by name, of the library that *identity* names."""
    texts = {name: scan(text) for name, text in own_headers().items()}

    def make() -> dict[str, Any]:
        return {name: text.priming() for name, text in texts.items()}

    known = kept(f"own headers {identity}", Path(scanning.__file__), make)
    for name, text in texts.items():
        text.prime(known[name])
    return texts


def _texts(program: Program) -> list[Text]:
    """The program and the headers of its own that it includes."""
    found, seen = [scan(program.text)], set[Path]()
    for text in found:
        for name in text.includes:
            path = next((folder / name for folder in program.folders if (folder / name).is_file()), None)
            if path is not None and path not in seen:
                seen.add(path)
                found.append(scan(path.read_text(errors="replace")))
    return found


def _stubs(includes: Iterable[str], program: Program) -> list[str]:
    return [
        name
        for name in includes
        if name.split("/")[0] in _KERNEL_FOLDERS
        and ".." not in name
        and not any((folder / name).is_file() for folder in program.folders)
    ]


def _formats(texts: Iterable[Text]) -> str:
    """C declarations of the fields of the tracepoints that are named, from the kernel's own description of them."""
    wanted = {point for text in texts for point in text.tracepoints}
    if not wanted:
        return ""
    events = mount_tracefs() / "events"
    found = []
    for category, event in sorted(wanted):
        with contextlib.suppress(OSError):
            found += re.findall(r"\tfield:([^;]*);", (events / category / event / "format").read_text())
    return ";\n".join(found)


def _closure(words: frozenset[str], bodies: Mapping[str, frozenset[str]]) -> frozenset[str]:
    found, waiting = set(words), [word for word in words if word in bodies]
    while waiting:
        fresh = bodies[waiting.pop()] - found
        found |= fresh
        waiting += [word for word in fresh if word in bodies]
    return frozenset(found)


def _foreign(
    texts: Iterable[Text], kernel: Kernel, own: Mapping[str, Text], defined: Definitions
) -> set[tuple[str, str]]:
    """What only a module can have, of what a program names: (kind, name) each.

    Tags, typedefs that end as they do and enumerators that are written as they are; other words would be the
    program's variables, and every program would have all modules searched. Its own definitions of what looks like a
    module's are compared with that module's.
    """
    known = defined.names | defined.macros | _BASICS.keys() | pack(kernel.machine).keys()
    known |= frozenset().union(*(text.words for text in own.values()))
    known |= {tag.split()[1] for tag in defined.tags}
    found = set()
    for text in texts:
        for kind, name in _TAG.findall(text.code):
            if f"{kind} {name}" not in defined.tags or kernel.resembles_module(name):
                found.add((kind, name))
        for name in text.words - known - {word for word, _ in text.conditions}:
            if name.endswith("_t"):
                found.add(("typedef", name))
            elif name.isupper() and "_" in name and not name.startswith("CONFIG_"):
                found.add(("value", name))
    return found


def _enums(text: Text) -> set[tuple[str, str]]:
    return {tag for tag in _tags(text) if tag[0] == "enum"}


@lru_cache(maxsize=8)
def _tags(text: Text) -> frozenset[tuple[str, str]]:
    return frozenset(_TAG.findall(text.code))


@lru_cache(maxsize=4)  # of helpers.h, which is the same for every program
def _bodies(text: Text) -> Mapping[str, frozenset[tuple[str, str]]]:
    """The tags that each macro of a text names."""
    found: dict[str, str] = {}
    for kind, rest in text.source.directives:
        if kind == "define":
            name = re.split(r"\W", rest, maxsplit=1)[0]
            found[name] = found.get(name, "") + rest
    return {name: frozenset(_TAG.findall(body)) for name, body in found.items() if "struct" in body}


def _macros(kernel: Kernel, words: Iterable[str], taken: Definitions) -> dict[str, Macro]:
    """The pack's macros that are needed, but for what BTF has or another text defines."""
    chosen = {}
    for name, macro in sorted(close(pack(kernel.machine), frozenset(words)).items()):
        if name in taken.macros or name in taken.names or kernel.enumerator(name):
            continue
        value = derived(kernel, name)
        chosen[name] = Macro(f"#define {name} {value}", macro.words) if value else macro
    return chosen


def _basics(emitter: Emitter, kernel: Kernel, words: frozenset[str], after: Definitions) -> str:
    """The typedefs that everything is written with, bcc's bpf.h first of all."""
    lines = []
    for name, meaning in _BASICS.items():
        if (name not in _ALWAYS and name not in words) or name in after.names or name in after.macros:
            continue
        if found := kernel.typedef(name):
            emitter.want(found)
            lines.append(emitter.take())
        else:
            lines.append(f"typedef {meaning} {name};\n")
    return "".join(lines)


def _files(
    kernel: Kernel, words: frozenset[str], basics: str, types: str, macros: Mapping[str, Macro]
) -> dict[str, str]:
    config = _config(kernel, words | {word for macro in macros.values() for word in macro.words})
    defines = "".join(f"{macro.text}\n" for macro in macros.values())
    kconfig = "".join(
        [_HEAD.format(release=kernel.release), config, basics, _PROTOTYPES,
         "#include <bcc/bpf.h>\n", types, defines, "#endif\n"]
    )  # fmt: skip
    version = (
        f"#define LINUX_VERSION_CODE {kernel.version}\n"
        "#define KERNEL_VERSION(a, b, c) (((a) << 16) + ((b) << 8) + ((c) > 255 ? 255 : (c)))\n"
        f"#define LINUX_VERSION_MAJOR {kernel.version >> 16}\n"
        f"#define LINUX_VERSION_PATCHLEVEL {kernel.version >> 8 & 255}\n"
        f"#define LINUX_VERSION_SUBLEVEL {kernel.version & 255}\n"
    )
    empty = ("linux/types.h", "linux/log2.h", "asm/page.h", "uapi/linux/bpf.h", "uapi/linux/if_packet.h")
    return {
        "include/linux/kconfig.h": kconfig,
        "include/linux/version.h": f"#ifndef LINUX_VERSION_CODE\n{version}#endif\n",
        "include/linux/bpf_common.h": Path(__file__).with_name("bpf_common.h").read_text(),
        **{f"include/{name}": "" for name in empty},
    }


def _config(kernel: Kernel, words: frozenset[str]) -> str:
    """autoconf.h, of the settings that are named."""
    lines = []
    for name in sorted(word.removesuffix("_MODULE") for word in words if word.startswith("CONFIG_")):
        value = kernel.config.get(name)
        if value == "m":
            lines.append(f"#define {name}_MODULE 1\n")
        elif value is not None:
            lines.append(f"#define {name} {'1' if value == 'y' else value}\n")
    return "".join(dict.fromkeys(lines))


def _digest_of_pack() -> str:
    folder = Path(__file__).parent
    parts = sorted([*folder.glob("*.h"), *folder.glob("*.py"), folder / "headers.txt"])
    return hashlib.sha256(b"\0".join(path.read_bytes() for path in parts)).hexdigest()
