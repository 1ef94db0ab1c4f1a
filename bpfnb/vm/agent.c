/*
 * The guest's only own program: process 1 of a disposable kernel. It calls C functions for the host, loads BPF objects
 * with libbpf, pushes what ring and perf buffers hold, and runs commands. One thread, one loop.
 *
 * Frames on the virtio port, little-endian. From the host: u32 bytes that follow, u32 id, u32 operation, then what the
 * operation takes. To the host: u32 bytes that follow, u32 id (of the request, or of a stream with bit 31), i32 status,
 * then data. A blob is a u32 length and its bytes. What each operation takes and gives stands above its function.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

typedef uint8_t u8;
typedef uint32_t u32;
typedef uint64_t u64;

enum { HELLO, CALL, LOAD, STREAM, ACK, FETCH, STOP, RUN, SIGNAL, INPUT };

#define CHUNK (1u << 20)	/* bytes of records in one frame at most, of a command's output in one turn of the loop */
#define WINDOW (8u << 20)	/* bytes of a stream that the host has not acknowledged */
#define REST_NS 4000000		/* a stream rests at most */
#define POLL_NS 5000000		/* between looks at buffers whose records do not wake */
#define LOG_BYTES (16u << 20)
#define MAX_ARGS 8
#define MAX_BUFFERS 16

static int port = -1, loop = -1;

static void die(const char *what)
{
	fprintf(stderr, "bpfnb agent: %s: %s\n", what, strerror(errno));
	sync();
	reboot(RB_POWER_OFF);
	_exit(1);
}

static u64 least(u64 a, u64 b) { return a < b ? a : b; }

static u64 now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ull + t.tv_nsec;
}

/* The port */

/*
 * The port does not block. A blocking write would wait for the host to take each 32 KiB, and keep the processor
 * turning meanwhile; so the device's queue holds up to 4 MiB, and what fills it is awaited asleep.
 */
static void port_wait(short what)
{
	struct pollfd p = { .fd = port, .events = what };
	poll(&p, 1, 100);
	if (p.revents & POLLHUP)
		usleep(1000); /* no host, as while a snapshot is taken */
}

static void port_write(const void *data, size_t size)
{
	const u8 *at = data;
	while (size) {
		ssize_t n = write(port, at, size);
		if (n < 0) {
			if (errno != EINTR && errno != EAGAIN && errno != EPIPE)
				die("writing to the host");
			port_wait(POLLOUT);
			continue;
		}
		at += n;
		size -= n;
	}
}

static bool port_read(void *data, size_t size)
{
	u8 *at = data;
	while (size) {
		ssize_t n = read(port, at, size);
		if (n <= 0) {
			if (n && errno != EINTR && errno != EAGAIN && errno != EPIPE)
				die("reading from the host");
			if (at == data)
				return false;
			port_wait(POLLIN);
			continue;
		}
		at += n;
		size -= n;
	}
	return true;
}

/* What is sent: a buffer that grows, with room for the frame's head. */

struct out {
	u8 *data;
	size_t size, room;
};

static void put(struct out *o, const void *data, size_t size)
{
	if (o->size + size > o->room) {
		o->room = (o->size + size) * 2 + 256;
		o->data = realloc(o->data, o->room);
		if (!o->data)
			die("memory");
	}
	if (size)
		memcpy(o->data + o->size, data, size);
	o->size += size;
}

static void put32(struct out *o, u32 value) { put(o, &value, 4); }
static void put64(struct out *o, u64 value) { put(o, &value, 8); }
static void put_blob(struct out *o, const void *data, u32 size) { put32(o, size); put(o, data, size); }
static void put_text(struct out *o, const char *text) { put_blob(o, text ? text : "", text ? strlen(text) : 0); }

static void begin(struct out *o) { o->size = 0; put(o, "\0\0\0\0\0\0\0\0\0\0\0", 12); }

static void send_out(struct out *o, u32 id, int status)
{
	u32 head[3] = { o->size - 4, id, status };
	memcpy(o->data, head, 12);
	port_write(o->data, o->size);
}

