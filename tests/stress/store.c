// SPDX-License-Identifier: BSD-2-Clause
/* A store in memory. Who hands a page over and who fills it take turns: that is the library's promise, and is not checked here. */
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "tests/stress/stress.h"

struct store {
	char *image;
	size_t bytes;
	atomic_bool refuses;
	_Atomic uint64_t written; /* pages */
};

/* What is written back may be stored to meanwhile: no sanitizer looks along. */
static void copy(void *to, const void *from, uint64_t npages)
{
	size_t bytes = npages << PAGE_SHIFT;

	__asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(bytes) : : "memory");
}

static int fill(void *ctx, uint64_t page, void *dst, uint64_t npages)
{
	const struct store *s = ctx;

	copy(dst, s->image + (page << PAGE_SHIFT), npages);
	return 0;
}

static int writeback(void *ctx, uint64_t page, const void *src, uint64_t npages)
{
	struct store *s = ctx;

	if (atomic_load(&s->refuses))
		return -EIO;
	copy(s->image + (page << PAGE_SHIFT), src, npages);
	atomic_fetch_add(&s->written, npages);
	return 0;
}

const struct pager_ops store_ops = { .fill = fill, .writeback = writeback };

struct store *store_create(uint64_t pages)
{
	struct store *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->bytes = pages << PAGE_SHIFT;
	s->image = mmap(NULL, s->bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (s->image == MAP_FAILED) {
		free(s);
		return NULL;
	}
	return s;
}

void store_destroy(struct store *s)
{
	munmap(s->image, s->bytes);
	free(s);
}

void store_refuse(struct store *s, bool refuses)
{
	atomic_store(&s->refuses, refuses);
}

uint64_t store_written(const struct store *s)
{
	return atomic_load(&s->written);
}

void store_check(struct world *w, uint64_t page, uint64_t end)
{
	for (; page < end; page++) {
		const uint64_t *has = (const void *)(w->store->image + (page << PAGE_SHIFT));
		const uint64_t *view = (const void *)(uintptr_t)world_hva(w, page);

		for (unsigned word = 0; word < PAGE_SIZE / sizeof(*has); word++) {
			uint64_t value = 0;

			if (!access_load(&view[word], &value))
				fail(ORACLE_ERROR, page, "writeback: the host view was shut");
			if (value != has[word])
				fail(ORACLE_STORE, page,
				     "word %u of page %lu is %#lx, and was written back as %#lx",
				     word, page, value, has[word]);
		}
	}
}
