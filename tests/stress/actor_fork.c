// SPDX-License-Identifier: BSD-2-Clause
/*
 * Children of the host mm. With all players stopped at the fork, a child must hold exactly what the parent held; without,
 * versions between those before and after, and an order of stores that some moment had. Then nothing in it may change
 * but by its own stores, which nobody else may see: the players would find no record of theirs.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/stress/actors.h"

#define LOOK_PAGES 128u
#define WORDS	   512u
#define CHILD_WORD 0xc41d000000000000UL

struct family {
	struct world *w;
	struct hostmm *mm;
	struct player reader; /* of the child's host view */
	struct device *dev;
	uint64_t first, pages; /* what is looked at */
	uint64_t image[LOOK_PAGES][WORDS];
	uint32_t floor[];
};

static uint64_t load(const char *view, uint64_t page, unsigned word)
{
	uint64_t value = 0;

	if (!access_load(view + (page << PAGE_SHIFT) + word * sizeof(value), &value))
		fail(ORACLE_ERROR, page, "fork: a host view was shut");
	return value;
}

static void take_image(struct family *f, const char *view)
{
	for (uint64_t i = 0; i < f->pages; i++)
		for (unsigned word = 0; word < WORDS; word++)
			f->image[i][word] = load(view, f->first + i, word);
}

static void compare(const struct family *f, const char *what)
{
	for (uint64_t i = 0; i < f->pages; i++)
		for (unsigned word = 0; word < WORDS; word++) {
			uint64_t got = load(f->reader.view, f->first + i, word);

			if (got != f->image[i][word])
				fail(ORACLE_FORK, f->first + i,
				     "%s: word %u of page %lu: found %#lx, must be %#lx", what,
				     word, f->first + i, got, f->image[i][word]);
		}
}

static void host_fatal(void *ctx, hva_t hva, int error)
{
	(void)ctx;
	fail(ORACLE_ERROR, 0, "host view of a child, %#lx: %s", hva, strerror(-error));
}

static int make_child(struct world *w, struct hostmm *from, struct hostmm **child)
{
	struct hostmm_opts opts = { .fault_threads = 1,
				    .source = w->o->source,
				    .fatal = host_fatal };

	return hostmm_fork(from, &opts, child);
}

static uint64_t child_load(void *ctx, uint64_t page, unsigned word)
{
	const struct player *p = ctx;

	return load(p->view, page, word);
}

static const struct play_ops child_ops = { .load = child_load, .wrong = player_wrong };

/* Records are whole, or in the middle of a store; no older than before the fork; B is not newer than A. */
static void look_at_versions(struct family *f)
{
	struct player *p = &f->reader;

	p->play = (struct play){ .ops = &child_ops,
				 .ctx = p,
				 .id = 0,
				 .players = f->w->players,
				 .keep = f->w->keep,
				 .twins = f->w->twins,
				 .floor = f->floor,
				 .quiet = true };
	strcpy(p->name, "child");
	play_init(&p->play, p->memory);
	for (uint64_t i = 0; i < f->pages && f->first + i < f->w->keep; i++) {
		play_version(&p->play, f->first + i);
		play_order(&p->play, f->first + i);
	}
}

/* The child's own stores, by host view and device: seen by it, and by nobody else. */
static int store_in_child(struct family *f, uint64_t *random)
{
	int rc = 0;

	for (unsigned n = 0; !rc && n < 32; n++) {
		uint64_t i = play_random(random) % f->pages, value = CHILD_WORD | n;
		unsigned word = (unsigned)(play_random(random) % WORDS);
		uint64_t offset = ((f->first + i) << PAGE_SHIFT) + word * sizeof(value);
		uint64_t found = 0;

		f->image[i][word] = value;
		if (n & 1) {
			rc = device_write(f->dev, (hva_t)(uintptr_t)f->reader.view + offset, &value,
					  sizeof(value));
			continue;
		}
		if (!access_store(f->reader.view + offset, value))
			fail(ORACLE_ERROR, f->first + i, "fork: the child's host view was shut");
		rc = device_read(f->dev, (hva_t)(uintptr_t)f->reader.view + offset, &found,
				 sizeof(found));
		if (!rc && found != value)
			fail(ORACLE_FORK, f->first + i, "device of the child: %#lx, must be %#lx",
			     found, value);
	}
	return rc;
}

/* Twins of parent and child share frames again where they are equal: nobody sees that, and stores part them. */
static int merge_across(struct family *f, uint64_t *random)
{
	struct world *w = f->w;
	int rc = 0;

	for (unsigned i = 0; !rc && i < 16; i++) {
		uint64_t a = w->keep + play_random(random) % w->twins;
		uint64_t b = w->keep + play_random(random) % w->twins;
		hva_t theirs = (hva_t)(uintptr_t)f->reader.view + (b << PAGE_SHIFT);

		if (i & 1)
			rc = hostmm_merge(w->mm, world_hva(w, a), f->mm, theirs);
		else
			rc = hostmm_merge(f->mm, theirs, w->mm, world_hva(w, a));
		if (rc == -EAGAIN || rc == -ENOENT)
			rc = 0;
	}
	return rc;
}

