/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Traps: ranges in which a fault is resolved by the thread that has it, in its handler of SIGSEGV and SIGBUS.
 * Owns both handlers of the process from the first trap on. source.c sets traps. Knows no pages.
 *
 * A fault is synchronous: the interrupted code is the very load or store. It stands in no code of this library, which
 * touches no view, so it holds none of its locks, and the handler may take them, sleep and allocate like any thread. All
 * signals are blocked meanwhile. What remains forbidden is a handler of the embedder's own that touches a region after it
 * has interrupted a call into the library: that ends in bug_report(), since locks know their holder.
 *
 * Faults elsewhere, and those that cannot be resolved, go to whoever had the signal before.
 */
#ifndef UMBRA_MMU_HOST_TRAP_H
#define UMBRA_MMU_HOST_TRAP_H

#include "mmu/base/addr.h"
#include "mmu/base/sync.h"

struct trap {
	hva_t start, end; /* set by the caller, as the next three; constant while the trap is set */
	/* Asked, whatever the address, for a SIGBUS that no other trap resolves: memory may have been moved there just now. */
	bool is_stray;
	/*
	 * required. Make the access possible. 0, or -errno: it is not to be. No lock held (is_stray: that of all such traps, for
	 * reading), any thread, signals blocked.
	 */
	int (*resolve)(void *ctx, hva_t addr, bool write);
	void *ctx;
	_Atomic(struct trap *)
		next; /* private; written under trap.c's lock, read in an RCU section */
};

/*
 * trap_add - faults in [start, end) are resolved from now on. 0, or the errno of sigaction().
 * trap_remove - on return nobody looks at *@t any more; resolve() may still be running, but for is_stray. Not under a lock that resolve()
 * takes, nor in an RCU section.
 */
int trap_add(struct trap *t);
void trap_remove(struct trap *t);

#endif
