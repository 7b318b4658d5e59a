// SPDX-License-Identifier: BSD-2-Clause
/* Host threads and window threads on the same pages while these are taken away: no store is lost. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tests/rig.h"
#include "tests/test.h"

#define SIDES 2 /* threads a side */

static atomic_bool stop;

UTEST(coherence, both_views_show_one_page)
{
	struct rig r;

	rig_up(&r, &(struct rig_opts){ .pages = 8 });
	rig_store(rig_word(r.host, 3, 8), 7);
	check_eq(rig_load(rig_word(r.guest, 3, 8)), 7);
	rig_store(rig_word(r.guest, 3, 16), 9);
	check_eq(rig_load(rig_word(r.host, 3, 16)), 9);
	check_eq(rig_load(rig_word(r.guest, 4, 0)), 0);
	rig_check(&r);
	check_eq(r.window_fatal, 0);
	check_eq(r.host_fatal, 0);
	rig_down(&r);
}

/* ---- Exact counters ---- */

struct counter {
	struct rig *r;
	char *view;
	uint64_t seed, done;
};

static void *count_up(void *arg)
{
	struct counter *c = arg;

	while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
		for (int i = 0; i < 64; i++, c->done++) {
			_Atomic uint64_t *word = rig_word(c->view,
							  rig_random(&c->seed) % c->r->pages, 512);

			if (c->view == c->r->guest)
				rig_guest_add(c->r, word, 1);
			else
				rig_add(word, 1);
		}
	}
	return NULL;
}

enum { OP_ZAP = 1, OP_WRPROTECT = 2, OP_AWAY = 4, OP_HOME = 8 };

struct churner {
	struct rig *r;
	unsigned ops;
	uint64_t seed, rounds;
};

static void *churn(void *arg)
{
	struct churner *c = arg;
	struct rig *r = c->r;

	for (; !atomic_load_explicit(&stop, memory_order_relaxed); c->rounds++) {
		uint64_t first = rig_random(&c->seed) % r->pages;
		uint64_t n = 1 + rig_random(&c->seed) % (r->pages - first);
		hva_t start = rig_hva(r, first), end = rig_hva(r, first + n);
		unsigned op = 1u << (rig_random(&c->seed) % 4);

		if (!(op & c->ops))
			continue;
		if (op == OP_ZAP)
			expect(hostmm_zap(r->mm, start, end) == 0);
		else if (op == OP_WRPROTECT)
			expect(hostmm_wrprotect(r->mm, start, end) == 0);
		else
			expect(hostmm_migrate(r->mm, start, end,
					      op == OP_AWAY ? HOSTMM_MIGRATE_AWAY
							    : HOSTMM_MIGRATE_HOME) == 0);
	}
	return NULL;
}

static void count_under(unsigned ops, const struct rig_opts *opts, unsigned churners)
{
	struct counter counter[2 * SIDES];
	struct churner churner[2];
	pthread_t t[2 * SIDES], c[2];
	uint64_t want = 0, got = 0;
	struct rig r;
	double until;

	rig_up(&r, opts);
	atomic_store(&stop, false);
	for (unsigned i = 0; i < 2 * SIDES; i++) {
		counter[i] = (struct counter){ .r = &r,
					       .view = i % 2 ? r.guest : r.host,
					       .seed = 77 + i };
		t[i] = rig_thread(count_up, &counter[i]);
	}
	for (unsigned i = 0; i < churners; i++) {
		churner[i] = (struct churner){ .r = &r, .ops = ops, .seed = 1234 + i };
		c[i] = rig_thread(churn, &churner[i]);
	}
	until = rig_now() + rig_seconds(0.7);
	while (rig_now() < until) {
		struct timespec ms = { .tv_nsec = 1000000 };

		nanosleep(&ms, NULL);
	}
	atomic_store(&stop, true);
	for (unsigned i = 0; i < churners; i++)
		rig_join(c[i]);
	for (unsigned i = 0; i < 2 * SIDES; i++) {
		rig_join(t[i]);
		want += counter[i].done;
	}
	rig_check(&r);
	for (uint64_t page = 0; page < r.pages; page++)
		got += rig_load(rig_word(r.guest, page, 512));
	check_eq(got, want);
	check_eq(r.window_fatal, 0);
	check_eq(r.host_fatal, 0);
	rig_down(&r);
}

UTEST(coherence, sum_is_exact_under_zap)
{
	count_under(OP_ZAP, &(struct rig_opts){ .pages = 16 }, 1);
}

UTEST(coherence, sum_is_exact_under_wrprotect)
{
	count_under(OP_WRPROTECT, &(struct rig_opts){ .pages = 16 }, 1);
}

UTEST(coherence, sum_is_exact_under_migration)
{
	count_under(OP_AWAY | OP_HOME, &(struct rig_opts){ .pages = 16 }, 1);
}

UTEST(coherence, sum_is_exact_under_everything)
{
	count_under(OP_ZAP | OP_WRPROTECT | OP_AWAY | OP_HOME,
		    &(struct rig_opts){ .pages = 24, .canary = true }, 2);
}

/*
 * A host thread cannot repeat a store that fails, as a vCPU does: the host view has no gap. Reads bring the page back
 * read-only after each wrprotect and move; stores must never notice.
 */
struct mixed {
	struct rig *r;
	uint64_t stores, loads;
	bool store;
};

static void *mixed_access(void *arg)
{
	struct mixed *m = arg;

	while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
		if (m->store)
			rig_store(rig_word(m->r->host, 1, 0), ++m->stores);
		else
			m->loads += rig_load(rig_word(m->r->host, 1, 0)) != 0;
	}
	return NULL;
}

