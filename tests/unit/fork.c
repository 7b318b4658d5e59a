// SPDX-License-Identifier: BSD-2-Clause
/* Fork: the child holds exactly the contents at the fork, and nothing crosses over afterwards, in either direction. */
#include <errno.h>

#include "mmu/host/hostmm_actors.h"
#include "tests/rig_fork.h"
#include "tests/test.h"

#define PAGES 24
#define MANY  4200 /* more than a fork protects by itself */

static struct rig r;
static atomic_bool stop;

static void up(void)
{
	rig_up(&r, &(struct rig_opts){ .pages = PAGES,
				       .pool_frames = 6 * PAGES,
				       .canary = true,
				       .around = 4 });
}

static void up_many(void)
{
	rig_up(&r, &(struct rig_opts){ .pages = MANY,
				       .pool_frames = 4 * MANY,
				       .canary = true,
				       .around = 4 });
}

static void down(void)
{
	if (r.pool)
		rig_down(&r);
}

static void stamp(struct rig *of, uint64_t generation)
{
	for (uint64_t page = 0; page < PAGES; page++) {
		uint64_t value = generation << 32 | page;

		if (page % 3 == 0)
			rig_guest_store(of, rig_word(of->guest, page, 0), value);
		else if (page % 3 == 1)
			rig_store(rig_word(of->host, page, 0), value);
		else
			check_eq(hostmm_write(of->mm, rig_hva(of, page), &value, sizeof(value)), 0);
	}
}

static void check_stamps(struct rig *of, uint64_t generation)
{
	for (uint64_t page = 0; page < PAGES; page++) {
		check_eq(rig_peek(of, page), generation << 32 | page);
		check_eq(rig_load(rig_word(of->guest, page, 0)), generation << 32 | page);
	}
}

UTEST(fork, shares_every_present_frame, .init = up, .fini = down)
{
	struct rig child;
	uint64_t used;

	stamp(&r, 1);
	check_eq(hostmm_discard(r.mm, rig_hva(&r, 5), rig_hva(&r, 6)), 0);
	used = pool_used(r.pool);
	rig_fork(&child, &r);
	check_eq(pool_used(r.pool), used);
	for (uint64_t page = 0; page < PAGES; page++) {
		struct gup_page entry;

		check_eq(rig_frame(&child, page), rig_frame(&r, page));
		check_eq(rig_maps(&r, page), page == 5 ? 0 : 2);
		check_eq(rig_refs(&r, page), page == 5 ? 0 : 2);
		check(!hostmm_peek(r.mm, rig_hva(&r, page), &entry) || !entry.writable);
	}
	/* What was absent comes from the pager, in each by itself. */
	rig_store(rig_word(r.host, 5, 0), 9);
	check_eq(rig_peek(&child, 5), 0);
	rig_fork_down(&child);
	for (uint64_t page = 0; page < PAGES; page++)
		check_eq(rig_refs(&r, page), 1);
}

UTEST(fork, parents_stores_do_not_reach_the_child, .init = up, .fini = down)
{
	struct rig child;

	stamp(&r, 1);
	rig_fork(&child, &r);
	stamp(&r, 2);
	check_stamps(&child, 1);
	check_stamps(&r, 2);
	rig_check(&r);
	rig_check(&child);
	rig_fork_down(&child);
	check_stamps(&r, 2);
	rig_check_all_home(&r);
}

UTEST(fork, childs_stores_do_not_reach_the_parent, .init = up, .fini = down)
{
	struct rig child;

	stamp(&r, 1);
	rig_fork(&child, &r);
	stamp(&child, 2);
	check_stamps(&r, 1);
	check_stamps(&child, 2);
	check_eq(rig_foreign(&r), 0);
	rig_check_all_home(&child);
	rig_fork_down(&child);
}

UTEST(fork, nests_and_siblings_differ, .init = up, .fini = down)
{
	struct rig child, sibling, grandchild;

	stamp(&r, 1);
	rig_fork(&child, &r);
	stamp(&child, 2);
	rig_fork(&grandchild, &child);
	rig_fork(&sibling, &r);
	check_eq(rig_maps(&child, 0), 2);
	stamp(&child, 3);
	stamp(&r, 4);
	check_stamps(&grandchild, 2);
	check_stamps(&sibling, 1);
	stamp(&grandchild, 5);
	rig_fork_down(&child); /* before its own child */
	check_stamps(&grandchild, 5);
	check_stamps(&sibling, 1);
	check_stamps(&r, 4);
	rig_fork_down(&sibling);
	rig_fork_down(&grandchild);
	rig_check_all_home(&r);
}

UTEST(fork, three_generations_share_one_frame, .init = up, .fini = down)
{
	struct rig child, grandchild;
	fn_t fn;

	stamp(&r, 1);
	fn = rig_frame(&r, 0);
	rig_fork(&child, &r);
	rig_fork(&grandchild, &child);
	check_eq(rig_maps(&r, 0), 3);
	rig_guest_store(&child, rig_word(child.guest, 0, 0), 7);
	check_eq(rig_maps(&r, 0), 2);
	check_eq(rig_frame(&grandchild, 0), fn);
	rig_fork_down(&child);
	rig_fork_down(&grandchild);
}

