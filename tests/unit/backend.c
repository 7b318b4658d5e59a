// SPDX-License-Identifier: BSD-2-Clause
/* A backend with the required functions alone, a copy of the table: never more than that, whatever fails or is not there. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "mmu/host/hostmm_actors.h"
#include "mmu/shadow/shadow_priv.h"
#include "tests/rig.h"
#include "tests/test.h"

#define ID    1u
#define PAGES 1024UL
#define GFN   0x1000UL /* of a large leaf */

/* Takes the place of the C library's in this program: tables come from here, one by one. */
static bool no_memory;

void *aligned_alloc(size_t alignment, size_t size)
{
	void *p = NULL;

	return no_memory || posix_memalign(&p, alignment, size) ? NULL : p;
}

static struct rig r;
static struct shadow *sh;
static struct backend_page copy[PAGES];
static int map_error;	     /* map fails */
static void (*in_map)(void); /* called in map, after the leaf is there and before the copy is */
static struct lock copy_lock = LOCK_INITIALIZER;

static int slot_add(void *ctx, struct memslot *slot, fn_t home)
{
	(void)ctx;
	(void)home;
	slot->backend = copy;
	return 0;
}

static void slot_remove(void *ctx, struct memslot *slot)
{
	(void)ctx;
	(void)slot;
}

static int map(void *slot_backend, uint64_t page, uint64_t n, fn_t fn, bool writable)
{
	(void)slot_backend;
	if (in_map)
		in_map();
	if (map_error)
		return map_error;
	lock_acquire(&copy_lock);
	for (uint64_t i = 0; i < n; i++)
		copy[page + i] = (struct backend_page){ .fn = fn + i, .writable = writable };
	lock_release(&copy_lock);
	return 0;
}

static int make_writable(void *slot_backend, uint64_t page, uint64_t n)
{
	(void)slot_backend;
	lock_acquire(&copy_lock);
	for (uint64_t i = 0; i < n; i++)
		copy[page + i].writable = true;
	lock_release(&copy_lock);
	return 0;
}

static void wrprotect(void *slot_backend, uint64_t page, uint64_t n)
{
	(void)slot_backend;
	lock_acquire(&copy_lock);
	for (uint64_t i = 0; i < n; i++)
		copy[page + i].writable = false;
	lock_release(&copy_lock);
}

static void zap(void *slot_backend, uint64_t page, uint64_t n)
{
	(void)slot_backend;
	lock_acquire(&copy_lock);
	for (uint64_t i = 0; i < n; i++)
		copy[page + i] = (struct backend_page){ .fn = FN_NONE };
	lock_release(&copy_lock);
}

static void wake(void *slot_backend, uint64_t page, uint64_t n)
{
	(void)slot_backend;
	(void)page;
	(void)n;
}

#define REQUIRED                                                      \
	.slot_add = slot_add, .slot_remove = slot_remove, .map = map, \
	.make_writable = make_writable, .zap = zap, .wake = wake

static const struct backend_ops bare = { REQUIRED };
static const struct backend_ops bare_walker = { REQUIRED, .walks_table = true };
static const struct backend_ops walker = { REQUIRED, .walks_table = true, .wrprotect = wrprotect };
static const struct backend_ops protecting = { REQUIRED, .wrprotect = wrprotect };
static const struct backend_ops aging = { REQUIRED, .age = zap, .wrprotect = wrprotect };

static void up_ad(const struct backend_ops *ops, bool no_ad)
{
	static struct gup_page pages[PAGES];
	struct shadow_opts opts = { .fault_around = 1, .no_ad = no_ad };

	rig_up(&r, &(struct rig_opts){ .pages = PAGES, .pool_frames = 4 * PAGES, .no_slot = true });
	check_eq(hostmm_gup(r.mm, r.hva, PAGES, 0, PAGES - 1, true, pages), 0);
	hostmm_put_pages(r.mm, pages, PAGES);
	no_memory = false;
	map_error = 0;
	in_map = NULL;
	zap(NULL, 0, PAGES);
	check_eq(shadow_create(&sh, r.mm, ops, NULL, &opts), 0);
	sh->ept.opts.chunk = 1;
	check_eq(shadow_add_slot(sh, ID, GFN, PAGES, r.hva, 0), 0);
}

