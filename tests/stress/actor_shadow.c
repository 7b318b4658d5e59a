// SPDX-License-Identifier: BSD-2-Clause
/* Actors on the secondaries: slots that go and come, roots that are dropped, and who copies pages by their dirty log. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "mmu/shadow/dirty.h"
#include "tests/stress/actors.h"

#define DIRTY_ROUNDS 6
#define ASKED	     24u
#define PROFILES     12u

static struct player *pick_device(struct world *w, uint64_t *random)
{
	unsigned first = (unsigned)(play_random(random) % w->players);

	for (unsigned i = 0; i < w->players; i++) {
		struct player *p = &w->player[(first + i) % w->players];

		if (p->dev && device_get_shadow(p->dev))
			return p;
	}
	return NULL;
}

/* A store that changes nothing: what does it get? Where all meet, and anywhere. */
static void must_get(struct world *w, const struct player *p, uint64_t offset, int want,
		     uint64_t *random)
{
	for (unsigned i = 0; i < ASKED; i++) {
		uint64_t page = i & 1 ? play_random(random) % w->pages
				      : play_random(random) % 48 * (w->keep / 48);
		hva_t at = world_hva(w, page) + offset + PLAY_COUNTER * sizeof(uint64_t);
		int rc = device_add(p->dev, at, 0, NULL);

		/* -EFAULT: another actor has just taken the right to store. */
		if (rc != want && rc != -EFAULT)
			fail((enum oracle)PLAY_STALE, page,
			     "%s: store at %#lx after a change of its slot: %s, must be %s",
			     p->name, at, strerror(-rc), strerror(-want));
	}
}

/* Devices find no slot for a moment, and try again; all else they must not notice. */
int act_slots(struct world *w, uint64_t *random)
{
	struct player *p = pick_device(w, random);
	gfn_t gfn = w->hva >> PAGE_SHIFT;
	struct shadow *sh;
	int rc;

	if (!p)
		return shadow_zap_all(w->shadow);
	sh = device_get_shadow(p->dev);
	switch (play_random(random) % 3) {
	case 0:
		rc = shadow_remove_slot(sh, 0);
		if (!rc)
			must_get(w, p, 0, -ENXIO, random);
		return rc ?: shadow_add_slot(sh, 0, gfn, w->pages, w->hva, 0);
	case 1:
		rc = shadow_move_slot(sh, 0, gfn + w->pages); /* no address twice */
		if (!rc) {
			must_get(w, p, 0, -ENXIO, random);
			must_get(w, p, w->pages << PAGE_SHIFT, 0, random);
		}
		return rc ?: shadow_move_slot(sh, 0, gfn);
	default:
		rc = shadow_set_slot_flags(sh, 0, MEMSLOT_READONLY);
		if (!rc)
			must_get(w, p, 0, -EACCES, random);
		return rc ?: shadow_set_slot_flags(sh, 0, 0);
	}
}

/* One more device comes, works and goes, while all goes on. */
int act_attach(struct world *w, uint64_t *random)
{
	const struct device_profile *d = device_profiles;
	struct device *dev;
	uint64_t seen;
	int rc;

	for (uint64_t skip = play_random(random) % PROFILES; skip && d->name; skip--)
		d++;
	if (!d->name || d->defers || d->part == DEVICE_PART_IGNORED)
		d = device_profiles;
	rc = device_create(&dev, d, w->mm, w->hva, w->pages);
	for (unsigned i = 0; !rc && i < ASKED; i++) {
		hva_t at = world_hva(w, play_random(random) % w->pages);

		rc = device_read(dev, at + PLAY_COUNTER * sizeof(uint64_t), &seen, sizeof(seen));
	}
	if (!rc)
		device_destroy(dev);
	return rc;
}

int act_zap_all(struct world *w, uint64_t *random)
{
	struct player *p = play_random(random) & 1 ? pick_device(w, random) : NULL;

	return shadow_zap_all(p ? device_get_shadow(p->dev) : w->shadow);
}

/*
 * Somebody copies what one player stores (its own words), page by page, by the dirty log of its secondary. In the end,
 * with all stopped, the copy is what the pages hold.
 */
struct copier {
	struct world *w;
	struct shadow *sh;
	unsigned slot, first, players; /* whose words */
	bool manual;
	uint64_t *bitmap;
	uint64_t *copy; /* [keep][players] */
};

static uint64_t word_now(const struct copier *c, uint64_t page, unsigned player)
{
	hva_t at = world_hva(c->w, page) + (PLAY_OWN + c->first + player) * sizeof(uint64_t);
	uint64_t value = 0;

	if (!access_load((const void *)(uintptr_t)at, &value))
		fail(ORACLE_ERROR, page, "dirty: the host view was shut");
	return value;
}

static void copy_page(struct copier *c, uint64_t page)
{
	for (unsigned i = 0; i < c->players; i++)
		c->copy[page * c->players + i] = word_now(c, page, i);
}

static int harvest(struct copier *c)
{
	int rc = shadow_get_dirty_log(c->sh, c->slot, c->bitmap);

	/* What is cleared is copied after that: a store in between is in the next log. */
	if (!rc && c->manual)
		rc = shadow_clear_dirty_log(c->sh, c->slot, 0, c->w->pages, c->bitmap);
	for (uint64_t page = 0; !rc && page < c->w->keep; page++)
		if (c->bitmap[page / 64] >> page % 64 & 1)
			copy_page(c, page);
	return rc;
}

static int copy_all(struct copier *c)
{
	static const struct timespec moment = { .tv_nsec = 1000000 };
	int rc = shadow_dirty_configure(c->sh, c->manual ? SHADOW_DIRTY_MANUAL : 0);

	rc = rc ?: shadow_set_slot_flags(c->sh, c->slot, MEMSLOT_LOG_DIRTY);
	for (uint64_t page = 0; !rc && page < c->w->keep; page++)
		copy_page(c, page);
	for (unsigned i = 0; !rc && i < DIRTY_ROUNDS; i++) {
		rc = harvest(c);
		nanosleep(&moment, NULL);
	}
	pause_begin(c->w, PAUSE_STOP);
	rc = rc ?: harvest(c);
	for (uint64_t i = 0; !rc && i < c->w->keep * c->players; i++) {
		uint64_t page = i / c->players, now = word_now(c, page, (unsigned)(i % c->players));

		if (c->copy[i] != now)
			fail(ORACLE_DIRTY, page,
			     "%s: page %lu holds %lu, and was copied with %lu: no log had it",
			     c->w->player[c->first + i % c->players].name, page, now, c->copy[i]);
	}
	pause_end(c->w);
	return rc ?: shadow_set_slot_flags(c->sh, c->slot, 0);
}

int act_dirty(struct world *w, uint64_t *random)
{
	struct player *p = w->o->vcpus && play_random(random) & 1 ? NULL : pick_device(w, random);
	struct copier c = { .w = w, .sh = w->shadow, .slot = STRESS_SLOT, .players = w->o->vcpus };
	int rc = -ENOMEM;

	c.manual = play_random(random) & 1;
	if (p) {
		c.sh = device_get_shadow(p->dev);
		c.slot = 0;
		c.first = p->play.id;
		c.players = 1;
	}
	if (!c.players)
		return 0;
	c.bitmap = calloc(shadow_dirty_words(w->pages), sizeof(*c.bitmap));
	c.copy = calloc(w->keep * c.players, sizeof(*c.copy));
	if (c.bitmap && c.copy)
		rc = copy_all(&c);
	free(c.bitmap);
	free(c.copy);
	return rc;
}
