// SPDX-License-Identifier: BSD-2-Clause
/* The table against a flat array that says of each page what the table must say: random operations, all compared. */
#include <stdlib.h>

#include "mmu/shadow/ept.h"
#include "tests/test.h"

#define OPS	 100000u
#define PAGES_2M 512UL
/* Four entries of 2M, over the border of two of 1G. */
#define BASE	 (3 * 512UL * 512 - 2 * PAGES_2M)
#define PAGES	 (4 * PAGES_2M)
#define STATE	 (SPTE_MAY_WRITE | SPTE_ACCESSED | SPTE_DIRTY | SPTE_SAVED | SPTE_READ)

/* Of one page. Rights and the like as in the leaf that covers it. */
static struct {
	fn_t fn;
	uint64_t state; /* 0: nothing there */
	int level;
	bool dirtied, told; /* what the operation has taken away from: expected, reported */
} model[PAGES];

static struct ept ept;
static uint64_t seed, seen;
static bool ad;

static uint64_t random_below(uint64_t n)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed % n;
}

static void dirtied(void *ctx, gfn_t gfn, uint64_t npages)
{
	(void)ctx;
	for (uint64_t i = gfn - BASE; i < gfn - BASE + npages; i++) {
		check(i < PAGES && !model[i].told, "page %#lx", i);
		model[i].told = true;
	}
}

static bool is_dirty(uint64_t state)
{
	return state & (ad ? SPTE_DIRTY : SPTE_WRITE);
}

static bool is_young(uint64_t state)
{
	return state & (ad ? SPTE_ACCESSED : SPTE_READ);
}

/* The pages of the leaf over page @i. */
static uint64_t first_of(uint64_t i)
{
	return model[i].level == 2 ? i & ~(PAGES_2M - 1) : i;
}

static uint64_t last_of(uint64_t i)
{
	return model[i].level == 2 ? i | (PAGES_2M - 1) : i;
}

static void model_split(uint64_t i)
{
	if (model[i].state && model[i].level == 2)
		for (uint64_t p = i & ~(PAGES_2M - 1), n = PAGES_2M; n; n--, p++)
			model[p].level = 1;
}

static void model_set(uint64_t i, uint64_t state)
{
	for (uint64_t p = first_of(i), last = last_of(i); p <= last; p++) {
		model[p].dirtied |= is_dirty(model[p].state) && !is_dirty(state);
		model[p].state = state;
	}
}

static void check_span(struct ept_span span, uint64_t first, uint64_t end, uint64_t count)
{
	check_eq(span.count, count);
	if (count)
		check(span.start == BASE + first && span.end == BASE + end);
}

/* Every leaf of [@a, @b) of which @wanted says so becomes what @next says, whole; @split: as far as it lies inside. */
static void sweep(struct ept_span span, uint64_t a, uint64_t b, bool (*wanted)(uint64_t),
		  uint64_t (*next)(uint64_t), bool split)
{
	uint64_t first = PAGES, end = 0, count = 0;

	for (uint64_t i = a; i < b; i++) {
		if (!model[i].state || !wanted(model[i].state))
			continue;
		if (split)
			model_split(i);
		first = first < first_of(i) ? first : first_of(i);
		end = last_of(i) + 1;
		count += last_of(i) + 1 - first_of(i);
		model_set(i, next(model[i].state));
	}
	check_span(span, first, end, count);
}

static bool any(uint64_t state)
{
	return state;
}

static uint64_t nothing(uint64_t state)
{
	(void)state;
	return 0;
}

static bool has_rights(uint64_t state)
{
	return state & SPTE_MAY_WRITE;
}

static bool has_w(uint64_t state)
{
	return state & SPTE_WRITE;
}

static uint64_t without_rights(uint64_t state)
{
	return state & ~SPTE_MAY_WRITE;
}

static uint64_t without_w(uint64_t state)
{
	return state & ~SPTE_WRITE;
}

static uint64_t clean(uint64_t state)
{
	return state & ~(ad ? SPTE_DIRTY : SPTE_WRITE);
}

static uint64_t old(uint64_t state)
{
	return ad ? state & ~SPTE_ACCESSED : (state & ~(SPTE_READ | SPTE_WRITE)) | SPTE_SAVED;
}

