/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A bell: a page that is watched for nothing but being touched. Whoever reads a blocking userfaultfd reads that, too, so those who wait
 * there can be told something without a second descriptor, and a poll(2) before each read(2).
 * Owns the page. The fault threads have one. Knows nothing of what is told.
 */
#ifndef UMBRA_MMU_HOST_BELL_H
#define UMBRA_MMU_HOST_BELL_H

#include "mmu/host/uffd.h"

struct bell {
	struct uffd *uffd;
	void *page;
};

/* bell_init - 0, or the errno of mmap or UFFDIO_REGISTER. @u outlives it. bell_fini - silent, or nobody rings. */
int bell_init(struct bell *bell, struct uffd *u);
void bell_fini(struct bell *bell);

/* bell_ring - until it is silent. bell_is_rung - is that the fault of who rings? */
void bell_ring(const struct bell *bell);
bool bell_is_rung(const struct bell *bell, const struct uffd_fault *fault);
/*
 * bell_pass - who has heard it lets another one hear it. Nothing if nobody rings.
 * bell_silence - for good: who rings goes on, and nobody hears it any more.
 */
void bell_pass(const struct bell *bell);
void bell_silence(const struct bell *bell);

#endif
