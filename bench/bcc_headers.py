"""Headers from BTF against real ones, over all programs of Debian's bcc tools: ``python -m bench.bcc_headers``.

It downloads a kernel of the distribution and its headers into the cache (85 MB) and takes about 15 minutes. Nothing
is installed. Three tables:

- identity: headers from that kernel's BTF against that kernel's real headers, by the bytecode of each function;
- compiled: programs that compile on the running kernel, with our headers, with the static tree, with Debian's;
- time: the median of a program's compile time with each.

``python -m bench.bcc_headers 20`` takes every 20th program only; ``--dump DIR`` keeps what differs or fails.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence
from pathlib import Path

from bench import distribution
from bench.bcc_compile import Compiled, compile_all
from bench.bcc_programs import Recorded, record
from bpfnb.bcc.find import module
from bpfnb.bcc.headers import Program, for_program, static_tree
from bpfnb.bcc.kernel import Kernel

__all__ = ["compare", "identity", "main"]

OURS = ("-Werror=implicit-function-declaration",)


def compile_with(programs: Sequence[Recorded], kernel: Kernel) -> list[Compiled]:
    """With headers made for each program from a kernel's BTF."""
    module()
    jobs = []
    for program in programs:
        headers = for_program(Program(program.text, program.cflags), kernel)
        jobs.append((program.text, (*program.cflags, *OURS), headers.path))
    return compile_all(jobs)


def compile_against(programs: Sequence[Recorded], tree: Path) -> list[Compiled]:
    return compile_all([(program.text, program.cflags, tree) for program in programs])


def identity(programs: Sequence[Recorded]) -> tuple[list[Compiled], list[Compiled]]:
    """Ours and theirs, both for the distribution's kernel."""
    theirs = compile_against(programs, distribution.merged_headers())
    return compile_with(programs, distribution.kernel()), theirs


def compare(
    programs: Sequence[Recorded], ours: Sequence[Compiled], theirs: Sequence[Compiled]
) -> tuple[int, int, list[str]]:
    """Functions that are byte-identical, functions that both compile, and a line for each that differs."""
    same = total = 0
    lines = []
    for program, mine, real in zip(programs, ours, theirs, strict=True):
        if mine.functions is None or real.functions is None:
            continue
        for name in sorted(mine.functions.keys() & real.functions.keys()):
            total += 1
            if mine.functions[name] == real.functions[name]:
                same += 1
            else:
                lengths = (
                    f"{len(mine.functions[name]) // 16} and {len(real.functions[name]) // 16} instructions"
                )
                lines.append(f"{program.name}: {name} differs ({lengths})")
    return same, total, lines


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.bcc_headers", description=__doc__)
    parser.add_argument("every", nargs="?", type=int, default=1)
    parser.add_argument("--dump", type=Path)
    parser.add_argument("--identity-only", action="store_true")
    args = parser.parse_args(argv)
    programs, without = record(distribution.bcc_tools())
    programs = programs[:: args.every]
    print(f"{len(programs)} programs of {len({p.name.split()[0] for p in programs})} tools")
    for label, why in without.items():
        print(f"    no program: {label}: {why}")
    ours, theirs = identity(programs)
    same, total, lines = compare(programs, ours, theirs)
    print(f"identity: {same} of {total} functions byte-identical ({100 * same / max(1, total):.2f} %)")
    print("\n".join(f"    {line}" for line in lines))
    _table("of the distribution's kernel", programs, {"BTF": ours, "headers": theirs})
    _dump(args.dump, "identity", programs, {"btf": ours, "headers": theirs})
    if args.identity_only:
        return 0
    running = {
        "BTF": compile_with(programs, Kernel.running()),
        "static": compile_against(programs, static_tree(Kernel.running())),
        "headers": compile_against(programs, distribution.merged_headers()),
    }
    _table("of the running kernel", programs, running)
    _dump(args.dump, "running", programs, running)
    return 0


def _table(title: str, programs: Sequence[Recorded], results: dict[str, list[Compiled]]) -> None:
    for name, rows in results.items():
        good = sum(row.functions is not None for row in rows)
        seconds = statistics.median(row.seconds for row in rows)
        print(f"{title}, {name}: {good} of {len(rows)} programs compile, median {seconds:.2f} s")
        for program, row in zip(programs, rows, strict=True):
            if row.functions is None:
                errors = [line for line in row.log.splitlines() if "error" in line] or row.log.splitlines()[
                    -1:
                ]
                print(f"    {program.name}: {errors[0][:150] if errors else 'no message'}")


def _dump(
    folder: Path | None, kind: str, programs: Sequence[Recorded], results: dict[str, list[Compiled]]
) -> None:
    for number, program in enumerate(programs):
        if folder is None:
            return
        place = folder / kind / f"{number:03d}-{program.name.split()[0]}"
        place.mkdir(parents=True, exist_ok=True)
        (place / "program.c").write_text(program.text)
        for name, rows in results.items():
            (place / f"{name}.log").write_text(rows[number].log)
            text = "".join(
                f"{function} {code}\n" for function, code in (rows[number].functions or {}).items()
            )
            (place / f"{name}.functions").write_text(text)


if __name__ == "__main__":
    raise SystemExit(main())
