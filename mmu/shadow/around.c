/* SPDX-License-Identifier: BSD-2-Clause */
#include "mmu/shadow/around.h"

#include <string.h>

#include "mmu/shadow/shadow.h"

/* Present neighbours cost a fraction of the fault that finding them later would, so take some always. */
#define AROUND_PRESENT 16u
#define AROUND_GROWTH  4u

void around_init(struct around *around, unsigned fixed)
{
	memset(around, 0, sizeof(*around));
	around->fixed = fixed;
	lock_init(&around->lock);
}

void around_fini(struct around *around)
{
	lock_fini(&around->lock);
}

/* The stream that @gfn continues, or the one longest unused, with pages 0, to begin anew. */
static struct around_stream *find_stream(struct around *around, gfn_t gfn)
{
	struct around_stream *oldest = &around->stream[0];

	for (unsigned i = 0; i < AROUND_STREAMS; i++) {
		struct around_stream *s = &around->stream[i];

		/* A reader may have skipped a little: present pages at the seam. */
		if (s->pages && gfn >= s->next && gfn - s->next <= s->pages)
			return s;
		if (s->used < oldest->used)
			oldest = s;
	}
	oldest->pages = 0;
	return oldest;
}

/*
 * Where the batch for a fault at @gfn ends: 1 page for one out of the blue, then 4, 16, 64, 256, 512 as the faults run
 * on. It ends at a multiple of the largest batch, so that batches stay within one table.
 */
static gfn_t stream_end(struct around *around, gfn_t gfn)
{
	gfn_t end, stop = (gfn / SHADOW_AROUND_MAX + 1) * SHADOW_AROUND_MAX;
	struct around_stream *s;

	lock_acquire(&around->lock);
	s = find_stream(around, gfn);
	s->pages = s->pages ? s->pages * AROUND_GROWTH : 1;
	if (s->pages > SHADOW_AROUND_MAX)
		s->pages = SHADOW_AROUND_MAX;
	end = min_u64(gfn + s->pages, stop);
	s->next = end;
	s->used = ++around->clock;
	lock_release(&around->lock);
	return end;
}

struct around_block around_block(struct around *around, gfn_t gfn, gfn_t first, gfn_t last)
{
	uint64_t size = around->fixed ? around->fixed : AROUND_PRESENT;
	struct around_block block = { .start = gfn & ~(size - 1) };

	block.end = block.start + size;
	if (around->fixed) {
		block.ahead = block.end - gfn - 1;
	} else {
		gfn_t end = stream_end(around, gfn);

		block.ahead = end - gfn - 1;
		if (block.ahead) {
			block.start = gfn;
			block.end = end;
		}
	}
	block.start = max_u64(block.start, first);
	block.end = min_u64(block.end, last);
	return block;
}
