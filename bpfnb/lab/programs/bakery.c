/* SPDX-License-Identifier: Apache-2.0 */
/* The bakery of lab 5: it computes (bake) and waits (deliver) as long as its arguments say, in functions with names.
 *
 *     bakery bake ROUNDS SECONDS ...     of knead, glaze, decorate, pack: processor time, all rounds together
 *     bakery deliver COUNT SECONDS ...   of ask_traffic, unlock_door, find_parking: so many waits, each so long
 *
 * It says that it is ready, waits for a line, works, and says what it measured of itself.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define NOINLINE __attribute__((noinline))
#define MORE __asm__ volatile("") /* so that a call is no jump */

static double now(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

/* Time is asked for rarely, so that the kernel's clock has no share that one could see. */
NOINLINE static void whisk(double seconds)
{
	double end = now(CLOCK_THREAD_CPUTIME_ID) + seconds;

	while (now(CLOCK_THREAD_CPUTIME_ID) < end)
		for (volatile int i = 0; i < 50000; i++)
			;
}

NOINLINE static void decorate(double seconds)
{
	double end = now(CLOCK_THREAD_CPUTIME_ID) + seconds;

	while (now(CLOCK_THREAD_CPUTIME_ID) < end)
		for (volatile int i = 0; i < 50000; i++)
			;
}

NOINLINE static void pack(double seconds)
{
	double end = now(CLOCK_THREAD_CPUTIME_ID) + seconds;

	while (now(CLOCK_THREAD_CPUTIME_ID) < end)
		for (volatile int i = 0; i < 50000; i++)
			;
}

NOINLINE static void knead(double seconds) { whisk(seconds); MORE; }
NOINLINE static void glaze(double seconds) { whisk(seconds); MORE; }

static double asleep; /* seconds, by our own clock */

NOINLINE static void rest(double seconds)
{
	struct timespec time = {0, seconds * 1e9};
	double begin = now(CLOCK_MONOTONIC);

	nanosleep(&time, 0);
	asleep += now(CLOCK_MONOTONIC) - begin;
}

NOINLINE static void ask_traffic(double seconds) { rest(seconds); MORE; }
NOINLINE static void unlock_door(double seconds) { rest(seconds); MORE; }
NOINLINE static void find_parking(double seconds) { rest(seconds); MORE; }

NOINLINE static void bake(int rounds, const double *seconds)
{
	for (int i = 0; i < rounds; i++) {
		knead(seconds[0] / rounds);
		glaze(seconds[1] / rounds);
		decorate(seconds[2] / rounds);
		pack(seconds[3] / rounds);
	}
	printf("{\"cpu_s\": %.6f}\n", now(CLOCK_PROCESS_CPUTIME_ID));
}

NOINLINE static void deliver(const double *numbers)
{
	static void (*const steps[])(double) = {ask_traffic, unlock_door, find_parking};
	double took[3];

	for (int step = 0; step < 3; step++) {
		double begin = asleep;

		for (int i = 0; i < numbers[2 * step]; i++)
			steps[step](numbers[2 * step + 1]);
		took[step] = asleep - begin;
	}
	printf("{\"ask_traffic_s\": %.6f, \"unlock_door_s\": %.6f, \"find_parking_s\": %.6f, \"asleep_s\": %.6f}\n",
	       took[0], took[1], took[2], asleep);
}

int main(int count, char **words)
{
	double numbers[6] = {0};
	int baking = count > 1 && !strcmp(words[1], "bake");

	for (int i = 0; i < 6 && i + 2 + baking < count; i++)
		numbers[i] = atof(words[i + 2 + baking]);
	puts("ready");
	fflush(stdout);
	if (getchar() == EOF)
		return 0;
	if (baking)
		bake(atoi(words[2]), numbers);
	else
		deliver(numbers);
	return 0;
}
