"""USDT probes in bcc's dialect: every kind of argument, counts of all processes and of one, semaphores, descriptors."""

from __future__ import annotations

import gc
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from workloads import Worker, await_true, left_over, probe_library, u64

import bpfnb.bcc
from bpfnb.bcc.engine import compile_cell
from bpfnb.bcc.object import BccObject
from bpfnb.compile import Source
from bpfnb.errors import AttachError, CompileError
from bpfnb.kernel import ids
from bpfnb.kernel.binaries import Binary

pytestmark = [
    pytest.mark.usefixtures("bcc_installed"),
    pytest.mark.filterwarnings("ignore:not a bytes object:DeprecationWarning"),  # bcc's, of itself
    pytest.mark.skipif(platform.machine() != "x86_64", reason="the probes are written for x86-64"),
]

N = 200

# Probes whose arguments are where the notes say, whatever the compiler does: the registers are the calling convention's.
_LIBRARY = r"""
#define NOTE(name, semaphore, arguments) \
    "990: nop\n" \
    ".pushsection .note.stapsdt,\"\",\"note\"\n" \
    ".balign 4\n" \
    ".4byte 992f-991f, 994f-993f, 3\n" \
    "991: .asciz \"stapsdt\"\n" \
    "992: .balign 4\n" \
    "993: .8byte 990b, 0, " semaphore "\n" \
    ".asciz \"kinds\"\n" \
    ".asciz \"" name "\"\n" \
    ".asciz \"" arguments "\"\n" \
    "994: .balign 4\n" \
    ".popsection\n"

int kinds_global = -5;
unsigned long kinds_pair[2] = {1, 1UL << 40};
int kinds_row[4] = {10, 20, 30, 40};
unsigned short kinds_counted_semaphore __attribute__((section(".probes")));

/* kinds_all(rdi, rsi, rdx, rcx, r8, r9) */
void kinds_all(long, unsigned long, long, long, int *, long);
__asm__(".globl kinds_all\n.type kinds_all, @function\nkinds_all:\n"
    NOTE("all", "0", "-4@%edi 8@%rsi -2@%dx 1@%cl -4@$-7 -4@4(%r8) 4@(%r8,%r9,4) -4@kinds_global(%rip) 8@kinds_pair+8(%rip) -1@%cl")
    "ret\n.size kinds_all, .-kinds_all\n");

/* one probe at two places, which keep the argument in different registers and variables */
void kinds_first(long, long);
__asm__(".globl kinds_first\n.type kinds_first, @function\nkinds_first:\n"
    NOTE("twice", "0", "8@%rdi -4@kinds_global(%rip)")
    "ret\n.size kinds_first, .-kinds_first\n");
void kinds_second(long, long);
__asm__(".globl kinds_second\n.type kinds_second, @function\nkinds_second:\n nop\n nop\n"
    NOTE("twice", "0", "8@%rsi -4@kinds_global(%rip)")
    "ret\n.size kinds_second, .-kinds_second\n");

void kinds_text(const char *);
__asm__(".globl kinds_text\n.type kinds_text, @function\nkinds_text:\n"
    NOTE("text", "kinds_counted_semaphore", "8@%rdi 8f@%xmm0")
    "ret\n.size kinds_text, .-kinds_text\n");

void kinds_bare(void);
__asm__(".globl kinds_bare\n.type kinds_bare, @function\nkinds_bare:\n"
    NOTE("bare", "0", "")
    "ret\n.size kinds_bare, .-kinds_bare\n");

int all(int n) { for (int i = 0; i < n; i++) kinds_all(-i, 1UL << 33, -300, 200, kinds_row, 2); return n; }
int twice(int n) { for (int i = 0; i < n; i++) { kinds_first(1, 0); kinds_second(0, 1000); } return n; }
int text(const char *s) { if (kinds_counted_semaphore) kinds_text(s); return kinds_counted_semaphore; }
int bare(int n) { for (int i = 0; i < n; i++) kinds_bare(); return n; }
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("usdt")
    (folder / "kinds.c").write_text(_LIBRARY)
    made = folder / "libkinds.so"
    # -Bsymbolic: the notes' variables are the library's own, however they are reached
    subprocess.run(
        ["cc", "-O1", "-shared", "-fPIC", "-Wl,-Bsymbolic", "-o", made, folder / "kinds.c"], check=True
    )
    return made


@pytest.fixture
def worker(library):
    with Worker() as made:
        made.run(f"lib = ctypes.CDLL({str(library)!r})")
        yield made


@contextmanager
def loaded(
    text: str,
    places: Mapping[str, Sequence[str] | str],
    options: Mapping[str, Mapping[str, Any]] | None = None,
) -> Iterator[BccObject]:
    sections = {name: [at] if isinstance(at, str) else list(at) for name, at in places.items()}
    with compile_cell(Source(text, "test"), sections, options or {}).load("test") as obj:
        yield obj


def slots(obj: BccObject, count: int = 12) -> list[int]:
    """The table ``seen``, signed."""
    values = [obj.lookup("seen", slot.to_bytes(4, "little")) or b"" for slot in range(count)]
    return [int.from_bytes(value, "little", signed=True) for value in values]


ALL = """
BPF_ARRAY(seen, s64, 12);
int prog(struct pt_regs *ctx) {
    s32 one = 0, five = 0, six = 0, eight = 0; u64 two = 0, nine = 0; s16 three = 0; u8 four = 0; u32 seven = 0; s8 ten = 0;
    int errors = 0;
    errors += bpf_usdt_readarg(1, ctx, &one) != 0;
    errors += bpf_usdt_readarg(2, ctx, &two) != 0;
    errors += bpf_usdt_readarg(3, ctx, &three) != 0;
    errors += bpf_usdt_readarg(4, ctx, &four) != 0;
    errors += bpf_usdt_readarg(5, ctx, &five) != 0;
    errors += bpf_usdt_readarg(6, ctx, &six) != 0;
    errors += bpf_usdt_readarg(7, ctx, &seven) != 0;
    errors += bpf_usdt_readarg(8, ctx, &eight) != 0;
    errors += bpf_usdt_readarg(9, ctx, &nine) != 0;
    errors += bpf_usdt_readarg(10, ctx, &ten) != 0;
    seen.increment(0);
    seen.increment(1, one);
    seen.increment(2, two);
    seen.increment(3, three);
    seen.increment(4, four);
    seen.increment(5, five);
    seen.increment(6, six);
    seen.increment(7, seven);
    seen.increment(8, eight);
    seen.increment(9, nine);
    seen.increment(10, ten);
    seen.increment(11, errors);
    return 0;
}
"""


@pytest.mark.parametrize("one_process", [True, False])
def test_arguments_of_every_kind(worker, library, one_process):
    options = {"pid": worker.pid} if one_process else {}
    with loaded(ALL, {"prog": f"usdt/{library}:kinds:all"}, {"prog": options}) as obj:
        link = obj.attach("prog", **options)
        worker.run(f"lib.all({N})")
        each = [1, 0, 1 << 33, -300, 200, -7, 20, 30, -5, 1 << 40, -56, 0]
        expected = [N * value for value in each]
        expected[1] = -N * (N - 1) // 2
        assert slots(obj) == expected
        obj.detach(link)
        worker.run(f"lib.all({N})")
        assert slots(obj) == expected


def test_an_integer_of_another_width_takes_the_value(worker, library):
    text = """
    BPF_ARRAY(seen, s64, 3);
    int prog(struct pt_regs *ctx) {
        s64 wide = 1; s16 narrow = 1; u64 unsigned_one = 1;
        bpf_usdt_readarg(1, ctx, &wide);
        bpf_usdt_readarg(3, ctx, &narrow);
        bpf_usdt_readarg(4, ctx, &unsigned_one);
        seen.increment(0, wide);
        seen.increment(1, narrow);
        seen.increment(2, unsigned_one);
        return 0;
    }
    """
    with loaded(text, {"prog": f"usdt/{library}:kinds:all"}) as obj:
        obj.attach("prog")
        worker.run("lib.all(3)")
        assert slots(obj, 3) == [-3, -900, 600]


def test_places_that_keep_an_argument_differently(worker, library):
    """Without a process, where bcc's own readers do not compile."""
    text = """
    BPF_ARRAY(seen, s64, 2);
    int prog(struct pt_regs *ctx) {
        s64 value = 0; s32 global = 0;
        bpf_usdt_readarg(1, ctx, &value);
        bpf_usdt_readarg(2, ctx, &global);
        seen.increment(0, value);
        seen.increment(1, global);
        return 0;
    }
    """
    with loaded(text, {"prog": f"usdt/{library}:kinds:twice"}) as obj:
        link = obj.attach("prog")
        assert len(obj.link_ids(link)) == 2
        worker.run(f"lib.twice({N})")
        assert slots(obj, 2) == [1001 * N, -5 * 2 * N]
        with pytest.raises(AttachError, match="can have no cookie"):
            obj.attach("prog", cookie=7)
        assert len(obj.link_ids()) == 2


