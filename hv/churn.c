// SPDX-License-Identifier: BSD-2-Clause
#include "hv/churn.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "guest/abi.h"
#include "hv/machine.h"
#include "hv/ram.h"
#include "hv/store.h"
#include "hv/thread.h"
#include "hv/vm.h"

/* Host threads stay on the first pages of the region, where guests by default do the same. */
#define COUNTER_PAGES  64u

#define REASON_WAIT_NS 1000000000ull

/*
 * Locks used to protect members:
 *	I	immutable once the thread runs
 *	x	the thread itself, others after the join
 *	o	who starts and joins
 */
struct churn_thread {
	struct churn *churn;			 /* [I] */
	void (*main)(struct churn_thread *self); /* [I] */
	unsigned id;				 /* [I] */
	pthread_t thread;			 /* [o] */
	sigjmp_buf lost;			 /* [x] */
	uint64_t done;				 /* [x] increments, or changes */
};

/*
 * Locks used to protect members:
 *	I	immutable once the first thread runs
 *	o	who starts and joins
 *	s	synchronises itself: see the type. The pages of the views are guest/abi.h's
 */
struct churn {
	const struct machine *m;    /* [I] */
	struct ram *ram;	    /* [s] */
	struct stamp_store *stamps; /* [s] NULL: /work has none */
	struct stop *stop, *finish; /* [s] */
	uint64_t pages;		    /* [I] of /work */
	_Atomic uint64_t *work;	    /* [I] host view of /work */
	struct board *board;	    /* [I] host view, or NULL */
	unsigned nthreads;	    /* [o] */
	struct churn_thread thread[MACHINE_MAX_THREADS + 1];
};

/* This thread, while an access of its own to a view may meet memory that was shut. */
static _Thread_local struct churn_thread *self_or_null;
static struct sigaction old_segv, old_bus; /* immutable after churn_prepare() */

static bool is_within(const void *at, const void *start, uint64_t size)
{
	return start && (uintptr_t)at - (uintptr_t)start < size;
}

/*
 * Memory that was shut under a host thread ends the thread, not the process: vm.c says why it was shut. Any other
 * address is somebody else's.
 */
static void on_fault(int signal, siginfo_t *info, void *context)
{
	const struct sigaction *old = signal == SIGBUS ? &old_bus : &old_segv;
	struct churn_thread *self = self_or_null;

	if (self && (is_within(info->si_addr, self->churn->work, self->churn->m->work.size) ||
		     is_within(info->si_addr, self->churn->board, self->churn->m->board.size)))
		siglongjmp(self->lost, 1);
	if (old->sa_flags & SA_SIGINFO)
		old->sa_sigaction(signal, info, context);
	else if (old->sa_handler != SIG_DFL && old->sa_handler != SIG_IGN)
		old->sa_handler(signal);
	else
		sigaction(signal, old, NULL); /* the access faults again, and kills */
}

