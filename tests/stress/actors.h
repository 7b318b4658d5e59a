/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The actors: each changes something once, its choices from @random. scenarios.c says which act together.
 * Owns: nothing. Who may call: world.c by way of scenarios.c. May not know the players.
 */
#ifndef UMBRA_TESTS_STRESS_ACTORS_H
#define UMBRA_TESTS_STRESS_ACTORS_H

#include <sys/types.h>

#include "tests/stress/stress.h"

/* Up to @most of the players' pages, anywhere. */
void pick_pages(const struct world *w, uint64_t *random, uint64_t most, hva_t *start, hva_t *end);

/* actors.c: contents and rights of the players' pages stay. */
int act_zap(struct world *w, uint64_t *random);
int act_wrprotect(struct world *w, uint64_t *random);
int act_migrate(struct world *w, uint64_t *random);
int act_merge(struct world *w, uint64_t *random);
int act_unmerge(struct world *w, uint64_t *random);
int act_collapse(struct world *w, uint64_t *random);
int act_split(struct world *w, uint64_t *random);
int act_age(struct world *w, uint64_t *random);
int act_private(struct world *w, uint64_t *random);
int act_recover(struct world *w, uint64_t *random);

/* actor_reclaim.c: contents and rights stay here, too */
int act_reclaim(struct world *w, uint64_t *random);
int act_writeback(struct world *w, uint64_t *random);

/* service.c */
int act_service(struct world *w, uint64_t *random);

/* actor_poison.c: of the side region */
int act_poison(struct world *w, uint64_t *random);

/* actor_fork.c. fork_looking - a process that looks at its copy of the players' pages, and by @look. Its pid, or -1. */
int act_fork(struct world *w, uint64_t *random);
pid_t fork_looking(struct world *w, uint64_t *random, void (*look)(struct world *w));

/* actor_side.c: of the side region, but for _quiet */
int act_discard(struct world *w, uint64_t *random);
int act_truncate(struct world *w, uint64_t *random);
int act_protect(struct world *w, uint64_t *random);
int act_protect_quiet(struct world *w, uint64_t *random);
int act_move(struct world *w, uint64_t *random);
int act_zero(struct world *w, uint64_t *random);
int act_store(struct world *w, uint64_t *random);

/* actor_raw.c: by system calls on host views; and fork(2) */
int act_raw(struct world *w, uint64_t *random);
int act_child(struct world *w, uint64_t *random);

/* actor_shadow.c: the slots and the dirty logs of secondaries */
int act_slots(struct world *w, uint64_t *random);
int act_dirty(struct world *w, uint64_t *random);
int act_attach(struct world *w, uint64_t *random);
int act_zap_all(struct world *w, uint64_t *random);

/* Players are compared with what the pages hold while all are stopped. */
int act_sums(struct world *w, uint64_t *random);

#endif
