"""A program that allocates, touches, maps and locks known amounts, each by a function whose name is in its stack."""

from __future__ import annotations

import atexit
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

__all__ = ["program"]

_SOURCE = r"""
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define STEP __attribute__((noinline)) void
#define DONE __asm__ volatile("" ::: "memory")  /* no call is a function's last instruction, or it left no frame */

static void *kept[1000];
static int count;
static void keep(void *p) { kept[count++] = p; }

STEP leak_malloc(void) { keep(malloc(1000)); DONE; }
STEP leak_calloc(void) { keep(calloc(10, 30)); DONE; }
STEP leak_realloc(void) { void *p = malloc(10); p = realloc(p, 200); keep(realloc(p, 5000)); DONE; }
STEP leak_from_nothing(void) { keep(realloc(NULL, 77)); DONE; }
STEP leak_posix(void) { void *p; if (!posix_memalign(&p, 64, 256)) keep(p); DONE; }
STEP leak_aligned(void) { keep(aligned_alloc(64, 640)); DONE; }
STEP leak_big(void) { keep(malloc(1 << 20)); DONE; }  /* the allocator maps it, which is not counted again */
STEP leak_failed(void)
{
    void *p = malloc(700);
    volatile size_t much = SIZE_MAX / 2;
    if (!realloc(p, much)) keep(p);
    DONE;
}
STEP leak_map(void) { if (mmap(NULL, 8192, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED) abort(); DONE; }
STEP no_leak(void)
{
    void *p = malloc(123), *m = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    free(p), munmap(m, 4096), free(calloc(1, 9)), free(memalign(16, 5)), free(realloc(malloc(1), 2));
    p = malloc(50), p = realloc(p, 0);
    DONE;
}
STEP leak(void)
{
    leak_malloc(), leak_calloc(), leak_realloc(), leak_from_nothing(), leak_posix(), leak_aligned(), leak_big();
    leak_failed(), leak_map(), no_leak();
    DONE;
}
STEP drop(void) { while (count) free(kept[--count]); DONE; }

static char *fresh(long pages)
{
    char *memory = mmap(NULL, pages * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    madvise(memory, pages * 4096, MADV_NOHUGEPAGE);
    return memory;
}
STEP touch(long pages)
{
    char *memory = fresh(pages);
    for (long i = 0; i < pages; i++) ((volatile char *)memory)[i * 4096] = 1;
    munmap(memory, pages * 4096);
}
STEP receive(long pages)
{
    int zero = open("/dev/zero", O_RDONLY);
    char *memory = fresh(pages);
    if (syscall(SYS_read, zero, memory, pages * 4096) != pages * 4096) abort();
    munmap(memory, pages * 4096), close(zero);
}
STEP fetch(long pages, const char *path)  /* each page from the disk */
{
    int file = open(path, O_RDONLY);
    posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED);
    char *memory = mmap(NULL, pages * 4096, PROT_READ, MAP_SHARED, file, 0);
    madvise(memory, pages * 4096, MADV_RANDOM);
    for (long i = 0; i < pages; i++) (void)((volatile char *)memory)[i * 4096];
    munmap(memory, pages * 4096), close(file);
}

STEP change(void)
{
    char *p = mmap(NULL, 12288, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    mprotect(p, 4096, PROT_READ | PROT_WRITE);
    mprotect(p, 4096, PROT_READ);
    p = mremap(p, 12288, 40960, MREMAP_MAYMOVE);
    munmap(p, 40960);
    if (mmap(NULL, 0, PROT_READ, MAP_SHARED | MAP_POPULATE, 0, 0) != MAP_FAILED) abort();
    sbrk(8192), sbrk(-4096);
}

/* One thread has the mutex for a time, another one waits for it. */
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
static volatile int waiter, woken;

STEP lock_late(void) { pthread_mutex_lock(&mutex); DONE; }
STEP lock_first(void) { pthread_mutex_lock(&mutex); DONE; }
STEP lock_condition(void) { pthread_mutex_lock(&mutex); DONE; }
static void rest(long ms) { nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000}, NULL); }

static void await_sleep(void)  /* the waiting thread sleeps in the futex */
{
    char path[64], text[64] = "";
    while (!waiter) sched_yield();
    snprintf(path, sizeof path, "/proc/self/task/%d/syscall", waiter);
    while (strncmp(text, "202 ", 4)) {  /* SYS_futex */
        int file = open(path, O_RDONLY);
        ssize_t n = read(file, text, sizeof text - 1);
        text[n > 0 ? n : 0] = 0;
        close(file);
        sched_yield();
    }
}
static void *late(void *x)
{
    waiter = gettid();
    lock_late();
    pthread_mutex_unlock(&mutex);
    return x;
}
STEP contend(long ms)
{
    pthread_t thread;
    waiter = 0;
    lock_first();
    pthread_create(&thread, NULL, late, NULL);
    await_sleep();
    rest(ms);
    pthread_mutex_unlock(&mutex);
    pthread_join(thread, NULL);
}
static void *waits(void *x)
{
    lock_condition();
    waiter = gettid();
    while (!woken) pthread_cond_wait(&condition, &mutex);
    pthread_mutex_unlock(&mutex);
    return x;
}
STEP signal_after(long ms)
{
    pthread_t thread;
    waiter = woken = 0;
    pthread_create(&thread, NULL, waits, NULL);
    await_sleep();
    rest(ms);
    woken = 1;
    pthread_cond_signal(&condition);
    pthread_join(thread, NULL);
}

int main(int argc, char **argv)
{
    char line[64], word[16];
    long n;
    while (fgets(line, sizeof line, stdin) && sscanf(line, "%15s %ld", word, &n) == 2) {
        for (long i = 0; i < n && !strcmp(word, "leak"); i++) leak();
        if (!strcmp(word, "drop")) drop();
        if (!strcmp(word, "touch")) touch(n);
        if (!strcmp(word, "receive")) receive(n);
        if (!strcmp(word, "fetch")) fetch(n, argv[1]);
        if (!strcmp(word, "change")) change();
        if (!strcmp(word, "contend")) contend(n);
        if (!strcmp(word, "signal")) signal_after(n);
        if (write(1, "done\n", 5) != 5) return 1;
    }
    return 0;
}
"""


@cache
def program(*, static: bool = False) -> Path:
    """The program, ``allocating``, or ``allocstatic`` with the C library in itself. Takes lines ``WHAT N``: see its source."""
    folder = Path(tempfile.mkdtemp(prefix="bpfnb-test-"))
    atexit.register(shutil.rmtree, folder)
    (folder / "allocating.c").write_text(_SOURCE)
    out = folder / ("allocstatic" if static else "allocating")
    compiler = shutil.which("gcc") or shutil.which("cc")
    command = [compiler] if compiler else [sys.executable, "-m", "ziglang", "cc"]
    flags = [
        "-O1",
        "-g",
        "-fno-omit-frame-pointer",
        "-fno-builtin",
        "-pthread",
        *(["-static"] if static else []),
    ]
    subprocess.run([*command, *flags, "-o", out, folder / "allocating.c"], check=True, capture_output=True)
    return out
