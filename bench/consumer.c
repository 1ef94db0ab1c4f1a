// The peer for ring buffers: libbpf's own consumer with a callback that copies each record out.
#include <bpf/libbpf.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

struct sink { char *at, *end; uint64_t records; };

static int copy(void *ctx, void *data, size_t size)
{
	struct sink *sink = ctx;
	if (sink->at + size > sink->end) return -1;
	memcpy(sink->at, data, size);
	sink->at += size;
	sink->records++;
	return 0;
}

static uint64_t now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ull + t.tv_nsec;
}

// Empties the ring buffer into dst; returns nanoseconds, stores the number of records.
uint64_t consume(int fd, char *dst, uint64_t size, uint64_t *records)
{
	struct sink sink = {dst, dst + size, 0};
	struct ring_buffer *rb = ring_buffer__new(fd, copy, &sink, NULL);
	if (!rb) return 0;
	uint64_t start = now();
	ring_buffer__consume(rb);
	uint64_t spent = now() - start;
	ring_buffer__free(rb);
	*records = sink.records;
	return spent;
}
