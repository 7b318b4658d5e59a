/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Devices: software secondaries with a TLB of their own, which load and store in a host mm. One type; what tells a KVM
 * guest, a GRU, an XPMEM or an HMM mirror apart is a profile, and that is data.
 * Owns a TLB, a table where the profile has one, and the subscription. Tests and embedders call, from any number of
 * threads: each is an engine of the device. Touches frames through pool_direct() only. Knows no KVM, no host view.
 *
 * An access is one step with regard to a flush, as it is for hardware: look up, walk, fill and the load or store itself
 * happen under the TLB's lock, which a flush takes too. So a flush that has returned has seen off every access in flight.
 */
#ifndef UMBRA_MMU_SHADOW_DEVICE_H
#define UMBRA_MMU_SHADOW_DEVICE_H

#include "mmu/shadow/shadow.h"

struct device;

/* What one TLB entry may span. */
enum device_tlb {
	DEVICE_TLB_4K,
	DEVICE_TLB_MIXED, /* 4K, and 2M where the walk says that 512 pages are one (A7) */
};

/* What an invalidation does to an entry of which it names a part (A3, A29). */
enum device_part {
	DEVICE_PART_WHOLE,   /* the entry goes */
	DEVICE_PART_ALONE,   /* the part goes, the rest of the entry is still good */
	DEVICE_PART_IGNORED, /* nothing: the device goes on with all of it. Known bad (A4, M30) */
};

/* Where a TLB miss looks. */
enum device_walk {
	DEVICE_WALK_SHADOW, /* the table of a struct shadow, by shadow_fault(): the code that a guest runs on */
	DEVICE_WALK_HOST,   /* no table: hostmm_gup() on every miss, straight into the TLB */
	DEVICE_WALK_MIRROR, /* a table of its own, a frame number a page, filled by hostmm_gup() */
};

/* How the device hears of changes, and so how it finds out that what it looked up is stale. */
enum device_subscription {
	DEVICE_START_END, /* list notifier: counts brackets, retries; has an end, so may never refuse a start */
	DEVICE_INTERVAL,      /* interval notifier: read_begin and read_retry; may refuse */
	DEVICE_SECONDARY_TLB, /* list notifier with the secondary-TLB op alone */
};

struct device_profile {
	const char *name;
	enum device_tlb tlb;
	enum device_part part; /* of 2M entries */
	enum device_walk walk;
	enum device_subscription subscription;
	unsigned fault_around, max_level; /* of the shadow (struct shadow_opts) */
	bool no_ad;			  /* of the shadow: the device sets no A and D */
	bool follows; /* a mirror takes up, read-only, the frame that change_pte tells (M2) */
	bool pins; /* a mirror keeps a reference on each frame in it; A24: that excuses nothing */
	bool atomic; /* never sleeps in a callback: refuses what is not blockable only while held (device_hold()) */
	bool expands; /* an invalidation drops all of each DEVICE_EXPAND block that it meets (A29, A30) */
	bool defers; /* start returns with the entries in use, device_run_deferred() drops them: known bad (A23) */
};

#define DEVICE_EXPAND (2UL << 20)

/*
 * device_profiles - all profiles; the last has no name. device_profile - by name, or NULL.
 *
 *			TLB	a part of 2M	walks	hears by
 *	kvm		mixed	drops all	shadow	start, end
 *	kvm-no-ad	as kvm, on hardware that sets no A and D
 *	vmwgfx		4K			shadow	start, end	buffer whose dirty pages are asked for
 *	gru		mixed	drops the part	host	interval	atomic callbacks
 *	gru-coarse	mixed	drops all	host	interval	atomic; also drops what lies around
 *	xpmem		4K			mirror	start, end	pins, expands, sleeps in start
 *	xpmem-async	4K			mirror	start, end	the same, defers the invalidation: known bad
 *	hmm		mixed	drops all	mirror	interval
 *	pfn-cache	4K			mirror	start, end	frames at hand, as a hypervisor has of a guest's
 *								APIC page; change_pte refills it
 *	ats-4k		4K			host	secondary-TLB op
 *	ats-mixed	mixed	drops all	host	secondary-TLB op
 *	ats-mixed-buggy	mixed	ignores it	host	secondary-TLB op	known bad
 */
