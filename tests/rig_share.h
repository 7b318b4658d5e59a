/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What tests of pages that share a frame do: stores by each means, and owners, threads that see every change of their page.
 * Owns the owners that run. Who may call: tests of mmu/. May not know: KVM, hv/.
 */
#ifndef UMBRA_TESTS_RIG_SHARE_H
#define UMBRA_TESTS_RIG_SHARE_H

#include "tests/rig_fork.h"

/* Store to the first word of @page by a copy of the host mm. */
void rig_put(struct rig *r, uint64_t page, uint64_t value);

/*
 * Pages 0 to 3 have 7 and share a frame. Store to one after the other, by a copy, by the host or by the guest: each store reaches that
 * page, and no other.
 */
enum rig_store { RIG_COPIES, RIG_HOST_STORES, RIG_GUEST_STORES };
void rig_store_reaches_one(struct rig *r, enum rig_store by);

/*
 * Threads that own pages 0 to OWNERS - 1, every third through the host view: each stores one of three values to its page and looks
 * @looks times whether it has it, until they are stopped. Nobody else stores to these pages.
 */
#define OWNERS 6
void owners_start(struct rig *r, unsigned looks);
void owners_stop(void);

#endif
