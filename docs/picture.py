"""Makes docs/notebook.png, the picture in the README: ``python docs/picture.py`` (needs chromium and root)."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_notebook

from bpfnb.demo import execute, to_html

HERE = Path(__file__).parent
CELLS = [
    "%load_ext bpfnb",
    """%%bpf reads
struct event { ktime_ns_t ts; ns_t latency; s64 bytes; u32 pid; char comm[16]; };
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 1 << 20); } events SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 10240); __type(key, u32); __type(value, u64); }
    started SEC(".maps");

SEC("tp_btf/sys_enter") int BPF_PROG(enter, struct pt_regs *regs, long id)
{
    u32 thread = bpf_get_current_pid_tgid();
    u64 now = bpf_ktime_get_ns();

    if (id == 0) /* read */
        bpf_map_update_elem(&started, &thread, &now, BPF_ANY);
    return 0;
}

SEC("tp_btf/sys_exit") int BPF_PROG(leave, struct pt_regs *regs, long ret)
{
    u32 thread = bpf_get_current_pid_tgid();
    u64 *start = bpf_map_lookup_elem(&started, &thread);
    struct event *e;

    if (!start || !(e = bpf_ringbuf_reserve(&events, sizeof(*e), 0)))
        return 0;
    e->ts = bpf_ktime_get_ns();
    e->latency = e->ts - *start;
    e->bytes = ret;
    e->pid = bpf_get_current_pid_tgid() >> 32;
    bpf_get_current_comm(e->comm, sizeof(e->comm));
    bpf_ringbuf_submit(e, 0);
    bpf_map_delete_elem(&started, &thread);
    return 0;
}""",
    """import subprocess

for size, count in ("4k", 10_000), ("64k", 10_000), ("1M", 2_000):
    subprocess.run(["dd", "if=/dev/zero", "of=/dev/null", f"bs={size}", f"count={count}"], stderr=subprocess.DEVNULL)
reads.events.df.query("comm == 'dd'").tail(4)""",
    "reads.events.hist('latency')",
]


def main() -> None:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        raise SystemExit("chromium is not installed")
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "picture.ipynb"
        nbformat.write(new_notebook(cells=[new_code_cell(cell) for cell in CELLS]), source)
        page = source.with_suffix(".html")
        page.write_text(to_html(execute(source)))
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run"]
        flags += ["--disable-background-networking", "--disable-sync", f"--user-data-dir={folder}/profile"]
        target = HERE / "notebook.png"
        subprocess.run(
            [chromium, *flags, "--window-size=1000,1500", f"--screenshot={target}", page.as_uri()],
            check=True,
            capture_output=True,
        )


if __name__ == "__main__":
    main()
