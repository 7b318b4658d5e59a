// SPDX-License-Identifier: BSD-2-Clause
#include "guest/xxh3.h"

#define XXH_INLINE_ALL
#define XXH_VECTOR 0 /* XXH_SCALAR */
#include <xxhash.h>

struct digest xxh3_scalar(const void *buf, uint64_t len)
{
	XXH128_hash_t hash = XXH3_128bits(buf, len);

	return (struct digest){ .high = hash.high64, .low = hash.low64 };
}