UTEST(coherence, host_stores_meet_no_gap)
{
	struct mixed mixed[2];
	pthread_t t[2];
	double until;
	struct rig r;

	rig_up(&r, &(struct rig_opts){ .pages = 4 });
	atomic_store(&stop, false);
	for (int i = 0; i < 2; i++) {
		mixed[i] = (struct mixed){ .r = &r, .store = i };
		t[i] = rig_thread(mixed_access, &mixed[i]);
	}
	until = rig_now() + rig_seconds(0.7);
	for (unsigned i = 0; rig_now() < until; i++) {
		check_eq(hostmm_wrprotect(r.mm, rig_hva(&r, 1), rig_hva(&r, 2)), 0);
		check_eq(hostmm_migrate(r.mm, rig_hva(&r, 1), rig_hva(&r, 2),
					i % 2 ? HOSTMM_MIGRATE_HOME : HOSTMM_MIGRATE_AWAY),
			 0);
	}
	atomic_store(&stop, true);
	for (int i = 0; i < 2; i++)
		rig_join(t[i]);
	check_eq(rig_load(rig_word(r.guest, 1, 0)), mixed[1].stores);
	rig_check(&r);
	rig_down(&r);
}

/*
 * Discards with a pager: the store keeps a version for each page, a page that comes back has the version of then. An
 * update raises the version, writes it through the host view, and publishes it as the floor. Whoever reads the floor
 * and then the page, through either view, finds no older version, and never a dead frame.
 */
#define VERSIONS 24

static struct {
	_Atomic uint64_t version[VERSIONS], floor[VERSIONS];
} store;

static int store_fill(void *ctx, uint64_t page, void *dst, uint64_t npages)
{
	(void)ctx;
	memset(dst, 0, npages << PAGE_SHIFT);
	for (uint64_t i = 0; i < npages; i++)
		*(uint64_t *)((char *)dst + (i << PAGE_SHIFT)) =
			atomic_load(&store.version[page + i]);
	return 0;
}

static const struct pager_ops store_ops = { .fill = store_fill };

struct reader {
	char *view;
	uint64_t seed;
	_Atomic uint64_t reads;
};

static void *read_versions(void *arg)
{
	uint64_t largest[VERSIONS] = { 0 };
	struct reader *reader = arg;

	while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
		uint64_t page = rig_random(&reader->seed) % VERSIONS;
		uint64_t floor = atomic_load(&store.floor[page]);
		uint64_t version = rig_load(rig_word(reader->view, page, 0));

		atomic_fetch_add_explicit(&reader->reads, 1, memory_order_relaxed);
		if (floor < largest[page])
			floor = largest[page];
		/* The canary is larger than any version. */
		if (version < floor || version > atomic_load(&store.version[page])) {
			expect(version >= floor && version != POOL_CANARY,
			       "page %lu: version %#lx, floor %lu", page, version, floor);
			break;
		}
		largest[page] = version;
	}
	return NULL;
}

static void *update_versions(void *arg)
{
	struct rig *r = arg;
	uint64_t seed = 4242;

	while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
		uint64_t page = rig_random(&seed) % VERSIONS;
		uint64_t version = atomic_fetch_add(&store.version[page], 1) + 1;

		rig_store(rig_word(r->host, page, 0), version);
		atomic_store(&store.floor[page], version);
	}
	return NULL;
}

/* A busy host may need longer than the time that was given. */
static bool all_have_read(struct reader *reader, unsigned n)
{
	while (n && atomic_load_explicit(&reader[n - 1].reads, memory_order_relaxed))
		n--;
	return !n;
}

static void read_under_discard(unsigned around)
{
	struct reader reader[4];
	pthread_t t[4], update;
	uint64_t seed = 31;
	unsigned rounds = 0;
	double until;
	struct rig r;

	memset(&store, 0, sizeof(store));
	rig_up(&r, &(struct rig_opts){ .pages = VERSIONS,
				       .canary = true,
				       .around = around,
				       .pager = &store_ops });
	atomic_store(&stop, false);
	for (unsigned i = 0; i < 4; i++) {
		reader[i] = (struct reader){ .view = i % 2 ? r.guest : r.host, .seed = i + 9 };
		t[i] = rig_thread(read_versions, &reader[i]);
	}
	update = rig_thread(update_versions, &r);
	until = rig_now() + rig_seconds(0.7);
	for (; rig_now() < until || !rounds || !all_have_read(reader, 4); rounds++) {
		uint64_t first = rig_random(&seed) % VERSIONS;
		uint64_t n = 1 + rig_random(&seed) % (VERSIONS - first);
		hva_t start = rig_hva(&r, first), end = rig_hva(&r, first + n);

		switch (rig_random(&seed) % 4) {
		case 0:
			check_eq(hostmm_migrate(r.mm, start, end, HOSTMM_MIGRATE_AWAY), 0);
			break;
		case 1:
			check_eq(hostmm_migrate(r.mm, start, end, HOSTMM_MIGRATE_HOME), 0);
			break;
		default:
			check_eq(hostmm_discard(r.mm, start, end), 0);
		}
	}
	atomic_store(&stop, true);
	rig_join(update);
	for (unsigned i = 0; i < 4; i++)
		rig_join(t[i]);
	rig_check(&r);
	check(!r.window_fatal && !r.host_fatal);
	rig_down(&r);
}

UTEST(coherence, no_version_is_older_than_its_floor)
{
	read_under_discard(0);
}

UTEST(coherence, no_version_is_older_than_its_floor_with_pages_around)
{
	read_under_discard(16);
}
