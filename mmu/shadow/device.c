/* SPDX-License-Identifier: BSD-2-Clause */
/* Accesses, and flushes that wait for them. */
#include "mmu/shadow/device.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "mmu/shadow/device_priv.h"

/* ---- Flushes ---- */

void device_wait(struct device *dev)
{
	dev->waiters++;
	cond_wait(&dev->changed, &dev->lock);
	dev->waiters--;
}

void device_flush(struct device *dev, uint64_t start, uint64_t end)
{
	const uint64_t block = DEVICE_EXPAND >> PAGE_SHIFT;

	lock_assert_held(&dev->lock);
	while (dev->holders)
		device_wait(dev);
	if (dev->profile->expands) {
		start -= start % block;
		end += (block - end % block) % block;
	}
	if (dev->mirror)
		device_mirror_drop(dev, start, end);
	device_tlb_drop(dev, start, end);
}

uint64_t device_run_deferred(struct device *dev)
{
	uint64_t before, dropped;

	lock_acquire(&dev->lock);
	before = dev->stats.dropped + dev->stats.unmapped;
	if (dev->deferred_start < dev->deferred_end)
		device_flush(dev, dev->deferred_start, dev->deferred_end);
	dev->deferred_start = dev->deferred_end = 0;
	dropped = dev->stats.dropped + dev->stats.unmapped - before;
	lock_release(&dev->lock);
	return dropped;
}

void device_hold(struct device *dev)
{
	/* Its op runs with a host entry locked, and could not wait. */
	bug_on(dev->profile->subscription == DEVICE_SECONDARY_TLB);
	lock_acquire(&dev->lock);
	dev->holders++;
	lock_release(&dev->lock);
}

void device_resume(struct device *dev)
{
	lock_acquire(&dev->lock);
	bug_on(!dev->holders);
	if (!--dev->holders && dev->waiters)
		cond_broadcast(&dev->changed);
	lock_release(&dev->lock);
}

/* ---- Accesses ---- */

static bool is_shadowed(const struct device *dev)
{
	return dev->profile->walk == DEVICE_WALK_SHADOW;
}

static bool walk(struct device *dev, uint64_t page, bool write)
{
	return is_shadowed(dev) ? device_shadow_walk(dev, page, write)
				: device_host_walk(dev, page, write);
}

/*
 * Find where @addr lies in the direct map. On 0 the lock is held, and what the caller does there before it releases the
 * lock is one step with the look-up.
 */
static int reach(struct device *dev, hva_t addr, bool write, char **at)
{
	uint64_t page = addr >> PAGE_SHIFT;
	bool large;
	fn_t fn;
	int rc;

	lock_acquire(&dev->lock);
	fn = device_tlb_find(dev, page, write, &large);
	if (fn != FN_NONE) {
		dev->stats.hits++;
		dev->stats.large_hits += large;
	} else
		dev->stats.misses++;
	while (fn == FN_NONE) {
		if (!walk(dev, page, write)) {
			dev->stats.faults++;
			rc = is_shadowed(dev) ? device_shadow_fault(dev, page, write)
					      : device_host_fault(dev, page, write);
			if (rc)
				return rc;
		}
		fn = device_tlb_find(dev, page, write, &large);
	}
	*at = (char *)pool_direct(hostmm_pool(dev->mm), fn) + (addr & ~PAGE_MASK);
	return 0;
}

/* One load or store of the device, of @n bytes, aligned: what other engines and the host see of it is all or nothing. */
static uint64_t load_unit(const void *at, size_t n)
{
	switch (n) {
	case 8:
		return __atomic_load_n((const uint64_t *)at, __ATOMIC_RELAXED);
	case 4:
		return __atomic_load_n((const uint32_t *)at, __ATOMIC_RELAXED);
	case 2:
		return __atomic_load_n((const uint16_t *)at, __ATOMIC_RELAXED);
	default:
		return __atomic_load_n((const uint8_t *)at, __ATOMIC_RELAXED);
	}
}

