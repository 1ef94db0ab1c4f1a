"""What could make a program read wrong data without an error, found before it is compiled."""

from __future__ import annotations

import re
from collections.abc import Sequence

from bpfnb.bcc.headers import Headers, Program
from bpfnb.bcc.includes import misspelt
from bpfnb.bcc.kernel import Kernel
from bpfnb.bcc.scan import Text, scan
from bpfnb.bcc.virtual import own_headers
from bpfnb.btf import fields
from bpfnb.errors import Diagnostic, Location

__all__ = ["asserts", "check", "differing", "kept_records"]

# Names that clang or bcc define, or that headers are guarded with.
_NAMES = """__KERNEL__ __BPF_TRACING__ __x86_64__ __aarch64__ __s390x__ __powerpc__ __mips__ __riscv __loongarch__
    __clang__ __clang_major__ __GNUC__ __BPF__ __bpf__ __LITTLE_ENDIAN__ __BIG_ENDIAN__ __BYTE_ORDER__ __LP64__
    __ORDER_LITTLE_ENDIAN__ __ORDER_BIG_ENDIAN__ LINUX_VERSION_CODE KERNEL_VERSION LINUX_VERSION_CODE_OVERRIDE
    __cplusplus __has_builtin __has_attribute __has_include __riscv_xlen __linux__ __STDC_VERSION__
    CUR_CPU_IDENTIFIER"""
_KNOWN = frozenset(_NAMES.split())


def check(
    program: Program, headers: Headers, kernel: Kernel, name: str, switches: frozenset[str] = frozenset()
) -> list[Diagnostic]:
    """Warnings at the program's lines: misspelt headers, unknown macros in conditions, types that the kernel has twice.

    *switches* are macros that are known to be the program's own, defined or not.
    """
    text = headers.texts[0]
    conditions = _conditions(text, headers, kernel, name, switches | program.macros)
    includes = [
        Diagnostic(
            "warning", f"no kernel is known to have {header}; did you mean {meant}?", Location(name, line)
        )
        for header, meant, line in misspelt(text, program)
    ]
    return [*includes, *conditions, *_ambiguous(text, headers, kernel, name)]


def _conditions(
    text: Text, headers: Headers, kernel: Kernel, name: str, switches: frozenset[str]
) -> list[Diagnostic]:
    defined = {
        rest.split("(")[0].split()[0] for kind, rest in text.source.directives if kind == "define" and rest
    }
    known = _KNOWN | defined | headers.macros | switches | _of_bcc()
    for other in headers.texts[1:]:
        known |= other.definitions.macros
    found: dict[str, Diagnostic] = {}
    for word, line in text.conditions:
        if word in found or word in known or (word.startswith("CONFIG_") and kernel.config_known):
            continue
        if word.startswith("CONFIG_"):
            why = "this kernel does not tell how it was configured"
        elif kernel.enumerator(word):
            why = "it is an enumerator of this kernel, which the preprocessor cannot see"
        else:
            why = "if it is a macro of the kernel's headers, this condition takes the wrong branch"
        message = f"{word} is defined nowhere here: {why}; say -D{word} or -U{word} to decide"
        found[word] = Diagnostic("warning", message, Location(name, line))
    return list(found.values())


def _of_bcc() -> frozenset[str]:
    return frozenset().union(*(frozenset(scan(text).bodies) for text in own_headers().values()))


def _ambiguous(text: Text, headers: Headers, kernel: Kernel, name: str) -> list[Diagnostic]:
    found = []
    for tag in headers.types:
        kind, _, struct = tag.partition(" ")
        variants = kernel.variants(kind, struct) if struct in text.words else []
        if len(variants) < 2:
            continue
        message = f"this kernel has {len(variants)} different types '{tag}'; the first of them is taken"
        if modules := [name for one in variants if (name := kernel.module_of(one))]:
            message = (
                f"modules {', '.join(modules)} have different types '{tag}'; that of {modules[0]} is taken"
            )
        found.append(Diagnostic("warning", message, Location(name, text.first_line(struct))))
    return found


# A program's own definition of a kernel's type. Only clang knows its layout, so clang is asked, in text behind the
# program's: a call of a function with diagnose_if(condition, message, "warning") warns where the condition holds.
_MARK = "bpfnb layout:"


def asserts(headers: Headers, kernel: Kernel) -> tuple[str, dict[str, Diagnostic]]:
    """C to put behind the program's text, and the warning that each message of its stands for (without a place)."""
    text = headers.texts[0]
    checks: list[str] = []
    meant: dict[str, Diagnostic] = {}
    for tag in sorted(text.definitions.tags):
        kind, struct = tag.split()
        found = kernel.tag(kind, struct) if kind != "enum" else None
        if found is None:
            continue
        members = {member.name: member for member in fields(*found)}
        line = text.first_line(struct)
        for name in text.members(tag):
            member = members.get(name)
            key = f"{_MARK}{tag}.{name}"
            if member is None or member.bit_size:
                continue
            at, size = member.bit_offset // 8, found[0].size(member.type)
            condition = f"__builtin_offsetof({tag}, {name}) != {at} || sizeof((({tag} *)0)->{name}) != {size}"
            checks.append(
                f"static __attribute__((always_inline)) int __bpfnb_check{len(checks)}(void) "
                f'__attribute__((diagnose_if({condition}, "{key}", "warning")));'
            )
            message = f"{tag} is defined here with {name} elsewhere or of another size than in kernel {kernel.release}"
            message += f", where it is at byte {at} and takes {size}"
            meant[key] = Diagnostic("warning", message, Location("", line))
    if not checks:
        return "", {}
    calls = " ".join(f"(void)sizeof(__bpfnb_check{number}());" for number in range(len(checks)))
    body = f"static __attribute__((always_inline, unused)) void __bpfnb_checks(void) {{ {calls} }}"
    return "\n" + "\n".join([*checks, body]) + "\n", meant


def kept_records(texts: Sequence[Text]) -> str:
    """C to put behind a program that sends or writes records, so that its BTF has their structs.

    clang keeps the types of maps: the sections are as bcc's own for those, which are never loaded. *texts* are the
    program and the headers of its own.
    """
    sends = re.compile(r"\bBPF_(?:PERF|RINGBUF)_OUTPUT\b|\bbpf_seq_write\b")
    if not any(sends.search(text.code) for text in texts):
        return ""
    lines = []
    for number, record in enumerate(dict.fromkeys(record for text in texts for record in text.records)):
        name = f"__bpfnb_record{number}"
        lines.append(
            f"struct ____btf_map_{name} {{ int key; {record} value; }}; struct ____btf_map_{name} "
            f'__attribute__((section(".maps.{name}"), used)) ____btf_map_{name} = {{ }};'
        )
    return "\n" + "\n".join(lines) + "\n" if lines else ""


def differing(log: str, meant: dict[str, Diagnostic], name: str) -> list[Diagnostic]:
    """The warnings among *meant* that clang gave."""
    return [
        Diagnostic(
            warning.severity, warning.message, Location(name, warning.where.line if warning.where else 0)
        )
        for key, warning in meant.items()
        if key in log
    ]