UTEST(fork, outlives_its_parents_region, .init = up, .fini = down)
{
	struct rig child;
	hva_t second;
	hva_t in_child;
	uint64_t value = 77;

	check_eq(hostmm_map(r.mm, 4, HOSTMM_PROT_READ | HOSTMM_PROT_WRITE, NULL, NULL, &second), 0);
	check_eq(hostmm_write(r.mm, second + 8, &value, sizeof(value)), 0);
	rig_fork(&child, &r);
	check_eq(hostmm_fork_hva(child.mm, second + 8, &in_child), 0);
	check_eq(hostmm_unmap(r.mm, second), 0);
	value = 0;
	check_eq(hostmm_read(child.mm, in_child, &value, sizeof(value)), 0);
	check_eq(value, 77);
	check_eq(hostmm_fork_hva(child.mm, 4096, &in_child), -EFAULT);
	check_eq(hostmm_fork_hva(r.mm, r.hva, &in_child), -EFAULT);
	check_eq(hostmm_unmap(child.mm, in_child & PAGE_MASK), 0);
	rig_fork_down(&child);
}

UTEST(fork, without_room_changes_nothing, .fini = down)
{
	struct hostmm_opts opts = { .fault_threads = 1 };
	struct hostmm *mm = NULL;

	rig_up(&r, &(struct rig_opts){ .pages = PAGES, .pool_frames = 2 * PAGES - 1 });
	stamp(&r, 1);
	check_eq(hostmm_fork(r.mm, &opts, &mm), -ENOSPC);
	opts.fault_threads = 0;
	check_eq(hostmm_fork(r.mm, &opts, &mm), -EINVAL);
	check(!mm);
	stamp(&r, 2);
	check_stamps(&r, 2);
	check_eq(rig_foreign(&r), 0);
}

/* ---- Under guests that never stop ---- */

struct worker {
	struct rig *r;
	uint64_t page, done;
	bool host;
};

/* Counts in its own page, then in the next one: whoever sees the second has the first. */
static void *count_in_order(void *arg)
{
	struct worker *w = arg;
	char *view = w->host ? w->r->host : w->r->guest;

	while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
		w->done++;
		for (uint64_t i = 0; i < 2; i++) {
			_Atomic uint64_t *word = rig_word(view, w->page + i, 512);

			if (w->host)
				rig_add(word, 1);
			else
				rig_guest_add(w->r, word, 1);
		}
	}
	return NULL;
}

static uint64_t read_count(struct rig *of, uint64_t page)
{
	uint64_t value;

	check_eq(hostmm_read(of->mm, rig_hva(of, page) + 512, &value, sizeof(value)), 0);
	return value;
}

/* One child: one moment of each guest thread, which does not move, whatever parent and child do. */
static void fork_once(uint64_t round)
{
	uint64_t first[PAGES];
	struct rig child;

	rig_fork(&child, &r);
	for (uint64_t page = 0; page < 8; page++)
		first[page] = read_count(&child, page);
	for (uint64_t page = 0; page < 4; page += 2)
		check(first[page] == first[page + 1] || first[page] == first[page + 1] + 1,
		      "%lu then %lu", first[page], first[page + 1]);
	for (uint64_t page = 0; page < 8; page++) {
		check_eq(rig_load(rig_word(child.guest, page, 512)), first[page]);
		check_eq(rig_guest_add(&child, rig_word(child.guest, page, 512), 5), first[page]);
		if (round % 2)
			check_eq(rig_add(rig_word(child.host, page, 512), 6), first[page] + 5);
		check_eq(read_count(&child, page), first[page] + (round % 2 ? 11 : 5));
	}
	check_eq(child.window_fatal, 0);
	check_eq(child.host_fatal, 0);
	rig_fork_down(&child);
}

/* Guest and host threads count in pairs of pages; a child is made again and again. */
static void fork_while_counting(bool many)
{
	struct worker w[4];
	pthread_t t[4];
	uint64_t rounds = 0;
	double until;

	atomic_store(&stop, false);
	for (uint64_t i = 0; i < 4; i++) {
		w[i] = (struct worker){ .r = &r, .page = 2 * i, .host = i >= 2 };
		t[i] = rig_thread(count_in_order, &w[i]);
	}
	for (until = rig_now() + rig_seconds(0.8); rig_now() < until || !rounds; rounds++) {
		if (many)
			check_eq(hostmm_prefault(r.mm, r.hva, rig_hva(&r, MANY), true), 0);
		fork_once(rounds);
	}
	atomic_store(&stop, true);
	for (uint64_t i = 0; i < 4; i++)
		rig_join(t[i]);
	for (uint64_t i = 0; i < 8; i++)
		check_eq(read_count(&r, i), w[i / 2].done);
	rig_check(&r);
	check_eq(r.window_fatal, 0);
	check_eq(r.host_fatal, 0);
	/* Many would take longer than all the rest, where an instruction takes long. */
	if (!many || test_slowness() == 1)
		rig_check_all_home(&r);
}

UTEST(fork, of_a_running_guest_is_one_moment, .init = up, .fini = down)
{
	fork_while_counting(false);
}

UTEST(fork, of_many_shown_pages_is_one_moment, .init = up_many, .fini = down)
{
	fork_while_counting(true);
}

UTEST(fork, takes_many_shown_pages_from_the_view, .init = up_many, .fini = down)
{
	struct rig child;

	for (uint64_t page = 0; page < MANY; page++)
		rig_store(rig_word(r.host, page, 0), page + 1);
	rig_fork(&child, &r);
	for (uint64_t page = 0; page < MANY; page++)
		rig_store(rig_word(r.host, page, 0), ~page);
	for (uint64_t page = 0; page < MANY; page++) {
		check_eq(rig_peek(&child, page), page + 1);
		check_eq(rig_peek(&r, page), ~page);
	}
	rig_fork_down(&child);
}
