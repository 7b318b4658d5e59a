// SPDX-License-Identifier: BSD-2-Clause
/* Dirty bitmaps one step at a time: what marks, what get and clear take, what they refuse. */
#include "mmu/shadow/dirty.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "mmu/host/hostmm_actors.h"
#include "mmu/shadow/shadow_priv.h"
#include "tests/unit/device.h"
#include "tests/unit/fake_calloc.h"

#define ID  1u
#define GFN RIG_GFN

static struct rig r;
static struct device *dev;

static void log_up(unsigned how)
{
	rig_up(&r, &(struct rig_opts){ .pages = 200, .canary = true });
	check_eq(shadow_dirty_configure(r.shadow, how), 0);
	check_eq(shadow_set_slot_flags(r.shadow, ID, MEMSLOT_LOG_DIRTY), 0);
}

static uint64_t get(struct shadow *sh, unsigned id, uint64_t bitmap[4])
{
	uint64_t n = 0;

	memset(bitmap, 0xee, 4 * sizeof(*bitmap));
	check_eq(shadow_get_dirty_log(sh, id, bitmap), 0);
	for (unsigned i = 0; i < shadow_dirty_words(r.pages); i++)
		n += (uint64_t)__builtin_popcountl(bitmap[i]);
	return n;
}

static bool has(const uint64_t *bitmap, uint64_t page)
{
	return bitmap[page / 64] >> page % 64 & 1;
}

static void touch(uint64_t page, uint64_t value)
{
	rig_store(rig_word(r.guest, page, 0), value);
}

UTEST(dirty, get_tells_each_store_once)
{
	uint64_t b[4];

	log_up(0);
	check_eq(get(r.shadow, ID, b), 0);
	check_eq(rig_load(rig_word(r.guest, 5, 0)), 0);
	check_eq(get(r.shadow, ID, b), 0);
	touch(5, 1);
	touch(199, 1);
	touch(5, 2);
	check_eq(get(r.shadow, ID, b), 2);
	check(has(b, 5) && has(b, 199));
	check_eq(get(r.shadow, ID, b), 0);
	touch(5, 3);
	check_eq(get(r.shadow, ID, b), 1);
	check(has(b, 5));
	rig_down(&r);
}

/* Pages that get takes together are protected together, also where clean ones lie between them. */
UTEST(dirty, every_pattern_is_seen_again)
{
	uint64_t state = 1, want[4], b[4];

	log_up(0);
	for (unsigned round = 1; round < 40; round++) {
		memset(want, 0, sizeof(want));
		for (unsigned n = rig_random(&state) % 60; n; n--) {
			uint64_t page = rig_random(&state) % (round % 2 ? 200 : 40);

			touch(page, round);
			want[page / 64] |= 1UL << page % 64;
		}
		get(r.shadow, ID, b);
		check(!memcmp(want, b, sizeof(b)), "round %u", round);
	}
	rig_down(&r);
}

UTEST(dirty, neighbours_of_a_fault_are_clean)
{
	uint64_t b[4];

	rig_up(&r, &(struct rig_opts){ .pages = 64, .around = 16 });
	touch(0, 1);
	check_eq(hostmm_zap(r.mm, rig_hva(&r, 0), rig_hva(&r, 64)), 0);
	check_eq(shadow_set_slot_flags(r.shadow, ID, MEMSLOT_LOG_DIRTY), 0);
	touch(3, 1);
	check_eq(get(r.shadow, ID, b), 1);
	touch(4, 1);
	check_eq(get(r.shadow, ID, b), 1);
	check(has(b, 4));
	rig_down(&r);
}

UTEST(dirty, turning_on_protects_and_off_forgets)
{
	uint64_t b[4];

	rig_up(&r, &(struct rig_opts){ .pages = 200 });
	for (uint64_t page = 0; page < 200; page++)
		touch(page, 1);
	check_eq(shadow_get_dirty_log(r.shadow, ID, b), -ENOENT);
	check_eq(shadow_set_slot_flags(r.shadow, ID, MEMSLOT_LOG_DIRTY), 0);
	check_eq(get(r.shadow, ID, b), 0);
	touch(7, 2);
	check_eq(get(r.shadow, ID, b), 1);
	touch(8, 2);
	check_eq(shadow_set_slot_flags(r.shadow, ID, 0), 0);
	check_eq(shadow_get_dirty_log(r.shadow, ID, b), -ENOENT);
	touch(9, 2);
	check_eq(shadow_set_slot_flags(r.shadow, ID, MEMSLOT_LOG_DIRTY), 0);
	check_eq(get(r.shadow, ID, b), 0);
	touch(9, 3);
	check_eq(get(r.shadow, ID, b), 1);
	rig_down(&r);
}

