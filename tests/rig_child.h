/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A rig whose process forks, and how its children say what they found. In a child there is one thread of many, and locks of others are
 * held for ever: it allocates nothing, and looks at memory by instructions and system calls.
 * Owns: the rig, and what it has of hostmm_children. Who may call: tests of mmu/.
 * May not know: KVM, hv/.
 */
#ifndef UMBRA_TESTS_RIG_CHILD_H
#define UMBRA_TESTS_RIG_CHILD_H

#include <sys/types.h>

#include "mmu/host/child.h"
#include "tests/rig.h"

extern struct rig forking;
extern struct hostmm_children *children;

/* 64 pages, of which [0, 32) hold 100 + page in their first and last words; the others were never touched. */
#define CHILD_PAGES   64u
#define CHILD_STAMPED 32u

void forking_up(enum hostmm_source source, bool audit);
void forking_down(void);
/* The same of a rig that is up already. */
void forking_begin(void);

/* A pager whose words are all CHILD_FILLED; page 50 waits at the gate, if that is armed. */
#define CHILD_FILLED 0x0101010101010101
extern const struct pager_ops gated_pager;
extern struct gate in_pager;

/* The same with a region of @pager's, which begins untouched. */
void forking_up_pager(const struct pager_ops *pager);
/* For a test whose rig is in another process: skip it where there is no userfaultfd. */
void need_userfaultfd(void);

#define CTEST_WITH(suite, name, kind, source, audit)      \
	UTEST(suite, name##_##kind, .fini = forking_down) \
	{                                                 \
		forking_up(source, audit);                \
		name();                                   \
	}

/* A test under each source, and with an audit where there is one. */
#define CTEST(suite, name)                                                \
	static void name(void);                                           \
	CTEST_WITH(suite, name, uffd, HOSTMM_SOURCE_UFFD, false)          \
	CTEST_WITH(suite, name, sigbus, HOSTMM_SOURCE_SIGBUS, false)      \
	CTEST_WITH(suite, name, mprotect, HOSTMM_SOURCE_MPROTECT, false)  \
	CTEST_WITH(suite, name, audit, HOSTMM_SOURCE_UFFD, true)          \
	CTEST_WITH(suite, name, audit_sigbus, HOSTMM_SOURCE_SIGBUS, true) \
	static void name(void)

/*
 * child_fork - run @fn in a child, which ends with 0 when that returns. Signals there have their defaults, and SIGALRM after a minute.
 * child_passes - it has ended so. child_dies_by - by that signal. child_is_refused - by one that says that a page cannot be had. childs(cond) - in the child: else it ends with an error and says where.
 */
pid_t child_fork(void (*fn)(void));
void child_passes(pid_t pid);
void child_dies_by(pid_t pid, int sig);
void child_is_refused(pid_t pid);
void child_failed(const char *file, int line, const char *what) __attribute__((noreturn));
#define childs(cond)                                             \
	do {                                                     \
		if (!(cond))                                     \
			child_failed(__FILE__, __LINE__, #cond); \
	} while (0)

/* One lets the other go on: bytes in a pipe, in the order of step numbers. Both ends may be in any process. */
void step_done(unsigned step);
void step_wait(unsigned step);
bool step_is_done(unsigned step);
void close_all_but_steps(void);

/* Called in fork(3), between the library's own steps: after what it does before, and before what it does in the child. */
extern void (*between_prepare)(void), (*before_own)(void);

/* Of a page of the view: may a system call load from it, or store to it? Only of a page that is there already, or never will be. */
bool call_loads(uint64_t page);
bool call_stores(uint64_t page);

uint64_t child_load(uint64_t page);
void child_store(uint64_t page, uint64_t value);

/* As the child has them: what forking_up() has made. */
void child_finds_stamps(uint64_t page, uint64_t end);
/* For child_fork(): all stamps; after step 0 those, and zeros in all other pages. */
void child_finds_all(void);
void child_finds_all_later(void);
/* ... of the parent's, by its guest. */
void guest_stamps(uint64_t page, uint64_t end, uint64_t base);

struct hostmm_children_stats child_stats(void);
/* Until no child is served. */
void wait_unserved(void);

#endif
