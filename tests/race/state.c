// SPDX-License-Identifier: BSD-2-Clause
/* See state.h; search.c says why the reductions are sound. */
#include "tests/race/state.h"

#include <stdint.h>
#include <string.h>

#include "tests/race/heap.h"

#define OBJECTS	  (1u << 14)
#define CACHE_MIN (1u << 16)

/* What is known of an object across runs (shared), and within this one (hashes of its last operations). */
struct object {
	void *address;
	int8_t owner;		    /* the one thread that has touched it */
	bool several, written;	    /* more than one has; anybody has written */
	uint64_t last_write, reads; /* hashes */
	uint64_t run;		    /* the hashes are of this run */
};

static struct object objects[OBJECTS];
static struct object *object_list[OBJECTS];
static unsigned object_count;
static bool learnt; /* a new shared object: begin anew */

static uint64_t run_number;
static uint64_t thread_hash[EXPLORE_THREADS], trace_hash;

static struct {
	uint64_t *key;
	uint32_t *value;
	size_t size, used;
} cache;

uint64_t state_mix(uint64_t a, uint64_t b)
{
	uint64_t z = a ^ (b + 0x9e3779b97f4a7c15u + (a << 6) + (a >> 2));

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

static struct object *object_of(void *address)
{
	unsigned at = (unsigned)(state_mix((uint64_t)(uintptr_t)address, 0) & (OBJECTS - 1));

	while (objects[at].address && objects[at].address != address)
		at = (at + 1) & (OBJECTS - 1);
	if (!objects[at].address) {
		bug_on(object_count == OBJECTS - 1);
		object_list[object_count++] = &objects[at];
		objects[at] = (struct object){ .address = address, .owner = -1 };
	}
	return &objects[at];
}

static bool is_read(enum explore_op op)
{
	return op == EXPLORE_LOAD || op == EXPLORE_READ_LOCK || op == EXPLORE_READ_UNLOCK ||
	       op == EXPLORE_RCU_LOCK || op == EXPLORE_RCU_UNLOCK;
}

static bool is_shared(const struct object *o)
{
	return o->several && o->written;
}

static void touch_object(unsigned t, void *address, bool read)
{
	struct object *o = object_of(address);
	bool was = is_shared(o);
	uint64_t h;

	if (o->owner < 0)
		o->owner = (int8_t)t;
	o->several |= o->owner != (int8_t)t;
	o->written |= !read;
	if (is_shared(o) && !was)
		learnt = true;
	if (!is_shared(o))
		return;
	if (o->run != run_number) {
		o->run = run_number;
		o->last_write = o->reads = state_mix((uint64_t)(uintptr_t)address, 7);
	}
	h = state_mix(thread_hash[t], o->last_write);
	if (read) {
		o->reads += h;
	} else {
		h = state_mix(h, o->reads);
		o->last_write = o->reads = h;
	}
	thread_hash[t] = h;
}

static bool is_in(const struct object *o, const struct sched_op *op)
{
	return (uintptr_t)o->address - (uintptr_t)op->object <=
	       (uintptr_t)op->other - (uintptr_t)op->object;
}

/* Does @op free memory in which a shared object lies? */
static bool frees_shared(const struct sched_op *op)
{
	for (unsigned i = 0; i < object_count; i++)
		if (is_shared(object_list[i]) && is_in(object_list[i], op))
			return true;
	return false;
}

bool state_is_shared(const struct sched_op *op)
{
	if (op->op == EXPLORE_FREE)
		return frees_shared(op);
	return is_shared(object_of(op->object)) || (op->other && is_shared(object_of(op->other)));
}

void state_done(unsigned t, const struct sched_op *op)
{
	uint64_t before = thread_hash[t];

	touch_object(t, op->object, is_read(op->op));
	if (op->op == EXPLORE_FREE) {
		for (unsigned i = 0; i < object_count; i++)
			if (is_in(object_list[i], op))
				touch_object(t, object_list[i]->address, false);
	} else if (op->other)
		touch_object(t, op->other, false);
	if (thread_hash[t] != before)
		trace_hash += state_mix(thread_hash[t], t);
}

void state_forget_objects(void)
{
	memset(objects, 0, sizeof(objects));
	object_count = 0;
}

bool state_has_learnt(void)
{
	return learnt;
}

void state_begin(void)
{
	run_number++;
	trace_hash = 0;
	for (unsigned t = 0; t < EXPLORE_THREADS; t++)
		thread_hash[t] = state_mix(t, 3);
}

uint64_t state_key(uint64_t more)
{
	uint64_t key = state_mix(trace_hash, more);

	for (unsigned t = 0; t < EXPLORE_THREADS; t++)
		key = state_mix(key, thread_hash[t]);
	return key;
}

/* The states that have been seen: with how few preemptions. */

void state_forget_seen(void)
{
	learnt = false;
	if (cache.key)
		memset(cache.key, 0, cache.size * sizeof(*cache.key));
	cache.used = 0;
}

static size_t cache_slot(uint64_t key)
{
	size_t at = key & (cache.size - 1);

	while (cache.key[at] && cache.key[at] != key)
		at = (at + 1) & (cache.size - 1);
	return at;
}

static void cache_grow(void)
{
	uint64_t *old_key = cache.key;
	uint32_t *old_value = cache.value;
	size_t old = cache.size;

	cache.size = old ? 2 * old : CACHE_MIN;
	cache.key = heap_outside(cache.size, sizeof(*cache.key));
	cache.value = heap_outside(cache.size, sizeof(*cache.value));
	for (size_t i = 0; i < old; i++)
		if (old_key[i]) {
			size_t at = cache_slot(old_key[i]);

			cache.key[at] = old_key[i];
			cache.value[at] = old_value[i];
		}
	heap_outside_free(old_key);
	heap_outside_free(old_value);
}

bool state_seen(uint64_t key, uint32_t used)
{
	size_t at;

	if (2 * cache.used >= cache.size)
		cache_grow();
	key |= 1;
	at = cache_slot(key);
	if (cache.key[at] && cache.value[at] <= used)
		return true;
	cache.used += !cache.key[at];
	cache.key[at] = key;
	cache.value[at] = used;
	return false;
}