/* A log comes with a new slot, too, and goes along when the slot moves. */
UTEST(dirty, a_log_lives_with_its_slot)
{
	uint64_t b[4];

	rig_up(&r, &(struct rig_opts){ .pages = 64, .slot_flags = MEMSLOT_LOG_DIRTY });
	touch(3, 1);
	check_eq(shadow_move_slot(r.shadow, ID, GFN + 1000), 0);
	touch(4, 1);
	check_eq(get(r.shadow, ID, b), 2);
	check(has(b, 3) && has(b, 4));
	check_eq(shadow_remove_slot(r.shadow, ID), 0);
	check_eq(shadow_get_dirty_log(r.shadow, ID, b), -ENOENT);
	rig_down(&r);
}

UTEST(dirty, writes_of_the_vmm_are_marked)
{
	uint64_t b[4];
	char bytes[2 * PAGE_SIZE] = { 1 };

	log_up(0);
	check_eq(shadow_write(r.shadow, ((GFN + 3) << PAGE_SHIFT) + 4090, bytes, 8), 0);
	check_eq(shadow_read(r.shadow, (GFN + 9) << PAGE_SHIFT, bytes, 8), 0);
	check_eq(get(r.shadow, ID, b), 2);
	check(has(b, 3) && has(b, 4));
	check_eq(shadow_write(r.shadow, (GFN + 5) << PAGE_SHIFT, bytes, sizeof(bytes)), 0);
	check_eq(shadow_write(r.shadow, (GFN + 8) << PAGE_SHIFT, bytes, 0), 0);
	check_eq(get(r.shadow, ID, b), 2);
	rig_down(&r);
}

static int fill_to_page_3(void *ctx, uint64_t page, void *dst, uint64_t n)
{
	(void)ctx;
	memset(dst, 0, n << PAGE_SHIFT);
	return page + n > 4 ? -EIO : 0;
}

/* What was written before the error is in memory, and in the log. */
UTEST(dirty, a_write_that_fails_is_marked)
{
	static const struct pager_ops pager = { .fill = fill_to_page_3 };
	char bytes[2 * PAGE_SIZE] = { 1 };
	uint64_t b[4] = { 0 };

	rig_up(&r,
	       &(struct rig_opts){ .pages = 64, .pager = &pager, .slot_flags = MEMSLOT_LOG_DIRTY });
	check_eq(shadow_write(r.shadow, (GFN + 3) << PAGE_SHIFT, bytes, sizeof(bytes)), -EIO);
	(void)get(r.shadow, ID, b);
	check(has(b, 3));
	rig_down(&r);
}

/* The primary takes the page and brings it back: what was stored before stays told, and the next store is seen. */
UTEST(dirty, survives_invalidations)
{
	uint64_t b[4];

	log_up(0);
	touch(1, 1);
	check_eq(hostmm_migrate(r.mm, rig_hva(&r, 0), rig_hva(&r, 4), HOSTMM_MIGRATE_AWAY), 0);
	check_eq(get(r.shadow, ID, b), 1);
	check_eq(rig_load(rig_word(r.guest, 1, 0)), 1);
	check_eq(hostmm_wrprotect(r.mm, rig_hva(&r, 0), rig_hva(&r, 4)), 0);
	touch(1, 2);
	touch(2, 2);
	check_eq(get(r.shadow, ID, b), 2);
	rig_check(&r);
	rig_down(&r);
}

UTEST(dirty, manual_protect_leaves_get_without_effect)
{
	uint64_t b[4], one[4] = { 1UL << 5 };

	log_up(SHADOW_DIRTY_MANUAL);
	touch(5, 1);
	touch(70, 1);
	check_eq(get(r.shadow, ID, b), 2);
	check_eq(get(r.shadow, ID, b), 2);
	check_eq(shadow_clear_dirty_log(r.shadow, ID, 0, 64, one), 0);
	check_eq(get(r.shadow, ID, b), 1);
	check(has(b, 70));
	touch(5, 2);
	check_eq(get(r.shadow, ID, b), 2);
	/* Bits that nobody has told, and bits beyond the slot, do nothing. */
	memset(one, 0xff, sizeof(one));
	check_eq(shadow_clear_dirty_log(r.shadow, ID, 64, 200 - 64, one), 0);
	check_eq(get(r.shadow, ID, b), 1);
	check(has(b, 5));
	touch(70, 2);
	touch(199, 2);
	check_eq(get(r.shadow, ID, b), 3);
	rig_down(&r);
}

