// SPDX-License-Identifier: BSD-2-Clause
/*
 * touch: every vCPU goes over all pages of work, checking what it reads.
 *
 *   pattern=seq|random|stride   order of the pages; each is met once a round
 *   stride=N                    pages from one to the next, for pattern=stride (default 16)
 *   op=read|write|mixed         mixed: each page is written every fourth round, and read in between
 *   pages=N                     the first N pages only
 *   rounds=N                    default 1; 0: until the host says stop
 */
#include "guest/hcall.h"
#include "guest/print.h"
#include "guest/workload.h"

#define REPORT_MAX 4 /* wrong values described one by one, per vCPU */

enum pattern { SEQ, RANDOM, STRIDE };
enum op { READ, WRITE, MIXED };

/* What this vCPU knows of a page; grows older values out. */
struct seen {
	uint32_t version;	 /* largest it read */
	uint32_t written;	 /* version of its own word; 0: reads as zero */
	uint32_t discards_ended; /* when it wrote its own word */
};

struct touch {
	const struct guest *g;
	enum pattern pattern;
	enum op op;
	uint64_t stride, pages, rounds;
	struct seen *seen; /* per page; NULL: nothing but zeros are expected */
	uint64_t errors;
};

/* Each page below pages, once, in the order of a pattern. */
struct order {
	uint64_t pages, next, left;
	uint64_t stride, start; /* SEQ, STRIDE */
	uint64_t mask, add;	/* RANDOM: the period of the generator is mask + 1 >= pages */
};

static void order_init(struct order *o, const struct touch *t, uint64_t round)
{
	uint64_t seed = (round * ABI_MAX_CPUS + t->g->cpu) * 0x9e3779b97f4a7c15u;

	*o = (struct order){ .pages = t->pages, .left = t->pages };
	o->stride = t->pattern == STRIDE ? t->stride : 1;
	if (t->pattern != RANDOM)
		return;
	while (o->mask + 1 < o->pages)
		o->mask = o->mask * 2 + 1;
	o->add = seed >> 32 | 1;
	o->next = seed & o->mask;
	while (o->next >= o->pages)
		o->next = (o->next * 5 + o->add) & o->mask;
}

static bool order_next(struct order *o, uint64_t *page)
{
	if (!o->left--)
		return false;
	*page = o->next;
	if (o->add) {
		do
			o->next = (o->next * 5 + o->add) & o->mask;
		while (o->next >= o->pages);
		return true;
	}
	o->next += o->stride;
	if (o->next >= o->pages)
		o->next = ++o->start;
	return true;
}

static void report(struct touch *t, uint64_t page, const char *what, uint64_t value, uint64_t want)
{
	if (t->errors++ < REPORT_MAX)
		print(t->g->cpu, "touch: cpu %u: page %lu: %s is %016lx, want %016lx\n", t->g->cpu,
		      page, what, value, want);
}

/*
 * The floor is read before the stamp, so a stamp below it is one that the host had already
 * replaced.
 */
static void check_stamp(struct touch *t, uint64_t page)
{
	const struct board *board = t->g->board;
	uint32_t floor = board ? __atomic_load_n(&board->floor[page], __ATOMIC_ACQUIRE) : 0;
	uint64_t stamp = load(work_word(t->g, page, WORD_STAMP));
	struct seen *seen = &t->seen[page];

	if (floor < seen->version)
		floor = seen->version;
	if (stamp >> 32 != stamp_tag(page) || (uint32_t)stamp < floor)
		report(t, page, "stamp", stamp, stamp_make(page, floor));
	else
		seen->version = (uint32_t)stamp;
}

/*
 * A zero where a value was written is right only when a discard may have come between: see abi.h.
 */
static void check_own(struct touch *t, uint64_t page)
{
	const struct board *board = t->g->board;
	struct seen *seen = &t->seen[page];
	uint64_t want = seen->written ? stamp_make(page, seen->written) : 0;
	uint64_t value = load(work_word(t->g, page, WORD_CPU + t->g->cpu));

	if (value == want)
		return;
	if (!value && board && (uint32_t)load(&board->discards_begun) != seen->discards_ended)
		seen->written = 0;
	else
		report(t, page, "own word", value, want);
}

static void check_zero(struct touch *t, uint64_t page)
{
	uint64_t value = load(work_word(t->g, page, WORD_STAMP));

	if (value)
		report(t, page, "word 0 of a zero page", value, 0);
}

static void check_page(struct touch *t, uint64_t page)
{
	if (!t->g->stamped)
		check_zero(t, page);
	if (!t->seen)
		return;
	if (t->g->stamped)
		check_stamp(t, page);
	check_own(t, page);
}

static void write_page(struct touch *t, uint64_t page, uint32_t version)
{
	const struct board *board = t->g->board;
	struct seen *seen = &t->seen[page];

	seen->discards_ended = board ? (uint32_t)load(&board->discards_ended) : 0;
	seen->written = version;
	store(work_word(t->g, page, WORD_CPU + t->g->cpu), stamp_make(page, version));
}

static void touch_round(struct touch *t, uint64_t round)
{
	struct order order;
	uint64_t page;

	order_init(&order, t, round);
	while (order_next(&order, &page)) {
		if (t->op == WRITE || (t->op == MIXED && (page + round) % 4 == 0))
			write_page(t, page, (uint32_t)round + 1);
		check_page(t, page);
	}
}

static const char *touch_init(struct touch *t, const struct guest *g)
{
	struct region heap = workload_heap(g);
	bool bad = false;

	*t = (struct touch){
		.g = g,
		.pattern = arg_choice(g->bootargs, "pattern", "seq random stride", SEQ, &bad),
		.op = arg_choice(g->bootargs, "op", "read write mixed", READ, &bad),
		.stride = arg_number(g->bootargs, "stride", 16, &bad),
		.pages = arg_number(g->bootargs, "pages", work_pages(g), &bad),
		.rounds = arg_number(g->bootargs, "rounds", 1, &bad),
	};
	if (bad || !t->stride)
		return "touch takes pattern=seq|random|stride stride=N op=read|write|mixed pages=N rounds=N";
	if (!t->pages || t->pages > work_pages(g))
		return "touch needs work of at least pages=N pages";
	if (!t->rounds && !g->board)
		return "touch needs rounds=N or a board";
	if (t->op != READ || g->stamped) {
		if (t->pages > heap.size / sizeof(*t->seen))
			return "too little RAM for touch: it needs 12 bytes for each page and vCPU";
		t->seen = (struct seen *)heap.gpa;
	}
	return NULL;
}

static int run(const struct guest *g)
{
	struct touch t;
	const char *wrong = touch_init(&t, g);
	uint64_t round, start, pages = 0;

	if (wrong)
		return workload_refuse(g, wrong);
	start = hc_clock(g->cpu);
	for (round = 0; t.rounds ? round < t.rounds : !is_stopping(g); round++) {
		uint64_t errors = t.errors;

		hc_phase(g->cpu, PHASE_BEGIN, round, 0, 0);
		touch_round(&t, round);
		hc_phase(g->cpu, PHASE_END, round, t.pages, t.errors - errors);
		pages += t.pages;
	}
	print(g->cpu, "touch: cpu %u: %lu pages in %lu us, %lu wrong\n", g->cpu, pages,
	      (hc_clock(g->cpu) - start) / 1000, t.errors);
	return t.errors ? EXIT_WRONG_VALUE : EXIT_GOOD;
}

const struct workload workload_touch = { .name = "touch", .run = run };
