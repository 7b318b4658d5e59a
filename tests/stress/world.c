// SPDX-License-Identifier: BSD-2-Clause
/* One scenario from nothing to nothing: the memory and its secondaries, the players, the actors, the sums at the end. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "mmu/base/trace.h"
#include "mmu/host/child.h"
#include "mmu/host/hostmm_device.h"
#include "mmu/host/hostmm_reclaim.h"
#include "tests/stress/stress.h"

#define TRACE_ORDER 14
#define STEP_NS	    20000000L
#define CHECK_STEPS 15

bool world_has_kvm(void)
{
	return !access("/dev/kvm", R_OK | W_OK);
}

/* ---- The memory, where there is no KVM ---- */

static void on_window_fatal(void *ctx, gpa_t gpa, bool write, int error)
{
	(void)ctx;
	fail(ORACLE_ERROR, (gpa >> PAGE_SHIFT) - STRESS_GFN, "window: %s at %#lx: %s",
	     write ? "store" : "load", gpa, strerror(-error));
}

static void on_host_fatal(void *ctx, hva_t hva, int error)
{
	struct world *w = ctx;

	fail(ORACLE_ERROR, (hva - w->hva) >> PAGE_SHIFT, "host view: %#lx: %s", hva,
	     strerror(-error));
}

/* Homes for a child and its child, frames to migrate to, and to lose. */
uint64_t world_spare(const struct world *w)
{
	return 3 * pool_room(w->pages) + 8 * SIDE_PAGES + 4 * HOSTMM_LARGE + POISON_MOST;
}

static int create_memory(struct world *w)
{
	unsigned threads = w->o->vcpus ? w->o->vcpus : 1;
	struct hostmm_opts host = { .fault_threads = w->o->threads + 2,
				    .source = w->o->source,
				    .fatal = on_host_fatal,
				    .fatal_ctx = w };
	struct window_opts window = { .fault_threads = threads, .fatal = on_window_fatal };
	int rc = pool_create(&w->pool, 2 * pool_room(w->pages) + world_spare(w), true);

	if (!rc)
		rc = hostmm_create(&w->mm, w->pool, &host);
	if (!rc)
		rc = hostmm_map(w->mm, w->pages, HOSTMM_PROT_READ | HOSTMM_PROT_WRITE,
				w->store ? &store_ops : NULL, w->store, &w->hva);
	if (!rc)
		rc = window_create(&w->window, w->pool, &window);
	if (!rc)
		rc = shadow_create(&w->shadow, w->mm, &window_ops, w->window,
				   &(struct shadow_opts){ 0 });
	if (!rc)
		rc = shadow_add_slot(w->shadow, STRESS_SLOT, STRESS_GFN, w->pages, w->hva, 0);
	if (!rc)
		rc = window_start(w->window, w->shadow);
	w->floor = calloc(w->keep, sizeof(*w->floor));
	return w->floor ? rc : -ENOMEM;
}

static void destroy_memory(struct world *w)
{
	if (w->window)
		window_stop(w->window);
	if (w->shadow)
		shadow_destroy(w->shadow);
	if (w->window)
		window_destroy(w->window);
	if (w->mm)
		hostmm_destroy(w->mm);
	if (w->pool && w->mm && pool_used(w->pool))
		fail(ORACLE_ACCOUNT, 0, "%lu frames are in use, but nobody is left",
		     pool_used(w->pool));
	if (w->pool)
		pool_destroy(w->pool);
	free(w->floor);
}

/* ---- Actors ---- */

static void *actor_main(void *arg)
{
	struct acting *a = arg;
	struct world *w = a->w;
	uint64_t random = w->o->seed * 1000 + 500 + (uint64_t)(a - w->acting);

	pthread_setname_np(pthread_self(), a->actor->name);
	atomic_store(&a->tid, gettid());
	while (!atomic_load(&w->actors_end)) {
		struct timespec pause = { .tv_nsec = a->actor->pause_us * 1000L };
		int rc;

		pthread_rwlock_rdlock(&w->changing);
		rc = a->actor->act(w, &random);
		pthread_rwlock_unlock(&w->changing);
		if (rc)
			fail(ORACLE_ERROR, 0, "%s: %s", a->actor->name, strerror(-rc));
		atomic_fetch_add(&a->operations, 1);
		if (pause.tv_nsec)
			nanosleep(&pause, NULL);
	}
	return NULL;
}

static void start_actors(struct world *w)
{
	for (const struct actor *a = w->scenario->actor; w->actors < SCENARIO_ACTORS && a->name;
	     a++) {
		struct acting *acting = &w->acting[w->actors];

		if (!a->act)
			continue;
		*acting = (struct acting){ .w = w, .actor = a };
		if (pthread_create(&acting->thread, NULL, actor_main, acting))
			fail(ORACLE_ERROR, 0, "no thread for %s", a->name);
		w->actors++;
	}
}

static void join_actors(struct world *w)
{
	atomic_store(&w->actors_end, true);
	for (unsigned i = 0; i < w->actors; i++)
		pthread_join(w->acting[i].thread, NULL);
}

/* ---- What it came to ---- */

uint64_t world_operations(const struct world *w)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < w->players; i++)
		sum += atomic_load(&w->player[i].operations);
	for (unsigned i = 0; i < w->actors; i++)
		sum += atomic_load(&w->acting[i].operations);
	return sum;
}

static void add_shadow(struct shadow *sh, struct tally *t)
{
	struct shadow_stats s;

	shadow_get_stats(sh, &s);
	t->faults += s.faults;
	t->retries += s.retries;
	t->refaults_spared += s.repointed;
}

