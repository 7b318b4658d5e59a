// SPDX-License-Identifier: BSD-2-Clause
/*
 * Fork shares chunks of entries: who touches or changes one, of whatever generation and by whatever actor, changes it for
 * nobody else, and references and maps are exact in the end (rig_down()).
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "mmu/host/hostmm_actors.h"
#include "mmu/host/hostmm_device.h"
#include "mmu/host/hostmm_reclaim.h"
#include "tests/rig_fork.h"
#include "tests/test.h"

#define CHUNK 512UL
#define PAGES (2 * CHUNK + 76) /* two chunks and a part */
#define SLOTS 256UL

/* A page of each chunk has contents, and the one behind. */
static const uint64_t stamped[] = { 0, 1, CHUNK + 7, CHUNK + 8, 2 * CHUNK, 2 * CHUNK + 1 };
#define STAMPED (sizeof(stamped) / sizeof(stamped[0]))

static struct rig r;
static int file = -1;

static void up(void)
{
	rig_up(&r, &(struct rig_opts){ .pages = PAGES,
				       .pool_frames = 10 * PAGES,
				       .canary = true,
				       .around = 1 });
	file = memfd_create("backing", MFD_CLOEXEC);
	check(file >= 0);
	check_eq(pool_swapon(r.pool, file, SLOTS), 0);
}

static void down(void)
{
	if (r.pool)
		rig_down(&r);
	if (file >= 0)
		close(file);
	file = -1;
}

static void put(struct rig *of, uint64_t page, uint64_t value)
{
	check_eq(hostmm_write(of->mm, rig_hva(of, page), &value, sizeof(value)), 0);
}

static void stamp(struct rig *of, uint64_t value)
{
	for (uint64_t i = 0; i < STAMPED; i++)
		put(of, stamped[i], value + stamped[i]);
}

static void check_stamps(struct rig *of, uint64_t value)
{
	for (uint64_t i = 0; i < STAMPED; i++)
		check_eq(rig_peek(of, stamped[i]), value + stamped[i]);
}

UTEST(fork_share, a_chunk_is_copied_when_it_is_looked_at, .init = up, .fini = down)
{
	struct rig child;
	fn_t fn;

	put(&r, 3, 7);
	put(&r, CHUNK, 8);
	fn = rig_frame(&r, 3);
	rig_fork(&child, &r);
	check_eq(rig_sharers(&r, 0), 1);
	check_eq(rig_sharers(&r, CHUNK), 1);
	check_eq(rig_sharers(&r, 2 * CHUNK), 0); /* nothing is there */
	check_eq(pool_maps(r.pool, fn), 1);
	check_eq(pool_refs(r.pool, fn), 1);
	check_eq(rig_frame(&child, 3), fn);
	check_eq(rig_sharers(&r, 0), 0);
	check_eq(rig_sharers(&r, CHUNK), 1);
	check_eq(pool_maps(r.pool, fn), 2);
	check_eq(pool_refs(r.pool, fn), 2);
	rig_fork_down(&child);
	check_eq(pool_maps(r.pool, fn), 1);
	check_eq(rig_sharers(&r, CHUNK), 0);
}

UTEST(fork_share, what_the_view_shows_is_nobody_elses, .init = up, .fini = down)
{
	struct rig child;

	stamp(&r, 100);
	rig_fork(&child, &r);
	for (uint64_t i = 0; i < STAMPED; i++)
		check_eq(rig_load(rig_word(r.host, stamped[i], 0)), 100 + stamped[i]);
	check_eq(hostmm_wrprotect(r.mm, r.hva, rig_hva(&r, PAGES)), 0);
	check_eq(hostmm_zap(r.mm, r.hva, rig_hva(&r, PAGES)), 0);
	check_eq(rig_sharers(&r, 0), rig_loads_store() ? 0 : 1);
	rig_fork_down(&child);
}

UTEST(fork_share, a_store_gives_the_chunk_to_one_of_the_sharers, .init = up, .fini = down)
{
	struct rig child[3];

	stamp(&r, 100);
	for (unsigned i = 0; i < 3; i++)
		rig_fork(&child[i], &r);
	check_eq(rig_sharers(&r, 0), 3);
	put(&r, 0, 5);
	check_eq(rig_sharers(&r, 0), 0);
	check_eq(rig_sharers(&r, CHUNK), 3);
	check_eq(rig_sharers(&child[0], 0) + rig_sharers(&child[1], 0) + rig_sharers(&child[2], 0),
		 2);
	for (unsigned i = 0; i < 3; i++) {
		put(&child[i], 1, i); /* the heir, or one of the two */
		check_eq(rig_peek(&child[i], 0), 100);
	}
	check_eq(rig_peek(&r, 0), 5);
	check_eq(rig_peek(&r, 1), 101);
	for (unsigned i = 0; i < 3; i++) {
		check_eq(rig_peek(&child[i], 1), i);
		rig_check(&child[i]);
		rig_fork_down(&child[i]);
	}
	check_eq(rig_maps(&r, 1), 1);
}

