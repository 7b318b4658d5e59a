// SPDX-License-Identifier: BSD-2-Clause
/*
 * Devices while the primary changes underneath: versions only grow, nothing that was stored is lost, nothing that was
 * dropped comes back. Every good profile against zap, write protection, migration and discard.
 */
#include <stdatomic.h>
#include <time.h>

#include "mmu/shadow/device.h"
#include "tests/rig.h"
#include "tests/test.h"

#define PAGES 6

/* Words of each page: the device's version, the host's, a counter of both engines. */
enum { BY_DEVICE, BY_HOST, SUM };

struct churn {
	struct rig r;
	struct device *dev;
	atomic_bool stop;
	/* Of words BY_DEVICE and BY_HOST, and of what the pager gives: not below the last store that returned. */
	_Atomic uint64_t floor[PAGES][2];
	_Atomic uint64_t adds;
};

static bool stopped(struct churn *c)
{
	return atomic_load_explicit(&c->stop, memory_order_relaxed);
}

static hva_t word(struct churn *c, uint64_t page, unsigned w)
{
	return rig_hva(&c->r, page) + 8 * w;
}

static void *device_writes(void *arg)
{
	struct churn *c = arg;

	for (uint64_t v = 1; !stopped(c); v++)
		for (uint64_t page = 0; page < PAGES; page++) {
			expect(!device_write(c->dev, word(c, page, BY_DEVICE), &v, sizeof(v)));
			atomic_store(&c->floor[page][BY_DEVICE], v);
		}
	return NULL;
}

static void *host_writes(void *arg)
{
	struct churn *c = arg;

	for (uint64_t v = 1; !stopped(c); v++)
		for (uint64_t page = 0; page < PAGES; page++) {
			expect(!hostmm_write(c->r.mm, word(c, page, BY_HOST), &v, sizeof(v)));
			atomic_store(&c->floor[page][BY_HOST], v);
		}
	return NULL;
}

/* Reads by @read may not go back behind a store that had returned before. A whole version may be under way. */
static void look(struct churn *c, bool by_device, uint64_t page, unsigned w)
{
	uint64_t low = atomic_load(&c->floor[page][w]), high, v = 0;
	int rc = by_device ? device_read(c->dev, word(c, page, w), &v, sizeof(v))
			   : hostmm_read(c->r.mm, word(c, page, w), &v, sizeof(v));

	high = atomic_load(&c->floor[page][w]) + 1;
	expect(!rc);
	expect(low <= v && v <= high, "%s reads %lu of page %lu word %u, not in [%lu, %lu]",
	       by_device ? "device" : "host", v, page, w, low, high);
}

static void *device_reads(void *arg)
{
	struct churn *c = arg;

	for (uint64_t i = 0; !stopped(c); i++)
		look(c, true, i % PAGES, i / PAGES % 2);
	return NULL;
}

static void *host_reads(void *arg)
{
	struct churn *c = arg;

	for (uint64_t i = 0; !stopped(c); i++)
		look(c, false, i % PAGES, i / PAGES % 2);
	return NULL;
}

static void *device_adds(void *arg)
{
	struct churn *c = arg;

	for (uint64_t i = 0; !stopped(c); i++) {
		expect(!device_add(c->dev, word(c, i % PAGES, SUM), 1, NULL));
		atomic_fetch_add_explicit(&c->adds, 1, memory_order_relaxed);
	}
	return NULL;
}

static void up(struct churn *c, const char *profile, const struct pager_ops *pager)
{
	memset(c, 0, sizeof(*c));
	rig_up(&c->r, &(struct rig_opts){ .pages = PAGES,
					  .no_slot = true,
					  .canary = true,
					  .pager = pager,
					  .pager_ctx = c });
	check_eq(device_create(&c->dev, device_profile(profile), c->r.mm, c->r.hva, PAGES), 0);
}

static void report(void *ctx, hva_t addr, fn_t fn, const char *what)
{
	(void)ctx;
	test_note_failure(__FILE__, __LINE__, "device_check", " %#lx: %s (%#lx)", addr, what, fn);
}

static void down(struct churn *c)
{
	check_eq(device_check(c->dev, report, NULL), 0);
	device_destroy(c->dev);
	rig_down(&c->r);
}

