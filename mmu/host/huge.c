/* SPDX-License-Identifier: BSD-2-Clause */
/* Large pages of the primary: when a run of pages is one. */
#include "mmu/base/mutant.h"
#include "mmu/host/hostmm_priv.h"

static bool is_next(uint64_t hpte, uint64_t first, uint64_t i)
{
	uint64_t bits = HPTE_PRESENT | HPTE_NONE | (mutant(107) ? 0 : HPTE_WRITE);

	return (hpte & bits) == (first & bits) && hpte_fn(hpte) == hpte_fn(first) + i;
}

/* The last page, then the middle: a run that is none mostly breaks there, or is not there at all. */
static bool is_run(struct region *r, uint64_t page, uint64_t n, uint64_t first)
{
	if (!is_next(sync_load(&r->hpte[page + n - 1]), first, n - 1) ||
	    !is_next(sync_load(&r->hpte[page + n / 2]), first, n / 2))
		return false;
	for (uint64_t i = 1; i < n; i++)
		if (!is_next(sync_load(&r->hpte[page + i]), first, i))
			return false;
	return true;
}

/*
 * The entries are read one after another, each at a moment of its own. Yet the answer is exact for who finds his
 * sequence unchanged afterwards: an entry loses its frame or a right only inside a bracket over it. One that was open or
 * began since the sequence was read makes the check fail; the changes of one that had ended before are seen here,
 * since reading the sequence (acquire) came after its end (release). What happens without a bracket is that an empty entry
 * becomes present, or one gets more rights. So at the check each page still has at least what was read here.
 */
bool hostmm_huge(struct hostmm *mm, hva_t hva, uint64_t n, struct gup_page *first)
{
	bool huge = false;
	struct region *r;

	*first = (struct gup_page){ .fn = FN_NONE };
	rwlock_read_acquire(&mm->mmap_lock);
	r = hostmm_region(mm, hva);
	if (r && n && n <= (r->end - hva) >> PAGE_SHIFT) {
		uint64_t page = region_page(r, hva), hpte = sync_load(&r->hpte[page]);

		huge = hpte_is_usable(hpte) && is_run(r, page, n, hpte);
		if (huge)
			*first = (struct gup_page){ .fn = hpte_fn(hpte),
						    .writable = hpte & HPTE_WRITE };
	}
	rwlock_read_release(&mm->mmap_lock);
	return huge;
}
