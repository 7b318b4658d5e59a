// SPDX-License-Identifier: BSD-2-Clause
/*
 * Sixteen threads insert, remove, invalidate, and read with begin and retry, on one mm. Two oracles: a mirror never shows
 * a value that the primary has replaced, and no reader waits for ever. A few seconds; STRESS_SECONDS=60 for a long run.
 */
#include "mmu/notify/interval.h"

#include <sched.h>
#include <unistd.h>

#include "tests/rig.h"
#include "tests/test.h"

#define PAGES	     64UL
#define MIRRORS	     24
#define INVALIDATORS 5
#define MOVERS	     4
#define READERS	     6
#define LISTERS	     1
#define STUCK	     120.0 /* seconds: sixteen threads may have one CPU, and others on it */

/* A secondary of one page: what it caches must be what the primary has. */
struct mirror {
	struct mmu_interval_notifier in;
	struct lock lock;
	uint64_t page;
	bool is_valid;
	uint64_t value;
};

struct worker {
	void *(*run)(struct worker *w);
	uint64_t seed, retries;
	_Atomic uint64_t rounds;
	_Atomic uint64_t waiting_since; /* milliseconds; 0: not waiting */
};

static struct mmu_notifier_subscriptions mm;
static struct rwlock mmap_lock;
static struct lock page_lock[PAGES];
static _Atomic uint64_t primary[PAGES]; /* written under page_lock, inside a bracket */
static struct mirror mirrors[MIRRORS];	/* always inserted: readers use them */
static atomic_bool stop;

static bool invalidate(struct mmu_interval_notifier *in, const struct mmu_notifier_range *range,
		       uint64_t cur_seq)
{
	struct mirror *m = (struct mirror *)in;

	(void)range;
	lock_acquire(&m->lock);
	mmu_interval_set_seq(in, cur_seq);
	m->is_valid = false;
	lock_release(&m->lock);
	return true;
}

/* Refuses now and then, if it may. */
static bool invalidate_or_not(struct mmu_interval_notifier *in,
			      const struct mmu_notifier_range *range, uint64_t cur_seq)
{
	if (!mmu_notifier_range_blockable(range) && (cur_seq & 6) == 2)
		return false;
	return invalidate(in, range, cur_seq);
}

static const struct mmu_interval_notifier_ops ops = { .invalidate = invalidate };
static const struct mmu_interval_notifier_ops moody_ops = { .invalidate = invalidate_or_not };

static int insert(struct mirror *m, uint64_t page, uint64_t n,
		  const struct mmu_interval_notifier_ops *with)
{
	m->page = page;
	m->is_valid = false;
	m->in.user_lock = &m->lock;
	return mmu_interval_notifier_insert(&m->in, &mm, page << PAGE_SHIFT, n << PAGE_SHIFT, with);
}

static void *run_invalidator(struct worker *w)
{
	while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
		uint64_t page = rig_random(&w->seed) % PAGES;
		uint64_t n = 1 + rig_random(&w->seed) % min_u64(4, PAGES - page);
		struct mmu_notifier_range range;

		mmu_notifier_range_init(&range, MMU_NOTIFY_CLEAR, &mm, page << PAGE_SHIFT,
					(page + n) << PAGE_SHIFT);
		if (rig_random(&w->seed) % 4 == 0)
			range.flags = 0;
		rwlock_read_acquire(&mmap_lock);
		if (!mmu_notifier_invalidate_range_start(&range)) {
			for (uint64_t i = page; i < page + n; i++) {
				lock_acquire(&page_lock[i]);
				atomic_fetch_add_explicit(&primary[i], 1, memory_order_relaxed);
				lock_release(&page_lock[i]);
			}
			mmu_notifier_invalidate_range_end(&range);
		} else {
			expect(!mmu_notifier_range_blockable(&range));
			w->retries++;
		}
		rwlock_read_release(&mmap_lock);
		w->rounds++;
		/* Otherwise somebody is always inside, and the sequence stays odd: the price, see interval.h. */
		if (rig_random(&w->seed) % 8 == 0)
			sched_yield();
	}
	return NULL;
}

static uint64_t begin(struct worker *w, struct mirror *m)
{
	uint64_t seq;

	atomic_store_explicit(&w->waiting_since, (uint64_t)(rig_now() * 1000) + 1,
			      memory_order_relaxed);
	seq = mmu_interval_read_begin(&m->in);
	atomic_store_explicit(&w->waiting_since, 0, memory_order_relaxed);
	return seq;
}

/* Fill the mirror as interval.h says; once or until it works. */
static void fill(struct worker *w, struct mirror *m)
{
	uint64_t seq = begin(w, m), value;

	lock_acquire(&page_lock[m->page]);
	value = atomic_load_explicit(&primary[m->page], memory_order_relaxed);
	lock_release(&page_lock[m->page]);
	if (mmu_interval_check_retry(&m->in, seq)) {
		w->retries++;
		return;
	}
	lock_acquire(&m->lock);
	if (mmu_interval_read_retry(&m->in, seq)) {
		w->retries++;
	} else {
		m->value = value;
		m->is_valid = true;
	}
	lock_release(&m->lock);
}

static void check_mirror(struct mirror *m)
{
	lock_acquire(&m->lock);
	if (m->is_valid)
		expect(m->value == atomic_load_explicit(&primary[m->page], memory_order_relaxed),
		       "page %lu: %lu is stale", m->page, m->value);
	lock_release(&m->lock);
}

static void *run_reader(struct worker *w)
{
	for (; !atomic_load_explicit(&stop, memory_order_relaxed); w->rounds++) {
		struct mirror *m = &mirrors[rig_random(&w->seed) % MIRRORS];

		if (rig_random(&w->seed) % 2)
			fill(w, m);
		check_mirror(m);
		if (rig_random(&w->seed) % 64 == 0)
			sched_yield();
	}
	return NULL;
}