/* One change of a random run of pages that keeps contents. */
static void change(struct churn *c, uint64_t *seed)
{
	uint64_t page = rig_random(seed) % PAGES, n = 1 + rig_random(seed) % (PAGES - page);
	hva_t start = rig_hva(&c->r, page), end = rig_hva(&c->r, page + n);

	switch (rig_random(seed) % 4) {
	case 0:
		expect(!hostmm_zap(c->r.mm, start, end));
		break;
	case 1:
		expect(!hostmm_wrprotect(c->r.mm, start, end));
		break;
	case 2:
		expect(!hostmm_migrate(c->r.mm, start, end, HOSTMM_MIGRATE_AWAY));
		break;
	default:
		expect(!hostmm_migrate(c->r.mm, start, end, HOSTMM_MIGRATE_HOME));
	}
}

static void keep_contents(const char *profile)
{
	void *(*const role[])(void *) = { device_writes, host_writes, device_reads,
					  host_reads,	 device_adds, device_adds };
	const unsigned roles = sizeof(role) / sizeof(role[0]);
	static struct churn c;
	uint64_t seed = 42, sum = 0;
	pthread_t t[8];
	double until;

	up(&c, profile, NULL);
	for (unsigned i = 0; i < roles; i++)
		t[i] = rig_thread(role[i], &c);
	until = rig_now() + rig_seconds(0.3);
	while (rig_now() < until)
		change(&c, &seed);
	atomic_store(&c.stop, true);
	for (unsigned i = 0; i < roles; i++)
		rig_join(t[i]);
	for (uint64_t page = 0; page < PAGES; page++) {
		uint64_t v;

		check_eq(hostmm_read(c.r.mm, word(&c, page, SUM), &v, sizeof(v)), 0);
		sum += v;
	}
	check_eq(sum, c.adds);
	down(&c);
}

UTEST(device_churn, kvm_keeps_every_store)
{
	keep_contents("kvm");
}

UTEST(device_churn, gru_keeps_every_store)
{
	keep_contents("gru");
}

UTEST(device_churn, gru_coarse_keeps_every_store)
{
	keep_contents("gru-coarse");
}

UTEST(device_churn, pfn_cache_keeps_every_store)
{
	keep_contents("pfn-cache");
}

UTEST(device_churn, xpmem_keeps_every_store)
{
	keep_contents("xpmem");
}

UTEST(device_churn, hmm_keeps_every_store)
{
	keep_contents("hmm");
}

UTEST(device_churn, ats_4k_keeps_every_store)
{
	keep_contents("ats-4k");
}

/* ---- Discard: what comes back is what the pager has by then ---- */

static _Atomic uint64_t epoch;

static int fill_epoch(void *ctx, uint64_t page, void *dst, uint64_t npages)
{
	uint64_t v = atomic_load(&epoch);

	(void)ctx;
	(void)page;
	memset(dst, 0, npages << PAGE_SHIFT);
	for (uint64_t i = 0; i < npages; i++)
		memcpy((char *)dst + (i << PAGE_SHIFT), &v, sizeof(v));
	return 0;
}

static const struct pager_ops epoch_pager = { .fill = fill_epoch };

static void *device_reads_epochs(void *arg)
{
	struct churn *c = arg;

	for (uint64_t i = 0; !stopped(c); i++) {
		uint64_t page = i % PAGES, low = atomic_load(&c->floor[page][0]), v = 0;

		expect(!device_read(c->dev, word(c, page, 0), &v, sizeof(v)));
		expect(low <= v && v <= atomic_load(&epoch),
		       "page %lu: reads %lu after epoch %lu was discarded for", page, v, low);
	}
	return NULL;
}

static void discard(const char *profile)
{
	static struct churn c;
	uint64_t seed = 7;
	pthread_t t[3];
	double until;

	atomic_store(&epoch, 1);
	up(&c, profile, &epoch_pager);
	for (unsigned i = 0; i < 3; i++)
		t[i] = rig_thread(device_reads_epochs, &c);
	until = rig_now() + rig_seconds(0.3);
	while (rig_now() < until) {
		uint64_t page = rig_random(&seed) % PAGES;
		uint64_t n = 1 + rig_random(&seed) % (PAGES - page);
		uint64_t v = atomic_fetch_add(&epoch, 1) + 1;

		expect(!hostmm_discard(c.r.mm, rig_hva(&c.r, page), rig_hva(&c.r, page + n)));
		for (uint64_t p = page; p < page + n; p++)
			atomic_store(&c.floor[p][0], v);
	}
	atomic_store(&c.stop, true);
	for (unsigned i = 0; i < 3; i++)
		rig_join(t[i]);
	down(&c);
}

UTEST(device_churn, nothing_discarded_comes_back)
{
	for (const struct device_profile *p = device_profiles; p->name; p++)
		if (!p->defers)
			discard(p->name);
}
