// SPDX-License-Identifier: BSD-2-Clause
/* The players that are threads here: on the host view, on a window where there is no KVM, and one for each device. */
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/stress/stress.h"

static const char *how(enum play_oracle oracle)
{
	static const char *const text[PLAY_ORACLES] = {
		[PLAY_LOST] = "its own word is not what it has stored last",
		[PLAY_STALE] = "an old version",
		[PLAY_TORN] = "a record that is not whole",
		[PLAY_FOREIGN] = "no record of this page",
		[PLAY_ORDER] = "B is newer than A",
		[PLAY_MERGED] = "a twin page does not hold what was stored",
	};

	return oracle < PLAY_ORACLES ? text[oracle] : "an oracle that is none";
}

void player_wrong(void *ctx, enum play_oracle oracle, uint64_t page, uint64_t got, uint64_t want)
{
	const struct player *p = ctx;

	fail((enum oracle)oracle, page, "%s: %s: found %#lx, must be %#lx%s", p->name, how(oracle),
	     got, want, got == POOL_CANARY ? " (a frame that was freed)" : "");
}

static void *at(const struct player *p, uint64_t page, unsigned word)
{
	return p->view + (page << PAGE_SHIFT) + word * sizeof(uint64_t);
}

/* A store of a vCPU may meet the gap of a page that is being repointed: then, and only then, it is repeated. */
static void missed(const struct player *p, uint64_t page, uint64_t repoints)
{
	struct window *window = p->w->window;

	if (p->kind == PLAYER_WINDOW) {
		window_settle(window);
		if (window_repoints(window) != repoints)
			return;
	}
	fail(ORACLE_ERROR, page, "%s: its memory was shut", p->name);
}

static uint64_t repoints(const struct player *p)
{
	return p->kind == PLAYER_WINDOW ? window_repoints(p->w->window) : 0;
}

static uint64_t view_load(void *ctx, uint64_t page, unsigned word)
{
	struct player *p = ctx;
	uint64_t value = 0, before;

	atomic_store_explicit(&p->page, page, memory_order_relaxed);
	for (;;) {
		before = repoints(p);
		if (access_load(at(p, page, word), &value))
			return value;
		missed(p, page, before);
	}
}

static void view_store(void *ctx, uint64_t page, unsigned word, uint64_t value)
{
	struct player *p = ctx;
	uint64_t before;

	atomic_store_explicit(&p->page, page, memory_order_relaxed);
	for (;;) {
		before = repoints(p);
		if (access_store(at(p, page, word), value))
			return;
		missed(p, page, before);
	}
}

static void view_add(void *ctx, uint64_t page, unsigned word)
{
	struct player *p = ctx;
	uint64_t before;

	atomic_store_explicit(&p->page, page, memory_order_relaxed);
	for (;;) {
		before = repoints(p);
		if (access_add(at(p, page, word), 1))
			return;
		missed(p, page, before);
	}
}

static const struct play_ops view_ops = {
	.load = view_load,
	.store = view_store,
	.add = view_add,
	.wrong = player_wrong,
};

/* A slot that goes is back soon; everything else must succeed. */
static bool is_done(struct player *p, uint64_t page, int rc)
{
	if (!rc)
		return true;
	if (rc != -ENXIO && rc != -EACCES)
		fail(ORACLE_ERROR, page, "%s: access: %s", p->name, strerror(-rc));
	if (strcmp(p->w->scenario->name, "slots") && strcmp(p->w->scenario->name, "mix"))
		fail(ORACLE_ERROR, page, "%s: no slot, but none was taken away: %s", p->name,
		     strerror(-rc));
	sched_yield();
	return false;
}

static hva_t word_hva(const struct player *p, uint64_t page, unsigned word)
{
	return world_hva(p->w, page) + word * sizeof(uint64_t);
}

static uint64_t device_load(void *ctx, uint64_t page, unsigned word)
{
	struct player *p = ctx;
	uint64_t value = 0;

	atomic_store_explicit(&p->page, page, memory_order_relaxed);
	while (!is_done(p, page,
			device_read(p->dev, word_hva(p, page, word), &value, sizeof(value))))
		;
	return value;
}

static void device_store(void *ctx, uint64_t page, unsigned word, uint64_t value)
{
	struct player *p = ctx;

	atomic_store_explicit(&p->page, page, memory_order_relaxed);
	while (!is_done(p, page,
			device_write(p->dev, word_hva(p, page, word), &value, sizeof(value))))
		;
}

static void device_add_one(void *ctx, uint64_t page, unsigned word)
{
	struct player *p = ctx;

	atomic_store_explicit(&p->page, page, memory_order_relaxed);
	while (!is_done(p, page, device_add(p->dev, word_hva(p, page, word), 1, NULL)))
		;
}

