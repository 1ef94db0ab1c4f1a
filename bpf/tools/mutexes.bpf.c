/* SPDX-License-Identifier: GPL-2.0-only */
/* Mutexes of processes: how long threads wait for them, and how long they keep them, by the stack that locks. */
#include <bpfnb/filter.h>
#include <bpfnb/stacks.h>

struct mutexes_place {
	void *mutex DESCRIPTION("its address");
	u32 pid;
	stack_id_t user_stack;
	char comm[16];
};

struct mutexes_times {
	u64 count DESCRIPTION("how often it was locked");
	u64 contended DESCRIPTION("of those, how often another thread had it");
	ns_t wait DESCRIPTION("time until it was locked, together");
	ns_t max_wait;
	ns_t hold DESCRIPTION("time until it was unlocked, together");
	ns_t max_hold;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 65536);
	__type(key, struct mutexes_place); __type(value, struct mutexes_times);
} counts SEC(".maps");

/* A thread that wants a mutex. */
struct mutexes_want {
	u64 time;
	void *mutex;
	u64 contended;
};
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH); __uint(max_entries, 65536);
	__type(key, u64); __type(value, struct mutexes_want);
} wants SEC(".maps");

/* Mutexes that are locked now. */
struct mutexes_mutex_id { void *mutex; u64 pid; };
struct mutexes_held {
	u64 time;
	u32 tid, depth; /* recursive ones are locked again by who has them */
	struct mutexes_place place;
};
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH); __uint(max_entries, 65536);
	__type(key, struct mutexes_mutex_id); __type(value, struct mutexes_held);
} locked SEC(".maps");

static int want(void *mutex)
{
	u64 thread = bpf_get_current_pid_tgid();
	struct mutexes_want want = {.mutex = mutex};
	int owned = 0;

	if (!bpfnb_wanted())
		return 0;
	bpf_probe_read_user(&owned, sizeof(owned), mutex); /* 0: free, in glibc */
	want.contended = owned != 0;
	want.time = bpf_ktime_get_ns();
	bpf_map_update_elem(&wants, &thread, &want, BPF_ANY);
	return 0;
}

static struct mutexes_times *times_of(struct mutexes_place *place)
{
	struct mutexes_times *times = bpf_map_lookup_elem(&counts, place), none = {};

	if (times)
		return times;
	bpf_map_update_elem(&counts, place, &none, BPF_NOEXIST);
	return bpf_map_lookup_elem(&counts, place);
}

static int has(struct pt_regs *ctx)
{
	u64 thread = bpf_get_current_pid_tgid(), now = bpf_ktime_get_ns(), waited;
	struct mutexes_want *found = bpf_map_lookup_elem(&wants, &thread), want;
	struct mutexes_mutex_id id = {.pid = thread >> 32};
	struct mutexes_held held = {.tid = thread}, *before;
	struct mutexes_times *times;

	if (!found)
		return 0;
	want = *found;
	bpf_map_delete_elem(&wants, &thread);
	if ((int)PT_REGS_RC(ctx))
		return 0; /* it was busy, or out of time */
	id.mutex = want.mutex;
	before = bpf_map_lookup_elem(&locked, &id);
	if (before && before->tid == held.tid) {
		before->depth++;
		return 0;
	}
	held.place.mutex = want.mutex;
	held.place.pid = id.pid;
	held.place.user_stack = bpfnb_user_stack(ctx);
	bpf_get_current_comm(held.place.comm, sizeof(held.place.comm));
	times = times_of(&held.place);
	if (!times)
		return 0;
	waited = now - want.time;
	__sync_fetch_and_add(&times->count, 1);
	__sync_fetch_and_add(&times->contended, want.contended);
	__sync_fetch_and_add(&times->wait, waited);
	if (waited > times->max_wait)
		times->max_wait = waited;
	held.time = bpf_ktime_get_ns();
	bpf_map_update_elem(&locked, &id, &held, BPF_ANY);
	return 0;
}

