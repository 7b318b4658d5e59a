/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * umbra-stress: players load and store (guest/play.h), actors change what lies beneath, oracles say what may never be.
 * Owns: nothing; the parts of a run are here. main.c makes one world a scenario and counts what it did.
 * Who may call: tests/stress/ only. May not know how the library does what it promises: players go through views, windows
 * and devices, never through hostmm_read() or the direct map.
 */
#ifndef UMBRA_TESTS_STRESS_STRESS_H
#define UMBRA_TESTS_STRESS_STRESS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "guest/abi.h"
#include "guest/play.h"
#include "mmu/host/hostmm_actors.h"
#include "mmu/host/ksm.h"
#include "mmu/shadow/device.h"
#include "mmu/shadow/window.h"
#include "tests/leak.h"

/* What may be found wrong: what a player finds, and after that what others do. */
enum oracle {
	ORACLE_SUM = PLAY_ORACLES, /* counters do not add up: increments were lost */
	ORACLE_FORK,		   /* a child does not hold what the parent held, or has changed */
	ORACLE_SIDE, /* a page that was discarded, cut, moved ... holds something else than it must */
	ORACLE_DIRTY,	/* a store in no dirty log */
	ORACLE_STORE,	/* what was written back is not what the pages hold */
	ORACLE_CHECKER, /* tables, TLBs and primary disagree */
	ORACLE_ACCOUNT, /* something is left over, or gone */
	ORACLE_ERROR,	/* an operation or access failed that must not */
	ORACLE_BUG,	/* a broken invariant of the library, a deadly signal */
	ORACLE_STUCK,	/* no progress */
	ORACLES
};

struct stress_opts {
	double seconds; /* of each scenario */
	uint64_t seed;
	enum hostmm_source source;
	uint64_t memory; /* MiB that the players share */
	unsigned vcpus, threads;
	const char *device; /* a profile; NULL: one of each that is good */
	bool no_kvm, check, json, quiet;
	unsigned mutant;
	bool arms; /* of the mutant: all */
};

struct world;

/* ---- What there is: scenarios.c ---- */

/* Changes something, once. 0, or -errno: a failure of the scenario. */
typedef int (*actor_fn)(struct world *w, uint64_t *random);

struct actor {
	const char *name;
	actor_fn act;	   /* NULL: nobody has written it, and the scenario says so */
	unsigned pause_us; /* between two acts */
};

#define SCENARIO_ACTORS 32

struct scenario {
	const char *name;
	bool side; /* it changes pages that lose their contents or rights: the side region, which devices read */
	bool swap;    /* the pool has a backing file, too small for all pages */
	bool store;   /* the players' pages come from a store and go to it: store.c */
	bool service; /* equal pages are looked for: service.c */
	bool audit; /* others make system calls on host views, which are followed where the source tells */
	const char *
		missing; /* not NULL: what is not there yet; the scenario fails, having run what there is */
	struct actor actor[SCENARIO_ACTORS]; /* ends without a name */
	const char *says;
};

extern const struct scenario scenarios[]; /* the last has no name */

/* ---- A world ---- */

#define STRESS_GFN   (0x80000000UL >> PAGE_SHIFT) /* of the players' pages in the guest */
#define STRESS_SLOT  2				  /* hv/ram.h: RAM_WORK */
#define SIDE_PAGES   96u
#define STRESS_PORTS 16	  /* devices */
#define POISON_MOST  256u /* frames that a run makes unusable */

enum player_kind { PLAYER_VCPU, PLAYER_WINDOW, PLAYER_HOST, PLAYER_DEVICE };

/*
 * Locks used to protect members:
 *	I	immutable once threads run
 *	t	the player's own thread; others while it is stopped (pause.c)
 *	a	atomic
 *	p	world.pause_lock
 */
struct player {
	struct world *w;	   /* [I] */
	enum player_kind kind;	   /* [I] */
	char name[24];		   /* [I] */
	pthread_t thread;	   /* [I] */
	_Atomic int tid;	   /* [a] */
	char *view;		   /* [I] host view or window */
	struct device *dev, *side; /* [I] of a device */
	struct play play;	   /* [t] not of a vCPU: its own is in the guest */
	void *memory;		   /* [I] */
	uint64_t word;		   /* [t] the last request that was seen */
	uint64_t acked;		   /* [p] */
	bool is_waiting;	   /* [p] */
	_Atomic uint64_t adds, operations;
	_Atomic uint64_t page; /* [a] last one touched */
};

struct acting {
	struct world *w;	     /* [I] */
	const struct actor *actor;   /* [I] */
	pthread_t thread;	     /* [I] */
	_Atomic int tid;	     /* [a] */
	_Atomic uint64_t operations; /* [a] */
};

/* What a side page holds; see side.c. */
struct side_page {
	_Atomic uint64_t changes; /* odd: under way */
	_Atomic uint64_t value;
};

struct guest_run; /* vcpus.c */
struct store;	  /* store.c */

struct world {
	const struct stress_opts *o;
	const struct scenario *scenario;
	uint64_t keep, twins, pages;

