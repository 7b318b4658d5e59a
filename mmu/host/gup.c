/* SPDX-License-Identifier: BSD-2-Clause */
/* get_user_pages and the copies of the embedder: how others reach what a region holds without its host view. */
#include <errno.h>
#include <string.h>

#include "mmu/base/mutant.h"
#include "mmu/host/hostmm_device.h"
#include "mmu/host/hostmm_priv.h"

/* Who asks, and for what. */
struct gup {
	unsigned owner; /* hostmm_owner() */
	uint64_t ahead; /* HOSTMM_GUP_FILL: all */
	bool write;
	bool guarded; /* by a notifier: no reference but on the page that must be */
	uint64_t must,
		ahead_end; /* pages of the region: the one that must be; where read-ahead ends */
};

/* Bring in what is absent of [page, end), best effort: what fails here fails for good when it is asked for. */
static void fill_absent(struct region *r, uint64_t page, uint64_t end)
{
	uint64_t hpte;

	for (; page < end; page++)
		if (!(hpte_read(r, page) & ~(HPTE_SWAP | HPTE_FN_MASK)) &&
		    hpte_get(r, page, end, false, &hpte))
			return;
}

static bool is_owned(uint64_t hpte, unsigned owner)
{
	return (hpte & HPTE_AWAY) && !(hpte & HPTE_NONE) && owner && hpte_owner(hpte) == owner;
}

/* hpte_get() of a page that its device asks for. Chunk lock held. */
static int own_get(struct region *r, uint64_t page, bool write)
{
	if (!(region_prot(r, page) & (write ? HOSTMM_PROT_WRITE : HOSTMM_PROT_READ)))
		return -EFAULT;
	if (write && !(hpte_read(r, page) & HPTE_WRITE))
		hpte_make_writable(r, page);
	return 0;
}

static void report_none(struct gup_page *page, const struct gup_page *end)
{
	for (; page < end; page++)
		page->fn = FN_NONE;
}

/* What the entries of pages [page, end) say. A reference on each, or on the one that must be alone. Chunk lock held. */
static void report(struct region *r, uint64_t page, uint64_t end, const struct gup *gup,
		   struct gup_page *out)
{
	for (; page < end; page++, out++) {
		uint64_t hpte = hpte_read(r, page);

		if (!hpte_is_usable(hpte) && !is_owned(hpte, gup->owner)) {
			out->fn = FN_NONE;
			continue;
		}
		if ((!gup->guarded || page == gup->must) && !mutant(25))
			pool_get(r->pool, hpte_fn(hpte));
		out->fn = hpte_fn(hpte);
		out->writable = hpte & HPTE_WRITE;
	}
}

/* Report the pages [page, end) of one chunk. An error is one of the page that must be: read-ahead goes on, best effort. */
static int gup_chunk(struct region *r, uint64_t page, uint64_t end, const struct gup *gup,
		     struct gup_page *out)
{
	struct chunk_lock *chunk = region_chunk(r, page);
	bool is_must = page <= gup->must && gup->must < end;
	uint64_t want = is_must ? gup->must : page, hpte;
	int rc = 0;

	lock_acquire(&chunk->lock);
	/* First, since it drops the lock: the page that must be there is to be there at the end. */
	if (gup->ahead == HOSTMM_GUP_FILL)
		fill_absent(r, page, end);
	if (is_must || (gup->must < page && page < gup->ahead_end))
		rc = is_owned(hpte_read(r, want), gup->owner)
			     ? own_get(r, want, gup->write && is_must)
			     : cow_get(r, want, gup->ahead_end, gup->write && is_must, &hpte);
	if (rc)
		report_none(out, out + (end - page));
	else
		report(r, page, end, gup, out);
	lock_release(&chunk->lock);
	return is_must ? rc : 0;
}

static int gup_pages(struct hostmm *mm, hva_t hva, uint64_t n, uint64_t must, struct gup *gup,
		     struct gup_page *out)
{
	uint64_t done = 0; /* of the pages in out[] */
	struct region *r;
	int rc = -EFAULT;

	rwlock_read_acquire(&mm->mmap_lock);
	r = must < n ? hostmm_region(mm, hva + (must << PAGE_SHIFT)) : NULL;
	if (r) {
		/* Another region may have ended where this one begins, by a system call of others. */
		uint64_t skip = hva < r->start ? (r->start - hva) >> PAGE_SHIFT : 0;
		uint64_t page = region_page(r, hva + (skip << PAGE_SHIFT));
		uint64_t last = min_u64(page + n - skip, region_pages(r));

		gup->must = page + must - skip;
		gup->ahead_end = gup->must + 1;
		if (gup->ahead != HOSTMM_GUP_FILL)
			gup->ahead_end = min_u64(gup->ahead_end + gup->ahead, last);
		report_none(out, out + skip);
		done = skip;
		rc = 0;
		for (uint64_t end; !rc && page < last; page = end) {
			end = chunk_end(page, last);
			rc = gup_chunk(r, page, end, gup, out + done);
			done += end - page;
		}
	}
	rwlock_read_release(&mm->mmap_lock);
	if (!rc)
		report_none(out + done, out + n);
	else if (!gup->guarded) /* the page that must be is not among them */
		hostmm_put_pages(mm, out, done);
	return rc;
}

int hostmm_gup(struct hostmm *mm, hva_t hva, uint64_t n, uint64_t must, uint64_t ahead, bool write,
	       struct gup_page *out)
{
	struct gup gup = { .ahead = ahead, .write = write };