static const struct play_ops device_ops = {
	.load = device_load,
	.store = device_store,
	.add = device_add_one,
	.wrong = player_wrong,
};

static void *player_main(void *arg)
{
	struct player *p = arg;
	uint64_t random = p->play.random ^ 0x51de;

	pthread_setname_np(pthread_self(), p->name);
	atomic_store(&p->tid, gettid());
	while (!atomic_load_explicit(&p->w->players_end, memory_order_relaxed)) {
		if (atomic_load_explicit(&p->w->request, memory_order_acquire) != p->word) {
			/* What it has counted must be there when it is counted as stopped. */
			atomic_store(&p->adds, p->play.adds);
			p->play.quiet = pause_here(p);
			continue;
		}
		play_step(&p->play);
		if (p->side && p->play.operations % 4 == 0)
			side_read(p, &random);
		atomic_store_explicit(&p->operations, p->play.operations, memory_order_relaxed);
	}
	atomic_store(&p->adds, p->play.adds);
	return NULL;
}

static struct player *add_player(struct world *w, enum player_kind kind, const char *name,
				 unsigned number)
{
	struct player *p = &w->player[w->players];

	*p = (struct player){ .w = w, .kind = kind };
	if (kind == PLAYER_DEVICE)
		snprintf(p->name, sizeof(p->name), "%s", name);
	else
		snprintf(p->name, sizeof(p->name), "%s %u", name, number);
	p->play = (struct play){
		.ops = kind == PLAYER_DEVICE ? &device_ops : &view_ops,
		.ctx = p,
		.id = w->players++,
		.keep = w->keep,
		.twins = w->twins,
		.floor = w->floor,
	};
	p->play.random = w->o->seed * 1000 + p->play.id;
	return p;
}

static bool is_good(const struct device_profile *profile)
{
	return !profile->defers && profile->part != DEVICE_PART_IGNORED;
}

static int add_device(struct world *w, const struct device_profile *profile)
{
	struct player *p = add_player(w, PLAYER_DEVICE, profile->name, 0);
	int rc = device_create(&p->dev, profile, w->mm, w->hva, w->pages);

	if (!rc && w->scenario->side)
		rc = device_create(&p->side, profile, w->mm, w->side, SIDE_PAGES);
	return rc;
}

/* Lazily backed, so that a leak check counts it as one mapping that comes and goes. */
static int give_memory(struct player *p)
{
	p->play.players = p->w->players;
	if (p->kind == PLAYER_VCPU)
		return 0;
	p->memory = calloc(1, play_memory(p->w->keep, p->w->twins));
	if (!p->memory)
		return -ENOMEM;
	play_init(&p->play, p->memory);
	return 0;
}

/* vCPUs first: their numbers are those of the players. */
int players_create(struct world *w)
{
	const struct stress_opts *o = w->o;
	struct memslot slot;
	int rc = 0;

	for (unsigned i = 0; i < o->vcpus; i++) {
		struct player *p = add_player(w, w->guest ? PLAYER_VCPU : PLAYER_WINDOW,
					      w->guest ? "vcpu" : "window", i);

		if (w->guest)
			continue;
		if (!shadow_slot(w->shadow, STRESS_GFN, &slot))
			return -ENXIO;
		p->view = window_base(&slot);
	}
	for (unsigned i = 0; i < o->threads; i++)
		add_player(w, PLAYER_HOST, "host", i)->view = (char *)(uintptr_t)w->hva;
	for (const struct device_profile *d = device_profiles; !rc && d->name; d++)
		if (o->device ? !strcmp(d->name, o->device) : is_good(d))
			rc = add_device(w, d);
	for (unsigned i = 0; !rc && i < w->players; i++)
		rc = give_memory(&w->player[i]);
	return rc;
}

void players_start(struct world *w)
{
	for (unsigned i = 0; i < w->players; i++) {
		struct player *p = &w->player[i];
		int rc;

		if (p->kind == PLAYER_VCPU)
			continue;
		rc = pthread_create(&p->thread, NULL, player_main, p);
		if (rc)
			fail(ORACLE_ERROR, 0, "thread of %s: %s", p->name, strerror(rc));
	}
}

void players_join(struct world *w)
{
	atomic_store(&w->players_end, true);
	for (unsigned i = 0; i < w->players; i++)
		if (w->player[i].kind != PLAYER_VCPU)
			pthread_join(w->player[i].thread, NULL);
}

void players_destroy(struct world *w)
{
	for (unsigned i = 0; i < w->players; i++) {
		struct player *p = &w->player[i];

		if (p->side)
			device_destroy(p->side);
		if (p->dev)
			device_destroy(p->dev);
		p->dev = p->side = NULL;
		free(p->memory);
		p->memory = NULL;
	}
}
