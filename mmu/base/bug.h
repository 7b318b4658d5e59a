/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Broken invariants end in one handler. On in every profile; the condition must have no side effect.
 * Owns the handler pointer. The embedder installs one (hv dumps the trace ring, a test fails).
 * Knows nothing above mmu/base.
 */
#ifndef UMBRA_MMU_BASE_BUG_H
#define UMBRA_MMU_BASE_BUG_H

typedef void (*bug_handler_t)(const char *file, int line, const char *what);

/*
 * bug_set_handler - install the function that reports a broken invariant.
 * A NULL handler restores the default, abort(). If the handler returns, abort() follows. Any context; not
 * synchronised with a bug in flight, so call it before threads start.
 */
void bug_set_handler(bug_handler_t handler);

_Noreturn void bug_report(const char *file, int line, const char *what);

#define bug_on(cond)                                           \
	do {                                                   \
		if (__builtin_expect(!!(cond), 0))             \
			bug_report(__FILE__, __LINE__, #cond); \
	} while (0)

#endif