static uint64_t next_random(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15u;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

static _Atomic uint64_t *word(const struct churn *c, uint64_t page, unsigned index)
{
	return &c->work[page * WORDS_PER_PAGE + index];
}

static void count_up(struct churn_thread *self)
{
	const struct churn *c = self->churn;
	uint64_t pages = c->pages < COUNTER_PAGES ? c->pages : COUNTER_PAGES, page = self->id;

	while (!stop_is_set(c->finish)) {
		atomic_fetch_add(word(c, page++ % pages, WORD_COUNTER), 1);
		self->done++;
	}
}

/* What the guest's touch workload does, from this side: no stamp is older than its floor. */
static void read_stamps(struct churn_thread *self)
{
	struct churn *c = self->churn;
	uint64_t random = c->m->churn.seed + self->id + 1;

	while (!stop_is_set(c->finish)) {
		uint64_t page = next_random(&random) % c->pages, stamp;
		uint32_t floor = c->board
					 ? __atomic_load_n(&c->board->floor[page], __ATOMIC_ACQUIRE)
					 : 0;

		stamp = atomic_load(word(c, page, WORD_STAMP));
		if (stamp >> 32 == stamp_tag(page) && (uint32_t)stamp >= floor)
			continue;
		stop_because(c->stop, VM_HOST_FAILED, "host view",
			     "page %llu of /work reads stamp 0x%llx, floor is %u: a stale frame",
			     (unsigned long long)page, (unsigned long long)stamp, floor);
		return;
	}
}

static int discard(struct churn *c, uint64_t page, uint64_t n)
{
	int err;

	if (c->board)
		__atomic_fetch_add(&c->board->discards_begun, 1, __ATOMIC_SEQ_CST);
	err = ram_discard(c->ram, RAM_WORK, page, n);
	if (c->board)
		__atomic_fetch_add(&c->board->discards_ended, 1, __ATOMIC_SEQ_CST);
	return err;
}

/* New versions: in the store first, so that a page-in cannot bring an older one than the floor says. */
static void update(struct churn *c, uint64_t page, uint64_t n)
{
	for (uint64_t end = page + n; page < end; page++) {
		uint32_t version = stamp_store_next(c->stamps, page);

		atomic_store(word(c, page, WORD_STAMP), stamp_make(page, version));
		if (c->board)
			__atomic_store_n(&c->board->floor[page], version, __ATOMIC_RELEASE);
	}
}

static int change(struct churn *c, enum machine_churn_op op, uint64_t page, uint64_t n)
{
	int err;

	switch (op) {
	case CHURN_DISCARD:
		return discard(c, page, n);
	case CHURN_WRPROTECT:
		return ram_wrprotect(c->ram, RAM_WORK, page, n);
	case CHURN_ZAP:
		return ram_zap(c->ram, RAM_WORK, page, n);
	case CHURN_REMAP:
		/* Half the time the pages are looked at while away, half they are home again at once. */
		err = ram_remap(c->ram, RAM_WORK, page, n, true);
		if (!err && (page & 1))
			err = ram_remap(c->ram, RAM_WORK, page, n, false);
		return err == -ENOSPC ? ram_remap(c->ram, RAM_WORK, 0, c->pages, false) : err;
	case CHURN_UPDATE:
		if (!c->stamps) /* machine_rules.c lets none pass */
			return -EINVAL;
		update(c, page, n);
		return 0;
	}
	return -EINVAL;
}

static enum machine_churn_op pick_op(unsigned ops, uint64_t random)
{
	unsigned skip = (unsigned)(random % (unsigned)__builtin_popcount(ops));

	while (skip--)
		ops &= ops - 1;
	return ops & -ops;
}

static void churn_pages(struct churn_thread *self)
{
	struct churn *c = self->churn;
	const struct machine_churn *churn = &c->m->churn;
	uint64_t most = churn->pages < c->pages ? churn->pages : c->pages;
	uint64_t random = churn->seed;

	while (!stop_sleep(c->finish, churn->period_us * 1000ull)) {
		uint64_t n = 1 + next_random(&random) % most;
		uint64_t page = next_random(&random) % (c->pages - n + 1);
		enum machine_churn_op op = pick_op(churn->ops, next_random(&random));
		int err = change(c, op, page, n);

		if (err) {
			stop_because(c->stop, VM_HOST_FAILED, "churn",
				     "pages %llu to %llu of /work: %s", (unsigned long long)page,
				     (unsigned long long)(page + n - 1), strerror(-err));
			return;
		}
		self->done++;
	}
}

/* Who shut the memory is about to say why. */
static void lose_memory(struct churn *c)
{
	if (!stop_sleep(c->stop, REASON_WAIT_NS))
		stop_because(c->stop, VM_HOST_FAILED, "host view", "its memory was shut");
}

static void *thread_main(void *arg)
{
	struct churn_thread *self = arg;

	if (self->main == churn_pages)
		thread_set_name("churn");
	else
		thread_set_name("host %u", self->id);
	self_or_null = self;
	if (sigsetjmp(self->lost, 1))
		lose_memory(self->churn);
	else
		self->main(self);
	self_or_null = NULL;
	return NULL;
}

static int start_thread(struct churn *c, void (*entry)(struct churn_thread *), unsigned id)
{
	struct churn_thread *t = &c->thread[c->nthreads];
	int err;

	*t = (struct churn_thread){ .churn = c, .main = entry, .id = id };
	err = -pthread_create(&t->thread, NULL, thread_main, t);
	if (!err)
		c->nthreads++;
	return err;
}

static int prepared;

static void prepare(void)
{
	struct sigaction sa = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO };

	if (sigaction(SIGSEGV, &sa, &old_segv) || sigaction(SIGBUS, &sa, &old_bus))
		prepared = -errno;
}

int churn_prepare(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, prepare);
	return prepared;
}

int churn_start(struct churn **out, const struct machine *m, struct ram *ram,
		struct stamp_store *stamps, struct stop *stop, struct stop *finish)
{
	struct churn *c = calloc(1, sizeof(*c));
	int err = churn_prepare();

	if (!c || err) {
		free(c);
		return err ?: -ENOMEM;
	}
	c->m = m;
	c->ram = ram;
	c->stamps = stamps;
	c->stop = stop;
	c->finish = finish;
	c->work = ram_host_view(ram, RAM_WORK);
	c->board = ram_host_view(ram, RAM_BOARD);
	c->pages = m->work.size / ABI_PAGE_SIZE;
	/* Not through the host view: a fault thread of it may have died, and this thread must not wait for that one. */
	if (c->board)
		err = ram_write(ram, m->board.gpa + offsetof(struct board, work_pages), &c->pages,
				sizeof(c->pages));
	if (err) {
		churn_destroy(c);
		return err;
	}
	if (!c->work) {
		*out = c;
		return 0;
	}
	for (unsigned i = 0; !err && i < m->host.threads; i++)
		err = start_thread(c, stamps ? read_stamps : count_up, i);
	if (!err && m->churn.on)
		err = start_thread(c, churn_pages, 0);
	if (err) {
		stop_orderly(finish);
		churn_join(c);
		churn_destroy(c);
		return err;
	}
	*out = c;
	return 0;
}

void churn_join(struct churn *c)
{
	for (unsigned i = 0; i < c->nthreads; i++)
		pthread_join(c->thread[i].thread, NULL);
}

void churn_destroy(struct churn *c)
{
	free(c);
}

static uint64_t sum_of(const struct churn *c, void (*entry)(struct churn_thread *))
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < c->nthreads; i++)
		if (c->thread[i].main == entry)
			sum += c->thread[i].done;
	return sum;
}

uint64_t churn_increments(const struct churn *c)
{
	return sum_of(c, count_up);
}

uint64_t churn_changes(const struct churn *c)
{
	return sum_of(c, churn_pages);
}