static const struct device_profile *pick_profile(uint64_t *random)
{
	static const char *const name[] = { "kvm", "gru", "xpmem", "hmm", "pfn-cache", "ats-4k" };

	return device_profile(name[play_random(random) % (sizeof(name) / sizeof(name[0]))]);
}

/* A child of the child, which may outlive it. */
static int grandchild(struct family *f, uint64_t *random)
{
	char *view = f->reader.view;
	struct hostmm *mm, *parent = f->mm;
	hva_t hva;
	int rc = make_child(f->w, parent, &mm);

	if (rc)
		return rc;
	rc = hostmm_fork_hva(mm, (hva_t)(uintptr_t)view, &hva);
	if (!rc) {
		if (play_random(random) & 1)
			rc = store_in_child(f, random); /* the parent's: not seen below */
		f->reader.view = (char *)(uintptr_t)hva;
		if (rc == 0)
			take_image(f, f->reader.view);
		compare(f, "a child's child has changed");
		f->reader.view = view;
	}
	hostmm_destroy(mm);
	return rc;
}

static int use_child(struct family *f, bool exact, uint64_t *random)
{
	struct world *w = f->w;
	hva_t hva;
	int rc = hostmm_fork_hva(f->mm, w->hva, &hva);

	if (rc)
		return rc;
	f->reader.view = (char *)(uintptr_t)hva;
	if (exact) {
		compare(f, "a child is not what its parent was");
	} else {
		look_at_versions(f);
		take_image(f, f->reader.view);
	}
	rc = device_create(&f->dev, pick_profile(random), f->mm, hva, w->pages);
	if (rc)
		return rc;
	rc = store_in_child(f, random);
	rc = rc ?: merge_across(f, random);
	rc = rc ?: store_in_child(f, random);
	compare(f, "a child has changed by itself");
	device_destroy(f->dev);
	f->dev = NULL;
	return rc;
}

/* At which pages, and what they hold at least. */
static void look_where(struct family *f, uint64_t *random)
{
	struct world *w = f->w;

	f->pages = w->pages < LOOK_PAGES ? w->pages : LOOK_PAGES;
	f->first = play_random(random) % 3 ? 0 : play_random(random) % (w->pages - f->pages + 1);
	if (play_random(random) % 4 == 0)
		f->first = w->keep - f->pages / 2; /* and twins */
	for (uint64_t page = 0; page < w->keep; page++)
		f->floor[page] = __atomic_load_n(&w->floor[page], __ATOMIC_ACQUIRE);
}

static int fork_once(struct family *f, uint64_t *random)
{
	struct world *w = f->w;
	bool exact = play_random(random) & 1;
	int rc;

	look_where(f, random);
	if (exact) {
		pause_begin(w, PAUSE_STOP);
		take_image(f, (const char *)(uintptr_t)w->hva);
	}
	rc = make_child(w, w->mm, &f->mm);
	if (exact)
		pause_end(w);
	if (rc)
		return rc;
	rc = use_child(f, exact, random);
	if (!rc && play_random(random) % 3 == 0) {
		rc = device_create(&f->dev, pick_profile(random), f->mm,
				   (hva_t)(uintptr_t)f->reader.view, w->pages);
		rc = rc ?: grandchild(f, random);
		if (f->dev)
			device_destroy(f->dev);
	}
	hostmm_destroy(f->mm);
	return rc;
}

static void family_free(struct family *f)
{
	if (f)
		free(f->reader.memory);
	free(f);
}

static struct family *family_new(struct world *w)
{
	struct family *f = calloc(1, sizeof(*f) + w->keep * sizeof(f->floor[0]));

	if (!f)
		return NULL;
	f->w = w;
	f->reader.w = w;
	f->reader.memory = calloc(1, play_memory(w->keep, w->twins));
	if (f->reader.memory)
		return f;
	family_free(f);
	return NULL;
}

int act_fork(struct world *w, uint64_t *random)
{
	struct family *f = family_new(w);
	int rc = f ? fork_once(f, random) : -ENOMEM;

	family_free(f);
	return rc;
}

pid_t fork_looking(struct world *w, uint64_t *random, void (*look)(struct world *w))
{
	struct family *f = family_new(w);
	pid_t pid;

	if (!f)
		return -1;
	look_where(f, random);
	pid = fork();
	if (!pid) {
		f->reader.view = (char *)(uintptr_t)w->hva;
		look_at_versions(f);
		look(w);
		_exit(0);
	}
	family_free(f);
	return pid;
}