	struct pool *pool;
	struct hostmm *mm;
	struct shadow *shadow;	 /* of the guest */
	struct window *window;	 /* NULL with KVM: hv has it */
	struct guest_run *guest; /* NULL without KVM */
	struct store *store;	 /* NULL: the scenario has none */
	struct ksm *ksm;	 /* likewise */
	hva_t hva, side;
	uint32_t *floor;
	struct board *board; /* NULL without KVM */
	struct player player[PLAY_MAX];
	unsigned players;
	struct acting acting[SCENARIO_ACTORS];
	unsigned actors;
	struct side_page side_page[SIDE_PAGES];
	pthread_rwlock_t
		changing; /* for reading by each act; who compares everything has it for writing */
	pthread_mutex_t side_lock;	  /* one change of side pages at a time */
	struct hostmm_children *children; /* where system calls are made on views; or NULL */
	uint64_t side_stamp;		  /* [side_lock] */

	/* pause.c */
	pthread_mutex_t pause_lock, pauser;
	pthread_cond_t pause_changed;
	_Atomic uint64_t request; /* written under pause_lock */
	unsigned acks;		  /* [pause_lock] */

	atomic_bool actors_end, players_end, started;
	double begin;
	struct leak_snapshot before;
};

/* What a scenario came to. */
struct tally {
	const char *scenario;
	double seconds;
	uint64_t operations, faults, retries, merges, refaults_spared;
	uint64_t swapped_out, swapped_in, written_back, poisoned;
	uint64_t stale_reads, lost_writes, leaks;
	const char *missing;
	bool failed;
};

/* world.c. A failure does not return: fail.c. -errno of what the host refuses before anything ran. */
int world_run(struct world *w, struct tally *t);
void world_count(struct world *w, struct tally *t);
uint64_t world_spare(const struct world *w); /* frames beyond twice what the players' pages need */
uint64_t world_operations(const struct world *w);
bool world_has_kvm(void);
static inline hva_t world_hva(const struct world *w, uint64_t page)
{
	return w->hva + (page << PAGE_SHIFT);
}
static inline hva_t side_hva(const struct world *w, uint64_t page)
{
	return w->side + (page << PAGE_SHIFT);
}

/* players.c */
int players_create(struct world *w);
void players_start(struct world *w);
void players_join(struct world *w);
void players_destroy(struct world *w);
/* play_ops.wrong: does not return. */
void player_wrong(void *ctx, enum play_oracle oracle, uint64_t page, uint64_t got, uint64_t want);

/* access.c: an access where memory may be shut or in a gap. False: it was not possible. */
void access_prepare(void);
bool access_load(const void *at, uint64_t *value);
bool access_store(void *at, uint64_t value);
bool access_add(void *at, uint64_t value);

/* pause.c: stop all players (or have them load only) until pause_end(). One at a time; sums are exact within. */
enum pause_how { PAUSE_RUN, PAUSE_QUIET, PAUSE_STOP };
void pause_begin(struct world *w, enum pause_how how);
void pause_end(struct world *w);
/* By a player whose word differs from the request. True: load only. */
bool pause_here(struct player *p);

/* vcpus.c: the guest of the world. */
int vcpus_create(struct world *w);
void vcpus_start(struct world *w);
void vcpus_join(struct world *w);
int vcpus_end(struct world *w);

/* check.c: nobody may change anything. */
void check_sums(struct world *w);
void check_tables(struct world *w);
void check_frames(struct world *w);

/* side.c */
int side_create(struct world *w);
void side_destroy(struct world *w);
void side_read(struct player *p, uint64_t *random);

/*
 * store.c: where the players' pages come from and go to, in place of a file. store_refuse() - it takes no page as long as
 * @refuses. store_check() - with all players stopped: it has what the host view shows of pages [page, end).
 */
extern const struct pager_ops store_ops; /* for a struct store */
struct store *store_create(uint64_t pages);
void store_destroy(struct store *s);
void store_refuse(struct store *s, bool refuses);
uint64_t store_written(const struct store *s);
void store_check(struct world *w, uint64_t page, uint64_t end);

/*
 * service.c: who looks for equal pages by itself. service_settle() - it stands still, until it is started again, and keeps no
 * frame that no page has. All players and actors are stopped.
 */
int service_create(struct world *w);
void service_settle(struct world *w);
void service_destroy(struct world *w);

/* fail.c: the first failure ends the program. */
void fail_prepare(const struct stress_opts *o);
void fail_enter(struct world *w);
_Noreturn void fail(enum oracle oracle, uint64_t page, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
extern const char *const oracle_name[ORACLES];
const char *source_name(enum hostmm_source source);
double cpu_share(void); /* share.c: that the process gets of what it asks for, 0..1 */
void watchdog_start(struct world *w);
void watchdog_stop(struct world *w);
double stress_now(void);

/* json.c */
void tally_print(const struct stress_opts *o, const struct tally *t, unsigned n, const char *error);
extern struct tally tallies[32];
extern unsigned ntallies;

#endif
