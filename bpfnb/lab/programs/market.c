/* SPDX-License-Identifier: Apache-2.0 */
/* The market of lab 13: functions with arguments, some of which fail. Compile with -g.
 *
 *     market SEED REQUESTS
 *
 * It says that it is ready, waits for a line, handles so many requests and says as JSON what it did.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

#define NOINLINE __attribute__((noinline))
enum method { BROWSE, ORDER, REFUND };
struct customer { int id; char name[16]; };
struct request { enum method method; struct customer *customer; const char *item; int count; };

static struct customer customers[] = {{1, "ada"}, {2, "grace"}, {3, "linus"}, {4, "margaret"}};
static const char *items[] = {"apple", "bread", "cheese", "durian", "egg"};
static unsigned long chance;
static int handled[3], priced[5], failed[5], large[4];

static unsigned drawn(unsigned below)
{
	chance = chance * 6364136223846793005UL + 1442695040888963407UL;
	return (chance >> 33) % below;
}

/* Cents for so many of an item; negative where it cannot be sold. */
NOINLINE int price(const char *item, int count)
{
	static const int cents[] = {30, 250, 400, 0, 20};

	for (unsigned i = 0; i < 5; i++)
		if (!strcmp(items[i], item))
			return cents[i] && count < 90 ? cents[i] * count : -1;
	return -2;
}

static int item_of(const struct request *request)
{
	for (int i = 0; i < 5; i++)
		if (items[i] == request->item)
			return i;
	return 0;
}

NOINLINE int handle(struct request *request, int door)
{
	return request->method == BROWSE ? 0 : price(request->item, request->count) + 0 * door;
}

int main(int argc, char **argv)
{
	long count, earned = 0;

	prctl(PR_SET_PDEATHSIG, 9);
	if (argc < 3)
		return 2;
	chance = strtoul(argv[1], NULL, 10);
	count = atol(argv[2]);
	puts("ready");
	fflush(stdout);
	getchar();
	while (count--) {
		struct request request = {drawn(3), &customers[drawn(4)], items[drawn(5)], 1 + drawn(99)};
		int got = handle(&request, drawn(2));

		handled[request.method]++;
		if (request.method == BROWSE)
			continue;
		priced[item_of(&request)]++;
		failed[item_of(&request)] += got < 0;
		large[request.customer->id - 1] += request.method == ORDER && request.count >= 80;
		earned += got > 0 ? got : 0;
	}
	printf("{\"earned\": %ld, \"handled\": %d", earned, handled[0] + handled[1] + handled[2]);
	for (int i = 0; i < 5; i++)
		printf(", \"priced.%s\": %d, \"failed.%s\": %d", items[i], priced[i], items[i], failed[i]);
	for (int i = 0; i < 4; i++)
		printf(", \"large.%s\": %d", customers[i].name, large[i]);
	puts("}");
}