UTEST(fork_share, a_childs_child_has_the_first_ones_chunk, .init = up, .fini = down)
{
	struct rig child, grandchild;

	stamp(&r, 100);
	rig_fork(&child, &r);
	put(&child, 1, 9);
	rig_fork(&grandchild, &child);
	check_eq(rig_sharers(&r, 0), 0);
	check_eq(rig_sharers(&child, 0), 1);
	check_eq(rig_sharers(&r, CHUNK), 2);
	check_eq(rig_sharers(&child, CHUNK), 0);
	stamp(&r, 200);
	check_eq(rig_peek(&grandchild, 1), 9);
	check_eq(rig_peek(&grandchild, CHUNK + 7), 100 + CHUNK + 7);
	stamp(&child, 300);
	check_eq(rig_peek(&grandchild, 0), 100);
	check_eq(rig_peek(&grandchild, CHUNK + 8), 100 + CHUNK + 8);
	rig_fork_down(&child);
	check_stamps(&r, 200);
	rig_fork_down(&grandchild);
}

/* ---- Every order of going ---- */

static void destroy_mm(struct rig *of)
{
	rig_fork_down(of);
}

/* The parent's region goes as an mm's does. */
static void destroy_first(struct rig *of)
{
	check_eq(hostmm_discard(of->mm, of->hva, rig_hva(of, PAGES)), 0);
}

UTEST(fork_share, they_go_in_any_order, .init = up, .fini = down)
{
	static const unsigned order[6][3] = { { 0, 1, 2 }, { 0, 2, 1 }, { 1, 0, 2 },
					      { 1, 2, 0 }, { 2, 0, 1 }, { 2, 1, 0 } };

	for (unsigned i = 0; i < 6; i++) {
		struct rig child, grandchild, *of[3] = { &r, &child, &grandchild };
		bool gone[3] = { false };

		stamp(&r, 100 * i);
		rig_fork(&child, &r);
		if (i % 2)
			put(&child, CHUNK + 8, 1);
		rig_fork(&grandchild, &child);
		for (unsigned k = 0; k < 3; k++) {
			unsigned who = order[i][k];

			(who ? destroy_mm : destroy_first)(of[who]);
			gone[who] = true;
			if (!gone[2])
				check_eq(rig_peek(&grandchild, CHUNK + 7), 100 * i + CHUNK + 7);
			if (!gone[0])
				check_stamps(&r, 100 * i);
		}
		check_eq(pool_used(r.pool), 0);
	}
}

/* ---- Every actor ---- */

static char device;

static int act_discard(struct rig *of)
{
	return hostmm_discard(of->mm, of->hva, rig_hva(of, PAGES));
}

static int act_away(struct rig *of)
{
	return hostmm_migrate(of->mm, of->hva, rig_hva(of, PAGES), HOSTMM_MIGRATE_AWAY);
}

static int act_home(struct rig *of)
{
	return act_away(of)
		       ?: hostmm_migrate(of->mm, of->hva, rig_hva(of, PAGES), HOSTMM_MIGRATE_HOME);
}

static int act_merge(struct rig *of)
{
	uint64_t same = 77;

	return hostmm_write(of->mm, rig_hva(of, 1), &same, 8)
		       ?: hostmm_write(of->mm, rig_hva(of, CHUNK + 8), &same, 8)
		       ?: hostmm_merge(of->mm, rig_hva(of, 1), of->mm, rig_hva(of, CHUNK + 8));
}

static int act_unmerge(struct rig *of)
{
	return hostmm_unmerge(of->mm, rig_hva(of, 1));
}

static int act_protect(struct rig *of)
{
	return hostmm_protect(of->mm, of->hva, rig_hva(of, PAGES), 0)
		       ?: hostmm_protect(of->mm, of->hva, rig_hva(of, PAGES),
					 HOSTMM_PROT_READ | HOSTMM_PROT_WRITE);
}

static int act_truncate(struct rig *of)
{
	return hostmm_truncate(of->mm, of->hva, 1) ?: hostmm_truncate(of->mm, of->hva, PAGES);
}

static int act_collapse(struct rig *of)
{
	int rc = hostmm_collapse(of->mm, rig_hva(of, CHUNK));

	return rc == -EAGAIN ? 0 : rc; /* the parent's home frames are still its children's */
}

static int act_move(struct rig *of)
{
	return hostmm_move(of->mm, of->hva, rig_hva(of, 2), rig_hva(of, CHUNK + 7));
}

