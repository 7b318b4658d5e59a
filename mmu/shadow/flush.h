/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Flushes: what the table does not say any more goes out of the backend. Nothing else calls the ops that do so; each call is
 * counted (shadow_stats.flushes).
 * Owns nothing. The files of shadow/ call, with the locks that backend.h asks for; they know when.
 */
#ifndef UMBRA_MMU_SHADOW_FLUSH_H
#define UMBRA_MMU_SHADOW_FLUSH_H

#include "mmu/shadow/ept.h"
#include "mmu/shadow/slot.h"

struct shadow;

/*
 * flush_zap - nothing reaches [gfn, end), all in @slot, any more. flush_wrprotect - nobody stores there without asking; only where
 * the backend can (can_wrprotect()). flush_age - the next use asks the table; nothing where the backend caches nothing that
 * would hide one. flush_all - nothing reaches anything; in an RCU section.
 */
void flush_zap(struct shadow *sh, const struct memslot *slot, gfn_t gfn, gfn_t end);
bool can_wrprotect(const struct shadow *sh);
void flush_wrprotect(struct shadow *sh, const struct memslot *slot, gfn_t gfn, gfn_t end);
void flush_age(struct shadow *sh, const struct memslot *slot, gfn_t gfn, gfn_t end);
void flush_all(struct shadow *sh);

#endif