extern const struct device_profile device_profiles[];
const struct device_profile *device_profile(const char *name);

/* Under the device's lock, so exact with respect to each other. */
struct device_stats {
	uint64_t hits,
		misses; /* accesses that found an entry with enough rights in the TLB, or not */
	uint64_t faults,
		retries; /* calls of shadow_fault() or hostmm_gup(); lookups thrown away as stale */
	uint64_t flushes,
		dropped; /* invalidations that reached the TLB; its entries that they dropped */
	uint64_t large_hits, large_fills,
		large_dropped;	    /* of 2M entries, which hits and dropped count too */
	uint64_t unmapped;	    /* entries dropped from the mirror */
	uint64_t refused, deferred; /* invalidations answered -EAGAIN; put off */
	uint64_t pinned;	    /* now */
};

/*
 * device_create - a device that reaches the @npages pages at @hva of @mm, all in one region, at these very addresses
 * (kvm: one slot, id 0, at gpa == hva). @mm outlives it.
 * 0, -EINVAL (no page, not page aligned, beyond 2^64), -EFAULT (not one region), -ENOMEM, the errno of shadow_create() or of
 * mmu_interval_notifier_insert(). Takes mmap_lock for writing: not inside a bracket.
 * device_destroy - unsubscribe, drop everything. No access is under way, the device is not held.
 */
int device_create(struct device **out, const struct device_profile *profile, struct hostmm *mm,
		  hva_t hva, uint64_t npages);
void device_destroy(struct device *dev);

/*
 * device_read, device_write - load or store @len bytes at @addr. Within one page an access is one step (see above);
 * up to 8 aligned bytes of it are single-copy atomic. Faults in what is not there; may sleep for page-in and for
 * an invalidation under way. Any thread, no lock held, not from a callback.
 * device_add - add @value to the aligned 64-bit word at @addr in one step; @old (if not NULL) gets what was there.
 * 0; -EFAULT or -ENXIO outside the pages of the device; -EFAULT or -EACCES against the rights to them; -ENOMEM, -ENOSPC,
 * the pager's errno. After an error, pages before that one have been copied.
 */
int device_read(struct device *dev, hva_t addr, void *buf, size_t len);
int device_write(struct device *dev, hva_t addr, const void *buf, size_t len);
int device_add(struct device *dev, hva_t addr, uint64_t value, uint64_t *old);

/*
 * device_hold - an instruction of many accesses begins: no flush is over before device_resume(). A blockable
 * invalidation waits for that; one that is not is refused by a DEVICE_INTERVAL profile, always if it is not atomic.
 * Nests. The holder may load and store what it has touched since it holds the device, and calls nothing else that waits.
 */
void device_hold(struct device *dev);
void device_resume(struct device *dev);

/* device_run_deferred - carry out what start put off. Returns the number of entries dropped. Any thread, no lock held. */
uint64_t device_run_deferred(struct device *dev);

void device_get_stats(struct device *dev, struct device_stats *stats);
/* device_get_shadow - the shadow below a DEVICE_WALK_SHADOW device, to add slots to; else NULL. */
struct shadow *device_get_shadow(struct device *dev);

/*
 * device_check - compare TLB and table with the primary: each page of each entry has the frame of its hpte, and no right
 * that this lacks (A7). Calls @report for each that does not (optional), returns their number. No change and no access under way.
 */
uint64_t device_check(struct device *dev,
		      void (*report)(void *ctx, hva_t addr, fn_t fn, const char *what), void *ctx);

#endif
