// SPDX-License-Identifier: BSD-2-Clause
/* Hardware beside whoever changes the table: no D bit is lost, and no table is freed under a walk. */
#include "mmu/shadow/ept.h"

#include <errno.h>

#include "tests/rig.h"
#include "tests/test.h"

#define ROUNDS	 1500
#define WALKERS	 2
#define PAGES_2M 512UL
#define PAGES	 (2 * PAGES_2M)

static struct ept ept;
static pthread_barrier_t barrier;
static _Atomic bool wrote[PAGES]; /* a store went through this round */
static bool told[PAGES];	  /* said to be dirty this round */
static bool over;

static void dirtied(void *ctx, gfn_t gfn, uint64_t npages)
{
	(void)ctx;
	for (uint64_t i = 0; i < npages; i++)
		told[gfn + i] = true;
}

/* Stores where the table lets it, as vCPUs would. */
static void *walker(void *arg)
{
	uint64_t x = (uint64_t)(uintptr_t)arg;

	for (;;) {
		pthread_barrier_wait(&barrier);
		if (over)
			return NULL;
		sync_rcu_read_lock();
		for (unsigned i = 0; i < 64; i++) {
			x = x * 6364136223846793005 + 1442695040888963407;
			if (ept_walk(&ept, x >> 33 & (PAGES - 1), true, NULL))
				wrote[x >> 33 & (PAGES - 1)] = true;
		}
		sync_rcu_read_unlock();
		pthread_barrier_wait(&barrier);
	}
}

static void install_clean(gfn_t gfn)
{
	uint64_t leaf = ept_make_leaf(&ept, gfn, true, SPTE_LEVEL_2M);

	(void)ept_install(&ept, ept_root(&ept), gfn, SPTE_LEVEL_2M, SPTE_NONE,
			  leaf & ~(SPTE_ACCESSED | SPTE_DIRTY));
}

static void change(unsigned round)
{
	gfn_t gfn = round * 37 % PAGES, first = gfn & ~(PAGES_2M - 1);

	switch (round % 8) {
	case 0:
	case 4:
		(void)ept_split(&ept, gfn);
		break;
	case 1:
	case 5:
		(void)ept_collapse(&ept, gfn, SPTE_LEVEL_2M);
		break;
	case 2:
		ept_clear_dirty(&ept, 0, PAGES, dirtied, NULL);
		break;
	case 3:
		sync_rcu_read_lock();
		ept_age(&ept, gfn, gfn + 9);
		sync_rcu_read_unlock();
		break;
	case 6:
		ept_zap(&ept, gfn, gfn + 3);
		break;
	default:
		ept_zap(&ept, first, first + PAGES_2M);
		ept_prune(&ept, first, first + PAGES_2M);
		install_clean(first);
	}
}

/* Does the table still say that the page was written, or has it been said? */
static void check_round(void)
{
	for (gfn_t gfn = 0; gfn < PAGES; gfn++) {
		expect(!wrote[gfn] || told[gfn] || spte_is_dirty(ept_peek(&ept, gfn, NULL)),
		       "page %#lx was written, and nothing says so", gfn);
		told[gfn] = false;
		wrote[gfn] = spte_is_dirty(ept_peek(&ept, gfn, NULL));
	}
}

UTEST(ept_hammer, no_dirty_bit_is_lost)
{
	struct ept_opts opts = { .ad = true, .dirtied = dirtied };
	pthread_t t[WALKERS];

	check_eq(ept_init(&ept, &opts), 0);
	check_eq(ept_populate(&ept, ept_root(&ept), 0, PAGES, SPTE_LEVEL_2M), 0);
	install_clean(0);
	install_clean(PAGES_2M);
	pthread_barrier_init(&barrier, NULL, WALKERS + 1);
	for (uint64_t i = 0; i < WALKERS; i++)
		t[i] = rig_thread(walker, (void *)(i + 1));
	for (unsigned round = 0; round < ROUNDS; round++) {
		pthread_barrier_wait(&barrier);
		change(round);
		pthread_barrier_wait(&barrier);
		check_round();
		if (round % 16 == 0)
			ept_reap(&ept);
	}
	over = true;
	pthread_barrier_wait(&barrier);
	for (unsigned i = 0; i < WALKERS; i++)
		rig_join(t[i]);
	pthread_barrier_destroy(&barrier);
	ept_zap(&ept, 0, PAGES);
	ept_fini(&ept);
	check_eq(ept.table_pages, 0);
}

