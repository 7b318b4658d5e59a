/* SPDX-License-Identifier: BSD-2-Clause */
/* The rwlock of mmu/base/sync.h, in one shard and in several: who keeps whom out. Threads get their shards in turn. */
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>

#include "mmu/base/sync.h"
#include "tests/rig.h"
#include "tests/test.h"

static struct rwlock l;

struct actor {
	pthread_t thread;
	bool writes;
	atomic_bool has_it, may_go;
};

static void *take_and_hold(void *arg)
{
	struct actor *a = arg;

	if (a->writes)
		rwlock_write_acquire(&l);
	else
		rwlock_read_acquire(&l);
	atomic_store(&a->has_it, true);
	while (!atomic_load(&a->may_go))
		sched_yield();
	if (a->writes)
		rwlock_write_release(&l);
	else
		rwlock_read_release(&l);
	return NULL;
}

static void begin(struct actor *a, bool writes)
{
	*a = (struct actor){ .writes = writes };
	check(!pthread_create(&a->thread, NULL, take_and_hold, a));
}

static void end(struct actor *a)
{
	atomic_store(&a->may_go, true);
	pthread_join(a->thread, NULL);
}

/* The actor has the lock, or else it waits for it, beside @waiting others. */
static bool gets_it(struct actor *a, unsigned waiting)
{
	while (!atomic_load(&a->has_it) && atomic_load(&l.waiting) <= waiting)
		sched_yield();
	return atomic_load(&a->has_it);
}

static void reader_keeps_writer_out(unsigned times)
{
	struct actor reader, writer, late;

	for (unsigned i = 0; i < times; i++) {
		/* A round has two readers; a third one, once, and they change places. */
		if (i == times / 2) {
			begin(&late, false);
			check(gets_it(&late, 0));
			end(&late);
		}
		begin(&reader, false);
		check(gets_it(&reader, 0));
		begin(&writer, true);
		check(!gets_it(&writer, 0), "the writer has not met reader %u", i);
		check(rwlock_is_contended(&l));
		end(&reader);
		check(gets_it(&writer, 1));
		check(!rwlock_is_contended(&l));
		/* Whatever its shard is, the reader waits there. */
		begin(&late, false);
		check(!gets_it(&late, 0), "reader %u has not met the writer", i);
		end(&writer);
		check(gets_it(&late, 1));
		end(&late);
	}
}

/* The thread sanitizer's own thread begins with the first of ours. */
UTEST(rwlock, one_reader_keeps_a_writer_out, .may_leak = true)
{
	rwlock_init(&l);
	reader_keeps_writer_out(1);
	rwlock_fini(&l);
}

/* Enough rounds for each shard to have been the reader's, and the late one's. */
UTEST(rwlock, a_reader_in_any_shard_keeps_a_writer_out)
{
	rwlock_init_read_mostly(&l);
	check_eq(l.shards, RWLOCK_SHARDS);
	reader_keeps_writer_out(2 * RWLOCK_SHARDS);
	rwlock_fini(&l);
}

UTEST(rwlock, readers_share_and_have_lines_of_their_own)
{
	struct actor reader[RWLOCK_SHARDS];

	rwlock_init_read_mostly(&l);
	for (unsigned i = 0; i < RWLOCK_SHARDS; i++)
		begin(&reader[i], false);
	for (unsigned i = 0; i < RWLOCK_SHARDS; i++)
		check(gets_it(&reader[i], 0), "reader %u waits", i);
	/* Each shard has one: a writer gets none of them. */
	for (unsigned i = 0; i < RWLOCK_SHARDS; i++)
		check(pthread_rwlock_trywrlock(&l.shard[i].rwlock), "nobody reads in shard %u", i);
	for (unsigned i = 0; i < RWLOCK_SHARDS; i++)
		end(&reader[i]);
	rwlock_fini(&l);
}

/* Who waits to write goes first: in the shards that it has, new readers wait behind it. */
UTEST(rwlock, a_waiting_writer_goes_first)
{
	struct actor reader, writer, late;

	rwlock_init(&l);
	begin(&reader, false);
	check(gets_it(&reader, 0));
	begin(&writer, true);
	check(!gets_it(&writer, 0));
	rig_wait_writer(&l);
	begin(&late, false);
	check(!gets_it(&late, 1), "a reader went before the writer");
	end(&reader);
	check(gets_it(&writer, 2));
	check(!atomic_load(&late.has_it));
	end(&writer);
	check(gets_it(&late, 2));
	end(&late);
	rwlock_fini(&l);
}

/* Words that a writer changes together and no reader sees apart, and none loses an increment. */
enum { THREADS = 6, TURNS = 3000 };
static uint64_t word[8];

static void *mix(void *arg)
{
	unsigned seed = (unsigned)(uintptr_t)arg;

	for (unsigned i = 0; i < TURNS; i++) {
		if (rand_r(&seed) % 8) {
			rwlock_read_acquire(&l);
			for (unsigned k = 1; k < 8; k++)
				expect(word[k] == word[0]);
			rwlock_read_release(&l);
		} else {
			rwlock_write_acquire(&l);
			for (unsigned k = 0; k < 8; k++)
				word[k]++;
			rwlock_write_release(&l);
		}
	}
	return NULL;
}

static uint64_t writes_of(unsigned seed)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < TURNS; i++)
		n += rand_r(&seed) % 8 == 0;
	return n;
}

UTEST(rwlock, readers_see_whole_changes)
{
	pthread_t thread[THREADS];
	uint64_t writes = 0;

	rwlock_init_read_mostly(&l);
	for (unsigned i = 0; i < 8; i++)
		word[i] = 0;
	for (unsigned i = 0; i < THREADS; i++) {
		writes += writes_of(i + 1);
		check(!pthread_create(&thread[i], NULL, mix, (void *)(uintptr_t)(i + 1)));
	}
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(thread[i], NULL);
	check_eq(word[0], writes);
	rwlock_fini(&l);
}
