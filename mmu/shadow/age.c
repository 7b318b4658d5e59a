/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Aging: which pages were used since somebody last asked? Without a lock: the slots are kept by an RCU section, each entry
 * changes by one atomic operation. Where hardware sets A, aging takes A. Where nobody does, the leaf loses its rights
 * (access-tracked), the backend what it has of it, and the next use is a fault, which gives them back.
 * Kernel: kvm_tdp_mmu_age_gfn_range(), lockless since v6.15.
 */
#include <errno.h>
#include <string.h>

#include "mmu/base/trace.h"
#include "mmu/shadow/shadow_priv.h"

/* Pages between two looks at the slots: a removal waits no longer than that. */
#define BLOCK 512u

/*
 * An ager and who maps, beside each other. The ager takes no lock, so what it took from the table may come back into a
 * backend that has a copy of it:
 *
 *	fault (mmu_lock)				ager
 *	seq = age_done
 *	installs or finds the leaf
 *							age_begun++
 *							leaf: access-tracked
 *							backend: takes the page away
 *							age_done++
 *	backend: maps the page
 *	age_begun != seq: looks at its leaves again,
 *	takes away what is tracked now
 *	unlocks
 *
 * Else the page would be used unseen. And stored to: EPT_WP_LOG finds no W in a tracked leaf, and leaves the backend alone
 * (dirty_flush_end() flushes all the same while an ager is under way). If age_begun is what age_done was, no ager was under
 * way at any time between: what ran later sees the leaf as installed, and takes the page away after it was mapped.
 */
uint64_t shadow_age_seq(struct shadow *sh)
{
	return sync_load_acquire(&sh->age_done);
}

static void age_begin(struct shadow *sh)
{
	/* Before the first entry changes: whoever sees one changed sees this, too. */
	sync_fetch_add(&sh->age_begun, 1);
}

static void age_end(struct shadow *sh)
{
	sync_fetch_add(&sh->age_done, 1);
}

bool shadow_is_aging(struct shadow *sh)
{
	uint64_t done = sync_load_acquire(&sh->age_done);

	return sync_load_acquire(&sh->age_begun) != done;
}

struct recheck {
	struct shadow *sh;
	const struct memslot *slot;
	gfn_t gfn, end;
};

static void take_tracked(void *ctx, gfn_t gfn, uint64_t spte, int level)
{
	struct recheck *r = ctx;
	gfn_t start = max_u64(spte_level_start(gfn, level), r->gfn);
	gfn_t end = min_u64(spte_level_start(gfn, level) + spte_level_pages(level), r->end);

	if (spte_is_access_tracked(spte))
		flush_age(r->sh, r->slot, start, end);
}

void shadow_age_recheck(struct shadow *sh, const struct memslot *slot, gfn_t gfn, gfn_t end,
			uint64_t seq)
{
	struct recheck r = { .sh = sh, .slot = slot, .gfn = gfn, .end = end };

	if (!sh->ops->age || sync_load_acquire(&sh->age_begun) == seq || sh->ept.opts.ad ||
	    mutant(152))
		return;
	ept_for_each(&sh->ept, gfn, end, take_tracked, &r);
}

/*
 * Age [gfn, end), all in @slot. A tracked leaf must be out of the backend, since nothing else will see it used. A cleared A
 * may stay set in a TLB, if @flush does not ask for more; if nothing was young, no TLB has any of it marked. RCU section.
 */
static uint64_t age_slot(struct shadow *sh, const struct memslot *slot, gfn_t gfn, gfn_t end,
			 bool flush)
{
	struct ept_span span;

	age_begin(sh);
	span = ept_age(&sh->ept, gfn, end);
	if (span.count && (flush || !sh->ept.opts.ad))
		flush_age(sh, slot, span.start, span.end);
	age_end(sh);
	if (span.count) {
		count(&sh->aged, span.count);
		trace_instant(kvm_age_hva, gfn, end - gfn, span.count);
	}
	return span.count;
}

/* ---- The subscriber ---- */

static struct shadow *mn_shadow(struct mmu_notifier *mn)
{
	return (struct shadow *)((char *)mn - offsetof(struct shadow, mn));
}

static bool age_hvas(struct shadow *sh, hva_t start, hva_t end, bool flush)
{
	const struct memslots *all = slots_get(&sh->slots);
	const struct memslot *slot;
	uint64_t young = 0;
	gfn_t gfn, last;

	memslots_for_each_hva(slot, all, start, end)
	{
		memslot_gfns(slot, start, end, &gfn, &last);
		young += age_slot(sh, slot, gfn, last, flush);
	}
	return young;
}

bool shadow_clear_flush_young(struct mmu_notifier *mn, hva_t start, hva_t end)
{
	return age_hvas(mn_shadow(mn), start, end, true);
}

