/* SPDX-License-Identifier: BSD-2-Clause */
/* The checksum of a page. Compiled without TSan: it reads what guests store to, and who compares it knows. */
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "mmu/host/ksm_priv.h"

uint64_t ksm_hash(const void *page)
{
	uint64_t sum = XXH3_64bits(page, PAGE_SIZE);

	return sum > KSM_FRESH ? sum : sum + 2;
}
