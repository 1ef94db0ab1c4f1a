/* SPDX-License-Identifier: GPL-2.0-only */
/* Files from their creation to their removal.
 *
 * The kernel marks the open that created a file. Its birth is remembered with its directory entry (dentry). When a name
 * is removed, or another file is renamed to it, the birth of that name whose entry is no more was the file's. Where the
 * name was given without a path its directory is known; else first those are looked at whose directory has the name
 * that the path tells, and then all, for it may be that of a symbolic link.
 *
 * Births stand in a ring: a new one takes the place of the oldest. Each knows the one before it of the same hash (so do
 * the places of a text that LZ77 packs): what is forgotten is at the end of a chain, never within one. */
#include <bpfnb/filter.h>
#include <bpfnb/names.h>
#include <bpfnb/path.h>
#include <bpfnb/row.h>
#include <bpfnb/syscall.h>

#define O_CREAT 0100
#define FMODE_CREATED (1 << 20) /* include/linux/fs.h */
#define RENAME_EXCHANGE 2
#define BIRTHS 65536
#define TRIES 64 /* where another CPU was faster */
#define GOLDEN 0x9e3779b97f4a7c15 /* spreads what is multiplied by it */

enum filelife_chain { by_name, by_directory, by_directory_name, CHAINS };

struct filelife_birth {
	u64 state;          /* its number, the first is 1, times two; plus one: it is taken */
	u64 before[CHAINS]; /* numbers */
	u64 keys[CHAINS];   /* hashes of the name and of its directory */
	u64 kernel_name;    /* the kernel's own hash, with the directory, and length: changes with each rename */
	u64 time;
	u64 ino;
	struct inode *inode;
	struct dentry *dentry, *directory;
	u32 pid;
	char comm[16];
};

static u64 made;
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, BIRTHS);
	__type(key, u32); __type(value, struct filelife_birth);
} births SEC(".maps"); /* by number, modulo */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, CHAINS * BIRTHS); __type(key, u32); __type(value, u64);
} newest SEC(".maps"); /* numbers, by key */

struct filelife_life {
	ktime_ns_t time DESCRIPTION("when it was removed");
	cgroup_id_t cgroup_id HIDDEN;
	ns_t age DESCRIPTION("from creation to removal");
	u32 pid, tid, uid;
	u32 cpid DESCRIPTION("the process that created it");
	char comm[16];
	char ccomm[16] DESCRIPTION("the command that created it");
	char path[];
};

struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 1 << 20); } events SEC(".maps");

struct filelife_room { char bytes[sizeof(struct filelife_life) + BPFNB_PATH]; };
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY); __uint(max_entries, 1);
	__type(key, u32); __type(value, struct filelife_room);
} scratch SEC(".maps");

/* A walk along a chain. In a map: too large for the stack, and the verifier assumes nothing of it. */
struct filelife_walk {
	struct filelife_birth birth; /* to be noted, or what was taken */
	enum filelife_chain chain;
	u64 key;
	bool renamed;       /* looked for is one that has another name or directory now; else one that is no more */
	bool found;
	u64 number, from; /* where the walk is, and whose `before` that is; 0: it is the newest */
};
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY); __uint(max_entries, 1);
	__type(key, u32); __type(value, struct filelife_walk);
} walks SEC(".maps");

static __always_inline struct filelife_walk *walking(void)
{
	u32 zero = 0;

	return bpf_map_lookup_elem(&walks, &zero);
}

static __always_inline struct filelife_birth *birth_of(u64 number)
{
	u32 place = number % BIRTHS;

	return bpf_map_lookup_elem(&births, &place);
}

static __always_inline u64 *newest_of(enum filelife_chain chain, u64 key)
{
	u32 place = chain * BIRTHS + (key * GOLDEN >> 48);

	return chain < CHAINS ? bpf_map_lookup_elem(&newest, &place) : NULL;
}

static __always_inline u64 key_of(u64 name, u64 directory)
{
	return name ^ directory * GOLDEN;
}

/* Only one CPU gets a birth, and none gets another than it saw. */
static __always_inline bool take(struct filelife_birth *birth, u64 number)
{
	return __sync_val_compare_and_swap(&birth->state, number * 2, number * 2 + 1) == number * 2;
}

/* Whether the entry is in its directory, for the same file: its memory may be another's by now. */
static __always_inline bool lives(const struct filelife_birth *birth)
{
	struct dentry *dentry = birth->dentry;
	struct inode *inode = BPF_CORE_READ(dentry, d_inode);

	return inode == birth->inode && BPF_CORE_READ(dentry, d_hash.pprev) && BPF_CORE_READ(inode, i_ino) == birth->ino;
}

static __always_inline bool has_moved(const struct filelife_birth *birth)
{
	struct dentry *dentry = birth->dentry;

	return BPF_CORE_READ(dentry, d_parent) != birth->directory ||
	       BPF_CORE_READ(dentry, d_name.hash_len) != birth->kernel_name;
}

