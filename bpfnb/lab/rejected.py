"""Programs that the verifier refuses, each for another reason, and what it says of them: an example and ten (lab 4)."""

from __future__ import annotations

import html
from dataclasses import dataclass

from bpfnb.errors import BpfnbError, UnknownName
from bpfnb.lab import facts

__all__ = ["PROGRAMS", "Refusal", "refused"]

_CALLS = """\
struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 10240);
    __type(key, u32);
    __type(value, u64);
} $name SEC(".maps");
"""
_RING = """\
struct event { u32 pid; u32 number; };
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 1 << 18); } events SEC(".maps");
"""


def _hash(name: str) -> str:
    return _CALLS.replace("$name", name)


PROGRAMS: dict[int, str] = {
    0: """\
struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 134);
    __type(key, u32);
    __type(value, u64);
} errors SEC(".maps");

SEC("tp_btf/sys_exit")
int BPF_PROG(count, struct pt_regs *regs, long ret, int nothing)
{
    u32 error = -ret;
    u64 *n;

    if (ret >= 0 || nothing)
        return 0;
    n = bpf_map_lookup_elem(&errors, &error);
    if (n)
        __sync_fetch_and_add(n, 1);
    return 0;
}
""",
    1: f"""\
{_hash("calls")}
SEC("tracepoint/syscalls/sys_enter_getppid")
int count(void *ctx)
{{
    u32 pid = bpf_get_current_pid_tgid() >> 32;
    u64 *n = bpf_map_lookup_elem(&calls, &pid);

    *n += 1;
    return 0;
}}
""",
    2: f"""\
{_RING}
SEC("tracepoint/syscalls/sys_enter_close")
int send(struct trace_event_raw_sys_enter *ctx)
{{
    struct event *e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);

    if (!e)
        return 0;
    if (ctx->args[0] < 1000)
        return 0;
    e->pid = bpf_get_current_pid_tgid() >> 32;
    e->number = ctx->args[0];
    bpf_ringbuf_submit(e, 0);
    return 0;
}}
""",
    3: f"""\
{_RING}
{_hash("numbers")}
SEC("tracepoint/syscalls/sys_enter_close")
int send(struct trace_event_raw_sys_enter *ctx)
{{
    u32 pid = bpf_get_current_pid_tgid() >> 32;
    struct event *e;
    u64 number;

    if (ctx->args[0] < 1000)
        return 0;
    e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
    if (!e)
        return 0;
    e->pid = pid;
    e->number = ctx->args[0];
    bpf_ringbuf_submit(e, 0);
    number = e->number;
    bpf_map_update_elem(&numbers, &pid, &number, BPF_ANY);
    return 0;
}}
""",
    4: """\
struct digits { u64 count[10]; };
struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 10240);
    __type(key, u32);
    __type(value, struct digits);
} by_process SEC(".maps");
const struct digits no_digits;

SEC("tracepoint/syscalls/sys_enter_close")
int count(struct trace_event_raw_sys_enter *ctx)
{
    u32 pid = bpf_get_current_pid_tgid() >> 32;
    u64 digit = ctx->args[0] - 1000;
    struct digits *d;

    if (ctx->args[0] < 1000)
        return 0;
    bpf_map_update_elem(&by_process, &pid, &no_digits, BPF_NOEXIST);
    d = bpf_map_lookup_elem(&by_process, &pid);
    if (d)
        d->count[digit] += 1;
    return 0;
}
""",
    5: """\
struct said { u32 pid; u32 size; char text[32]; };
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 1 << 18); } words SEC(".maps");

SEC("tracepoint/syscalls/sys_enter_write")
int listen(struct trace_event_raw_sys_enter *ctx)
{
    u32 pid = bpf_get_current_pid_tgid() >> 32;
    u64 size = ctx->args[2];
    struct said *e;

    if (pid != TARGET)
        return 0;
    e = bpf_ringbuf_reserve(&words, sizeof(*e), 0);
    if (!e)
        return 0;
    __builtin_memset(e, 0, sizeof(*e));
    e->pid = pid;
    e->size = size;
    bpf_probe_read_user(e->text, size, (void *)ctx->args[1]);
    bpf_ringbuf_submit(e, 0);
    return 0;
}
""",
    6: f"""\
{_hash("parents")}
SEC("tracepoint/syscalls/sys_enter_getppid")
int look(void *ctx)
{{
    struct task_struct *task = (void *)bpf_get_current_task();
    u32 pid = bpf_get_current_pid_tgid() >> 32;
    u64 parent = task->real_parent->tgid;

    bpf_map_update_elem(&parents, &pid, &parent, BPF_ANY);
    return 0;
}}
""",
    7: f"""\
{_hash("seen")}
SEC("tp_btf/sys_enter")
int BPF_PROG(mark, struct pt_regs *regs, long id)
{{
    struct task_struct *task = bpf_get_current_task_btf();
    u32 pid = task->tgid;
    u64 one = 1;

    if (task->personality == 0x1234)    // marked before: nothing to do
        return 0;
    task->personality = 0x1234;
    bpf_map_update_elem(&seen, &pid, &one, BPF_ANY);
    return 0;
}}
""",
    8: f"""\
{_hash("throws")}
SEC("tracepoint/syscalls/sys_enter_getppid")
int play(void *ctx)
{{
    u32 pid = bpf_get_current_pid_tgid() >> 32, die;
    u64 none = 0, *n;

    bpf_map_update_elem(&throws, &pid, &none, BPF_NOEXIST);
    n = bpf_map_lookup_elem(&throws, &pid);
    if (!n)
        return 0;
    do {{
        die = bpf_get_prandom_u32() % 6 + 1;
        __sync_fetch_and_add(n, 1);
    }} while (die != 6);
    return 0;
}}
""",
    9: f"""\
{_hash("packets")}
SEC("cgroup_skb/egress")
int count(struct __sk_buff *skb)
{{
    struct iphdr *ip = (void *)(long)skb->data;
    struct udphdr *udp = (void *)(ip + 1);
    u32 port;
    u64 one = 1, *n;

    if (ip->version != 4 || ip->protocol != IPPROTO_UDP)
        return 1;
    port = bpf_ntohs(udp->dest);
    n = bpf_map_lookup_elem(&packets, &port);
    if (n)
        __sync_fetch_and_add(n, 1);
    else
        bpf_map_update_elem(&packets, &port, &one, BPF_ANY);
    return 1;
}}
""",
    10: f"""\
{_hash("refused")}
SEC("cgroup/connect4")
int guard(struct bpf_sock_addr *ctx)
{{
    u32 pid = bpf_get_current_pid_tgid() >> 32;
    u64 one = 1;

    if (ctx->user_port != bpf_htons(PORT))
        return 1;
    bpf_map_update_elem(&refused, &pid, &one, BPF_ANY);
    return -1;
}}
""",
}


