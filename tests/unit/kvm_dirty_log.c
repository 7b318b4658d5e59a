// SPDX-License-Identifier: BSD-2-Clause
/*
 * KVM's selftest dirty_log_test: threads stamp random pages with the number of the round; a page whose stamp is of this
 * round must be in its log, and one in the log must have that stamp. Gets also run beside the stores: then the logs of one
 * round are taken together. And what a migration would have: a copy made only of pages in the log is what is there.
 */
#include <pthread.h>
#include <string.h>

#include "mmu/shadow/dirty_ring.h"
#include "tests/unit/device.h"

#define LOG_PAGES 256u
#define THREADS	  2u
#define ROUNDS	  12u
#define STORES	  150u

enum mode { LOG, CLEAR, INITIALLY_SET, RING };

static struct rig r;
static struct device *dev; /* NULL: stores go through the window */
static struct shadow *sh;
static unsigned slot_id;
static enum mode mode;

static pthread_barrier_t barrier;
static _Atomic uint64_t round_now; /* 0: the end */
static atomic_uint running;
static uint64_t copy[LOG_PAGES];
static bool logged[LOG_PAGES]; /* in this round */

static bool is_manual(void)
{
	return mode == CLEAR || mode == INITIALLY_SET;
}

/* A vCPU with a ring of its own, if there are rings. */
static void *stamp(void *arg)
{
	uint64_t state = (uint64_t)(uintptr_t)arg;

	expect(!shadow_dirty_ring_bind(sh, (unsigned)state - 1, sync_tid()));
	for (;;) {
		pthread_barrier_wait(&barrier);
		if (!atomic_load(&round_now))
			return NULL;
		for (unsigned n = 0; n < STORES; n++) {
			uint64_t page = rig_random(&state) % LOG_PAGES, value = round_now;

			if (dev)
				expect(!device_write(dev, rig_hva(&r, page), &value, 8));
			else
				rig_guest_store(&r, rig_word(r.guest, page, 0), value);
		}
		atomic_fetch_sub(&running, 1);
		pthread_barrier_wait(&barrier);
	}
}

static uint64_t now(uint64_t page)
{
	uint64_t value;

	check_eq(hostmm_read(r.mm, rig_hva(&r, page), &value, sizeof(value)), 0);
	return value;
}

/* Copy what the log says. After get has protected it, or clear, or reset. */
static void take(uint64_t page)
{
	logged[page] = true;
	copy[page] = now(page);
}

static void harvest_rings(void)
{
	struct shadow_dirty_gfn e[THREADS * 16];
	int total = 0;

	for (unsigned ring = 0; ring < THREADS; ring++) {
		int n = shadow_dirty_ring_collect(sh, ring, e + total, 16);

		check(n >= 0);
		total += n;
	}
	check_eq(shadow_dirty_ring_reset(sh), total);
	for (int i = 0; i < total; i++)
		take(e[i].offset);
}

static void harvest(void)
{
	uint64_t bitmap[LOG_PAGES / 64];

	if (mode == RING)
		harvest_rings();
	check_eq(shadow_get_dirty_log(sh, slot_id, bitmap), 0);
	/* 64 pages at a time, as dirty_log_test does. */
	for (unsigned i = 0; is_manual() && i < LOG_PAGES / 64; i++)
		check_eq(shadow_clear_dirty_log(sh, slot_id, i * 64, 64, &bitmap[i]), 0);
	for (uint64_t page = 0; page < LOG_PAGES; page++)
		if (bitmap[page / 64] >> page % 64 & 1)
			take(page);
}

static void one_round(uint64_t round)
{
	/* Every page begins as dirty, whoever stores to it, until it is cleared for the first time. */
	bool all = mode == INITIALLY_SET && round == 1;

	memset(logged, 0, sizeof(logged));
	atomic_store(&running, THREADS);
	atomic_store(&round_now, round);
	pthread_barrier_wait(&barrier);
	/* Beside the stores in every other round; a ring must be emptied for them to go on. */
	while (atomic_load(&running))
		if (mode == RING || round % 2)
			harvest();
		else
			sched_yield();
	pthread_barrier_wait(&barrier);
	harvest();
	for (uint64_t page = 0; page < LOG_PAGES; page++) {
		uint64_t value = now(page);

		check((all || value == round) == logged[page],
		      "round %lu: page %lu has stamp %lu and is %s", round, page, value,
		      logged[page] ? "logged" : "not logged");
		check(value == copy[page], "round %lu: page %lu has %lu, its copy %lu", round, page,
		      value, copy[page]);
	}
}

static void run(enum mode how)
{
	pthread_t t[THREADS];

	mode = how;
	check_eq(shadow_dirty_configure(
			 sh, (is_manual() ? SHADOW_DIRTY_MANUAL : 0) |
				     (how == INITIALLY_SET ? SHADOW_DIRTY_INITIALLY_SET : 0)),
		 0);
	if (how == RING)
		check_eq(shadow_dirty_ring_enable(sh, THREADS, 16), 0);
	check_eq(shadow_set_slot_flags(sh, slot_id, MEMSLOT_LOG_DIRTY), 0);
	memset(copy, 0, sizeof(copy));
	check(!pthread_barrier_init(&barrier, NULL, THREADS + 1));
	for (unsigned i = 0; i < THREADS; i++)
		t[i] = rig_thread(stamp, (void *)(uintptr_t)(i + 1));
	for (uint64_t round = 1; round <= ROUNDS; round++)
		one_round(round);
	atomic_store(&round_now, 0);
	pthread_barrier_wait(&barrier);
	for (unsigned i = 0; i < THREADS; i++)
		rig_join(t[i]);
	pthread_barrier_destroy(&barrier);
}

static void run_window(enum mode how)
{
	rig_up(&r, &(struct rig_opts){ .pages = LOG_PAGES, .canary = true });
	dev = NULL;
	sh = r.shadow;
	slot_id = 1;
	run(how);
	rig_check(&r);
	rig_down(&r);
}

static void run_device(enum mode how, const char *profile)
{
	rig_up(&r, &(struct rig_opts){ .pages = LOG_PAGES, .no_slot = true, .canary = true });
	check_eq(device_create(&dev, device_profile(profile), r.mm, r.hva, r.pages), 0);
	sh = device_get_shadow(dev);
	slot_id = 0;
	run(how);
	down(&r, dev);
}

UTEST(kvm_dirty_log, log_window)
{
	run_window(LOG);
}

UTEST(kvm_dirty_log, clear_window)
{
	run_window(CLEAR);
}

UTEST(kvm_dirty_log, initially_set_window)
{
	run_window(INITIALLY_SET);
}

UTEST(kvm_dirty_log, ring_window)
{
	run_window(RING);
}

UTEST(kvm_dirty_log, log_d_bits)
{
	run_device(LOG, "kvm");
}

UTEST(kvm_dirty_log, clear_d_bits)
{
	run_device(CLEAR, "kvm");
}

UTEST(kvm_dirty_log, initially_set_d_bits)
{
	run_device(INITIALLY_SET, "kvm");
}

UTEST(kvm_dirty_log, log_device)
{
	run_device(LOG, "kvm-no-ad");
}

UTEST(kvm_dirty_log, clear_device)
{
	run_device(CLEAR, "kvm-no-ad");
}

UTEST(kvm_dirty_log, initially_set_device)
{
	run_device(INITIALLY_SET, "kvm-no-ad");
}

UTEST(kvm_dirty_log, ring_device)
{
	run_device(RING, "kvm-no-ad");
}
