// expect ring: struct opened 16
// expect ring: struct closed 8
// expect counters ring: lost 2
// expect counters seen: full 1
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

#define MAP(name, kind, entries, ...) \
	struct { __uint(type, BPF_MAP_TYPE_##kind); __uint(max_entries, entries); __VA_ARGS__ } name SEC(".maps")
#define RESERVE(type) ((struct type *)bpf_ringbuf_reserve(RING, sizeof(struct type), 0))
#define SEND(type, ...) ({ \
	struct type *record_ = RESERVE(type); \
	if (record_) { \
		*record_ = (struct type){ __VA_ARGS__ }; \
		bpf_ringbuf_submit(record_, 0); \
	} \
	record_ != 0; })
#define RING &ring

struct opened { u64 at; u32 fd; u32 flags; };
struct closed { u32 fd; u32 pid; };

MAP(ring, RINGBUF, 1 << 16);
MAP(seen, LRU_HASH, 1024, __type(key, u32); __type(value, u8);)

;
SEC("tp/syscalls/sys_enter_close")
int closing(struct trace_event_raw_sys_enter *ctx)
{
	u32 fd = ctx->args[0];
	u8 one = 1;

	if (bpf_map_update_elem(&seen, &fd, &one, BPF_NOEXIST))
		return 0;
	if (SEND(closed, .fd = fd, .pid = bpf_get_current_pid_tgid() >> 32))
		SEND(opened, .at = bpf_ktime_get_ns(), .fd = fd);
	return 0;
}

char _license[] SEC("license") = "GPL";