/* Roots that are swapped out and torn down beside late populates, zaps under the lock, and walks. */
static struct rwlock mmu_lock;
static _Atomic bool stop;

static void *faulter(void *arg)
{
	gfn_t gfn = (gfn_t)(uintptr_t)arg;

	while (!stop) {
		struct ept_page *root;

		sync_rcu_read_lock();
		root = ept_root(&ept);
		gfn = (gfn * 5 + 1) % (1UL << 15);
		expect(ept_populate(&ept, root, gfn, gfn + 1, SPTE_LEVEL_4K) == 0);
		rwlock_read_acquire(&mmu_lock);
		if (root == ept_root(&ept)) /* the stale check of a fault */
			(void)ept_install(&ept, root, gfn, SPTE_LEVEL_4K, SPTE_NONE,
					  spte_make_leaf(gfn, true));
		rwlock_read_release(&mmu_lock);
		(void)ept_walk(&ept, gfn, true, NULL);
		(void)ept_age(&ept, gfn, gfn + 600);
		sync_rcu_read_unlock();
	}
	return NULL;
}

static void *zapper(void *arg)
{
	gfn_t gfn = 0;

	while (!stop) {
		rwlock_write_acquire(&mmu_lock);
		ept_zap(&ept, gfn, gfn + 3000);
		rwlock_write_release(&mmu_lock);
		gfn = (gfn + 4099) % (1UL << 15);
	}
	return arg;
}

static void tear_down(struct ept_page *root)
{
	bool dead;

	do {
		sync_rcu_read_lock();
		rwlock_read_acquire(&mmu_lock);
		dead = ept_root_teardown(&ept, root, 3);
		rwlock_read_release(&mmu_lock);
		sync_rcu_read_unlock();
	} while (!dead);
}

UTEST(ept_hammer, roots_come_and_go)
{
	pthread_t t[3];

	rwlock_init(&mmu_lock);
	check_eq(ept_init(&ept, NULL), 0);
	t[0] = rig_thread(faulter, (void *)7);
	t[1] = rig_thread(faulter, (void *)77);
	t[2] = rig_thread(zapper, NULL);
	for (unsigned i = 0; i < 40; i++) {
		struct ept_page *fresh = ept_root_alloc(&ept), *old;

		check(fresh);
		rwlock_write_acquire(&mmu_lock);
		ept_root_swap(&ept, fresh, &old);
		rwlock_write_release(&mmu_lock);
		tear_down(old);
		ept_reap(&ept);
	}
	stop = true;
	for (unsigned i = 0; i < 3; i++)
		rig_join(t[i]);
	ept_zap(&ept, 0, 1UL << 36);
	check_eq(ept_count_leaves(&ept), 0);
	ept_fini(&ept);
	check_eq(ept.table_pages, 0);
	rwlock_fini(&mmu_lock);
}

UTEST(ept_hammer, reap_waits_for_walks)
{
	struct ept_page *fresh, *old;

	check_eq(ept_init(&ept, NULL), 0);
	check_eq(ept_populate(&ept, ept_root(&ept), 0, 1, SPTE_LEVEL_4K), 0);
	fresh = ept_root_alloc(&ept);
	ept_root_swap(&ept, fresh, &old);
	check(ept_root_teardown(&ept, old, 3));
	check_eq(ept.table_pages, 5);
	ept_reap(&ept);
	check_eq(ept.table_pages, 1);
	ept_reap(&ept);
	fresh = ept_root_alloc(&ept);
	check_eq(ept.table_pages, 2);
	ept_root_free(&ept, fresh);
	/* Invalid and not torn down, dead and not reaped: ept_fini() has them all. */
	check_eq(ept_populate(&ept, ept_root(&ept), 0, 1, SPTE_LEVEL_4K), 0);
	for (unsigned i = 0; i < 3; i++)
		ept_root_swap(&ept, ept_root_alloc(&ept), &old);
	check(ept_root_teardown(&ept, old, 3));
	ept_fini(&ept);
	check_eq(ept.table_pages, 0);
}
