/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A machine without a machine: pool, host mm, one region, a window on it. Threads that load and store in the
 * window are its vCPUs. And gates, at which a thread stops until the test lets it on: schedules without sleeping.
 * Owns: nothing but what rig_up() builds. Who may call: tests of mmu/.
 * May not know: KVM, hv/.
 */
#ifndef UMBRA_TESTS_RIG_H
#define UMBRA_TESTS_RIG_H

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "mmu/shadow/window.h"

/*
 * A place to stop. gate_arm() before; a thread that comes to gate_pass() while the gate is armed stays there until
 * gate_open(). gate_wait() returns when one has come. An open gate lets everybody through.
 */
struct gate {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool armed;
	unsigned arrived;
};

#define GATE_INIT                                                                      \
	{                                                                              \
		.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER \
	}

void gate_arm(struct gate *g);
void gate_pass(struct gate *g);
void gate_wait(struct gate *g);
void gate_open(struct gate *g);

/* What to build. Zero is a default: 64 pages, read and write, zeros, four threads a side. */
struct rig_opts {
	uint64_t pool_frames; /* 0: twice the pages and 64 */
	uint64_t pages;
	unsigned prot;
	const struct pager_ops *pager;
	void *pager_ctx;
	bool canary;
	unsigned around, max_level; /* struct shadow_opts */
	bool no_change_pte;
	uint64_t gfn; /* of slot 1; 0: RIG_GFN */
	unsigned slot_flags;
	unsigned threads;
	bool no_slot;
	enum hostmm_source source; /* zero: rig_source() */
	bool audit;		   /* rig_audit(), if source is zero */
};

/*
 * The source of the host view that tests run with: that of the environment's RIG_SOURCE, or UFFD. With -audit behind it: audited; with
 * -old: uffd_act_old() has been called before the first test.
 */
enum hostmm_source rig_source(void);
bool rig_audit(void);
/*
 * Does showing a page for loads pass through the gap (Linux before 6.4, source uffd)? Then a load of a host thread from a page that
 * others share counts as a store.
 */
bool rig_loads_store(void);

#define RIG_GFN 0x100UL /* where slot 1 begins */

struct rig {
	struct pool *pool;
	struct hostmm *mm;
	struct shadow *shadow;
	struct window *window;
	uint64_t pages;
	hva_t hva;
	char *host;  /* the host view */
	char *guest; /* the window under slot 1 */

	struct gate in_backend; /* for rig_stop() */
	/* Called by the backend of the rig, if set, before and after the window's own function. */
	void (*_Atomic before_map)(struct rig *r, uint64_t page, uint64_t n);
	void (*_Atomic after_map)(struct rig *r, uint64_t page, uint64_t n);
	void (*_Atomic before_zap)(struct rig *r, uint64_t page, uint64_t n);
	void (*_Atomic after_zap)(struct rig *r, uint64_t page, uint64_t n);
	void (*_Atomic before_age)(struct rig *r, uint64_t page, uint64_t n);
	bool damaged;	      /* the test leaves something wrong behind: rig_down() does not look */
	atomic_int map_error; /* not 0: map fails with this, without calling the window */
	atomic_bool map_half; /* ... after it has mapped the first half of the pages */
	atomic_int writable_error, restore_error; /* the same of make_writable, restore */
	atomic_uint maps, zaps, ages, wakes, wrprotects, zap_alls;

	/* What the window and the host mm complained of. */
	atomic_uint window_fatal, host_fatal;
	atomic_int window_error, host_error;
};

/*
 * Build it, or skip the test where userfaultfd may not be used. rig_down() runs the checker, and sees that nothing is left
 * in use; it does nothing for a rig that was skipped or never built.
 */
void rig_up(struct rig *r, const struct rig_opts *opts);
void rig_down(struct rig *r);

/* The word at @offset bytes of @page in a view (r->host, r->guest). */
static inline _Atomic uint64_t *rig_word(char *view, uint64_t page, unsigned offset)
{
	return (_Atomic uint64_t *)(void *)(view + (page << 12) + offset);
}

/*
 * What a guest does: instructions, not memory accesses of this program. The sanitizers cannot see that userfaultfd
 * stops them, and would take a change of the mapping for a race with them.
 */
static inline uint64_t rig_load(const _Atomic uint64_t *word)
{
	uint64_t value;

	__asm__ volatile("mov (%1), %0" : "=r"(value) : "r"(word) : "memory");
	return value;
}

static inline void rig_store(_Atomic uint64_t *word, uint64_t value)
{
	__asm__ volatile("mov %1, (%0)" : : "r"(word), "r"(value) : "memory");
}

static inline uint64_t rig_add(_Atomic uint64_t *word, uint64_t value)
{
	__asm__ volatile("lock xadd %0, (%1)" : "+r"(value) : "r"(word) : "memory", "cc");
	return value;
}

/*
 * What a vCPU does when its access fails: if the window was in a gap (window_repoints()), wait and try again. Else it
 * ends the test's process: the window was shut.
 */
uint64_t rig_guest_add(struct rig *r, _Atomic uint64_t *word, uint64_t value);
void rig_guest_store(struct rig *r, _Atomic uint64_t *word, uint64_t value);

/* The range of pages as host addresses. */
static inline hva_t rig_hva(const struct rig *r, uint64_t page)
{
	return r->hva + (page << 12);
}

/* The leaf of the table, the frame that the host has: FN_NONE for none. */
fn_t rig_frame(struct rig *r, uint64_t page);

/* Wait for a complaint: it comes after the access has failed. */
static inline void rig_wait(const atomic_uint *fatal)
{
	while (!atomic_load(fatal))
		sched_yield();
}

/* For before_map and the like: stop at in_backend, if it is armed. */
void rig_stop(struct rig *r, uint64_t page, uint64_t n);

/*
 * Until a writer waits at the lock itself, which the caller holds for reading: from then on not even a reader gets it. That it has
 * said so (waiting) is not enough, it may still be trying.
 */
static inline void rig_wait_writer(struct rwlock *l)
{
	while (!pthread_rwlock_tryrdlock(&l->shard[0].rwlock)) {
		pthread_rwlock_unlock(&l->shard[0].rwlock);
		sched_yield();
	}
}

/* Fails the test unless table, slots and hptes agree. Nothing may be under way. */
void rig_check(struct rig *r);

/* Run @fn(@arg) in a thread; join with rig_join(), which returns what it returned. */
pthread_t rig_thread(void *(*fn)(void *), void *arg);
void *rig_join(pthread_t t);

/* Load or store a word where that may end in SIGSEGV: false if it did. Any thread; handlers are set at first use. */
bool rig_try_load(_Atomic uint64_t *word, uint64_t *value);
bool rig_try_store(_Atomic uint64_t *word, uint64_t value);

/* Seconds that a stress test may take: @normal, or STRESS_SECONDS of the environment. */
double rig_seconds(double normal);
double rig_now(void);

/* A small generator of numbers, one state a thread. */
uint64_t rig_random(uint64_t *state);

#endif
