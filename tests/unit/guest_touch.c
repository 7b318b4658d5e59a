// SPDX-License-Identifier: BSD-2-Clause
/*
 * The oracle of the touch workload, run on the host's own memory: it must stay silent whatever a
 * correct host does, and speak up for each thing that a wrong one does.
 */
#include <stdlib.h>
#include <string.h>

#include "guest/args.c"	 // NOLINT(bugprone-suspicious-include)
#include "guest/touch.c" // NOLINT(bugprone-suspicious-include)
#include "tests/test.h"

#define PAGES UINT64_C(100)

static char *work;
static struct board *board;
static struct seen *heap;
static struct guest guest;
static uint64_t rounds, errors;
static void (*between)(uint64_t round); /* the host's doing before each round */

/* What the guest finds around it. */

uint64_t hc_phase(unsigned cpu, enum hc_phase phase, uint64_t a, uint64_t b, uint64_t c)
{
	check_eq(cpu, guest.cpu);
	if (phase == PHASE_BEGIN && between)
		between(a);
	if (phase == PHASE_END) {
		check_eq(a, rounds);
		check(b <= PAGES);
		rounds++;
		errors += c;
	}
	return 0;
}

uint64_t hc_clock(unsigned cpu)
{
	return cpu;
}

void print(unsigned cpu, const char *fmt, ...)
{
	check(cpu == guest.cpu && fmt);
}

int workload_refuse(const struct guest *g, const char *why)
{
	check(g == &guest && why);
	return EXIT_BAD_ARGS;
}

struct region workload_heap(const struct guest *g)
{
	check(g == &guest);
	return (struct region){ .gpa = (uint64_t)heap, .size = PAGES * sizeof(*heap) };
}

static void setup(void)
{
	work = aligned_alloc(ABI_PAGE_SIZE, PAGES * ABI_PAGE_SIZE);
	board = calloc(1, board_size(PAGES));
	heap = calloc(PAGES, sizeof(*heap));
	check(work && board && heap);
	memset(work, 0, PAGES * ABI_PAGE_SIZE);
	guest = (struct guest){
		.cpu = 1,
		.cpus = 2,
		.work = { .gpa = (uint64_t)work, .size = PAGES * ABI_PAGE_SIZE },
		.board = board,
		.stamped = true,
		.bootargs = "workload=touch op=mixed rounds=8",
	};
	board->work_pages = PAGES;
	for (uint64_t page = 0; page < PAGES; page++)
		*work_word(&guest, page, WORD_STAMP) = stamp_make(page, 0);
	rounds = errors = 0;
	between = NULL;
}

static void teardown(void)
{
	free(work);
	free(board);
	free(heap);
}

static void check_silent(void)
{
	check_eq(run(&guest), EXIT_GOOD);
	check_eq(errors, 0);
}

static void check_speaks(uint64_t count)
{
	check_eq(run(&guest), EXIT_WRONG_VALUE);
	check_eq(errors, count);
}

/* The store of the host: versions go up, a discard leaves a stamp and zeros. */

static void host_update(uint64_t page)
{
	uint64_t stamp = *work_word(&guest, page, WORD_STAMP) + 1;

	*work_word(&guest, page, WORD_STAMP) = stamp;
	board->floor[page] = (uint32_t)stamp;
}

static void host_discard(uint64_t page)
{
	uint64_t stamp = *work_word(&guest, page, WORD_STAMP);

	board->discards_begun++;
	memset(work_word(&guest, page, 0), 0, ABI_PAGE_SIZE);
	*work_word(&guest, page, WORD_STAMP) = stamp;
	board->discards_ended++;
}

UTEST(guest_touch, meets_each_page_once, .init = setup, .fini = teardown)
{
	static const struct touch shapes[] = {
		{ .pattern = SEQ },
		{ .pattern = RANDOM },
		{ .pattern = STRIDE, .stride = 1 },
		{ .pattern = STRIDE, .stride = 7 },
		{ .pattern = STRIDE, .stride = 50 },
		{ .pattern = STRIDE, .stride = 1000 },
	};

	for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
		for (uint64_t pages = 1; pages <= PAGES; pages++) {
			struct touch t = shapes[i];
			unsigned met[PAGES] = { 0 };
			struct order order;
			uint64_t page;

			t.g = &guest;
			t.pages = pages;
			order_init(&order, &t, i);
			while (order_next(&order, &page)) {
				check(page < pages);
				met[page]++;
			}
			for (page = 0; page < pages; page++)
				check(met[page] == 1, "shape %zu: %lu of %lu met %u times", i, page,
				      pages, met[page]);
		}
	}
}

UTEST(guest_touch, random_differs_by_round_and_cpu, .init = setup, .fini = teardown)
{
	struct guest other = guest;
	struct touch a = { .g = &guest, .pattern = RANDOM, .pages = PAGES };
	struct touch b = { .g = &other, .pattern = RANDOM, .pages = PAGES };
	struct order first, next_round, next_cpu;
	unsigned same_round = 0, same_cpu = 0;
	uint64_t x, y, z;

	other.cpu++;
	order_init(&first, &a, 0);
	order_init(&next_round, &a, 1);
	order_init(&next_cpu, &b, 0);
	while (order_next(&first, &x) && order_next(&next_round, &y) && order_next(&next_cpu, &z)) {
		same_round += x == y;
		same_cpu += x == z;
	}
	check(same_round < PAGES / 4 && same_cpu < PAGES / 4, "%u, %u", same_round, same_cpu);
}

