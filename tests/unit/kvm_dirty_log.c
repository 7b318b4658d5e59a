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

static pthread_barrier_t barrier, together;
static _Atomic uint64_t round_now; /* 0: the end */
static atomic_uint running;
static uint64_t copy[LOG_PAGES];
static bool logged[LOG_PAGES]; /* in this round */

static bool is_manual(void)
{
	return mode == CLEAR || mode == INITIALLY_SET;
}

static void stamp_page(uint64_t page)
{
	uint64_t value = round_now;

	if (dev)
		expect(!device_write(dev, rig_hva(&r, page), &value, 8));
	else
		rig_guest_store(&r, rig_word(r.guest, page, 0), value);
}

/* A vCPU with a ring of its own, if there are rings. The last store of a round is to one page, by all at once. */
static void *stamp(void *arg)
{
	uint64_t state = (uint64_t)(uintptr_t)arg;

	expect(!shadow_dirty_ring_bind(sh, (unsigned)state - 1, sync_tid()));
	for (;;) {
		pthread_barrier_wait(&barrier);
		if (!atomic_load(&round_now))
			return NULL;
		for (unsigned n = 0; n < STORES; n++)
			stamp_page(rig_random(&state) % LOG_PAGES);
		pthread_barrier_wait(&together);
		stamp_page(round_now);
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

/* ---- Faults that are late ---- */

#define HANDLERS 4u  /* fault threads of the rig */
#define APART	 64u /* pages, so that none comes along with another */
#define PARK_GFN 0x40000UL

static struct gate parked = GATE_INIT;
static atomic_uint in_park;
static hva_t park_hva;
static char *park_view;

static int park(void *ctx, uint64_t page, void *dst, uint64_t npages)
{
	(void)ctx;
	(void)page;
	atomic_fetch_add(&in_park, 1);
	gate_pass(&parked);
	memset(dst, 0, npages << PAGE_SHIFT);
	return 0;
}

static void park_up(void)
{
	static const struct pager_ops pager = { .fill = park };
	struct memslot slot;

	check_eq(hostmm_map(r.mm, HANDLERS * APART, HOSTMM_PROT_READ, &pager, NULL, &park_hva), 0);
	check_eq(shadow_add_slot(sh, 2, PARK_GFN, HANDLERS * APART, park_hva, MEMSLOT_READONLY), 0);
	check(shadow_slot(sh, PARK_GFN, &slot));
	park_view = window_base(&slot);
}

static void *load_parked(void *arg)
{
	(void)rig_load(arg);
	return NULL;
}

/*
 * Of two vCPUs that fault on one page the first to be served wakes both, and both may be through with their round while a fault
 * thread still has the message of the other in hand: a store that then seems to come once more, and is logged. With all fault threads
 * in the park there is none.
 */
static void finish_late_faults(void)
{
	pthread_t t[HANDLERS];

	check_eq(hostmm_discard(r.mm, park_hva, park_hva + (HANDLERS * APART << PAGE_SHIFT)), 0);
	atomic_store(&in_park, 0);
	gate_arm(&parked);
	for (unsigned i = 0; i < HANDLERS; i++)
		t[i] = rig_thread(load_parked, rig_word(park_view, i * APART, 0));
	while (atomic_load(&in_park) < HANDLERS)
		sched_yield();
	gate_open(&parked);
	for (unsigned i = 0; i < HANDLERS; i++)
		rig_join(t[i]);
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
	harvest(); /* which makes room for what is late */
	if (!dev)
		finish_late_faults();
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
	check(!pthread_barrier_init(&together, NULL, THREADS));
	for (unsigned i = 0; i < THREADS; i++)
		t[i] = rig_thread(stamp, (void *)(uintptr_t)(i + 1));
	for (uint64_t round = 1; round <= ROUNDS; round++)
		one_round(round);
	atomic_store(&round_now, 0);
	pthread_barrier_wait(&barrier);
	for (unsigned i = 0; i < THREADS; i++)
		rig_join(t[i]);
	pthread_barrier_destroy(&barrier);
	pthread_barrier_destroy(&together);
}

static void run_window(enum mode how)
{
	rig_up(&r, &(struct rig_opts){ .pages = LOG_PAGES,
				       .pool_frames = 4096,
				       .threads = HANDLERS,
				       .canary = true });
	dev = NULL;
	sh = r.shadow;
	slot_id = 1;
	park_up();
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