UTEST(dirty, initially_all_set_protects_at_the_first_clear)
{
	uint64_t b[4];

	rig_up(&r, &(struct rig_opts){ .pages = 200 });
	touch(5, 1);
	touch(6, 1);
	check_eq(shadow_dirty_configure(r.shadow, SHADOW_DIRTY_MANUAL | SHADOW_DIRTY_INITIALLY_SET),
		 0);
	check_eq(shadow_set_slot_flags(r.shadow, ID, MEMSLOT_LOG_DIRTY), 0);
	check(spte_is_writable(ept_peek(&r.shadow->ept, GFN + 5, NULL)));
	check_eq(get(r.shadow, ID, b), 200);
	check(b[3] == 0xff);
	check_eq(shadow_clear_dirty_log(r.shadow, ID, 0, 200, b), 0);
	check(!spte_is_writable(ept_peek(&r.shadow->ept, GFN + 5, NULL)));
	check_eq(get(r.shadow, ID, b), 0);
	touch(5, 2);
	check_eq(get(r.shadow, ID, b), 1);
	rig_down(&r);
}

UTEST(dirty, refuses_bad_input)
{
	uint64_t b[4] = { 0 };

	rig_up(&r, &(struct rig_opts){ .pages = 200 });
	check_eq(shadow_dirty_configure(r.shadow, 8), -EINVAL);
	check_eq(shadow_dirty_configure(r.shadow, SHADOW_DIRTY_INITIALLY_SET), -EINVAL);
	check_eq(shadow_dirty_configure(r.shadow, SHADOW_DIRTY_MANUAL | SHADOW_DIRTY_BACKEND |
							  SHADOW_DIRTY_INITIALLY_SET),
		 -EINVAL);
	check_eq(shadow_clear_dirty_log(r.shadow, ID, 0, 64, b), -ENOENT);
	check_eq(shadow_get_dirty_log(r.shadow, 77, b), -ENOENT);
	check_eq(shadow_set_slot_flags(r.shadow, ID, MEMSLOT_LOG_DIRTY), 0);
	check_eq(shadow_dirty_configure(r.shadow, SHADOW_DIRTY_MANUAL), -EBUSY);
	check_eq(shadow_dirty_configure(r.shadow, 0), 0);
	touch(3, 1);
	b[0] = ~0UL;
	check_eq(shadow_clear_dirty_log(r.shadow, ID, 1, 64, b), -EINVAL);
	check_eq(shadow_clear_dirty_log(r.shadow, ID, 0, 63, b), -EINVAL);
	check_eq(shadow_clear_dirty_log(r.shadow, ID, 0, 199, b), -EINVAL);
	check_eq(shadow_clear_dirty_log(r.shadow, ID, 0, 256, b), -EINVAL);
	check_eq(shadow_clear_dirty_log(r.shadow, ID, 192, 64, b), -EINVAL);
	check_eq(shadow_clear_dirty_log(r.shadow, ID, 256, 0, b), -EINVAL);
	check_eq(shadow_clear_dirty_log(r.shadow, ID, 64, UINT64_MAX, b), -EINVAL);
	check_eq(shadow_clear_dirty_log(r.shadow, 77, 0, 64, b), -ENOENT);
	check_eq(shadow_clear_dirty_log(r.shadow, ID, 192, 8, b), 0);
	check_eq(get(r.shadow, ID, b), 1);
	rig_down(&r);
}

/* The window of a rig has no KVM below it. */
UTEST(dirty, without_a_backend_that_knows)
{
	uint64_t b[4];

	rig_up(&r, &(struct rig_opts){ .pages = 64 });
	check_eq(shadow_dirty_configure(r.shadow, SHADOW_DIRTY_BACKEND), 0);
	/* The rig's own ops have no collect_dirty: protection does it. */
	check_eq(shadow_set_slot_flags(r.shadow, ID, MEMSLOT_LOG_DIRTY), 0);
	touch(3, 1);
	check_eq(get(r.shadow, ID, b), 1);
	rig_down(&r);
}

UTEST(dirty, no_memory_for_a_log)
{
	uint64_t b[4];

	rig_up(&r, &(struct rig_opts){ .pages = 64 });
	touch(1, 1);
	fake_calloc_at = 1;
	check_eq(shadow_set_slot_flags(r.shadow, ID, MEMSLOT_LOG_DIRTY), -ENOMEM);
	check_eq(fake_calloc_at, 0);
	check_eq(shadow_get_dirty_log(r.shadow, ID, b), -ENOENT);
	touch(1, 2);
	check(spte_is_writable(ept_peek(&r.shadow->ept, GFN + 1, NULL)));
	rig_down(&r);
}