	return gup_pages(mm, hva, n, must, &gup, out);
}

int hostmm_gup_owner(struct hostmm *mm, const void *owner, hva_t hva, uint64_t n, uint64_t must,
		     uint64_t ahead, bool write, struct gup_page *out)
{
	struct gup gup = { .owner = hostmm_owner(mm, owner), .ahead = ahead, .write = write };

	return gup_pages(mm, hva, n, must, &gup, out);
}

int hostmm_gup_guarded(struct hostmm *mm, hva_t hva, uint64_t n, uint64_t must, uint64_t ahead,
		       bool write, struct gup_page *out)
{
	struct gup gup = { .guarded = true, .ahead = ahead, .write = write };

	return gup_pages(mm, hva, n, must, &gup, out);
}

bool hostmm_peek(struct hostmm *mm, hva_t hva, struct gup_page *page)
{
	return hostmm_peek_owner(mm, NULL, hva, page);
}

bool hostmm_peek_owner(struct hostmm *mm, const void *owner, hva_t hva, struct gup_page *page)
{
	uint64_t hpte = 0;
	struct region *r;

	rwlock_read_acquire(&mm->mmap_lock);
	r = hostmm_region(mm, hva);
	if (r)
		hpte = hpte_peek(r, region_page(r, hva));
	rwlock_read_release(&mm->mmap_lock);
	page->fn = hpte_fn(hpte);
	page->writable = hpte & HPTE_WRITE;
	return hpte_is_usable(hpte) || is_owned(hpte, hostmm_owner(mm, owner));
}

void hostmm_put_pages(struct hostmm *mm, const struct gup_page *pages, uint64_t n)
{
	for (uint64_t i = 0, run; i < n; i += run) {
		run = 1;
		if (pages[i].fn == FN_NONE)
			continue;
		while (i + run < n && pages[i + run].fn == pages[i].fn + run)
			run++;
		pool_put(mm->pool, pages[i].fn, run);
	}
}

/* A copy that a guest or host thread may watch: up to 8 aligned bytes in one access. */
static void copy_bytes(void *dst, const void *src, size_t len)
{
	uintptr_t both = (uintptr_t)dst | (uintptr_t)src;

	if (len == 8 && !(both & 7))
		__atomic_store_n((uint64_t *)dst,
				 __atomic_load_n((const uint64_t *)src, __ATOMIC_RELAXED),
				 __ATOMIC_RELAXED);
	else if (len == 4 && !(both & 3))
		__atomic_store_n((uint32_t *)dst,
				 __atomic_load_n((const uint32_t *)src, __ATOMIC_RELAXED),
				 __ATOMIC_RELAXED);
	else
		memcpy(dst, src, len);
}

/* Map what has just got memory for a copy of several pages in one call: each would fault. */
static void map_run(struct region *r, uint64_t page, uint64_t end, fn_t fn)
{
	uint64_t n = 1, entry;

	for (; page + n < end; n++) {
		entry = hpte_read(r, page + n);
		if (!hpte_is_usable(entry) || hpte_fn(entry) != fn + n)
			break;
	}
	if (n > 1)
		(void)pool_populate(r->pool, fn, n);
}

/*
 * What the rest of an access is about to touch comes in with its first page, in one call for all. Where there is no room for
 * that there may be for one.
 */
static int get_ahead(struct region *r, uint64_t page, uint64_t end, bool write, uint64_t *hpte)
{
	bool is_new;
	int rc;

	end = chunk_end(page, end);
	is_new = end > page + 1 && write && !r->pager && !hpte_read(r, page);
	rc = cow_get(r, page, end, write, hpte);
	if (rc && end > page + 1)
		rc = cow_get(r, page, page + 1, write, hpte);
	if (!rc && is_new)
		map_run(r, page, end, hpte_fn(*hpte));
	return rc;
}

/* Exactly one of @in and @from is given. The chunk lock keeps the frame the page's own during the copy. */
static int access(struct hostmm *mm, hva_t hva, char *in, const char *from, size_t len)
{
	struct region *r;
	int rc = 0;

	bug_on(len && !in == !from);
	rwlock_read_acquire(&mm->mmap_lock);
	r = hostmm_region(mm, hva);
	if (!r || len > r->end - hva)
		rc = -EFAULT;
	while (!rc && len) {
		uint64_t page = region_page(r, hva), hpte;
		size_t offset = hva & ~PAGE_MASK, n = min_u64(len, PAGE_SIZE - offset);
		struct chunk_lock *chunk = region_chunk(r, page);

		lock_acquire(&chunk->lock);
		rc = get_ahead(r, page, region_page(r, hva + len - 1) + 1, from != NULL, &hpte);
		if (!rc) {
			char *at = (char *)pool_direct(mm->pool, hpte_fn(hpte)) + offset;

			if (from)
				copy_bytes(at, from, n);
			else
				copy_bytes(in, at, n);
		}
		lock_release(&chunk->lock);
		hva += n;
		len -= n;
		if (from)
			from += n;
		else
			in += n;
	}
	rwlock_read_release(&mm->mmap_lock);
	return rc;
}

int hostmm_read(struct hostmm *mm, hva_t hva, void *buf, size_t len)
{
	return access(mm, hva, buf, NULL, len);
}

int hostmm_write(struct hostmm *mm, hva_t hva, const void *buf, size_t len)
{
	return access(mm, hva, NULL, buf, len);
}