static void up(const struct backend_ops *ops)
{
	up_ad(ops, true);
}

/* The leaf of @page, as far as an access may go by it. */
static uint64_t leaf(uint64_t page, int *level)
{
	uint64_t spte;

	sync_rcu_read_lock();
	spte = ept_peek(&sh->ept, GFN + page, level);
	sync_rcu_read_unlock();
	return spte_is_present(spte) && !spte_is_access_tracked(spte) ? spte : SPTE_NONE;
}

static void check_copy(void)
{
	for (uint64_t page = 0; page < PAGES; page++) {
		int level = SPTE_LEVEL_4K;
		uint64_t spte = leaf(page, &level);

		if (copy[page].fn == FN_NONE)
			continue;
		check(spte_is_present(spte) && leaf_fn(spte, GFN + page, level) == copy[page].fn,
		      "page %lu: %#lx, and the backend reaches frame %#lx", page, spte,
		      copy[page].fn);
		check(!copy[page].writable || spte_is_writable(spte), "page %lu: %#lx", page, spte);
	}
}

static void down(void)
{
	check_copy();
	shadow_destroy(sh);
	rig_down(&r);
}

static bool is_reached(uint64_t page, bool write)
{
	return copy[page].fn != FN_NONE && (!write || copy[page].writable);
}

/* A use of @page, as long as the backend does not let it pass. */
static void use(uint64_t page, bool write)
{
	for (unsigned n = 0; n < 3 && !is_reached(page, write); n++)
		check(shadow_fault(sh, GFN + page, write) >= 0);
	check(is_reached(page, write), "page %lu: faults do not help", page);
}

static void age_all(void)
{
	uint64_t used;

	check_eq(shadow_age(sh, GFN, PAGES, NULL, &used), 0);
}

/* Who caches nothing has nothing to take away, also where a leaf is aged as it is installed. */
UTEST(backend, age_is_optional)
{
	up(&bare_walker);
	in_map = age_all;
	check_eq(shadow_fault(sh, GFN + 3, true), SHADOW_FIXED);
	in_map = NULL;
	check_eq(leaf(3, &(int){ 0 }), SPTE_NONE);
	check_eq(shadow_fault(sh, GFN + 3, false), SHADOW_FIXED);
	check(spte_is_present(leaf(3, &(int){ 0 })));
	zap(NULL, 0, PAGES);
	down();
}

/* ---- Dirty logging of a leaf that cannot be split ---- */

/* The log protects one page, beside another call that has a flush pending, and has no memory to split the leaf. */
static void protect_a_part(const struct backend_ops *ops)
{
	uint64_t bits[PAGES / 64] = { 1 };
	int level = SPTE_LEVEL_4K;

	up(ops);
	check_eq(shadow_dirty_configure(sh, SHADOW_DIRTY_MANUAL | SHADOW_DIRTY_INITIALLY_SET), 0);
	use(70, true);
	check(leaf(70, &level) && level == SPTE_LEVEL_2M, "level %d", level);
	check(copy[0].writable && copy[511].writable);
	check_eq(shadow_set_slot_flags(sh, ID, MEMSLOT_LOG_DIRTY), 0);
	no_memory = true;
	dirty_flush_begin(sh);
	check_eq(shadow_clear_dirty_log(sh, ID, 64, 64, bits), 0);
	sync_fetch_sub(&sh->dirty.flushes_pending, 1);
	no_memory = false;
	for (uint64_t page = 0; page < 512; page++)
		check(!copy[page].writable, "page %lu", page);
	check_copy();
	use(70, true);
	use(3, false);
	down();
}

UTEST(backend, what_cannot_be_split_is_protected_whole)
{
	protect_a_part(&protecting);
}

UTEST(backend, who_cannot_protect_lets_go_of_the_whole)
{
	protect_a_part(&bare);
}

