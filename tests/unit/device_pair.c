// SPDX-License-Identifier: BSD-2-Clause
/*
 * Two devices on disjoint halves of one region, two engines each, with entries of 2M, while the primary changes pages of
 * both. Every addition must be in memory at the end.
 */
#include <errno.h>
#include <stdatomic.h>

#include "mmu/host/hostmm_actors.h"
#include "tests/unit/device.h"

#define ENGINES 4u

struct pair {
	struct rig r;
	struct device *dev[2];
	atomic_bool stop;
	_Atomic uint64_t adds;
};

struct engine {
	struct pair *pair;
	unsigned number;
};

static void *adds(void *arg)
{
	const struct engine *e = arg;
	struct pair *p = e->pair;
	uint64_t seed = e->number + 1, first = e->number / 2 * LARGE;

	while (!atomic_load_explicit(&p->stop, memory_order_relaxed)) {
		uint64_t page = first + rig_random(&seed) % LARGE, at = rig_hva(&p->r, page);

		expect(!device_add(p->dev[e->number / 2], at, 1, NULL));
		atomic_fetch_add_explicit(&p->adds, 1, memory_order_relaxed);
	}
	return NULL;
}

static void change(struct pair *p, uint64_t *seed)
{
	uint64_t page = rig_random(seed) % (2 * LARGE), block = page - page % LARGE;
	uint64_t n = rig_random(seed) % 8 ? 1 : 1 + rig_random(seed) % (2 * LARGE - page);
	hva_t start = rig_hva(&p->r, page), end = rig_hva(&p->r, page + n);
	int rc = 0;

	switch (rig_random(seed) % 6) {
	case 0:
		rc = hostmm_zap(p->r.mm, start, end);
		break;
	case 1:
		rc = hostmm_wrprotect(p->r.mm, start, end);
		break;
	case 2:
		rc = hostmm_migrate(p->r.mm, start, start + PAGE_SIZE, HOSTMM_MIGRATE_AWAY);
		break;
	case 3:
		rc = hostmm_migrate(p->r.mm, p->r.hva, rig_hva(&p->r, 2 * LARGE),
				    HOSTMM_MIGRATE_HOME);
		break;
	case 4:
		rc = hostmm_split_huge(p->r.mm, rig_hva(&p->r, block), HOSTMM_SPLIT_LATE);
		break;
	default:
		rc = hostmm_collapse(p->r.mm, rig_hva(&p->r, block));
		if (rc == -EAGAIN ||
		    rc == -EINVAL) /* somebody looks at a home frame; rights differ */
			rc = 0;
	}
	expect(!rc, "a change returns %d", rc);
}

static void run_pair(const char *first, const char *second)
{
	static struct gup_page pages[2 * LARGE];
	static struct pair p;
	struct engine e[ENGINES];
	pthread_t t[ENGINES];
	uint64_t seed = 3, sum = 0, value;
	double until;

	memset(&p, 0, sizeof(p));
	rig_up(&p.r, &(struct rig_opts){ .pages = 2 * LARGE,
					 .pool_frames = 6 * LARGE,
					 .no_slot = true,
					 .canary = true });
	check_eq(hostmm_gup(p.r.mm, p.r.hva, 2 * LARGE, 0, 2 * LARGE - 1, true, pages), 0);
	hostmm_put_pages(p.r.mm, pages, 2 * LARGE);
	check_eq(device_create(&p.dev[0], device_profile(first), p.r.mm, p.r.hva, LARGE), 0);
	check_eq(device_create(&p.dev[1], device_profile(second), p.r.mm, rig_hva(&p.r, LARGE),
			       LARGE),
		 0);
	for (unsigned i = 0; i < ENGINES; i++) {
		e[i] = (struct engine){ .pair = &p, .number = i };
		t[i] = rig_thread(adds, &e[i]);
	}
	until = rig_now() + rig_seconds(0.3);
	while (rig_now() < until)
		change(&p, &seed);
	atomic_store(&p.stop, true);
	for (unsigned i = 0; i < ENGINES; i++)
		rig_join(t[i]);
	for (uint64_t page = 0; page < 2 * LARGE; page++) {
		check_eq(hostmm_read(p.r.mm, rig_hva(&p.r, page), &value, sizeof(value)), 0);
		sum += value;
	}
	check_eq(sum, p.adds);
	for (unsigned i = 0; i < 2; i++) {
		check_eq(device_check(p.dev[i], report, NULL), 0);
		device_destroy(p.dev[i]);
	}
	rig_down(&p.r);
}

UTEST(device_pair, kvm_and_ats_mixed)
{
	run_pair("kvm", "ats-mixed");
}

UTEST(device_pair, gru_and_hmm)
{
	run_pair("gru", "hmm");
}

UTEST(device_pair, xpmem_and_gru_coarse)
{
	run_pair("xpmem", "gru-coarse");
}

UTEST(device_pair, vmwgfx_and_pfn_cache)
{
	run_pair("vmwgfx", "pfn-cache");
}
