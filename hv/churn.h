/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the host does to the region /work while the guest runs: threads that load and store through the
 * host view, and one that discards, protects, moves and updates pages.
 * Owns these threads. vm.c starts and stops them. Reaches memory through the host view and hv/ram.h.
 * Does not know vCPUs.
 */
#ifndef UMBRA_HV_CHURN_H
#define UMBRA_HV_CHURN_H

#include <stdint.h>

#include "hv/stop.h"

struct churn;
struct machine;
struct ram;
struct stamp_store;

/*
 * churn_prepare - catch what the threads meet when memory is shut under them: once a process, before ram_create(), whose
 * sources of the host view take the same signals and hand on what they refuse. 0 or the errno of sigaction().
 */
int churn_prepare(void);

/*
 * churn_start - start what @m asks for. Threads end by themselves once @finish is set; what goes wrong
 * is reported to @stop. @stamps is NULL unless /work is stamped. 0 or -errno.
 */
int churn_start(struct churn **out, const struct machine *m, struct ram *ram,
		struct stamp_store *stamps, struct stop *stop, struct stop *finish);

/* churn_join - wait for the threads, @finish being set. */
void churn_join(struct churn *churn);
void churn_destroy(struct churn *churn);

/* After churn_join(): increments that host threads did, and changes that were made. */
uint64_t churn_increments(const struct churn *churn);
uint64_t churn_changes(const struct churn *churn);

#endif /* UMBRA_HV_CHURN_H */
