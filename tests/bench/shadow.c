// SPDX-License-Identifier: BSD-2-Clause
/*
 * shadow: what the secondary costs by itself. Below the shadow is nothing, so its map, zap and write-protect are all
 * but the system call; the reference is UFFDIO_CONTINUE of the same frames in bulk, 512 pages a call.
 */
#include <errno.h>
#include <sys/mman.h>

#include "mmu/host/uffd.h"
#include "tests/bench/bench.h"
#include "tests/bench/shadow_devices.h"

#define OWN_PAGES  (64UL << 8)	 /* 64 MiB */
#define LONG_PAGES (1024UL << 8) /* 1 GiB */

/* The frames of a rig once more, in a mapping that userfaultfd watches and nobody else knows. */
struct bare {
	struct uffd uffd;
	char *base; /* NULL: not mapped */
	size_t len;
};

static int bare_up(struct bare *bare, struct shadow_rig *r)
{
	unsigned prot;
	fn_t home;
	int rc = hostmm_home(r->mm, r->hva, r->pages, &home, &prot);

	*bare = (struct bare){ .len = r->pages << PAGE_SHIFT };
	if (rc)
		return rc;
	rc = uffd_open(&bare->uffd, 0);
	if (rc)
		return rc;
	bare->base = mmap(NULL, bare->len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE,
			  pool_fd(r->pool), (off_t)(home << PAGE_SHIFT));
	if (bare->base == MAP_FAILED) {
		rc = -errno;
		bare->base = NULL;
		uffd_close(&bare->uffd);
		return rc;
	}
	return uffd_register(&bare->uffd, bare->base, bare->len);
}

static void bare_down(struct bare *bare)
{
	if (!bare->base)
		return;
	munmap(bare->base, bare->len);
	uffd_close(&bare->uffd);
}

static int bare_map(struct bare *bare)
{
	const size_t step = SHADOW_AROUND_MAX << PAGE_SHIFT;

	for (size_t at = 0; at < bare->len; at += step) {
		int64_t done = uffd_continue(&bare->uffd, bare->base + at, step, false);

		if (done != (int64_t)step)
			return done < 0 ? (int)done : -EIO;
	}
	return 0;
}

static int bare_zap(struct bare *bare)
{
	return madvise(bare->base, bare->len, MADV_DONTNEED) ? -errno : 0;
}

struct sides {
	struct shadow_rig rig;
	struct bare bare;
};

static double per_page(const struct sides *s, uint64_t begin)
{
	return (double)(bench_now_ns() - begin) / (double)s->rig.pages;
}

static int bare_map_ns(const void *arg, double *value)
{
	struct sides *s = (struct sides *)(uintptr_t)arg;
	uint64_t begin = bench_now_ns();
	int rc = bare_map(&s->bare);

	*value = per_page(s, begin);
	return rc ? rc : bare_zap(&s->bare);
}

static int bare_zap_ns(const void *arg, double *value)
{
	struct sides *s = (struct sides *)(uintptr_t)arg;
	int rc = bare_map(&s->bare);
	uint64_t begin = bench_now_ns();

	if (!rc)
		rc = bare_zap(&s->bare);
	*value = per_page(s, begin);
	return rc;
}

/* ---- The library: map, zap, write-protect ---- */

static int zap_all(struct shadow_rig *r)
{
	return hostmm_zap(r->mm, r->hva, shadow_rig_end(r));
}

static int own_map_ns(const void *arg, double *value)
{
	struct sides *s = (struct sides *)(uintptr_t)arg;
	uint64_t begin = bench_now_ns();
	int rc = shadow_rig_map(&s->rig);

	*value = per_page(s, begin);
	return rc ? rc : zap_all(&s->rig);
}

static int own_zap_ns(const void *arg, double *value)
{
	struct sides *s = (struct sides *)(uintptr_t)arg;
	int rc = shadow_rig_map(&s->rig);
	uint64_t begin = bench_now_ns();

	if (!rc)
		rc = zap_all(&s->rig);
	*value = per_page(s, begin);
	return rc;
}

static int own_wrprotect_ns(const void *arg, double *value)
{
	struct sides *s = (struct sides *)(uintptr_t)arg;
	int rc = shadow_rig_map(&s->rig);
	uint64_t begin = bench_now_ns();

	if (!rc)
		rc = hostmm_wrprotect(s->rig.mm, s->rig.hva, shadow_rig_end(&s->rig));
	*value = per_page(s, begin);
	return rc ? rc : zap_all(&s->rig);
}

#define DEVICES(name, n, around)                                    \
	static int name(const void *arg, double *value)             \
	{                                                           \
		struct sides *s = (struct sides *)(uintptr_t)arg;   \
                                                                    \
		return devices_fault_ns(&s->rig, n, around, value); \
	}