/* Leaves that lie inside stay as they are. */
static void split_parts(uint64_t a, uint64_t b, bool (*wanted)(uint64_t))
{
	for (uint64_t i = a; i < b; i++)
		if (model[i].level == 2 && wanted(model[i].state) &&
		    (first_of(i) < a || last_of(i) >= b))
			model_split(i);
}

static void zap(uint64_t a, uint64_t b)
{
	struct ept_span span = ept_zap(&ept, BASE + a, BASE + b);

	/* The model need not know the size of what is gone. */
	split_parts(a, b, any);
	sweep(span, a, b, any, nothing, false);
}

static void wrprotect(uint64_t a, uint64_t b)
{
	struct ept_span span = ept_wrprotect(&ept, BASE + a, BASE + b, EPT_WP_HOST | EPT_WP_PART);

	split_parts(a, b, has_rights);
	sweep(span, a, b, has_rights, without_rights, false);
}

static bool is_free(uint64_t first, uint64_t n)
{
	for (uint64_t i = first; i < first + n; i++)
		if (model[i].state)
			return false;
	return true;
}

static void install(uint64_t i, int level, fn_t fn, bool writable)
{
	uint64_t leaf = ept_make_leaf(&ept, fn, writable, level), n = spte_level_pages(level);
	struct ept_page *root = ept_root(&ept);

	i &= ~(n - 1);
	if (level == 2 && is_free(i, n))
		ept_prune(&ept, BASE + i, BASE + i + n);
	check_eq(ept_populate(&ept, root, BASE + i, BASE + i + 1, level), 0);
	check(ept_install(&ept, root, BASE + i, level, SPTE_NONE, leaf) == is_free(i, n));
	if (is_free(i, n))
		for (uint64_t p = 0; p < n; p++) {
			model[i + p].fn = fn + p;
			model[i + p].state = leaf & STATE;
			model[i + p].level = level;
		}
}

static void install_run(uint64_t a, uint64_t b, fn_t fn, bool writable)
{
	uint64_t done = 0;

	while (a + done < b && !model[a + done].state) {
		model[a + done].fn = fn + done;
		model[a + done].state = ept_make_leaf(&ept, fn, writable, 1) & STATE;
		model[a + done++].level = 1;
	}
	check_eq(ept_populate(&ept, ept_root(&ept), BASE + a, BASE + b, 1), 0);
	check_eq(ept_install_run(&ept, ept_root(&ept), BASE + a, b - a,
				 ept_make_leaf(&ept, fn, writable, 1)),
		 done);
}

static void collapse(uint64_t i)
{
	uint64_t first = i & ~(PAGES_2M - 1), use = 0, all = SPTE_WRITE, any_write = 0;
	bool may = model[first].state && model[first].level == 1 &&
		   !(model[first].fn & (PAGES_2M - 1));
	const uint64_t bits = SPTE_ACCESSED | SPTE_DIRTY;

	for (uint64_t p = first; p < first + PAGES_2M; p++) {
		may &= model[p].state && model[p].fn == model[first].fn + (p - first) &&
		       !((model[p].state ^ model[first].state) & ~(bits | SPTE_WRITE));
		use |= model[p].state & bits;
		any_write |= model[p].state & SPTE_WRITE;
		all &= model[p].state;
	}
	check(ept_collapse(&ept, BASE + i, 2) == may);
	for (uint64_t p = first; may && p < first + PAGES_2M; p++) {
		model[p].state = (model[p].state & ~SPTE_WRITE) | use | all;
		model[p].level = 2;
		/* Some had W, the leaf has not: where that says what is dirty, all are. */
		model[p].dirtied = !ad && any_write && !all;
	}
}

static void walk(uint64_t i, bool write)
{
	bool may = model[i].state & (write ? SPTE_WRITE : SPTE_READ);

	check(spte_is_present(ept_walk(&ept, BASE + i, write, NULL)) == may);
	if (may && ad)
		model_set(i, model[i].state | SPTE_ACCESSED | (write ? SPTE_DIRTY : 0));
}

static void repoint(uint64_t i, fn_t fn)
{
	check_eq(ept_repoint_begin(&ept, BASE + i), model[i].state != 0);
	if (!model[i].state)
		return;
	model_split(i);
	model_set(i, ept_make_leaf(&ept, fn, false, 1) & STATE);
	model[i].fn = fn;
	ept_repoint_end(&ept, BASE + i, fn);
}