TEXT = """
struct text { char text[8]; };
BPF_HASH(seen, struct text, u64);
int prog(struct pt_regs *ctx) {
    struct text key = {};
    bpf_usdt_readarg_p(1, ctx, &key, sizeof(key.text));
    seen.increment(key);
    return 0;
}
"""


def test_text_behind_a_pointer_and_the_semaphore_of_every_process(worker, library):
    with Worker() as other, loaded(TEXT, {"prog": f"usdt/{library}:kinds:text"}) as obj:
        other.run(f"lib = ctypes.CDLL({str(library)!r})")
        assert worker.call("lib.text(b'before')") == 0
        link = obj.attach("prog")
        assert worker.call("lib.text(b'one')") == 1
        assert other.call("lib.text(b'two')") == 1
        with Worker() as late:  # a process that maps the file later is counted too
            late.run(f"lib = ctypes.CDLL({str(library)!r})")
            assert late.call("[lib.text(b'late') for _ in range(3)]") == [1, 1, 1]
        keys, values = obj.read_all("seen")
        found = {bytes(key).rstrip(b"\0"): u64(bytes(value)) for key, value in zip(keys, values, strict=True)}
        assert found == {b"one": 1, b"two": 1, b"late": 3}
        obj.detach(link)
        assert [one.call("lib.text(b'after')") for one in (worker, other)] == [0, 0]
        assert len(obj.read_all("seen")[0]) == 3