DEVICES(two_devices_ns, 2, 16)
DEVICES(one_device_ns, 1, 16)
DEVICES(two_devices_alone_ns, 2, 1)
DEVICES(one_device_alone_ns, 1, 1)

/* A run gives all three figures: what one case has measured the next ones take up. */
#define LATENCY_RUNS 1001u /* --reps, and one that does not count */

static struct latencies {
	struct devices_latency run[LATENCY_RUNS];
	unsigned n, told[3];
} crowded, alone;

static int latency(struct latencies *l, const void *arg, unsigned figure, double *value)
{
	struct sides *s = (struct sides *)(uintptr_t)arg;
	unsigned at = l->told[figure]++;
	int rc = 0;

	if (at >= LATENCY_RUNS)
		return -ERANGE;
	if (at == l->n) {
		rc = devices_zap_latency(&s->rig, l == &crowded, &l->run[at]);
		l->n += !rc;
	}
	*value = figure == 0 ? l->run[at].p50 : figure == 1 ? l->run[at].p99 : l->run[at].max;
	return rc;
}

#define LATENCY(name, which, figure)                          \
	static int name(const void *arg, double *value)       \
	{                                                     \
		return latency(&(which), arg, figure, value); \
	}
LATENCY(crowded_p50, crowded, 0)
LATENCY(crowded_p99, crowded, 1)
LATENCY(crowded_max, crowded, 2)
LATENCY(alone_p50, alone, 0)
LATENCY(alone_p99, alone, 1)
LATENCY(alone_max, alone, 2)

/* ---- Cases ---- */

struct shadow_case {
	const char *name;
	uint64_t pages;
	unsigned flags;
	bool quick;
	int (*umbra)(const void *arg, double *value);
	int (*reference)(const void *arg, double *value);
	const char *unit;
	double target;
};

static const struct shadow_case cases[] = {
	{ "map, against CONTINUE", OWN_PAGES, 0, true, own_map_ns, bare_map_ns, NULL, 0.25 },
	{ "zap, against CONTINUE", OWN_PAGES, 0, true, own_zap_ns, bare_map_ns, NULL, 0.25 },
	{ "write-protect, against CONTINUE", OWN_PAGES, 0, true, own_wrprotect_ns, bare_map_ns,
	  NULL, 0.25 },
	{ "map large, against CONTINUE", OWN_PAGES, SHADOW_RIG_LARGE, true, own_map_ns, bare_map_ns,
	  NULL, 0.25 },
	{ "zap large, against CONTINUE", OWN_PAGES, SHADOW_RIG_LARGE, true, own_zap_ns, bare_map_ns,
	  NULL, 0.25 },
	{ "zap 1 GiB, against MADV_DONTNEED", LONG_PAGES, SHADOW_RIG_WINDOW, false, own_zap_ns,
	  bare_zap_ns, NULL, 1.25 },
	{ "2 devices' faults, against 1", OWN_PAGES, 0, true, two_devices_ns, one_device_ns, NULL,
	  1 / 1.7 },
	{ "2 devices, 1 page a fault, against 1", OWN_PAGES, 0, true, two_devices_alone_ns,
	  one_device_alone_ns, NULL, 1 / 1.7 },
	{ "zap beside faults, p50, against alone", OWN_PAGES, 0, true, crowded_p50, alone_p50, "ns",
	  0 },
	{ "zap beside faults, p99, against alone", OWN_PAGES, 0, true, crowded_p99, alone_p99, "ns",
	  0 },
	{ "zap beside faults, max, against alone", OWN_PAGES, 0, true, crowded_max, alone_max, "ns",
	  0 },
};

static int run_case(struct bench *b, const struct shadow_case *c)
{
	struct sides s = { 0 };
	struct bench_case bc = { .name = c->name,
				 .umbra = c->umbra,
				 .reference = c->reference,
				 .arg = &s,
				 .unit = c->unit,
				 .target = c->target };
	int rc = shadow_rig_up(&s.rig, c->pages, c->flags | SHADOW_RIG_POPULATE);

	if (!rc)
		rc = bare_up(&s.bare, &s.rig);
	if (!rc)
		rc = bench_run(b, &bc);
	bare_down(&s.bare);
	shadow_rig_down(&s.rig);
	return rc;
}

static int run(struct bench *b)
{
	int rc = 0;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]) && !rc; i++)
		if (cases[i].quick || !bench_is_quick(b))
			rc = run_case(b, &cases[i]);
	return rc;
}

const struct bench_group bench_shadow = {
	.name = "shadow",
	.what = "the secondary's own cost a page",
	.reference = "what the case names",
	.unit = "ns/page",
	.cases = sizeof(cases) / sizeof(cases[0]),
	.run = run,
};