static void visit(void *ctx, gfn_t gfn, uint64_t spte, int level)
{
	(void)ctx;
	for (uint64_t p = 0, i = gfn - BASE; p < spte_level_pages(level); p++, i++) {
		check(i < PAGES && model[i].level == level && model[i].fn == spte_fn(spte) + p &&
			      model[i].state == (spte & STATE),
		      "page %#lx is %#lx, level %d; not %#lx, level %d, frame %#lx", i, spte, level,
		      model[i].state, model[i].level, model[i].fn);
		seen++;
	}
}

static void compare(void)
{
	uint64_t present = 0;

	seen = 0;
	ept_for_each(&ept, 0, 1UL << SPTE_GFN_BITS, visit, NULL);
	for (uint64_t i = 0; i < PAGES; i++) {
		present += model[i].state != 0;
		check(model[i].dirtied == model[i].told, "page %#lx: %s", i,
		      model[i].told ? "told" : "not told");
		model[i].dirtied = model[i].told = false;
	}
	check_eq(seen, present);
	check_eq(ept.leaves[1] + ept.leaves[2] * PAGES_2M, present);
}

static void one(void)
{
	uint64_t a = random_below(PAGES), b = a + 1 + random_below(PAGES - a);
	uint64_t near = a + 1 + random_below(PAGES - a > 8 ? 8 : PAGES - a);
	fn_t fn = random_below(4) ? BASE + a : random_below(1UL << 20);

	switch (random_below(21)) {
	case 0:
		return zap(a, b);
	case 1:
	case 2:
		return zap(a, near);
	case 3:
	case 4:
	case 5:
		return install(a, 1, fn, random_below(2));
	case 6:
	case 7:
		return install(a, 2, fn & ~(PAGES_2M - 1), random_below(4));
	case 8:
	case 9:
		return install_run(a, b, fn, random_below(4));
	case 10:
		return sweep(ept_wrprotect(&ept, BASE + a, BASE + near, EPT_WP_HOST), a, near,
			     has_rights, without_rights, false);
	case 11:
		return sweep(ept_wrprotect(&ept, BASE + a, BASE + near, EPT_WP_LOG | EPT_WP_SPLIT),
			     a, near, has_w, without_w, true);
	case 12:
		return sweep(ept_age(&ept, BASE + a, BASE + b), a, b, is_young, old, false);
	case 13:
		check_eq(ept_split(&ept, BASE + a), 0);
		return model_split(a);
	case 14:
	case 15:
		return collapse(a);
	case 16:
		return repoint(a, fn);
	case 17:
		return wrprotect(a, random_below(2) ? b : near);
	default:
		return walk(a, random_below(2));
	}
}

/* What ept_clear_dirty() tells is not told to the hook. */
static void cleaned(void *ctx, gfn_t gfn, uint64_t npages)
{
	uint64_t i = gfn - BASE;

	*(uint64_t *)ctx += npages;
	check(is_dirty(model[i].state) && first_of(i) == i && last_of(i) + 1 == i + npages);
}

static void clear_dirty(void)
{
	uint64_t a = random_below(PAGES), b = a + 1 + random_below(PAGES - a), told = 0;
	struct ept_span span = ept_clear_dirty(&ept, BASE + a, BASE + b, cleaned, &told);

	check_eq(told, span.count);
	sweep(span, a, b, is_dirty, clean, false);
	for (uint64_t i = 0; i < PAGES; i++)
		model[i].dirtied = false;
}

static void run(bool with_ad)
{
	struct ept_opts opts = { .ad = with_ad, .dirtied = dirtied };
	const char *given = getenv("EPT_SEED");

	ad = with_ad;
	seed = given ? strtoull(given, NULL, 0) : 0x9e3779b97f4a7c15 + with_ad;
	printf("EPT_SEED=%#lx\n", seed);
	memset(model, 0, sizeof(model));
	check_eq(ept_init(&ept, &opts), 0);
	for (unsigned i = 0; i < OPS; i++) {
		sync_rcu_read_lock();
		one();
		sync_rcu_read_unlock();
		if (i % 16 == 0)
			ept_reap(&ept);
		compare();
		if (i % 64 == 0)
			clear_dirty();
	}
	zap(0, PAGES);
	compare();
	ept_reap(&ept);
	ept_fini(&ept);
	check_eq(ept.table_pages, 0);
}

UTEST(ept_model, with_a_and_d)
{
	run(true);
}

UTEST(ept_model, without)
{
	run(false);
}
