/* SPDX-License-Identifier: Apache-2.0 */
/* The server of lab 12: it leaks, and its threads wait for each other. Compile with frame pointers.
 *
 *     till SEED ORDERS ANSWERS
 *
 * It says that it is ready and waits for a line. Then it reads orders from one named pipe and answers each, as JSON, to
 * the other: `serve N` serves N requests, `contend N` has so many reports made while somebody wants to check out. It
 * ends when it is killed, so that its memory and its names are there as long as somebody looks at them.
 */
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#define NOINLINE __attribute__((noinline))
#define MORE __asm__ volatile("") /* so that a call is no jump */
enum { BASKET = 300, SESSION = 1000, PICTURE = 2000, PICTURES = 16, HOLD_MS = 5 };

static unsigned long chance;
static long sessions;
static void *volatile last_session;
static void *pictures[PICTURES];
static unsigned next_picture;

static unsigned drawn(void)
{
	chance = chance * 6364136223846793005UL + 1442695040888963407UL;
	return chance >> 33;
}

NOINLINE static void make_basket(void)
{
	char *volatile basket = malloc(BASKET); /* volatile: else the compiler leaves it out, as nobody reads it */

	memset(basket, 1, BASKET);
	free(basket);
	MORE;
}

NOINLINE static void remember_session(void)
{
	last_session = malloc(SESSION); /* and the one before is forgotten */
	sessions++;
	MORE;
}

NOINLINE static void keep_picture(void)
{
	unsigned place = next_picture++ % PICTURES;

	free(pictures[place]);
	pictures[place] = malloc(PICTURE);
	MORE;
}

NOINLINE static void serve(long requests)
{
	while (requests--) {
		make_basket();
		keep_picture();
		if (drawn() % 4 == 0)
			remember_session();
	}
}

static pthread_mutex_t till = PTHREAD_MUTEX_INITIALIZER, door = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t opened = PTHREAD_COND_INITIALIZER;
static volatile long turns, taken, is_open;

static void rest(long ms) { nanosleep(&(struct timespec){0, ms * 1000000}, NULL); }

/* Keeps the till until the clerk waits for it (glibc's mutex is 2 then), and as long again as a report takes. */
NOINLINE static void write_report(long turn)
{
	pthread_mutex_lock(&till);
	taken = turn;
	while (__atomic_load_n(&till.__data.__lock, __ATOMIC_ACQUIRE) != 2)
		sched_yield();
	rest(HOLD_MS);
	pthread_mutex_unlock(&till);
	MORE;
}

NOINLINE static void check_out(void)
{
	pthread_mutex_lock(&till);
	turns++;
	pthread_mutex_unlock(&till);
	MORE;
}

static void *reporter(void *count)
{
	prctl(PR_SET_NAME, "reporter");
	for (long turn = 1; turn <= (long)count; turn++) {
		write_report(turn);
		while (turns < turn)
			sched_yield();
	}
	return NULL;
}

static void *clerk(void *count)
{
	prctl(PR_SET_NAME, "clerk");
	for (long turn = 1; turn <= (long)count; turn++) {
		while (taken < turn)
			sched_yield();
		check_out();
	}
	return NULL;
}

NOINLINE static void wait_for_guests(void)
{
	pthread_mutex_lock(&door);
	while (!is_open)
		pthread_cond_wait(&opened, &door);
	pthread_mutex_unlock(&door);
	MORE;
}

static void *doorman(void *nothing)
{
	prctl(PR_SET_NAME, "doorman");
	wait_for_guests();
	return nothing;
}

static void contend(long count)
{
	pthread_t threads[3];

	turns = taken = is_open = 0;
	pthread_create(&threads[0], NULL, doorman, NULL);
	pthread_create(&threads[1], NULL, reporter, (void *)count);
	pthread_create(&threads[2], NULL, clerk, (void *)count);
	pthread_join(threads[1], NULL);
	pthread_join(threads[2], NULL);
	pthread_mutex_lock(&door);
	is_open = 1;
	pthread_mutex_unlock(&door); /* first, so that the doorman finds the mutex free */
	pthread_cond_signal(&opened);
	pthread_join(threads[0], NULL);
}

int main(int argc, char **argv)
{
	static char buffers[2][4096]; /* so that stdio allocates nothing */
	FILE *orders, *answers;
	char word[16];
	long count;

	prctl(PR_SET_PDEATHSIG, 9);
	if (argc < 4)
		return 2;
	chance = strtoul(argv[1], NULL, 10);
	puts("ready");
	fflush(stdout);
	getchar();
	orders = fopen(argv[2], "r");
	answers = fopen(argv[3], "w");
	if (!orders || !answers)
		return 1;
	setvbuf(orders, buffers[0], _IOFBF, sizeof(buffers[0]));
	setvbuf(answers, buffers[1], _IOFBF, sizeof(buffers[1]));
	while (fscanf(orders, "%15s %ld", word, &count) == 2) {
		if (!strcmp(word, "serve"))
			serve(count);
		else
			contend(count);
		fprintf(answers, "{\"sessions\": %ld, \"turns\": %ld}\n", sessions, turns);
		fflush(answers);
	}
	pause();
}