/* What hardware does for a store. */
static void walk(uint64_t page)
{
	int level;

	sync_rcu_read_lock();
	check(spte_is_dirty(ept_walk(&sh->ept, GFN + page, true, &level)), "page %lu", page);
	check_eq(level, SPTE_LEVEL_2M);
	sync_rcu_read_unlock();
}

static uint64_t word_of_log(unsigned n)
{
	uint64_t bits[PAGES / 64];

	check_eq(shadow_get_dirty_log(sh, ID, bits), 0);
	return bits[n];
}

/* D of the whole leaf is taken for the sake of a part of it: the rest of what it stood for must stay in the log. */
UTEST(backend, dirty_beyond_the_range_is_kept)
{
	uint64_t all[PAGES / 64];

	memset(all, 0xff, sizeof(all));
	up_ad(&walker, false);
	check_eq(shadow_dirty_configure(sh, SHADOW_DIRTY_MANUAL | SHADOW_DIRTY_INITIALLY_SET), 0);
	check_eq(shadow_fault(sh, GFN + 3, true), SHADOW_FIXED);
	check_eq(shadow_set_slot_flags(sh, ID, MEMSLOT_LOG_DIRTY), 0);
	no_memory = true;
	check_eq(shadow_clear_dirty_log(sh, ID, 0, 64, all), 0);
	check_eq(word_of_log(0), 0);
	walk(3);
	/* Page 3 is in the table only, and goes from there with the pages of the next word. */
	check_eq(shadow_clear_dirty_log(sh, ID, 64, 64, all), 0);
	check(word_of_log(0) >> 3 & 1);
	no_memory = false;
	down();
}

/* The table must let go, too: it has no way to tell that the backend did. */
UTEST(backend, who_cannot_protect_lets_go)
{
	up(&bare);
	for (uint64_t page = 512; page < 516; page++)
		use(page, true);
	check_eq(shadow_set_slot_flags(sh, ID, MEMSLOT_LOG_DIRTY), 0);
	check_copy();
	check_eq(copy[513].fn, FN_NONE);
	use(513, false);
	use(514, true);
	down();
}

/* ---- No memory for an empty root ---- */

UTEST(backend, release_needs_no_memory)
{
	up(&bare);
	use(3, true);
	use(1000, true);
	no_memory = true;
	sh->mn.ops->release(&sh->mn);
	no_memory = false;
	check_eq(ept_count_leaves(&sh->ept), 0);
	for (uint64_t page = 0; page < PAGES; page++)
		check_eq(copy[page].fn, FN_NONE);
	down();
}

/* ---- change_pte ---- */

/* Pages 600 and 700 have equal contents, and the table has them by small leaves. */
static void alike(const struct backend_ops *ops)
{
	up(ops);
	rig_store(rig_word(r.host, 600, 0), 1);
	rig_store(rig_word(r.host, 700, 0), 1);
	use(600, false);
	use(700, false);
	check_eq(shadow_split(sh, GFN, GFN + PAGES), 0);
}

static int merge(void)
{
	return hostmm_merge(r.mm, rig_hva(&r, 600), r.mm, rig_hva(&r, 700));
}

static uint64_t repointed(void)
{
	struct shadow_stats stats;

	shadow_get_stats(sh, &stats);
	return stats.repointed;
}

UTEST(backend, what_cannot_be_repointed_is_zapped)
{
	alike(&protecting);
	map_error = -EIO;
	check_eq(merge(), 0);
	map_error = 0;
	check_eq(repointed(), 0);
	check(rig_frame(&r, 600) == rig_frame(&r, 700));
	check_copy();
	use(600, false);
	use(700, false);
	down();
}

UTEST(backend, a_page_aged_as_it_is_repointed_is_taken_away)
{
	alike(&aging);
	in_map = age_all;
	check_eq(merge(), 0);
	in_map = NULL;
	check(repointed() >= 1);
	check(rig_frame(&r, 600) == rig_frame(&r, 700));
	check_copy();
	down();
}