/* What was received */

static u8 *in_at, *in_end;

static void *get(size_t size)
{
	u8 *at = in_at;
	if (size > (size_t)(in_end - in_at)) {
		errno = EPROTO;
		die("a frame is too short");
	}
	in_at += size;
	return at;
}

static u32 get32(void) { u32 v; memcpy(&v, get(4), 4); return v; }
static u64 get64(void) { u64 v; memcpy(&v, get(8), 8); return v; }

/* A blob as memory of its own: aligned, and followed by a NUL. */
static void *get_blob(u32 *size)
{
	u32 n = get32();
	void *from = get(n), *copy = calloc(1, n + 8ul);
	if (!copy)
		die("memory");
	memcpy(copy, from, n);
	if (size)
		*size = n;
	return copy;
}

/* libbpf, found at run time */

#define LIBBPF(X) \
	X(void *, bpf_object__open_mem, (const void *, size_t, const void *)) \
	X(int, bpf_object__load, (void *)) \
	X(void, bpf_object__close, (void *)) \
	X(void *, bpf_object__next_program, (void *, void *)) \
	X(void *, bpf_object__next_map, (void *, void *)) \
	X(int, bpf_program__fd, (void *)) \
	X(int, bpf_program__type, (void *)) \
	X(int, bpf_program__set_type, (void *, int)) \
	X(int, bpf_program__expected_attach_type, (void *)) \
	X(int, bpf_program__set_expected_attach_type, (void *, int)) \
	X(u32, bpf_program__flags, (void *)) \
	X(int, bpf_program__set_flags, (void *, u32)) \
	X(int, bpf_program__set_autoload, (void *, bool)) \
	X(int, bpf_map__fd, (void *)) \
	X(u32, bpf_map__key_size, (void *)) \
	X(int, bpf_map__set_key_size, (void *, u32)) \
	X(u32, bpf_map__value_size, (void *)) \
	X(int, bpf_map__set_value_size, (void *, u32)) \
	X(u32, bpf_map__max_entries, (void *)) \
	X(int, bpf_map__set_max_entries, (void *, u32)) \
	X(u32, bpf_map__map_flags, (void *)) \
	X(int, bpf_map__set_map_flags, (void *, u32)) \
	X(int, bpf_map__set_pin_path, (void *, const char *)) \
	X(int, bpf_map__reuse_fd, (void *, int)) \
	X(void *, bpf_map__initial_value, (void *, size_t *)) \
	X(int, bpf_link__fd, (void *)) \
	X(const char *, libbpf_version_string, (void)) \
	X(void *, libbpf_set_print, (int (*)(int, const char *, va_list)))

#define DECLARE(type, name, args) static type (*name) args;
LIBBPF(DECLARE)

static struct out said;	/* libbpf's messages since the last LOAD or CALL began */

static int on_print(int level, const char *format, va_list args)
{
	char *text;
	int n = level < 2 ? vasprintf(&text, format, args) : -1;
	if (n >= 0) {
		put(&said, text, n);
		free(text);
	}
	return 0;
}

