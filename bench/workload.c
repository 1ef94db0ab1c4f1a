/* Work whose amount is known: `workload WHAT N` does it once for each line on its input and prints the nanoseconds. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void calls(long n) { while (n--) syscall(SYS_getppid); }

static void opens(long n) { while (n--) close(open("/dev/null", O_RDONLY)); }

static void execs(long n)
{
	char *arguments[] = {"/bin/true", "--", "of", "a", "few", "words", NULL};
	pid_t child;

	while (n--) {
		if (posix_spawn(&child, arguments[0], NULL, NULL, arguments, arguments + 6))
			exit(1);
		waitpid(child, NULL, 0);
	}
}

/* Two processes on one CPU hand a byte to each other: each blocks once a turn. */
static void switches(long n)
{
	int there[2], back[2];
	char byte = 0;

	if (pipe(there) || pipe(back))
		exit(1);
	if (!fork()) {
		while (n-- && read(there[0], &byte, 1) == 1 && write(back[1], &byte, 1) == 1)
			;
		_exit(0);
	}
	for (long i = 0; i < n; i++)
		if (write(there[1], &byte, 1) != 1 || read(back[0], &byte, 1) != 1)
			exit(1);
	wait(NULL);
	close(there[0]), close(there[1]), close(back[0]), close(back[1]);
}

static void spins(long n) { for (volatile long i = 0; i < n * 1000; i++); }

int main(int argc, char **argv)
{
	const struct { const char *name; void (*run)(long); } kinds[] = {
		{"calls", calls}, {"opens", opens}, {"execs", execs}, {"switches", switches}, {"spins", spins},
	};
	struct timespec start, end;
	cpu_set_t first;
	char line[8];

	CPU_ZERO(&first);
	CPU_SET(0, &first);
	sched_setaffinity(0, sizeof(first), &first);
	for (unsigned kind = 0; argc == 3 && kind < sizeof(kinds) / sizeof(*kinds); kind++) {
		if (strcmp(kinds[kind].name, argv[1]))
			continue;
		while (fgets(line, sizeof(line), stdin)) {
			clock_gettime(CLOCK_MONOTONIC, &start);
			kinds[kind].run(atol(argv[2]));
			clock_gettime(CLOCK_MONOTONIC, &end);
			printf("%lld\n", (end.tv_sec - start.tv_sec) * 1000000000LL + end.tv_nsec - start.tv_nsec);
			fflush(stdout);
		}
		return 0;
	}
	return 2;
}