static void store_unit(void *at, uint64_t value, size_t n)
{
	switch (n) {
	case 8:
		__atomic_store_n((uint64_t *)at, value, __ATOMIC_RELAXED);
		break;
	case 4:
		__atomic_store_n((uint32_t *)at, (uint32_t)value, __ATOMIC_RELAXED);
		break;
	case 2:
		__atomic_store_n((uint16_t *)at, (uint16_t)value, __ATOMIC_RELAXED);
		break;
	default:
		__atomic_store_n((uint8_t *)at, (uint8_t)value, __ATOMIC_RELAXED);
	}
}

/* The largest unit at @at that fits into @len bytes. */
static size_t unit_at(const char *at, size_t len)
{
	size_t n = 8;

	while (n > len || ((uintptr_t)at & (n - 1)))
		n /= 2;
	return n;
}

/* Exactly one of @in and @from is given. */
static int transfer(struct device *dev, hva_t addr, char *in, const char *from, size_t len)
{
	while (len) {
		size_t part = min_u64(len, PAGE_SIZE - (addr & ~PAGE_MASK));
		uint64_t value = 0;
		char *at;
		int rc;

		bug_on(!in == !from);
		rc = reach(dev, addr, from != NULL, &at);
		if (rc)
			return rc;
		addr += part;
		len -= part;
		for (size_t n; part; part -= n, at += n) {
			n = unit_at(at, part);
			if (from) {
				memcpy(&value, from, n);
				store_unit(at, value, n);
				from += n;
			} else {
				value = load_unit(at, n);
				memcpy(in, &value, n);
				in += n;
			}
		}
		lock_release(&dev->lock);
	}
	return 0;
}

int device_read(struct device *dev, hva_t addr, void *buf, size_t len)
{
	return transfer(dev, addr, buf, NULL, len);
}

int device_write(struct device *dev, hva_t addr, const void *buf, size_t len)
{
	return transfer(dev, addr, NULL, buf, len);
}

int device_add(struct device *dev, hva_t addr, uint64_t value, uint64_t *old)
{
	uint64_t was;
	char *at;
	int rc;

	if (addr % sizeof(uint64_t))
		return -EINVAL;
	rc = reach(dev, addr, true, &at);
	if (rc)
		return rc;
	was = __atomic_fetch_add((uint64_t *)(void *)at, value, __ATOMIC_RELAXED);
	lock_release(&dev->lock);
	if (old)
		*old = was;
	return 0;
}

/* ---- Life ---- */

static void free_device(struct device *dev)
{
	cond_fini(&dev->changed);
	lock_fini(&dev->lock);
	device_mirror_fini(dev);
	free(dev);
}

int device_create(struct device **out, const struct device_profile *profile, struct hostmm *mm,
		  hva_t hva, uint64_t npages)
{
	struct device *dev;
	unsigned prot;
	fn_t home;
	int rc;

	if (!npages || !is_page_aligned(hva) || npages > (UINT64_MAX - hva) >> PAGE_SHIFT)
		return -EINVAL;
	rc = hostmm_home(mm, hva, npages, &home, &prot);
	if (rc)
		return rc;
	dev = calloc(1, sizeof(*dev));
	if (!dev)
		return -ENOMEM;
	dev->profile = profile;
	dev->mm = mm;
	dev->first = hva >> PAGE_SHIFT;
	dev->npages = npages;
	lock_init(&dev->lock);
	cond_init(&dev->changed);
	device_tlb_init(dev);
	rc = device_mirror_init(dev);
	if (!rc)
		rc = is_shadowed(dev) ? device_shadow_attach(dev, prot) : device_host_attach(dev);
	if (rc) {
		free_device(dev);
		return rc;
	}
	*out = dev;
	return 0;
}

void device_destroy(struct device *dev)
{
	bug_on(dev->holders);
	if (is_shadowed(dev))
		device_shadow_detach(dev);
	else
		device_host_detach(dev);
	bug_on(dev->stats.pinned);
	free_device(dev);
}

void device_get_stats(struct device *dev, struct device_stats *stats)
{
	lock_acquire(&dev->lock);
	*stats = dev->stats;
	lock_release(&dev->lock);
}

struct shadow *device_get_shadow(struct device *dev)
{
	return dev->shadow;
}