/* The chain goes past where the walk is. */
static __always_inline void skip(struct filelife_walk *walk, enum filelife_chain chain, u64 before)
{
	struct filelife_birth *after;
	u64 *first;

	if (!walk->from) {
		first = newest_of(chain, walk->key);
		if (first)
			__sync_val_compare_and_swap(first, walk->number, before);
		return;
	}
	after = birth_of(walk->from);
	if (after)
		__sync_val_compare_and_swap(&after->before[chain], walk->number, before);
}

static long step(u64 index, void *context)
{
	struct filelife_walk *walk = walking();
	struct filelife_birth *birth;
	enum filelife_chain chain;
	u64 number, before;

	if (!walk || !walk->number)
		return 1;
	number = walk->number;
	birth = birth_of(number);
	if (!birth || birth->state / 2 != number)
		return 1; /* forgotten, and so are all before it */
	chain = walk->chain;
	if (chain >= CHAINS)
		return 1;
	before = birth->before[chain];
	if (birth->state & 1) {
		if (__sync_fetch_and_add(&birth->state, 0) / 2 != number)
			return 1; /* what was read of it is another's */
		skip(walk, chain, before);
		walk->number = before;
		return 0;
	}
	if (birth->keys[chain] == walk->key && (walk->renamed ? has_moved(birth) : !lives(birth))) {
		walk->birth = *birth;
		walk->found = take(birth, number);
		if (walk->found)
			return 1;
	}
	walk->from = number;
	walk->number = before;
	return 0;
}

/* Takes the birth of the one that is looked for, if it is in this chain. This and the other functions without `static`
 * are checked by the verifier on their own, once. */
__noinline int find(u32 chain, u64 key, bool renamed)
{
	struct filelife_walk *walk = walking();
	u64 *first = newest_of(chain, key);

	if (!walk || !first)
		return false;
	walk->chain = chain;
	walk->key = key;
	walk->renamed = renamed;
	walk->found = false;
	walk->from = 0;
	walk->number = *first;
	bpf_loop(BIRTHS, step, NULL, 0);
	return walk->found;
}

static __always_inline bool found(struct bpfnb_name *name, int dirfd, bool renamed)
{
	struct dentry *directory = bpfnb_directory_of(name, dirfd);

	if (directory)
		return find(by_directory, key_of(name->hash, (u64)directory), renamed);
	return find(by_directory_name, key_of(name->hash, name->directory), renamed) || find(by_name, name->hash, renamed);
}

/* Nothing will tell of the end of one. */
static void lose(void)
{
#ifdef __BPFNB_COUNT
	__BPFNB_COUNT(lost, &events);
	__BPFNB_COUNT_IF(true, lost);
#endif
}

static __always_inline bool lead(enum filelife_chain chain, struct filelife_birth *birth, u64 number)
{
	u64 *first = newest_of(chain, birth->keys[chain]);

	for (int i = 0; first && i < TRIES; i++) {
		u64 before = birth->before[chain] = *first;

		if (__sync_val_compare_and_swap(first, before, number) == before)
			return true;
	}
	return false;
}

/* Notes the walk's birth by what its entry is called now. One that ended before can be noted by nobody's end. */
__noinline int note(u64 number)
{
	struct filelife_walk *walk = walking();
	struct filelife_birth *birth = birth_of(number);
	struct dentry *dentry;
	u64 name;

	if (!walk || !birth)
		return 0;
	dentry = walk->birth.dentry;
	walk->birth.state = 0;
	walk->birth.directory = BPF_CORE_READ(dentry, d_parent);
	walk->birth.kernel_name = BPF_CORE_READ(dentry, d_name.hash_len);
	name = bpfnb_name_of(dentry);
	walk->birth.keys[by_name] = name;
	walk->birth.keys[by_directory] = key_of(name, (u64)walk->birth.directory);
	walk->birth.keys[by_directory_name] = key_of(name, bpfnb_name_of(walk->birth.directory));
	__sync_lock_test_and_set(&birth->state, 0); /* before the rest: others may read */
	*birth = walk->birth;
	__sync_lock_test_and_set(&birth->state, number * 2);
	if (!lead(by_name, birth, number) || !lead(by_directory, birth, number) ||
	    !lead(by_directory_name, birth, number) || !lives(birth))
		if (take(birth, number))
			lose();
	return 0;
}

