// SPDX-License-Identifier: BSD-2-Clause
#include "hv/store.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "guest/abi.h"

int file_store_fill(void *ctx, uint64_t page, void *dst, uint64_t npages)
{
	const struct file_store *store = ctx;
	uint64_t at = page * ABI_PAGE_SIZE, len = npages * ABI_PAGE_SIZE, have, done = 0;

	have = at >= store->bytes ? 0 : store->bytes - at < len ? store->bytes - at : len;
	while (done < have) {
		ssize_t n = pread(store->fd, (char *)dst + done, have - done, (off_t)(at + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return -EIO;
		done += (uint64_t)n;
	}
	memset((char *)dst + have, 0, len - have);
	return 0;
}

int stamp_store_init(struct stamp_store *store, uint64_t npages)
{
	/* Versions are 0 until a page is updated: sparse. */
	store->npages = npages;
	store->version = mmap(NULL, npages * sizeof(*store->version), PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	return store->version == MAP_FAILED ? -ENOMEM : 0;
}

void stamp_store_fini(struct stamp_store *store)
{
	munmap(store->version, store->npages * sizeof(*store->version));
}

int stamp_store_fill(void *ctx, uint64_t page, void *dst, uint64_t npages)
{
	const struct stamp_store *store = ctx;
	uint64_t *word = dst;

	memset(dst, 0, npages * ABI_PAGE_SIZE);
	for (uint64_t i = 0; i < npages; i++, word += WORDS_PER_PAGE)
		word[WORD_STAMP] = stamp_make(page + i, atomic_load(&store->version[page + i]));
	return 0;
}

uint32_t stamp_store_next(struct stamp_store *store, uint64_t page)
{
	return atomic_fetch_add(&store->version[page], 1) + 1;
}
