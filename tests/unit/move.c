// SPDX-License-Identifier: BSD-2-Clause
/* mremap in the host mm. */
#include <errno.h>

#include "mmu/host/hostmm_actors.h"
#include "mmu/host/hostmm_device.h"
#include "tests/rig.h"
#include "tests/test.h"

static struct rig r;
static hva_t other; /* a region beside the rig's */

static void up(void)
{
	rig_up(&r, &(struct rig_opts){ .pages = 600,
				       .pool_frames = 8192,
				       .canary = true,
				       .around = 1 });
	check_eq(hostmm_map(r.mm, 600, HOSTMM_PROT_READ | HOSTMM_PROT_WRITE, NULL, NULL, &other),
		 0);
}

static void down(void)
{
	rig_down(&r);
}

static int move(uint64_t page, uint64_t end, hva_t to)
{
	return hostmm_move(r.mm, rig_hva(&r, page), rig_hva(&r, end), to);
}

static uint64_t word_at(struct hostmm *mm, hva_t hva)
{
	uint64_t word = ~0UL;

	check_eq(hostmm_read(mm, hva, &word, sizeof(word)), 0);
	return word;
}

UTEST(move, refuses_what_is_no_range, .init = up, .fini = down)
{
	check_eq(move(1, 1, other), -EINVAL);
	check_eq(move(0, 2, other + 1), -EINVAL);
	check_eq(move(0, 2, 0), -EINVAL);
	check_eq(move(0, 601, other), -EINVAL);
	check_eq(move(0, 2, other + (599 << PAGE_SHIFT)), -EINVAL);
	check_eq(move(0, 2, rig_hva(&r, 1)), -EINVAL);
	check_eq(move(1, 3, rig_hva(&r, 0)), -EINVAL);
	check_eq(hostmm_truncate(r.mm, other, 4), 0);
	check_eq(move(0, 2, other + (3 << PAGE_SHIFT)), -EINVAL);
	check_eq(move(0, 2, other + (2 << PAGE_SHIFT)), 0);
}

UTEST(move, pages_go_with_their_frames, .init = up, .fini = down)
{
	fn_t frame[600];
	uint64_t used;

	for (uint64_t page = 0; page < 600; page += 3) {
		rig_store(rig_word(r.guest, page, 0), page + 1);
		rig_load(rig_word(r.host, page, 0));
		frame[page] = rig_frame(&r, page);
	}
	check_eq(hostmm_write(r.mm, other + (7 << PAGE_SHIFT), &frame[0], 8), 0); /* lost */
	used = pool_used(r.pool);
	check_eq(move(0, 600, other), 0);
	check_eq(pool_used(r.pool), used - 1);
	for (uint64_t page = 0; page < 600; page += 3) {
		struct gup_page found;

		check(hostmm_peek(r.mm, other + (page << PAGE_SHIFT), &found));
		check_eq(found.fn, frame[page]);
		check_eq(rig_load((_Atomic uint64_t *)(other + (page << PAGE_SHIFT))), page + 1);
	}
	check_eq(word_at(r.mm, other + (7 << PAGE_SHIFT)), 0);
	check_eq(rig_load(rig_word(r.guest, 3, 0)), 0);
	check_eq(rig_load(rig_word(r.host, 6, 0)), 0);
	rig_check(&r);
}

/* M26: a page that was write-protected can be stored to where it goes, by threads and by copies. */
UTEST(move, a_write_protect_mark_does_not_survive, .init = up, .fini = down)
{
	for (uint64_t page = 0; page < 4; page++)
		rig_store(rig_word(r.host, page, 0), page);
	check_eq(hostmm_wrprotect(r.mm, r.hva, rig_hva(&r, 4)), 0);
	check_eq(rig_load(rig_word(r.host, 2, 0)), 2);
	check_eq(move(0, 4, other), 0);
	for (uint64_t page = 0; page < 4; page++) {
		_Atomic uint64_t *word = (_Atomic uint64_t *)(other + (page << PAGE_SHIFT));

		check_eq(rig_load(word), page);
		rig_store(word, page + 10);
		check_eq(word_at(r.mm, other + (page << PAGE_SHIFT)), page + 10);
		rig_store(rig_word(r.host, page, 0), 5);
		check_eq(rig_load(word), page + 10);
	}
	/* And back, over what has come meanwhile. */
	check_eq(hostmm_move(r.mm, other, other + (4 << PAGE_SHIFT), r.hva), 0);
	check_eq(rig_load(rig_word(r.guest, 3, 0)), 13);
	rig_store(rig_word(r.guest, 3, 0), 14);
	check_eq(rig_load(rig_word(r.host, 3, 0)), 14);
	check(!r.host_fatal && !r.window_fatal);
	rig_check(&r);
}

UTEST(move, the_rights_are_those_of_the_new_place, .init = up, .fini = down)
{
	uint64_t value = 3;

	rig_store(rig_word(r.host, 0, 0), 7);
	check_eq(hostmm_protect(r.mm, other, other + PAGE_SIZE, HOSTMM_PROT_READ), 0);
	check_eq(move(0, 1, other), 0);
	check_eq(word_at(r.mm, other), 7);
	check_eq(hostmm_write(r.mm, other, &value, sizeof(value)), -EFAULT);
	check_eq(hostmm_protect(r.mm, other, other + PAGE_SIZE, 0), 0);
	check_eq(hostmm_move(r.mm, other, other + PAGE_SIZE, r.hva), 0);
	check_eq(rig_load(rig_word(r.host, 0, 0)), 7);
	rig_store(rig_word(r.guest, 0, 0), 8);
	rig_check(&r);
}

/* Frames that a child shares, and pages that a device has. */
UTEST(move, shared_pages_and_those_of_devices_move, .init = up, .fini = down)
{
	const struct hostmm_opts opts = { .fault_threads = 1 };
	struct hostmm *child;
	uint64_t value = 9;
	hva_t hva;
	int owner;

	for (uint64_t page = 0; page < 4; page++)
		rig_store(rig_word(r.host, page, 0), page + 1);
	check_eq(hostmm_fork(r.mm, &opts, &child), 0);
	check_eq(hostmm_fork_hva(child, r.hva, &hva), 0);
	rig_store(rig_word(r.host, 2, 0), 33); /* no longer shared */
	check_eq(hostmm_migrate_to_device(r.mm, rig_hva(&r, 2), rig_hva(&r, 3), &owner, NULL), 0);
	check_eq(move(0, 4, other), 0);
	check_eq(hostmm_write(r.mm, other, &value, sizeof(value)), 0);
	check_eq(word_at(child, hva), 1);
	check_eq(word_at(r.mm, other + (1 << PAGE_SHIFT)), 2);
	check_eq(word_at(r.mm, other + (2 << PAGE_SHIFT)), 33);
	check_eq(word_at(child, hva + (2 << PAGE_SHIFT)), 3);
	hostmm_destroy(child);
	check_eq(hostmm_write(r.mm, other + (3 << PAGE_SHIFT), &value, sizeof(value)), 0);
	rig_check(&r);
}