static __always_inline int opened(long ret, u32 flags)
{
	struct filelife_walk *walk = walking();
	struct dentry *dentry;
	struct inode *inode;
	struct file *file;

	if (!walk || ret < 0 || !(flags & O_CREAT) || !bpfnb_wanted())
		return 0;
	file = bpfnb_file(ret);
	if (!file || !(BPF_CORE_READ(file, f_mode) & FMODE_CREATED))
		return 0;
	dentry = BPF_CORE_READ(file, f_path.dentry);
	inode = BPF_CORE_READ(dentry, d_inode);
	walk->birth.time = bpf_ktime_get_ns();
	walk->birth.dentry = dentry;
	walk->birth.inode = inode;
	walk->birth.ino = BPF_CORE_READ(inode, i_ino);
	walk->birth.pid = bpf_get_current_pid_tgid() >> 32;
	bpf_get_current_comm(walk->birth.comm, sizeof(walk->birth.comm));
	return note(__sync_fetch_and_add(&made, 1) + 1);
}

static __always_inline void tell(struct filelife_birth *birth, int dirfd, u64 path)
{
	u32 zero = 0, length;
	struct filelife_life *e = bpf_map_lookup_elem(&scratch, &zero);

	if (!e)
		return;
	length = bpfnb_path_named(e->path, BPFNB_PATH, dirfd, (const char *)path);
	bpfnb_row(e);
	e->age = e->time - birth->time;
	e->cpid = birth->pid;
	__builtin_memcpy(e->ccomm, birth->comm, sizeof(e->ccomm));
	if (length > 1 && length <= BPFNB_PATH)
		bpf_ringbuf_output(&events, e, sizeof(*e) + length - 1, 0);
}

/* No file has this name any more. */
__noinline int removed(struct bpfnb_name *name, int dirfd, u64 path)
{
	struct filelife_walk *walk = walking();

	if (!name || !walk)
		return 0;
	if (found(name, dirfd, false))
		tell(&walk->birth, dirfd, path);
	return 0;
}

/* A file has no longer this name, but another. */
__noinline int moved(struct bpfnb_name *name, int dirfd)
{
	if (name && found(name, dirfd, true))
		note(__sync_fetch_and_add(&made, 1) + 1);
	return 0;
}

static __always_inline int renamed(long ret, int from_dirfd, u64 from, int to_dirfd, u64 to, u32 flags)
{
	struct bpfnb_name old = {}, new = {};

	if (ret || !bpfnb_name_in(from, &old) || !bpfnb_name_in(to, &new))
		return 0;
	if (!(flags & RENAME_EXCHANGE))
		removed(&new, to_dirfd, to);
	moved(&old, from_dirfd);
	if (flags & RENAME_EXCHANGE)
		moved(&new, to_dirfd);
	return 0;
}

static __always_inline int unlinked(long ret, int dirfd, u64 path)
{
	struct bpfnb_name name = {};

	if (!ret && bpfnb_name_in(path, &name))
		removed(&name, dirfd, path);
	return 0;
}

SEC("tp/syscalls/sys_exit_openat") int openat(struct trace_event_raw_sys_exit *ctx)
{
	return opened(ctx->ret, bpfnb_argument(2));
}

SEC("tp/syscalls/sys_exit_openat2") int openat2(struct trace_event_raw_sys_exit *ctx)
{
	struct open_how how = {};

	bpf_probe_read_user(&how, sizeof(how), (void *)bpfnb_argument(2));
	return opened(ctx->ret, how.flags);
}

SEC("tp/syscalls/sys_exit_unlinkat") int unlinkat(struct trace_event_raw_sys_exit *ctx)
{
	return unlinked(ctx->ret, bpfnb_argument(0), bpfnb_argument(1));
}

SEC("tp/syscalls/sys_exit_renameat") int renameat(struct trace_event_raw_sys_exit *ctx)
{
	return renamed(ctx->ret, bpfnb_argument(0), bpfnb_argument(1), bpfnb_argument(2), bpfnb_argument(3), 0);
}

SEC("tp/syscalls/sys_exit_renameat2") int renameat2(struct trace_event_raw_sys_exit *ctx)
{
	return renamed(ctx->ret, bpfnb_argument(0), bpfnb_argument(1), bpfnb_argument(2), bpfnb_argument(3),
		       bpfnb_argument(4));
}

#ifdef __TARGET_ARCH_x86 /* newer architectures have only those above */
SEC("tp/syscalls/sys_exit_open") int open(struct trace_event_raw_sys_exit *ctx)
{
	return opened(ctx->ret, bpfnb_argument(1));
}

SEC("tp/syscalls/sys_exit_creat") int creat(struct trace_event_raw_sys_exit *ctx)
{
	return opened(ctx->ret, O_CREAT);
}

SEC("tp/syscalls/sys_exit_unlink") int unlink(struct trace_event_raw_sys_exit *ctx)
{
	return unlinked(ctx->ret, AT_FDCWD, bpfnb_argument(0));
}

SEC("tp/syscalls/sys_exit_rename") int rename(struct trace_event_raw_sys_exit *ctx)
{
	return renamed(ctx->ret, AT_FDCWD, bpfnb_argument(0), AT_FDCWD, bpfnb_argument(1), 0);
}
#endif