bool shadow_clear_young(struct mmu_notifier *mn, hva_t start, hva_t end)
{
	return age_hvas(mn_shadow(mn), start, end, false);
}

bool shadow_test_young(struct mmu_notifier *mn, hva_t addr)
{
	struct shadow *sh = mn_shadow(mn);
	const struct memslots *all = slots_get(&sh->slots);
	const struct memslot *slot;
	bool young = false;
	gfn_t gfn, last;

	memslots_for_each_hva(slot, all, addr, addr + 1)
	{
		memslot_gfns(slot, addr & PAGE_MASK, (addr & PAGE_MASK) + PAGE_SIZE, &gfn, &last);
		young |= ept_test_young(&sh->ept, gfn, last);
	}
	return young;
}

/* ---- The working set ---- */

struct age_result {
	gfn_t gfn;	 /* of bit 0 */
	uint64_t *used;	 /* NULL: only the count is asked for */
	uint64_t stride; /* asked for are its multiples alone */
	uint64_t count;	 /* of these */
};

static gfn_t sample_from(const struct age_result *r, gfn_t gfn)
{
	return gfn + (r->stride - gfn % r->stride) % r->stride;
}

/* From the sample @gfn on, before @end. */
static void mark_used(struct age_result *r, gfn_t gfn, gfn_t end)
{
	r->count += (end - gfn + r->stride - 1) / r->stride;
	for (; r->used && gfn < end; gfn++)
		r->used[(gfn - r->gfn) / 64] |= 1UL << (gfn - r->gfn) % 64;
}

/*
 * At most BLOCK pages and what a larger leaf has beyond, leaf by leaf, and then one flush; one a leaf where pages between
 * were not asked for. Returns where it ended: the next sample, or @limit at most. RCU section.
 */
static gfn_t age_block(struct shadow *sh, const struct memslot *slot, gfn_t gfn, gfn_t limit,
		       struct age_result *r)
{
	gfn_t end = min_u64(limit, (gfn / BLOCK + 1) * BLOCK), first = limit, last = gfn;

	if (gfn >= end || !ept_test_young(&sh->ept, gfn, end))
		return min_u64(limit, sample_from(r, max_u64(gfn, end)));
	age_begin(sh);
	for (gfn_t next; gfn < end; gfn = next) {
		struct ept_span span = ept_age(&sh->ept, gfn, gfn + 1);

		next = gfn + r->stride;
		if (!span.count)
			continue;
		next = min_u64(limit, span.end);
		mark_used(r, gfn, next);
		next = sample_from(r, next);
		if (r->stride > 1 && first < last) {
			flush_age(sh, slot, first, last);
			first = limit;
		}
		first = min_u64(first, span.start);
		last = max_u64(last, span.end);
	}
	if (first < last)
		flush_age(sh, slot, first, last);
	age_end(sh);
	return min_u64(limit, gfn);
}

static int age_samples(struct shadow *sh, gfn_t gfn, uint64_t npages, struct age_result *r)
{
	const uint64_t limit = 1UL << SPTE_GFN_BITS;
	uint64_t begin = trace_begin();
	gfn_t end = gfn + npages;

	if (!npages || npages > limit || gfn > limit - npages || !r->stride || r->stride > limit)
		return -EINVAL;
	if (r->used)
		memset(r->used, 0, (npages + 63) / 64 * sizeof(*r->used));
	for (gfn_t at = sample_from(r, gfn), next; at < end; at = next) {
		const struct memslot *slot;

		sync_rcu_read_lock();
		slot = memslots_first_gfn(slots_get(&sh->slots), at, end);
		next = end;
		if (slot) {
			at = sample_from(r, max_u64(at, slot->gfn));
			next = age_block(sh, slot, at, min_u64(end, memslot_end(slot)), r);
		}
		sync_rcu_read_unlock();
	}
	count(&sh->aged, r->count);
	trace_span(kvm_age_hva, begin, gfn, npages, r->count);
	return 0;
}

int shadow_age(struct shadow *sh, gfn_t gfn, uint64_t npages, uint64_t *used, uint64_t *used_count)
{
	struct age_result r = { .gfn = gfn, .used = used, .stride = 1 };
	int rc = age_samples(sh, gfn, npages, &r);

	if (!rc)
		*used_count = r.count;
	return rc;
}

int shadow_age_sample(struct shadow *sh, gfn_t gfn, uint64_t npages, uint64_t stride,
		      uint64_t *used_count)
{
	struct age_result r = { .stride = stride };
	int rc = age_samples(sh, gfn, npages, &r);

	if (!rc)
		*used_count = r.count;
	return rc;
}