def test_the_process_of_pid_alone_is_counted(worker, library):
    text = "BPF_ARRAY(seen, s64, 1); int prog(struct pt_regs *ctx) { seen.increment(0); return 0; }"
    with Worker() as other, loaded(text, {"prog": "usdt"}) as obj:
        other.run(f"lib = ctypes.CDLL({str(library)!r})")
        obj.attach("prog", binary=str(library), provider="kinds", probe="bare", pid=worker.pid)
        other.run(f"lib.bare({5 * N})")
        worker.run(f"lib.bare({N})")
        assert slots(obj, 1) == [N]


def test_a_killed_process_leaves_no_semaphore_raised(worker, library):
    child = f"""
import json, sys
sys.path[:0] = {[str(Path(__file__).parent)]!r}
from workloads import object_ids
from test_bcc_usdt import TEXT, compile_cell, Source
obj = compile_cell(Source(TEXT, "test"), {{"prog": ["usdt/{library}:kinds:text"]}}).load("test")
obj.attach("prog")
print(json.dumps(object_ids(obj)), flush=True)
sys.stdin.read()
"""
    with subprocess.Popen(
        [sys.executable, "-c", child], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        held = json.loads(process.stdout.readline())
        assert all(ids.exists("link", number) for number in held["link"])
        assert worker.call("lib.text(b'x')") == 1
        process.kill()
        process.wait()
    assert not left_over(held)
    await_true(lambda: worker.call("lib.text(b'x')") == 0)


def test_the_distributions_python():
    python = Path("/usr/bin/python3").resolve()
    if not python.exists() or not Binary(python).sites("python", "gc__start"):
        pytest.skip("the distribution's Python has no probes")
    text = """
    BPF_ARRAY(seen, s64, 2);
    int prog(struct pt_regs *ctx) {
        int generation = 0;
        bpf_usdt_readarg(1, ctx, &generation);
        seen.increment(0);
        seen.increment(1, generation);
        return 0;
    }
    """
    code = "import gc, sys\ngc.disable()\nprint(flush=True)\nsys.stdin.readline()\n[gc.collect(g) for g in (0, 1, 2) * 7]"
    with (
        subprocess.Popen([python, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process,
        loaded(text, {"prog": "usdt"}, {"prog": {"binary": str(python), "provider": "python", "probe": "gc__start"}}) as obj,
    ):  # fmt: skip
        process.stdout.readline()
        obj.attach("prog", binary=str(python), provider="python", probe="gc__start", pid=process.pid)
        process.stdin.write(b"\n")
        process.stdin.flush()
        await_true(lambda: slots(obj, 1)[0] >= 21)
        # the interpreter collects all generations once or twice more as it ends
        process.wait()
        count, generations = slots(obj, 2)
        assert generations - 21 == 2 * (count - 21)


# What is wrong


@pytest.mark.parametrize(
    ("reading", "place", "message"),
    [
        ("bpf_usdt_readarg(2, ctx, &x)", "usdt/{}:kinds:bare", "USDT probe kinds:bare has no arguments"),
        ("bpf_usdt_readarg(11, ctx, &x)", "usdt/{}:kinds:all", "USDT probe kinds:all has 10 arguments"),
        ("bpf_usdt_readarg(2, ctx, &x)", "usdt/{}:kinds:text", "cannot read argument 2 .* 8@%xmm0"),
        ("bpf_usdt_readarg(1, ctx, &x)", "uprobe/{}:bare", "--attach prog=usdt/BINARY:PROVIDER:PROBE"),
        ("no_such_function(ctx)", "usdt/{}:kinds:all", "no_such_function"),
    ],
)
def test_errors_are_at_the_line(library, reading, place, message):
    text = f"\nBPF_HASH(table);\nint prog(struct pt_regs *ctx)\n{{\n    u64 x = 0;\n    {reading};\n    return x;\n}}\n"
    with pytest.raises(CompileError, match=message) as caught:
        compile_cell(Source(text, "test"), {"prog": [place.format(library)]})
    assert caught.value.where is not None
    assert caught.value.where.line == 6


def test_unknown_probes_and_binaries_name_the_nearest(library):
    text = "int prog(struct pt_regs *ctx) { u64 x = 0; bpf_usdt_readarg(1, ctx, &x); return x; }"
    with pytest.raises(AttachError, match="no USDT probe 'kinds:twise'") as caught:
        compile_cell(Source(text, "test"), {"prog": [f"usdt/{library}:kinds:twise"]})
    assert "kinds:twice" in caught.value.hints[0]
    with pytest.raises(AttachError, match="no program or library 'nosuchprogram'"):
        compile_cell(Source(text, "test"), {"prog": ["usdt/nosuchprogram:kinds:twice"]})


def test_readers_are_of_one_probe(library):
    text = "int prog(struct pt_regs *ctx) { u64 x = 0; bpf_usdt_readarg(1, ctx, &x); return x; }"
    places = [f"usdt/{library}:kinds:text", f"usdt/{library}:kinds:all"]
    with pytest.raises(AttachError, match="the arguments of one probe"):
        compile_cell(Source(text, "test"), {"prog": places})
    with loaded(text, {"prog": places[0]}) as obj:
        with pytest.raises(AttachError, match="another probe than bpfnb:tick"):
            obj.attach("prog", binary=str(probe_library()), provider="bpfnb", probe="tick")
        assert obj.link_ids() == []
        obj.attach("prog")


# Plain bcc


def descriptors() -> dict[int, str]:
    gc.collect()  # files that errors of earlier tests hold
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
        except FileNotFoundError:  # the directory's own
            continue
    return found


def test_contexts_of_bccs_own_close_no_descriptor_of_others(worker, library):
    """libbcc closes the number again that it had for a moment when it made the context."""
    bcc = bpfnb.bcc.enable()
    try:
        context = bcc.USDT(pid=worker.pid)
        context.enable_probe("kinds:text", "prog")
        assert worker.call("lib.text(b'x')") == 1
        bpf = bcc.BPF(text=TEXT.encode(), usdt_contexts=[context])
        worker.run("[lib.text(b'one') for _ in range(5)]")
        assert [(key.text, value.value) for key, value in bpf["seen"].items()] == [(b"one", 5)]
        bpf.cleanup()
        # on the free numbers, the one that the context had among them
        held = [os.open("/dev/null", os.O_RDONLY) for _ in range(32)]
        before = descriptors()
        del context
        assert descriptors() == before
        for fd in held:
            os.close(fd)
        assert worker.call("lib.text(b'x')") == 0
    finally:
        bpfnb.bcc.disable()


def test_an_object_of_bccs_own_gives_back_all_descriptors(worker, library):
    bcc = bpfnb.bcc.enable()
    try:
        before = None
        for _ in range(2):  # what is made once a process is made in the first round
            context = bcc.USDT(pid=worker.pid)
            context.enable_probe("kinds:bare", "prog")
            text = b"BPF_ARRAY(seen, u64, 1); int prog(void *ctx) { seen.increment(0); return 0; }"
            bpf = bcc.BPF(text=text, usdt_contexts=[context])
            worker.run(f"lib.bare({N})")
            assert bpf["seen"][0].value == N
            bpf.cleanup()
            del bpf, context
            if before is not None:
                assert descriptors() == before
            before = descriptors()
    finally:
        bpfnb.bcc.disable()