static void find_libbpf(void)
{
	void *lib = dlopen("libbpf.so.1", RTLD_NOW | RTLD_GLOBAL);
	if (!lib) {
		fprintf(stderr, "bpfnb agent: %s\n", dlerror());
		die("libbpf");
	}
#define FIND(type, name, args) \
	name = (type (*) args)dlsym(lib, #name); \
	if (!name) \
		die(#name);
	LIBBPF(FIND)
	libbpf_set_print(on_print);
}

/* HELLO: nothing -> u64 monotonic, u64 realtime (ns), release, libbpf's version */
static void hello(u32 id, struct out *o)
{
	struct utsname name;
	struct timespec t;
	uname(&name);
	put64(o, now());
	clock_gettime(CLOCK_REALTIME, &t);
	put64(o, t.tv_sec * 1000000000ull + t.tv_nsec);
	put_text(o, name.release);
	put_text(o, libbpf_version_string());
	send_out(o, id, 0);
}

/*
 * CALL: function; u32 buffers, each: u32 flags (1: filled from here, 2: wanted back), u32 size [, bytes];
 * u32 pointers, each: buffer, offset, buffer whose address is put there; u32 arguments, each: u32 kind (0: number,
 * 1: buffer), u64 value -> u64 result, u32 errno, i32 descriptor where the function makes a link, libbpf's messages,
 * buffers wanted back
 */
static void call(u32 id, struct out *o)
{
	u8 *buffer[MAX_BUFFERS];
	u32 size[MAX_BUFFERS], flags[MAX_BUFFERS];
	u64 a[MAX_ARGS] = { 0 };
	char *name = get_blob(NULL);
	u64 (*function)(u64, u64, u64, u64, u64, u64, u64, u64) = dlsym(RTLD_DEFAULT, name);
	u32 buffers = get32();

	if (buffers > MAX_BUFFERS)
		die("buffers");
	for (u32 i = 0; i < buffers; i++) {
		flags[i] = get32();
		size[i] = get32();
		buffer[i] = calloc(1, size[i] + 8ul);
		if (!buffer[i])
			die("memory");
		if (flags[i] & 1)
			memcpy(buffer[i], get(size[i]), size[i]);
	}
	for (u32 n = get32(); n; n--) {
		u32 where = get32(), offset = get32(), what = get32();
		memcpy(buffer[where] + offset, &buffer[what], 8);
	}
	u32 args = get32();
	for (u32 i = 0; i < args && i < MAX_ARGS; i++) {
		u32 kind = get32();
		u64 value = get64();
		a[i] = kind ? (u64)buffer[value] : value;
	}
	said.size = 0;
	errno = 0;
	u64 result = function ? function(a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7]) : (u64)-1;
	int code = function ? errno : ENOSYS, fd = -1;
	if (function && result && strstr(name, "__attach"))
		fd = bpf_link__fd((void *)result);
	put64(o, result);
	put32(o, code);
	put32(o, fd);
	put_blob(o, said.data, said.size);
	for (u32 i = 0; i < buffers; i++)
		if (flags[i] & 2)
			put_blob(o, buffer[i], size[i]);
	for (u32 i = 0; i < buffers; i++)
		free(buffer[i]);
	free(name);
	send_out(o, id, 0);
}

/* The first bytes of struct bpf_map_info or bpf_prog_info */
static void put_info(struct out *o, int fd, u32 size)
{
	u8 info[128] = { 0 };
	struct { u32 fd, size; u64 info; } attr = { fd, size, (u64)info };
	syscall(SYS_bpf, 15, &attr, sizeof(attr));
	put_blob(o, info, size);
}

/*
 * LOAD: name, ELF; u32 programs, each: u32 autoload, type, attach type, flags; u32 maps, each: u32 key size, value
 * size, entries, flags, i32 descriptor to reuse (-1), path to pin at, initial contents
 * -> u64 object; programs: u64 pointer, i32 fd, type, attach type, info; maps: u64 pointer, i32 fd, info
 * or status -errno and libbpf's messages with the verifier's log
 */
static void load(u32 id, struct out *o)
{
	static char *log;
	struct {
		size_t sz;
		const char *name;
		bool relaxed;
		const char *pin_root;
		u32 unused;
		const char *kconfig, *btf;
		char *log;
		size_t log_size;
		u32 level;
	} opts = { 0 };
	u32 size, count;
	char *name = get_blob(NULL), *elf = get_blob(&size);
	void *program = NULL, *map = NULL;

	if (!log)
		log = mmap(NULL, LOG_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	madvise(log, LOG_BYTES, MADV_DONTNEED);
	opts.sz = sizeof(opts);
	opts.name = name;
	opts.log = log;
	opts.log_size = LOG_BYTES;
	said.size = 0;
	errno = 0;
	void *object = bpf_object__open_mem(elf, size, &opts);
	int code = object ? 0 : -errno;

	for (count = object ? get32() : 0; count; count--) {
		int autoload = get32(), type = get32(), attach = get32();
		u32 flags = get32();
		program = bpf_object__next_program(object, program);
		bpf_program__set_autoload(program, autoload);
		if (bpf_program__type(program) != type)
			bpf_program__set_type(program, type);
		if (bpf_program__expected_attach_type(program) != attach)
			bpf_program__set_expected_attach_type(program, attach);
		if (bpf_program__flags(program) != flags)
			bpf_program__set_flags(program, flags);
	}
	for (count = object ? get32() : 0; count; count--) {
		u32 key = get32(), value = get32(), entries = get32(), flags = get32(), bytes;
		int reuse = get32();
		char *pin = get_blob(NULL), *initial = get_blob(&bytes);
		size_t room = 0;
		map = bpf_object__next_map(object, map);
		if (bpf_map__key_size(map) != key)
			bpf_map__set_key_size(map, key);
		if (bpf_map__value_size(map) != value)
			bpf_map__set_value_size(map, value);
		if (bpf_map__max_entries(map) != entries)
			bpf_map__set_max_entries(map, entries);
		if (bpf_map__map_flags(map) != flags)
			bpf_map__set_map_flags(map, flags);
		if (reuse >= 0 && !code)
			code = bpf_map__reuse_fd(map, reuse);
		if (*pin)
			bpf_map__set_pin_path(map, pin);
		void *where = bytes ? bpf_map__initial_value(map, &room) : NULL;
		if (where && room >= bytes)
			memcpy(where, initial, bytes);
		free(pin);
		free(initial);
	}
	if (!code)
		code = bpf_object__load(object);
	free(name);
	free(elf);
	if (code) {
		put(o, said.data, said.size);
		if (*log) {
			put(o, "-- BEGIN PROG LOAD LOG --\n", 26);
			put(o, log, strnlen(log, LOG_BYTES));
			put(o, "-- END PROG LOAD LOG --\n", 24);
		}
		if (object)
			bpf_object__close(object);
		send_out(o, id, code);
		return;
	}
	put64(o, (u64)object);
	for (program = NULL; (program = bpf_object__next_program(object, program));) {
		put64(o, (u64)program);
		put32(o, bpf_program__fd(program));
		put32(o, bpf_program__type(program));
		put32(o, bpf_program__expected_attach_type(program));
		put_info(o, bpf_program__fd(program), 8);
	}
	for (map = NULL; (map = bpf_object__next_map(object, map));) {
		put64(o, (u64)map);
		put32(o, bpf_map__fd(map));
		put_info(o, bpf_map__fd(map), 96);
	}
	send_out(o, id, 0);
}

/* Streams: ring buffers and the perf buffers of one CPU */

struct stream {
	struct stream *next;
	u32 id, size;
	u64 sent;	/* bytes that were not acknowledged */
	bool perf;
	int fd;
	u64 *consumer, *producer;
	u8 *data, *first, *second;
	u64 sent_at, rest;	/* when it was sent last, and until when it rests */
};

static struct stream *streams;
static struct out chunk;

/* The bytes of finished records from the consumer's position, at most a chunk (or one record that is larger). */
static u64 finished(const struct stream *s, u64 from, u64 to)
{
	u64 at = from;
	while (at < to) {
		u32 word = __atomic_load_n((u32 *)(s->data + (at & (s->size - 1))), __ATOMIC_ACQUIRE);
		u64 stride = ((u64)(word & 0x3fffffff) + 15) & ~7ull;
		if (word >> 31 || (at > from && at + stride - from > CHUNK))
			break;
		at += stride;
	}
	return at - from;
}

/*
 * Sends what is ready, as long as fewer bytes than that are not acknowledged; how many. A frame's status is how full the
 * buffer was, in thousandths.
 */
static u64 push(struct stream *s, u64 window)
{
	u64 sent = 0;
	while (s->sent < window) {
		u64 from = *s->consumer, to = __atomic_load_n(s->producer, __ATOMIC_ACQUIRE), n = to - from;
		if (!s->perf)
			n = finished(s, from, to);
		if (!n)
			break;
		u64 at = from & (s->size - 1), part = s->perf && n > s->size - at ? s->size - at : n;
		u32 head[3] = { n + 8, s->id | 1u << 31, (to - from) * 1000 / s->size };
		port_write(head, 12);
		port_write(s->data + at, part);
		port_write(s->data, n - part);
		__atomic_store_n(s->consumer, from + n, __ATOMIC_RELEASE);
		s->sent += n;
		sent += n;
	}
	return sent;
}

static void release(struct stream *s)
{
	if (s->first != MAP_FAILED)
		munmap(s->first, s->perf ? s->size + 4096ul : 4096);
	if (s->second && s->second != MAP_FAILED)
		munmap(s->second, 4096 + 2ul * s->size);
	close(s->fd);
	free(s);
}

/* STREAM: i32 fd, u32 bytes of data (a power of two), u32 whether a perf event's -> nothing; its id is the request's */
static void stream(u32 id, struct out *o)
{
	struct stream *s = calloc(1, sizeof(*s));
	if (!s)
		die("memory");
	s->id = id;
	s->fd = fcntl(get32(), F_DUPFD_CLOEXEC, 0);
	s->size = get32();
	s->perf = get32();
	if (s->perf) {
		s->first = mmap(NULL, s->size + 4096ul, PROT_READ | PROT_WRITE, MAP_SHARED, s->fd, 0);
		s->producer = (u64 *)(s->first + 1024);
		s->consumer = s->producer + 1;
		s->data = s->first + 4096;
	} else {
		s->first = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, s->fd, 0);
		s->second = mmap(NULL, 4096 + 2ul * s->size, PROT_READ, MAP_SHARED, s->fd, 4096);
		s->consumer = (u64 *)s->first;
		s->producer = (u64 *)s->second;
		s->data = s->second + 4096;
	}
	if (s->first == MAP_FAILED || s->second == MAP_FAILED) {
		send_out(o, id, -errno);
		release(s);
		return;
	}
	struct epoll_event event = { .events = EPOLLIN | EPOLLET, .data.ptr = s };
	epoll_ctl(loop, EPOLL_CTL_ADD, s->fd, &event);
	s->next = streams;
	streams = s;
	send_out(o, id, 0);
}

static struct stream *stream_of(u32 id)
{
	struct stream *s = streams;
	while (s && s->id != id)
		s = s->next;
	return s;
}

/* ACK: u32 stream, u32 bytes; no answer */
static void ack(void)
{
	struct stream *s = stream_of(get32());
	u32 n = get32();
	if (s)
		s->sent -= n;
}

/* FETCH: u32 stream -> nothing, after frames of all that its buffer held */
static void fetch(u32 id, struct out *o)
{
	struct stream *s = stream_of(get32());
	if (s)
		push(s, s->sent + s->size);
	send_out(o, id, 0);
}

/* STOP: u32 stream -> nothing; no frame of it follows */
static void stop(u32 id, struct out *o)
{
	struct stream *s = stream_of(get32()), **at = &streams;
	if (s) {
		while (*at != s)
			at = &(*at)->next;
		*at = s->next;
		release(s);
	}
	send_out(o, id, 0);
}

/*
 * Sends of every stream what is ready; the time (ns) after which one is to be looked at again. A stream rests after it
 * was sent, so that more comes in a batch, but no longer than a quarter of its buffer takes to fill.
 */
static u64 push_all(void)
{
	u64 wait = POLL_NS;
	for (struct stream *s = streams; s; s = s->next) {
		u64 sent = now() >= s->rest ? push(s, WINDOW) : 0, at = now();
		if (sent) {
			u64 quarter = least(at - s->sent_at, 1000000000) * (s->size / 4) / sent;
			s->sent_at = at;
			s->rest = at + least(quarter, REST_NS);
		}
		if (s->rest > at)
			wait = least(wait, s->rest - at);
	}
	return wait;
}

/* Commands */

struct command {
	struct command *next;
	u32 id;
	pid_t pid;
	int out[2], in;
	int status;
	bool ended;
};

static struct command *commands;

static struct command *command_of(u32 id)
{
	struct command *c = commands;
	while (c && c->id != id)
		c = c->next;
	return c;
}

/* A command's ends and ours. Of a terminal the former are three descriptors of it, the latter two of its master. */
enum { IN, OUT, ERR };
struct ends {
	int its[3], ours[3];
};

static bool open_terminal(struct ends *e)
{
	int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
	e->ours[OUT] = master;
	if (master < 0 || grantpt(master) || unlockpt(master))
		return false;
	return (e->ours[IN] = fcntl(master, F_DUPFD_CLOEXEC, 0)) >= 0 &&
	       (e->its[IN] = open(ptsname(master), O_RDWR | O_NOCTTY | O_CLOEXEC)) >= 0 &&
	       (e->its[OUT] = fcntl(e->its[IN], F_DUPFD_CLOEXEC, 0)) >= 0 &&
	       (e->its[ERR] = fcntl(e->its[IN], F_DUPFD_CLOEXEC, 0)) >= 0;
}

static bool open_pipes(struct ends *e)
{
	for (int i = IN; i <= ERR; i++) {
		int made[2];
		if (pipe2(made, O_CLOEXEC))
			return false;
		e->its[i] = made[i != IN];
		e->ours[i] = made[i == IN];
	}
	return true;
}

static void close_all(int *fds)
{
	for (int i = IN; i <= ERR; i++)
		if (fds[i] >= 0)
			close(fds[i]);
}

/*
 * RUN: u32 arguments, each; folder; u32 whether input follows (1: by INPUT, 2: so, through a terminal) -> at once u32
 * pid; then frames of the stream: status 1 and output, 2 and errors, at last 3 and the u32 wait status
 * or status -errno, where there is no room for another process or its pipes
 */
static void run(u32 id, struct out *o)
{
	struct command *c = calloc(1, sizeof(*c));
	u32 count = get32();
	char **argv = calloc(count + 1, sizeof(*argv));
	struct ends e = { { -1, -1, -1 }, { -1, -1, -1 } };

	if (!c || !argv)
		die("memory");
	for (u32 i = 0; i < count; i++)
		argv[i] = get_blob(NULL);
	char *folder = get_blob(NULL);
	u32 input = get32();
	c->id = id;
	c->pid = (input == 2 ? open_terminal(&e) : open_pipes(&e)) ? fork() : -1;
	int code = errno;
	if (!c->pid) {
		sigset_t none;
		sigemptyset(&none);
		sigprocmask(SIG_SETMASK, &none, NULL);
		signal(SIGPIPE, SIG_DFL);
		setpriority(PRIO_PROCESS, 0, 0);
		setsid();
		if (input == 2)
			ioctl(e.its[IN], TIOCSCTTY, 0);
		for (int i = IN; i <= ERR; i++)
			dup2(e.its[i], i);
		if (chdir(folder))
			dprintf(2, "%s: %s\n", folder, strerror(errno));
		execvp(argv[0], argv);
		dprintf(2, "%s: %s\n", argv[0], strerror(errno));
		_exit(127);
	}
	close_all(e.its);
	for (u32 i = 0; i < count; i++)
		free(argv[i]);
	free(argv);
	free(folder);
	if (c->pid < 0) {
		close_all(e.ours);
		free(c);
		send_out(o, id, -code);
		return;
	}
	c->in = e.ours[IN];
	if (!input) {
		close(c->in);
		c->in = -1;
	}
	c->out[0] = e.ours[OUT];
	c->out[1] = e.ours[ERR];
	c->next = commands;
	commands = c;
	for (int i = 0; i < 2 && c->out[i] >= 0; i++) {
		/* Once for what comes: a terminal that the command has closed is ready for ever, with EIO. */
		struct epoll_event event = { .events = EPOLLIN | EPOLLET, .data.ptr = c };
		fcntl(c->out[i], F_SETFL, O_NONBLOCK);
		epoll_ctl(loop, EPOLL_CTL_ADD, c->out[i], &event);
	}
	put32(o, c->pid);
	send_out(o, id, 0);
}

/*
 * Sends of what commands wrote a chunk each, and the ends of those that ended: whether there may be more. A command that
 * writes faster than the host takes it must not keep the loop from hearing what the host says. A command's end does not
 * wait for its children's: what it wrote itself is less than a chunk, by the size of pipes and of terminals' buffers.
 */
static bool serve_commands(void)
{
	static u8 data[1 << 16];
	bool more = false;
	for (struct command **at = &commands, *c; (c = *at);) {
		for (int i = 0; i < 2; i++) {
			size_t sent = 0;
			while (c->out[i] >= 0 && sent < CHUNK) {
				ssize_t n = read(c->out[i], data, sizeof(data));
				if (n < 0)
					break;
				if (!n) {
					close(c->out[i]);
					c->out[i] = -1;
					break;
				}
				begin(&chunk);
				put(&chunk, data, n);
				send_out(&chunk, c->id | 1u << 31, i + 1);
				sent += n;
			}
			more |= sent >= CHUNK; /* of which the loop is not told again: EPOLLET */
		}
		if (!c->ended) {
			at = &c->next;
			continue;
		}
		begin(&chunk);
		put32(&chunk, c->status);
		send_out(&chunk, c->id | 1u << 31, 3);
		for (int i = 0; i < 2; i++)
			if (c->out[i] >= 0)
				close(c->out[i]);
		if (c->in >= 0)
			close(c->in);
		*at = c->next;
		free(c);
	}
	return more;
}

static void reap(void)
{
	int status;
	pid_t pid;
	while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
		for (struct command *c = commands; c; c = c->next)
			if (c->pid == pid) {
				c->status = status;
				c->ended = true;
			}
}

/* SIGNAL: u32 command, u32 signal, to its whole session; no answer */
static void signal_command(void)
{
	struct command *c = command_of(get32());
	int number = get32();
	if (c)
		kill(-c->pid, number);
}

/* INPUT: u32 command, bytes (none: its end); no answer */
static void input(void)
{
	struct command *c = command_of(get32());
	u32 size;
	u8 *data = get_blob(&size), *at = data;
	for (ssize_t n = 1; c && c->in >= 0 && size && n > 0; at += n, size -= n)
		n = write(c->in, at, size);
	if (c && c->in >= 0 && at == data) {
		close(c->in);
		c->in = -1;
	}
	free(data);
}

/* The loop */

static void serve(void)
{
	static struct out o;
	static u8 *frame;
	static u32 room;
	u32 head[3];

	if (!port_read(head, 12)) {
		port_wait(POLLIN);
		return;
	}
	u32 size = head[0] - 8;
	if (size > room) {
		room = size * 2;
		frame = realloc(frame, room);
		if (!frame)
			die("memory");
	}
	while (!port_read(frame, size))
		port_wait(POLLIN);
	in_at = frame;
	in_end = frame + size;
	begin(&o);
	switch (head[2]) {
	case HELLO: hello(head[1], &o); break;
	case CALL: call(head[1], &o); break;
	case LOAD: load(head[1], &o); break;
	case STREAM: stream(head[1], &o); break;
	case ACK: ack(); break;
	case FETCH: fetch(head[1], &o); break;
	case STOP: stop(head[1], &o); break;
	case RUN: run(head[1], &o); break;
	case SIGNAL: signal_command(); break;
	case INPUT: input(); break;
	default: send_out(&o, head[1], -ENOSYS);
	}
}

/* The system's beginning */

static void mount_all(void)
{
	static const struct { const char *kind, *where; } mounts[] = {
		{ "proc", "/proc" }, { "sysfs", "/sys" }, { "devtmpfs", "/dev" }, { "tmpfs", "/tmp" }, { "tmpfs", "/run" },
		{ "devpts", "/dev/pts" }, { "tracefs", "/sys/kernel/tracing" }, { "debugfs", "/sys/kernel/debug" },
		{ "securityfs", "/sys/kernel/security" }, { "bpf", "/sys/fs/bpf" }, { "cgroup2", "/sys/fs/cgroup" },
	};
	for (size_t i = 0; i < sizeof(mounts) / sizeof(*mounts); i++) {
		mkdir(mounts[i].where, 0755);
		mount(mounts[i].kind, mounts[i].where, mounts[i].kind, 0, NULL);
	}
}

static void load_modules(void)
{
	char line[256], path[300];
	FILE *order = fopen("/modules/order", "r");
	while (order && fgets(line, sizeof(line), order)) {
		line[strcspn(line, "\n")] = 0;
		snprintf(path, sizeof(path), "/modules/%s", line);
		int fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd >= 0 && syscall(SYS_finit_module, fd, "", 0) && errno != EEXIST)
			fprintf(stderr, "bpfnb agent: %s: %s\n", line, strerror(errno));
		close(fd);
		unlink(path);
	}
	if (order)
		fclose(order);
}