/* ---- D bits ---- */

#define DEV_ID 0u

static void d_up(unsigned how)
{
	up(&r, &dev, "kvm");
	for (uint64_t page = 0; page < PAGES; page++)
		store(&r, dev, page, 1);
	check_eq(shadow_dirty_configure(device_get_shadow(dev), how), 0);
	check_eq(shadow_set_slot_flags(device_get_shadow(dev), DEV_ID, MEMSLOT_LOG_DIRTY), 0);
}

UTEST(dirty, d_bits_are_taken_and_set_again)
{
	struct shadow *sh;
	uint64_t b[4], faults;

	d_up(0);
	sh = device_get_shadow(dev);
	check_eq(get(sh, DEV_ID, b), 0);
	faults = stats(dev).faults;
	store(&r, dev, 3, 2);
	store(&r, dev, 3, 3);
	check_eq(load(&r, dev, 4), 1);
	check_eq(get(sh, DEV_ID, b), 1);
	check(has(b, 3));
	store(&r, dev, 3, 4);
	check_eq(get(sh, DEV_ID, b), 1);
	check_eq(get(sh, DEV_ID, b), 0);
	check_eq(stats(dev).faults, faults); /* hardware set them */
	down(&r, dev);
}

UTEST(dirty, a_zap_moves_d_to_the_log)
{
	struct shadow *sh;
	uint64_t b[4];

	d_up(0);
	sh = device_get_shadow(dev);
	store(&r, dev, 3, 2);
	check_eq(hostmm_zap(r.mm, rig_hva(&r, 0), rig_hva(&r, PAGES)), 0);
	check_eq(load(&r, dev, 3), 2);
	check_eq(get(sh, DEV_ID, b), 1);
	check(has(b, 3));
	check_eq(get(sh, DEV_ID, b), 0);
	store(&r, dev, 5, 2);
	check_eq(hostmm_wrprotect(r.mm, rig_hva(&r, 0), rig_hva(&r, PAGES)), 0);
	check_eq(hostmm_migrate(r.mm, rig_hva(&r, 0), rig_hva(&r, PAGES), HOSTMM_MIGRATE_AWAY), 0);
	check_eq(get(sh, DEV_ID, b), 1);
	check(has(b, 5));
	down(&r, dev);
}

UTEST(dirty, manual_with_d_bits)
{
	uint64_t b[4], one[4] = { 1UL << 3 };
	struct shadow *sh;

	d_up(SHADOW_DIRTY_MANUAL);
	sh = device_get_shadow(dev);
	store(&r, dev, 3, 2);
	store(&r, dev, 4, 2);
	check_eq(get(sh, DEV_ID, b), 2);
	check_eq(get(sh, DEV_ID, b), 2);
	store(&r, dev, 5, 2);
	one[0] |= 1UL << 5; /* not told yet */
	check_eq(shadow_clear_dirty_log(sh, DEV_ID, 0, PAGES, one), 0);
	check_eq(get(sh, DEV_ID, b), 2);
	check(has(b, 4) && has(b, 5));
	store(&r, dev, 3, 3);
	check_eq(get(sh, DEV_ID, b), 3);
	down(&r, dev);
}

/* Large leaves are split when logging goes on, and one store is one page (M20). */
UTEST(dirty, logging_is_by_pages)
{
	static uint64_t b[2 * LARGE / 64];
	struct shadow_stats s;
	struct shadow *sh;
	uint64_t n = 0;

	large_up(&r, &dev, device_profile("kvm-no-ad"));
	sh = device_get_shadow(dev);
	store(&r, dev, 0, 1);
	store(&r, dev, LARGE, 1);
	shadow_get_stats(sh, &s);
	check_eq(shadow_set_slot_flags(sh, DEV_ID, MEMSLOT_LOG_DIRTY), 0);
	store(&r, dev, 5, 1);
	store(&r, dev, LARGE + 7, 1);
	check_eq(shadow_get_dirty_log(sh, DEV_ID, b), 0);
	for (unsigned i = 0; i < 2 * LARGE / 64; i++)
		n += (uint64_t)__builtin_popcountl(b[i]);
	check_eq(n, 2);
	check(has(b, 5) && has(b, LARGE + 7));
	shadow_get_stats(sh, &s);
	check_eq(s.leaves_2m, 0);
	down(&r, dev);
}