static int act_zero(struct rig *of)
{
	return hostmm_map_zero(of->mm, of->hva, rig_hva(of, PAGES));
}

static int act_device(struct rig *of)
{
	int rc = hostmm_migrate_to_device(of->mm, of->hva, rig_hva(of, 8), &device, NULL);

	rc = rc == -ENOENT ? 0 : rc; /* shared pages stay */
	return rc ?: hostmm_migrate_from_device(of->mm, of->hva, rig_hva(of, PAGES));
}

static int act_exclusive(struct rig *of)
{
	return hostmm_make_exclusive(of->mm, of->hva, rig_hva(of, 2), &device, NULL)
		       ?: hostmm_release_device(of->mm, &device);
}

static int act_store(struct rig *of)
{
	for (uint64_t i = 0; i < STAMPED; i++)
		rig_store(rig_word(of->host, stamped[i], 8), 1);
	return 0;
}

static int act_guest(struct rig *of)
{
	for (uint64_t i = 0; i < STAMPED; i++)
		rig_guest_store(of, rig_word(of->guest, stamped[i], 8), 1);
	return 0;
}

static int act_load(struct rig *of)
{
	for (uint64_t i = 0; i < STAMPED; i++)
		(void)rig_load(rig_word(of->host, stamped[i], 8));
	return 0;
}

static const struct actor {
	const char *name;
	int (*act)(struct rig *of);
	bool keeps; /* the contents of its own side */
} actors[] = {
	{ "discard", act_discard, false },   { "away", act_away, true },
	{ "home", act_home, true },	     { "merge", act_merge, false },
	{ "unmerge", act_unmerge, true },    { "protect", act_protect, true },
	{ "truncate", act_truncate, false }, { "collapse", act_collapse, true },
	{ "move", act_move, false },	     { "zero", act_zero, true },
	{ "device", act_device, true },	     { "exclusive", act_exclusive, true },
	{ "store", act_store, true },	     { "guest", act_guest, true },
	{ "load", act_load, true },
};

/* @a acts on one of three generations; the other two have what they had. Without another look before, and after one. */
static void act_on(const struct actor *a, unsigned who, bool looked)
{
	struct rig child, grandchild, *of[3] = { &r, &child, &grandchild };

	stamp(&r, 1000);
	rig_fork(&child, &r);
	rig_fork(&grandchild, &child);
	if (looked)
		check_stamps(&child, 1000);
	check(!a->act(of[who]), "%s of generation %u", a->name, who);
	for (unsigned i = 0; i < 3; i++)
		rig_check(of[i]);
	for (unsigned i = 0; i < 3; i++)
		if (i != who || a->keeps)
			check_stamps(of[i], 1000);
	rig_fork_down(&child);
	if (who != 2 || a->keeps)
		check_stamps(&grandchild, 1000);
	rig_fork_down(&grandchild);
	for (uint64_t i = 0; i < STAMPED; i++)
		check_eq(rig_peek(&r, stamped[i]) * 0, 0);
	check_eq(hostmm_discard(r.mm, r.hva, rig_hva(&r, PAGES)), 0);
	check_eq(pool_used(r.pool), 0);
}

UTEST(fork_share, no_actor_changes_it_for_others, .init = up, .fini = down)
{
	for (unsigned i = 0; i < sizeof(actors) / sizeof(actors[0]); i++)
		for (unsigned who = 0; who < 3; who++) {
			act_on(&actors[i], who, false);
			act_on(&actors[i], who, true);
		}
}

/* ---- All that have a frame ---- */

UTEST(fork_share, reclaim_takes_the_frame_from_all, .init = up, .fini = down)
{
	struct rig child[2], grandchild;
	uint64_t n;
	fn_t fn;

	stamp(&r, 100);
	fn = rig_frame(&r, 1);
	rig_fork(&child[0], &r);
	rig_fork(&child[1], &r);
	rig_fork(&grandchild, &child[0]);
	check_eq(hostmm_reclaim(child[1].mm, rig_hva(&child[1], 1), rig_hva(&child[1], 2), &n), 0);
	check_eq(n, 4);
	check_eq(pool_refs(r.pool, fn), 0);
	check_stamps(&r, 100);
	for (unsigned i = 0; i < 2; i++) {
		check_stamps(&child[i], 100);
		rig_fork_down(&child[i]);
	}
	check_stamps(&grandchild, 100);
	rig_fork_down(&grandchild);
}