void world_count(struct world *w, struct tally *t)
{
	struct hostmm_actor_stats actors;
	struct pool_swap_stats swap;
	struct hostmm_stats host;

	t->operations = world_operations(w);
	add_shadow(w->shadow, t);
	hostmm_get_stats(w->mm, &host);
	hostmm_get_actor_stats(w->mm, &actors);
	t->faults += host.view_faults;
	t->merges = actors.merges;
	t->poisoned = pool_poisoned(w->pool);
	if (pool_get_swap_stats(w->pool, &swap)) {
		t->swapped_out = swap.written;
		t->swapped_in = swap.read;
	}
	if (w->store)
		t->written_back = store_written(w->store);
	for (unsigned i = 0; i < w->players; i++) {
		struct device_stats s;

		if (!w->player[i].dev)
			continue;
		device_get_stats(w->player[i].dev, &s);
		t->faults += s.faults;
		t->retries += s.retries;
		if (device_get_shadow(w->player[i].dev))
			add_shadow(device_get_shadow(w->player[i].dev), t);
	}
}

/* ---- A run ---- */

static void lay_out(struct world *w)
{
	w->pages = w->o->memory << (20 - PAGE_SHIFT);
	w->twins = w->pages / 8;
	w->keep = w->pages - w->twins;
}

static unsigned count_players(const struct stress_opts *o)
{
	unsigned n = o->vcpus + o->threads;

	for (const struct device_profile *d = device_profiles; d->name; d++)
		n += o->device ? !strcmp(d->name, o->device)
			       : !d->defers && d->part != DEVICE_PART_IGNORED;
	return n;
}

/* Half of the pages: a file that is full is met, too. In memory, as no directory is sure to be there. */
static int create_swap(struct world *w)
{
	int fd = memfd_create("umbra-stress", MFD_CLOEXEC), rc;

	if (fd < 0)
		return -errno;
	rc = pool_swapon(w->pool, fd, w->pages / 2);
	close(fd);
	return rc;
}

static int build(struct world *w)
{
	pthread_rwlockattr_t writers_first;
	int rc;

	lay_out(w);
	pthread_rwlockattr_init(&writers_first);
	pthread_rwlockattr_setkind_np(&writers_first, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	pthread_rwlock_init(&w->changing, &writers_first);
	pthread_mutex_init(&w->pause_lock, NULL);
	pthread_mutex_init(&w->pauser, NULL);
	pthread_mutex_init(&w->side_lock, NULL);
	pthread_cond_init(&w->pause_changed, NULL);
	w->players = count_players(w->o);
	if (w->scenario->store) {
		w->store = store_create(w->pages);
		if (!w->store)
			return -ENOMEM;
	}
	rc = w->o->no_kvm || !w->o->vcpus ? create_memory(w) : vcpus_create(w);
	w->players = 0;
	if (!rc && w->scenario->swap)
		rc = create_swap(w);
	if (!rc && w->scenario->side)
		rc = side_create(w);
	if (!rc && w->scenario->service)
		rc = service_create(w);
	if (!rc && w->scenario->audit)
		rc = hostmm_children_create(&w->children, w->mm);
	return rc ?: players_create(w);
}

static void take_down(struct world *w)
{
	players_destroy(w);
	if (w->children) {
		struct hostmm_children_stats stats;

		hostmm_children_get_stats(w->children, &stats);
		if (stats.failed)
			fail(ORACLE_ERROR, 0, "%lu children of fork(2) have had nothing: %s",
			     stats.failed, strerror(-stats.error));
		hostmm_children_destroy(w->children);
	}
	if (w->ksm)
		service_destroy(w);
	if (w->side)
		side_destroy(w);
	if (w->guest) {
		int status = vcpus_end(w);

		if (status)
			fail(ORACLE_ERROR, 0, "the guest ended with status %d", status);
	} else {
		destroy_memory(w);
	}
	if (w->store)
		store_destroy(w->store);
}

/* Everything stands still, actors too. */
static void compare_all(struct world *w)
{
	pthread_rwlock_wrlock(&w->changing);
	if (hostmm_release_device(w->mm, w))
		fail(ORACLE_ERROR, 0, "pages that an actor has taken do not come back");
	pause_begin(w, PAUSE_STOP);
	check_sums(w);
	/* After it: loads of the host view break sharing. */
	if (w->ksm)
		service_settle(w);
	check_tables(w);
	check_frames(w);
	pause_end(w);
	pthread_rwlock_unlock(&w->changing);
}

/* Until time is up. With --check, all is compared again and again. */
static void run(struct world *w)
{
	static const struct timespec step = { .tv_nsec = STEP_NS };

	if (w->guest)
		vcpus_start(w);
	players_start(w);
	start_actors(w);
	watchdog_start(w);
	for (unsigned n = 1; stress_now() - w->begin < w->o->seconds; n++) {
		nanosleep(&step, NULL);
		if (w->o->check && n % CHECK_STEPS == 0)
			compare_all(w);
	}
	join_actors(w);
	compare_all(w);
	watchdog_stop(w);
	players_join(w);
	if (w->guest)
		vcpus_join(w);
}

int world_run(struct world *w, struct tally *t)
{
	char why[256];
	int rc;

	fail_enter(w);
	leak_snapshot(&w->before);
	w->begin = stress_now();
	rc = build(w);
	if (rc) {
		/* Nothing has run: what there is of it goes with the process. */
		return rc;
	}
	fail_enter(w);
	trace_start(TRACE_ORDER);
	atomic_store(&w->started, true);
	w->begin = stress_now();
	run(w);
	*t = (struct tally){ .scenario = w->scenario->name, .missing = w->scenario->missing };
	t->seconds = stress_now() - w->begin;
	world_count(w, t);
	take_down(w);
	trace_stop();
	if (!leak_check(&w->before, why, sizeof(why)))
		fail(ORACLE_ACCOUNT, 0, "%s", why);
	return 0;
}