@dataclass(frozen=True)
class Refusal:
    """A program and what is said of it, as text of one width."""

    text: str

    def __repr__(self) -> str:
        return self.text

    def _repr_html_(self) -> str:
        return f'<pre style="white-space: pre-wrap; line-height: 1.3">{html.escape(self.text)}</pre>'


def refused(number: int) -> Refusal:
    """Load the program *number* and show it with what the verifier says; 0 is the worked example's. In replay it is
    what the verifier said when the lab was recorded.

    :raises UnknownName: there is no such program.
    """
    if number not in PROGRAMS:
        raise UnknownName.among(
            [str(known) for known in PROGRAMS], str(number), f"there is no program {number}"
        )
    return Refusal(facts.of("lab04").measured(f"refused {number}", lambda: _explained(number)))


def _explained(number: int) -> str:
    """The program with numbers of lines, and the verifier's refusal."""
    from bpfnb.loading import load

    source = PROGRAMS[number]
    lines = "\n".join(f"{at:4}  {line}" for at, line in enumerate(source.splitlines(), 1))
    try:
        load(source, name=f"p{number}", attach=False, defines=["TARGET=1", "PORT=1"]).close()
    except BpfnbError as error:
        return f"{lines}\n\n{error.render()}"
    return f"{lines}\n\nThis kernel accepts it."
