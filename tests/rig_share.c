// SPDX-License-Identifier: BSD-2-Clause
#include "tests/rig_share.h"

#include "tests/test.h"

void rig_put(struct rig *r, uint64_t page, uint64_t value)
{
	check_eq(hostmm_write(r->mm, rig_hva(r, page), &value, sizeof(value)), 0);
}

static void store_by(struct rig *r, uint64_t page, uint64_t value, enum rig_store by)
{
	if (by == RIG_COPIES)
		rig_put(r, page, value);
	else if (by == RIG_HOST_STORES)
		rig_store(rig_word(r->host, page, 0), value);
	else
		rig_guest_store(r, rig_word(r->guest, page, 0), value);
}

void rig_store_reaches_one(struct rig *r, enum rig_store by)
{
	for (uint64_t stored = 0; stored < 4; stored++) {
		store_by(r, stored, 100 + stored, by);
		for (uint64_t page = 0; page < 4; page++) {
			uint64_t want = page <= stored ? 100 + page : 7;

			check_eq(rig_peek(r, page), want);
			check_eq(rig_load(rig_word(r->guest, page, 0)), want);
		}
		rig_check(r);
	}
}

/* Few values: equal pages are common. */
struct owner {
	struct rig *r;
	uint64_t page, seed, stores;
	unsigned looks;
	bool host;
	pthread_t thread;
};

static struct owner owners[OWNERS];
static atomic_bool stop;

static void *own_page(void *arg)
{
	struct owner *o = arg;
	_Atomic uint64_t *word = rig_word(o->host ? o->r->host : o->r->guest, o->page, 0);

	while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
		uint64_t value = rig_random(&o->seed) % 3;

		if (o->host)
			rig_store(word, value);
		else
			rig_guest_store(o->r, word, value);
		o->stores++;
		for (unsigned i = 0; i < o->looks; i++)
			if (rig_load(word) != value)
				test_fail(__FILE__, __LINE__, "own value",
					  " page %lu after %lu stores", o->page, o->stores);
	}
	return NULL;
}

void owners_start(struct rig *r, unsigned looks)
{
	atomic_store(&stop, false);
	for (uint64_t i = 0; i < OWNERS; i++) {
		owners[i] = (struct owner){ .r = r,
					    .page = i,
					    .seed = 99 + i,
					    .looks = looks,
					    .host = i % 3 == 2 };
		owners[i].thread = rig_thread(own_page, &owners[i]);
	}
}

void owners_stop(void)
{
	atomic_store(&stop, true);
	for (unsigned i = 0; i < OWNERS; i++)
		rig_join(owners[i].thread);
}
