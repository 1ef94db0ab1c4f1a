/* SPDX-License-Identifier: GPL-2.0-only */
/* Signals: who sent which to whom, and what became of it. */
#include <bpfnb/filter.h>
#include <bpfnb/row.h>

const volatile int signal DESCRIPTION("only this signal, by number; 0: all") = 0;
const volatile u32 target DESCRIPTION("only signals to this process; 0: to all") = 0;
const volatile bool kernel DESCRIPTION("also those that the kernel sends: faults, timers, ended children") = false;
const volatile bool failed DESCRIPTION("also calls that sent none: not permitted, no such process") = false;

/* TRACE_SIGNAL_* of include/trace/events/signal.h, and calls that sent none. */
enum signals_signal_result { delivered, ignored, already_pending, overflow_fail, lose_info, refused };

struct signals_sent {
	ktime_ns_t time;
	cgroup_id_t cgroup_id HIDDEN;
	u32 pid DESCRIPTION("the sender");
	u32 tid;
	u32 uid;
	signal_t sig;
	u32 tpid DESCRIPTION("the process that it was sent to");
	u32 ttid DESCRIPTION("its thread, where it was sent to one; else the process again");
	enum signals_signal_result result;
	errno_t ret DESCRIPTION("why a call sent none");
	int code HIDDEN DESCRIPTION("si_code: 0 kill, -6 tkill, -1 sigqueue, above 0 the kernel");
	bool from_kernel DESCRIPTION("the kernel sent it, on its own account");
	char comm[16];
	char tcomm[16] DESCRIPTION("the command that it was sent to");
};

struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 1 << 20); } events SEC(".maps");

#define SEND_SIG_PRIV 1 /* instead of a pointer: the kernel itself; 0 stands for a process */
#define SI_USER 0

SEC("tp_btf/signal_generate")
int BPF_PROG(generated, int sig, struct kernel_siginfo *info, struct task_struct *task, int group, int result)
{
	int code = (u64)info == SEND_SIG_PRIV ? 0x80 : (u64)info ? BPF_CORE_READ(info, si_code) : SI_USER;
	struct signals_sent *e;

	if ((signal && sig != signal) || (target && task->tgid != target) || (code > SI_USER && !kernel))
		return 0;
	if (!bpfnb_wanted())
		return 0;
	e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
	if (!e)
		return 0;
	bpfnb_row(e);
	e->sig = sig;
	e->tpid = task->tgid;
	e->ttid = group ? task->tgid : task->pid;
	e->result = result;
	e->ret = 0;
	e->code = code;
	e->from_kernel = code > SI_USER;
	bpf_probe_read_kernel_str(e->tcomm, sizeof(e->tcomm), task->comm);
	bpf_ringbuf_submit(e, 0);
	return 0;
}

struct signals_call { u32 pid, tid; int sig; };
struct {
	__uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 10240); __type(key, u64); __type(value, struct signals_call);
} calls SEC(".maps");

static int called(int pid, int tid, int sig)
{
	struct signals_call call = {.pid = pid, .tid = tid, .sig = sig};
	u64 thread = bpf_get_current_pid_tgid();

	if (failed && (!signal || sig == signal) && (!target || pid == target) && bpfnb_wanted())
		bpf_map_update_elem(&calls, &thread, &call, BPF_ANY);
	return 0;
}

static int returned(long ret)
{
	u64 thread = bpf_get_current_pid_tgid();
	struct signals_call *call;
	struct signals_sent *e;

	if (!failed)
		return 0;
	call = bpf_map_lookup_elem(&calls, &thread);
	if (call && ret < 0 && (e = bpf_ringbuf_reserve(&events, sizeof(*e), 0))) {
		bpfnb_row(e);
		e->sig = call->sig;
		e->tpid = call->pid;
		e->ttid = call->tid;
		e->result = refused;
		e->ret = ret;
		e->code = SI_USER;
		e->from_kernel = false;
		e->tcomm[0] = 0;
		bpf_ringbuf_submit(e, 0);
	}
	bpf_map_delete_elem(&calls, &thread);
	return 0;
}

SEC("tp/syscalls/sys_enter_kill") int kill(struct trace_event_raw_sys_enter *ctx)
{
	return called(ctx->args[0], ctx->args[0], ctx->args[1]);
}

SEC("tp/syscalls/sys_exit_kill") int killed(struct trace_event_raw_sys_exit *ctx) { return returned(ctx->ret); }

SEC("tp/syscalls/sys_enter_tkill") int tkill(struct trace_event_raw_sys_enter *ctx)
{
	return called(0, ctx->args[0], ctx->args[1]);
}

SEC("tp/syscalls/sys_exit_tkill") int tkilled(struct trace_event_raw_sys_exit *ctx) { return returned(ctx->ret); }

SEC("tp/syscalls/sys_enter_tgkill") int tgkill(struct trace_event_raw_sys_enter *ctx)
{
	return called(ctx->args[0], ctx->args[1], ctx->args[2]);
}

SEC("tp/syscalls/sys_exit_tgkill") int tgkilled(struct trace_event_raw_sys_exit *ctx) { return returned(ctx->ret); }
