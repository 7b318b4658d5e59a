/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A rig whose region has an audit, and what tests of raw system calls ask about its pages.
 * Owns: the rig. Who may call: tests of mmu/.
 * May not know: KVM, hv/.
 */
#ifndef UMBRA_TESTS_RIG_AUDIT_H
#define UMBRA_TESTS_RIG_AUDIT_H

#include "tests/rig.h"

extern struct rig audited;

void audited_up(enum hostmm_source source, uint64_t pages);
void audited_down(void);

/* A test under each of the two sources that have events, with 64 pages. */
#define ATEST(name)                                       \
	static void name(void);                           \
	UTEST(audit, name##_uffd, .fini = audited_down)   \
	{                                                 \
		audited_up(HOSTMM_SOURCE_UFFD, 64);       \
		name();                                   \
	}                                                 \
	UTEST(audit, name##_sigbus, .fini = audited_down) \
	{                                                 \
		audited_up(HOSTMM_SOURCE_SIGBUS, 64);     \
		name();                                   \
	}                                                 \
	static void name(void)

/* Once all that has happened is followed. */
struct hostmm_stats raw_stats(void);

/* The place of a page in the host view. */
void *host_page(uint64_t page);
/* The first word of a page of any view. */
uint64_t load_from(char *view, uint64_t page);
void store_to(char *view, uint64_t page, uint64_t value);
/* Store 100 + page to pages [page, end). */
void stamp_pages(uint64_t page, uint64_t end);

/* Neither a guest nor hostmm_read() finds the page; both guest and host threads find @want there. */
void check_gone(uint64_t page);
void check_there(uint64_t page, uint64_t want);

/* Memory of others. */
char *anon_pages(uint64_t pages);

#endif