UTEST(guest_touch, writes_and_reads_back, .init = setup, .fini = teardown)
{
	check_silent();
	check_eq(rounds, 8);
	for (uint64_t page = 0; page < PAGES; page++) {
		/* Last written in the round of 4..7 in which page + round is a multiple of 4. */
		uint32_t version = 4 + (uint32_t)(4 - page % 4) % 4 + 1;

		check_eq(*work_word(&guest, page, WORD_CPU + 1), stamp_make(page, version));
		check_eq(*work_word(&guest, page, WORD_CPU), 0);
	}
}

static void update_some(uint64_t round)
{
	for (uint64_t page = round; page < PAGES; page += 3)
		host_update(page);
}

static void discard_some(uint64_t round)
{
	for (uint64_t page = round; page < PAGES; page += 3)
		host_discard(page);
}

UTEST(guest_touch, accepts_updates, .init = setup, .fini = teardown)
{
	between = update_some;
	check_silent();
}

UTEST(guest_touch, accepts_discards, .init = setup, .fini = teardown)
{
	between = discard_some;
	check_silent();
}

/* Page 32 is written in rounds 0 and 4, and read in all. */
static uint64_t *own_word(void)
{
	return work_word(&guest, 32, WORD_CPU + 1);
}

static void lose_a_store(uint64_t round)
{
	if (round == 3)
		*own_word() = 0;
}

static void lose_a_store_after_discards(uint64_t round)
{
	if (round == 0)
		host_discard(32);
	lose_a_store(round);
}

UTEST(guest_touch, sees_a_lost_store, .init = setup, .fini = teardown)
{
	between = lose_a_store;
	check_speaks(1);
}

UTEST(guest_touch, sees_a_store_lost_after_all_discards, .init = setup, .fini = teardown)
{
	between = lose_a_store_after_discards;
	check_speaks(1);
}

static void bring_back_a_store(uint64_t round)
{
	static uint64_t old;

	if (round == 1)
		old = *own_word();
	if (round == 7)
		*own_word() = old;
}

UTEST(guest_touch, sees_an_old_store, .init = setup, .fini = teardown)
{
	between = bring_back_a_store;
	check_speaks(1);
}

static void bring_back_a_store_after_its_discard(uint64_t round)
{
	static uint64_t old;

	if (round == 1) {
		old = *own_word();
		host_discard(32);
	}
	if (round == 3)
		*own_word() = old;
}

UTEST(guest_touch, sees_a_store_come_back, .init = setup, .fini = teardown)
{
	between = bring_back_a_store_after_its_discard;
	check_speaks(1);
}

/* The floor may come after the stamp: what was seen once must not be unseen. */
static void go_back_in_versions(uint64_t round)
{
	if (round == 1)
		*work_word(&guest, 8, WORD_STAMP) += 1;
	if (round == 7)
		*work_word(&guest, 8, WORD_STAMP) -= 1;
}

UTEST(guest_touch, sees_a_stale_stamp, .init = setup, .fini = teardown)
{
	between = go_back_in_versions;
	check_speaks(1);
}

/* A version never read before, but older than the floor: only the board gives it away. */
static void miss_an_update(uint64_t round)
{
	if (round == 7)
		board->floor[8]++;
}

UTEST(guest_touch, sees_a_missed_update, .init = setup, .fini = teardown)
{
	between = miss_an_update;
	check_speaks(1);
}

static void swap_two_pages(uint64_t round)
{
	uint64_t stamp = *work_word(&guest, 8, WORD_STAMP);

	if (round != 7)
		return;
	*work_word(&guest, 8, WORD_STAMP) = *work_word(&guest, 9, WORD_STAMP);
	*work_word(&guest, 9, WORD_STAMP) = stamp;
}

UTEST(guest_touch, sees_pages_of_others, .init = setup, .fini = teardown)
{
	between = swap_two_pages;
	check_speaks(2);
}

static void dirty_a_zero_page(uint64_t round)
{
	if (round == 0)
		*work_word(&guest, 8, WORD_STAMP) = 1;
}

UTEST(guest_touch, zero_pages_are_zero, .init = setup, .fini = teardown)
{
	guest.stamped = false;
	guest.bootargs = "workload=touch op=read";
	for (uint64_t page = 0; page < PAGES; page++)
		*work_word(&guest, page, WORD_STAMP) = 0;
	check_silent();
	between = dirty_a_zero_page;
	rounds = 0;
	check_speaks(1);
}

UTEST(guest_touch, stops_when_the_board_says_so, .init = setup, .fini = teardown)
{
	guest.bootargs = "workload=touch rounds=0";
	board->stop = 1;
	check_silent();
	check_eq(rounds, 0);
}

UTEST(guest_touch, refuses_arguments_that_do_not_fit, .init = setup, .fini = teardown)
{
	static const char *const all[] = { "pattern=zigzag", "op=",	"stride=0",
					   "pages=101",	     "pages=0", "rounds=many" };

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		guest.bootargs = all[i];
		check(run(&guest) == EXIT_BAD_ARGS, "%s", all[i]);
	}
	guest.bootargs = "rounds=0";
	guest.board = NULL;
	check_eq(run(&guest), EXIT_BAD_ARGS);
}
