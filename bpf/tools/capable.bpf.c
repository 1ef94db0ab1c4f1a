/* SPDX-License-Identifier: GPL-2.0-only */
/* Checks of capabilities: which process needed which one for what, and whether it had it. */
#include <bpfnb/filter.h>
#include <bpfnb/row.h>

const volatile bool denied DESCRIPTION("only checks that failed") = false;
const volatile bool unique DESCRIPTION("each process, capability and answer once") = false;

/* include/uapi/linux/capability.h, which are macros: BTF does not have them. */
enum capable_capability {
	CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER, CAP_FSETID, CAP_KILL, CAP_SETGID, CAP_SETUID,
	CAP_SETPCAP, CAP_LINUX_IMMUTABLE, CAP_NET_BIND_SERVICE, CAP_NET_BROADCAST, CAP_NET_ADMIN, CAP_NET_RAW,
	CAP_IPC_LOCK, CAP_IPC_OWNER, CAP_SYS_MODULE, CAP_SYS_RAWIO, CAP_SYS_CHROOT, CAP_SYS_PTRACE, CAP_SYS_PACCT,
	CAP_SYS_ADMIN, CAP_SYS_BOOT, CAP_SYS_NICE, CAP_SYS_RESOURCE, CAP_SYS_TIME, CAP_SYS_TTY_CONFIG, CAP_MKNOD,
	CAP_LEASE, CAP_AUDIT_WRITE, CAP_AUDIT_CONTROL, CAP_SETFCAP, CAP_MAC_OVERRIDE, CAP_MAC_ADMIN, CAP_SYSLOG,
	CAP_WAKE_ALARM, CAP_BLOCK_SUSPEND, CAP_AUDIT_READ, CAP_PERFMON, CAP_BPF, CAP_CHECKPOINT_RESTORE,
};

struct capable_check {
	ktime_ns_t time;
	cgroup_id_t cgroup_id HIDDEN;
	u32 pid;
	u32 tid;
	u32 uid;
	enum capable_capability cap;
	errno_t ret DESCRIPTION("0: it has the capability");
	u32 userns DESCRIPTION("the user namespace that was asked about, by inode");
	char comm[16];
};

struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 1 << 20); } events SEC(".maps");

struct capable_answer { u32 pid; u16 cap, ok; };
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH); __uint(max_entries, 65536);
	__type(key, struct capable_answer); __type(value, u8);
} told SEC(".maps");

static int note(struct user_namespace *target, int cap, int ret)
{
	struct capable_answer answer = {.pid = bpf_get_current_pid_tgid() >> 32, .cap = cap, .ok = !ret};
	struct capable_check *e;
	u8 yes = 1;

	if ((denied && !ret) || !bpfnb_wanted())
		return 0;
	if (unique && bpf_map_update_elem(&told, &answer, &yes, BPF_NOEXIST))
		return 0;
	e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
	if (!e)
		return 0;
	bpfnb_row(e);
	e->cap = cap;
	e->ret = ret;
	e->userns = target->ns.inum;
	bpf_ringbuf_submit(e, 0);
	return 0;
}

#ifdef BY_FUNCTION /* before Linux 6.14 */
SEC("fexit/cap_capable")
int BPF_PROG(checked, const struct cred *cred, struct user_namespace *target, int cap, unsigned int options, int ret)
{
	return note(target, cap, ret);
}
#else
SEC("tp_btf/cap_capable")
int BPF_PROG(checked, const struct cred *cred, struct user_namespace *target, const struct user_namespace *capable,
	     int cap, int ret)
{
	return note(target, cap, ret);
}
#endif