static void loopback_up(void)
{
	struct ifreq request = { .ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	ioctl(fd, SIOCSIFFLAGS, &request);
	close(fd);
}

static void open_port(void)
{
	char path[300];
	for (int tries = 0; tries < 2000 && port < 0; tries++) {
		DIR *ports = opendir("/sys/class/virtio-ports");
		struct dirent *entry;
		while (ports && (entry = readdir(ports)))
			if (entry->d_name[0] == 'v') {
				snprintf(path, sizeof(path), "/dev/%s", entry->d_name);
				port = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
			}
		if (ports)
			closedir(ports);
		if (port < 0)
			usleep(2000);
	}
	if (port < 0)
		die("no virtio port");
}

int main(void)
{
	sigset_t children;
	struct rlimit limit = { RLIM_INFINITY, RLIM_INFINITY };

	mount_all();
	load_modules();
	setenv("PATH", "/guest/bin:/bin:/sbin:/usr/bin:/usr/sbin", 1); /* /guest/bin: none of the host's folders hides it */
	setenv("HOME", "/root", 1);
	setrlimit(RLIMIT_MEMLOCK, &limit);
	sethostname("guest", 5);
	loopback_up();
	sigemptyset(&children);
	sigaddset(&children, SIGCHLD);
	sigprocmask(SIG_BLOCK, &children, NULL);
	signal(SIGPIPE, SIG_IGN);
	setpriority(PRIO_PROCESS, 0, -20); /* buffers are emptied before commands fill them further */
	int ended = signalfd(-1, &children, SFD_CLOEXEC | SFD_NONBLOCK);
	loop = epoll_create1(EPOLL_CLOEXEC);
	open_port();
	find_libbpf();
	struct epoll_event event = { .events = EPOLLIN, .data.ptr = NULL };
	epoll_ctl(loop, EPOLL_CTL_ADD, port, &event);
	event.data.ptr = &ended;
	epoll_ctl(loop, EPOLL_CTL_ADD, ended, &event);
	bool more = false;
	for (u64 wait = POLL_NS;;) {
		struct epoll_event events[16];
		struct timespec time = { .tv_nsec = more ? 0 : wait };
		struct pollfd p = { .fd = loop, .events = POLLIN };
		ppoll(&p, 1, streams || more ? &time : NULL, NULL); /* epoll_wait counts in milliseconds */
		int n = epoll_wait(loop, events, 16, 0);
		for (int i = 0; i < n; i++) {
			struct signalfd_siginfo info;
			if (!events[i].data.ptr)
				serve();
			else if (events[i].data.ptr == &ended)
				while (read(ended, &info, sizeof(info)) > 0)
					;
		}
		reap();
		wait = push_all();
		more = serve_commands();
	}
}