/* Subscriptions that come and go, and are freed at once: a late callback is a use after free. */
static void *run_mover(struct worker *w)
{
	for (; !atomic_load_explicit(&stop, memory_order_relaxed); w->rounds++) {
		uint64_t page = rig_random(&w->seed) % PAGES;
		struct mirror *m = calloc(1, sizeof(*m));

		lock_init(&m->lock);
		expect(insert(m, page, 1 + rig_random(&w->seed) % (PAGES - page),
			      rig_random(&w->seed) % 4 ? &ops : &moody_ops) == 0);
		for (uint64_t n = rig_random(&w->seed) % 4; n; n--)
			fill(w, m);
		check_mirror(m);
		atomic_store_explicit(&w->waiting_since, (uint64_t)(rig_now() * 1000) + 1,
				      memory_order_relaxed);
		mmu_interval_notifier_remove(&m->in);
		atomic_store_explicit(&w->waiting_since, 0, memory_order_relaxed);
		lock_fini(&m->lock);
		memset(m, 0xa5, sizeof(*m));
		free(m);
		if (rig_random(&w->seed) % 16 == 0)
			sched_yield();
	}
	return NULL;
}

struct listener {
	struct mmu_notifier mn;
	atomic_long open;
};

static int listen_start(struct mmu_notifier *mn, const struct mmu_notifier_range *range)
{
	(void)range;
	atomic_fetch_add(&((struct listener *)mn)->open, 1);
	return 0;
}

static void listen_end(struct mmu_notifier *mn, const struct mmu_notifier_range *range)
{
	(void)range;
	atomic_fetch_sub(&((struct listener *)mn)->open, 1);
}

static const struct mmu_notifier_ops listen_ops = { .invalidate_range_start = listen_start,
						    .invalidate_range_end = listen_end };

/* A list notifier that leaves with no bracket open has heard as many ends as starts. */
static void *run_lister(struct worker *w)
{
	for (; !atomic_load_explicit(&stop, memory_order_relaxed); w->rounds++) {
		struct listener *l = calloc(1, sizeof(*l));

		l->mn.ops = &listen_ops;
		expect(mmu_notifier_register(&l->mn, &mm) == 0);
		sched_yield();
		rwlock_write_acquire(&mmap_lock);
		expect(atomic_load(&l->open) == 0);
		rwlock_write_release(&mmap_lock);
		mmu_notifier_unregister(&l->mn);
		free(l);
	}
	return NULL;
}

static void *(*const run[])(struct worker *) = { run_invalidator, run_mover, run_reader,
						 run_lister };

static void *run_worker(void *arg)
{
	struct worker *w = arg;

	return w->run(w);
}

static void watch(const struct worker *workers, unsigned n, double seconds)
{
	double until = rig_now() + seconds;
	bool all = false; /* have got somewhere */

	while (rig_now() < until || !all) {
		uint64_t now = (uint64_t)(rig_now() * 1000);

		all = true;
		for (unsigned i = 0; i < n; i++) {
			uint64_t since = atomic_load_explicit(&workers[i].waiting_since,
							      memory_order_relaxed);

			all &= workers[i].rounds > 0;
			check(!since || now < since + (uint64_t)(STUCK * 1000),
			      "thread %u is stuck", i);
		}
		usleep(20000);
	}
}

UTEST(notify_hammer, sixteen_threads, .timeout = 600)
{
	enum { THREADS = INVALIDATORS + MOVERS + READERS + LISTERS };
	static struct worker workers[THREADS];
	pthread_t threads[THREADS];
	uint64_t rounds[4] = { 0 };

	rwlock_init(&mmap_lock);
	mmu_notifier_subscriptions_init(&mm);
	mmu_notifier_subscriptions_set_mmap_lock(&mm, &mmap_lock);
	for (unsigned i = 0; i < PAGES; i++)
		lock_init(&page_lock[i]);
	for (unsigned i = 0; i < MIRRORS; i++) {
		lock_init(&mirrors[i].lock);
		check_eq(insert(&mirrors[i], i * 7 % PAGES, 1, &ops), 0);
	}
	atomic_store(&stop, false);
	for (unsigned i = 0; i < THREADS; i++) {
		unsigned kind = i < INVALIDATORS		      ? 0
				: i < INVALIDATORS + MOVERS	      ? 1
				: i < INVALIDATORS + MOVERS + READERS ? 2
								      : 3;

		workers[i] = (struct worker){ .run = run[kind], .seed = i + 1 };
		threads[i] = rig_thread(run_worker, &workers[i]);
	}
	watch(workers, THREADS, rig_seconds(3));
	atomic_store(&stop, true);
	for (unsigned i = 0; i < THREADS; i++) {
		rig_join(threads[i]);
		rounds[workers[i].run == run_invalidator ? 0
		       : workers[i].run == run_mover	 ? 1
		       : workers[i].run == run_reader	 ? 2
							 : 3] += workers[i].rounds;
	}
	if (getenv("V"))
		fprintf(stderr, "%lu brackets, %lu inserts and removes, %lu reads, %lu listeners\n",
			rounds[0], rounds[1], rounds[2], rounds[3]);
	for (unsigned i = 0; i < MIRRORS; i++) {
		mmu_interval_notifier_remove(&mirrors[i].in);
		lock_fini(&mirrors[i].lock);
	}
	for (unsigned i = 0; i < PAGES; i++)
		lock_fini(&page_lock[i]);
	check_eq(mm.active, 0);
	mmu_notifier_subscriptions_fini(&mm);
	rwlock_fini(&mmap_lock);
}