UTEST(fork_share, pages_in_the_file_are_inherited, .init = up, .fini = down)
{
	struct pool_swap_stats stats;
	struct rig child, grandchild;
	uint64_t n;

	stamp(&r, 100);
	check_eq(hostmm_reclaim(r.mm, r.hva, rig_hva(&r, PAGES), &n), 0);
	check_eq(n, STAMPED);
	rig_fork(&child, &r);
	rig_fork(&grandchild, &child);
	check_eq(hostmm_discard(r.mm, r.hva, rig_hva(&r, 4)), 0);
	stamp(&r, 200);
	check_stamps(&child, 100);
	rig_fork_down(&child);
	check_stamps(&grandchild, 100);
	rig_fork_down(&grandchild);
	check_stamps(&r, 200);
	check_eq(hostmm_discard(r.mm, r.hva, rig_hva(&r, PAGES)), 0);
	check(pool_get_swap_stats(r.pool, &stats));
	check_eq(stats.used, 0);
}

UTEST(fork_share, poison_reaches_all, .init = up, .fini = down)
{
	struct rig child, grandchild;
	uint64_t value;

	stamp(&r, 100);
	rig_fork(&child, &r);
	rig_fork(&grandchild, &child);
	check_eq(hostmm_poison(r.mm, rig_hva(&r, 1)), 0);
	check_eq(hostmm_read(r.mm, rig_hva(&r, 1), &value, 8), -EHWPOISON);
	check_eq(hostmm_read(child.mm, rig_hva(&child, 1), &value, 8), -EHWPOISON);
	check_eq(hostmm_read(grandchild.mm, rig_hva(&grandchild, 1), &value, 8), -EHWPOISON);
	check_eq(rig_peek(&grandchild, 0), 100);
	rig_fork_down(&grandchild);
	rig_fork_down(&child);
	check_eq(hostmm_discard(r.mm, r.hva, rig_hva(&r, PAGES)), 0);
}

/* A store that finds no frame for its copy fails, and others see nothing of it. */
UTEST(fork_share, without_frames_nobody_loses, .fini = down)
{
	struct rig child;
	uint64_t value = 5;

	rig_up(&r, &(struct rig_opts){ .pages = PAGES, .pool_frames = 2 * PAGES, .around = 1 });
	stamp(&r, 100);
	rig_fork(&child, &r);
	/* The child's home frames are its own; the parent's copy would need a loose one. */
	check_eq(hostmm_write(r.mm, rig_hva(&r, 1), &value, 8), -ENOSPC);
	check_stamps(&child, 100);
	check_eq(hostmm_write(child.mm, rig_hva(&child, 1), &value, 8), 0);
	check_eq(hostmm_write(r.mm, rig_hva(&r, 1), &value, 8), 0);
	check_eq(rig_peek(&child, 1), 5);
	rig_fork_down(&child);
	check_eq(rig_peek(&r, 0), 100);
}

/* ---- Beside each other ---- */

static atomic_bool stop;

/* Stores rising numbers to the pages of @of, and reads them back. */
struct storer {
	struct rig *of;
	_Atomic uint64_t done;
};

static void *store_on(void *arg)
{
	struct storer *s = arg;

	while (!atomic_load(&stop)) {
		uint64_t page = stamped[s->done % STAMPED], value = ++s->done, back = 0;

		put(s->of, page, value);
		check_eq(hostmm_read(s->of->mm, rig_hva(s->of, page), &back, 8), 0);
		check_eq(back, value);
	}
	return NULL;
}

static void *reclaim_on(void *arg)
{
	struct rig *of = arg;

	while (!atomic_load(&stop))
		(void)hostmm_reclaim(of->mm, of->hva, rig_hva(of, PAGES), NULL);
	return NULL;
}

/* A child is one moment: what it reads twice is the same, whatever parent, reclaim and siblings do. */
UTEST(fork_share, beside_stores_reclaim_and_siblings, .init = up, .fini = down)
{
	struct storer s = { .of = &r };
	pthread_t t[2];
	double until;

	stamp(&r, 0);
	atomic_store(&stop, false);
	t[0] = rig_thread(store_on, &s);
	t[1] = rig_thread(reclaim_on, &r);
	for (until = rig_now() + rig_seconds(1); rig_now() < until || !s.done;) {
		struct rig child, sibling, grandchild;
		uint64_t had[STAMPED];

		rig_fork(&child, &r);
		rig_fork(&sibling, &r);
		rig_fork(&grandchild, &child);
		for (uint64_t i = 0; i < STAMPED; i += 2)
			had[i] = rig_peek(&child, stamped[i]);
		rig_fork_down(&sibling);
		for (uint64_t i = 0; i < STAMPED; i += 2) {
			check_eq(rig_peek(&child, stamped[i]), had[i]);
			put(&child, stamped[i], ~had[i]);
			check_eq(rig_peek(&grandchild, stamped[i]), had[i]);
		}
		rig_fork_down(&child);
		rig_fork_down(&grandchild);
	}
	atomic_store(&stop, true);
	rig_join(t[0]);
	rig_join(t[1]);
}