static int gives(void *mutex)
{
	u64 thread = bpf_get_current_pid_tgid(), kept;
	struct mutexes_mutex_id id = {mutex, thread >> 32};
	struct mutexes_held *held = bpf_map_lookup_elem(&locked, &id);
	struct mutexes_times *times;

	if (!held || held->tid != (u32)thread)
		return 0;
	if (held->depth) {
		held->depth--;
		return 0;
	}
	kept = bpf_ktime_get_ns() - held->time;
	times = bpf_map_lookup_elem(&counts, &held->place);
	if (times) {
		__sync_fetch_and_add(&times->hold, kept);
		if (kept > times->max_hold)
			times->max_hold = kept;
	}
	bpf_map_delete_elem(&locked, &id);
	return 0;
}

/* Links of the multi kind come and go together; each of the other kind waits for the ones before. */
#ifdef MULTI
#define PLACE(kind, function) SEC(kind ".multi/libc:" #function)
#else
#define PLACE(kind, function) SEC(kind "/libc:" #function)
#endif

PLACE("uprobe", pthread_mutex_lock) int BPF_UPROBE(lock, void *mutex) { return want(mutex); }
PLACE("uretprobe", pthread_mutex_lock) int BPF_URETPROBE(lock_returns) { return has(ctx); }
PLACE("uprobe", pthread_mutex_trylock) int BPF_UPROBE(trylock, void *mutex) { return want(mutex); }
PLACE("uretprobe", pthread_mutex_trylock) int BPF_URETPROBE(trylock_returns) { return has(ctx); }
PLACE("uprobe", pthread_mutex_timedlock) int BPF_UPROBE(timedlock, void *mutex) { return want(mutex); }
PLACE("uretprobe", pthread_mutex_timedlock) int BPF_URETPROBE(timedlock_returns) { return has(ctx); }
#ifndef WITHOUT_pthread_mutex_clocklock
PLACE("uprobe", pthread_mutex_clocklock) int BPF_UPROBE(clocklock, void *mutex) { return want(mutex); }
PLACE("uretprobe", pthread_mutex_clocklock) int BPF_URETPROBE(clocklock_returns) { return has(ctx); }
#endif
PLACE("uprobe", pthread_mutex_unlock) int BPF_UPROBE(unlock, void *mutex) { return gives(mutex); }

/* Whoever waits for a condition gives the mutex away meanwhile, and then has it again. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH); __uint(max_entries, 65536);
	__type(key, u64); __type(value, struct mutexes_held);
} given SEC(".maps");

static int waits(void *mutex)
{
	struct mutexes_mutex_id id = {mutex, bpf_get_current_pid_tgid() >> 32};
	struct mutexes_held *held = bpf_map_lookup_elem(&locked, &id), again;
	u64 thread = bpf_get_current_pid_tgid();

	if (!held)
		return 0;
	again = *held;
	bpf_map_update_elem(&given, &thread, &again, BPF_ANY);
	return gives(mutex);
}

static int goes_on(void)
{
	u64 thread = bpf_get_current_pid_tgid();
	struct mutexes_held *held = bpf_map_lookup_elem(&given, &thread), again;
	struct mutexes_mutex_id id = {.pid = thread >> 32};

	if (!held)
		return 0;
	again = *held;
	bpf_map_delete_elem(&given, &thread);
	id.mutex = again.place.mutex;
	again.time = bpf_ktime_get_ns();
	bpf_map_update_elem(&locked, &id, &again, BPF_ANY);
	return 0;
}

PLACE("uprobe", pthread_cond_wait) int BPF_UPROBE(cond_wait, void *condition, void *mutex) { return waits(mutex); }
PLACE("uretprobe", pthread_cond_wait) int BPF_URETPROBE(cond_wait_returns) { return goes_on(); }
PLACE("uprobe", pthread_cond_timedwait) int BPF_UPROBE(cond_timedwait, void *condition, void *mutex) { return waits(mutex); }
PLACE("uretprobe", pthread_cond_timedwait) int BPF_URETPROBE(cond_timedwait_returns) { return goes_on(); }
#ifndef WITHOUT_pthread_cond_clockwait
PLACE("uprobe", pthread_cond_clockwait) int BPF_UPROBE(cond_clockwait, void *condition, void *mutex) { return waits(mutex); }
PLACE("uretprobe", pthread_cond_clockwait) int BPF_URETPROBE(cond_clockwait_returns) { return goes_on(); }
#endif
