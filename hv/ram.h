/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Guest memory: the seam between the VMM and libumbra.
 * Owns pool, host mm, window and shadow of one machine, and which region of it lies where.
 * Called by everything in hv/ that touches guest memory; only hv/ram*.c see mmu/ above mmu/base.
 * Does not know vCPUs; it hands addresses for KVM's memslots out and is told no more.
 */
#ifndef UMBRA_HV_RAM_H
#define UMBRA_HV_RAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "hv/why.h"

struct hostmm;
struct machine;
struct ram;
struct shadow;

enum ram_region { RAM_MEMORY, RAM_INPUT, RAM_WORK, RAM_BOARD, RAM_REGIONS };

/*
 * Where the pages of a region come from, and go to: struct pager_ops of mmu/host/hostmm.h. fill writes pages
 * [page, page + npages) of it, whole, to @dst; writeback (may be NULL) keeps what they contain.
 * Any thread. 0 or -errno. A region whose fill is NULL starts as zeros.
 */
struct ram_store {
	int (*fill)(void *ctx, uint64_t page, void *dst, uint64_t npages);
	int (*writeback)(void *ctx, uint64_t page, const void *src, uint64_t npages);
	void *ctx;
};

/* Why the memory of a machine is gone for good. */
struct ram_failure {
	bool has_gpa; /* false: no single access, the machinery failed */
	uint64_t gpa;
	bool write;
	bool host_view; /* the access was a host thread's */
	int error;	/* -errno; 0: a fault thread was killed */
};

struct ram_opts {
	struct ram_store store[RAM_REGIONS];
	/*
	 * required. Called once or more, on any thread, once ram_create() runs. Guest memory has just been shut, or is about
	 * to be.
	 */
	void (*failed)(void *ctx, const struct ram_failure *failure);
	void *failed_ctx;
	uint64_t
		spare_frames; /* in the pool, beside what the machine's regions and their churn need */
	/*
	 * optional, both or none. KVM's own dirty log of the slot of @region: begin or end; set the bits of the pages that
	 * the guest has stored to since the last call. 0 or -errno. Called from ram_dirty_log() and ram_get_dirty_log().
	 */
	int (*kvm_log_dirty)(void *ctx, enum ram_region region, bool on);
	int (*kvm_collect_dirty)(void *ctx, enum ram_region region, uint64_t *bitmap);
	void *kvm_ctx;
};

/* What the memory did in all, for the user. */
struct ram_stats {
	uint64_t faults, spurious, retries, fast, pages, batches, upgrades, repointed;
	uint64_t invalidations, zapped, flushes, yields, zap_alls;
	uint64_t splits, collapses, pruned, aged;
	uint64_t host_faults, page_ins, discards, wrprotects, remaps, zaps;
	/* System calls on the host view by others, with an audit: mmu/host/hostmm.h. */
	uint64_t raw_removes, raw_unmaps, raw_remaps, raw_forks, raw_overflows, raw_failures;
	/* As /sys/kernel/mm/ksm has them. */
	uint64_t pages_shared, pages_sharing, pages_unshared, pages_volatile, full_scans,
		ksm_zero_pages, ksm_merged;
	/* Now. Leaves of any size, by size, and the pages of 4K under them. */
	uint64_t leaves, leaves_4k, leaves_2m, leaves_1g, mapped, table_pages, frames;
};

/*
 * ram_create - lay out the regions of @m that are present and not empty, with fault threads running.
 * 0, or -errno with the reason in @w: -EPERM without the right to userfaultfd, -ENOMEM, ...
 */
int ram_create(struct ram **out, const struct machine *m, const struct ram_opts *opts,
	       struct why *w);
/* ram_destroy - give everything back. No vCPU runs, KVM's memslots are gone. */
void ram_destroy(struct ram *ram);

/*
 * ram_slot - what to hand to KVM for a region: its guest physical range, where it lies in this
 * process, and whether the guest may only read it. False: the machine has no such region.
 */
struct ram_slot {
	uint64_t gpa, size;
	void *window;
	bool read_only;
};
bool ram_slot(struct ram *ram, enum ram_region region, struct ram_slot *slot);

/*
 * Copies by guest physical address. 0; -EFAULT when any byte is outside guest memory, or a write
 * meets read-only memory (nothing is copied then); another -errno when the pages cannot be had.
 */
int ram_read(struct ram *ram, uint64_t gpa, void *buf, size_t len);
int ram_write(struct ram *ram, uint64_t gpa, const void *buf, size_t len);

/* ram_prefault - map @len bytes from the page at @gpa on for the guest's loads, as if it had faulted on each page. Best effort. */
void ram_prefault(struct ram *ram, uint64_t gpa, uint64_t len);

/* ram_host_view - where host threads load and store the region's pages; NULL: no such region. */
void *ram_host_view(struct ram *ram, enum ram_region region);

/*
 * ram_get_parts - the primary and the secondary, for a program that works on guest memory with the library itself, beside
 * the running guest. What it makes of them it takes back before ram_destroy().
 */
struct ram_parts {
	struct hostmm *mm;
	struct shadow *shadow; /* the region's slot has its number */
};
void ram_get_parts(struct ram *ram, struct ram_parts *parts);

/* Changes of pages [page, page + n) of a region by the host, under the running guest. 0 or -errno. */
int ram_discard(struct ram *ram, enum ram_region region, uint64_t page, uint64_t n);
int ram_wrprotect(struct ram *ram, enum ram_region region, uint64_t page, uint64_t n);
int ram_zap(struct ram *ram, enum ram_region region, uint64_t page, uint64_t n);
/* To frames elsewhere, or home again. */
int ram_remap(struct ram *ram, enum ram_region region, uint64_t page, uint64_t n, bool away);

/*
 * ram_dirty_log - log stores to the pages of a region, or no more. One way for all regions that log.
 *	RAM_DIRTY_PROTECT	its pages are write-protected in the window, and the first store to each faults
 *	RAM_DIRTY_KVM		KVM's own log says what the guest stores to
 *	..._MANUAL		the same; ram_get_dirty_log() tells and changes nothing, ram_clear_dirty_log() starts anew
 * 0; -EINVAL: no such region; -EBUSY: a region logs the other way; -ENOMEM, KVM's errno, -EOPNOTSUPP: not told of KVM's log.
 * ram_get_dirty_log - the pages stored to by guest and VMM since the last call (host threads are not logged): one bit a
 * page, ram_slot.size >> 12 of them in 64-bit words. 0, -ENOENT: it does not log; KVM's errno: all pages are in the next one.
 * ram_clear_dirty_log - pages [page, page + n) whose bits, from bit 0 of @bitmap on, are set are about to be copied: the next
 * store to each is seen. Bounds and errno of shadow_clear_dirty_log(). For the manual ways; else get has cleared already.
 */
enum ram_dirty {
	RAM_DIRTY_OFF,
	RAM_DIRTY_PROTECT,
	RAM_DIRTY_KVM,
	RAM_DIRTY_PROTECT_MANUAL,
	RAM_DIRTY_KVM_MANUAL,
};
int ram_dirty_log(struct ram *ram, enum ram_region region, enum ram_dirty how);
int ram_get_dirty_log(struct ram *ram, enum ram_region region, uint64_t *bitmap);
int ram_clear_dirty_log(struct ram *ram, enum ram_region region, uint64_t page, uint64_t n,
			const uint64_t *bitmap);

/* ram_bind_vcpu - the calling thread is vCPU @id (below MACHINE_MAX_CPUS): producer @id where stores are logged in rings. */
void ram_bind_vcpu(struct ram *ram, unsigned id);

/*
 * For a vCPU whose KVM_RUN said EFAULT: ram_gaps() before, ram_settle() after, which waits until no
 * page is being repointed. If ram_gaps() then differs, the access met such a page: run again.
 */
uint64_t ram_gaps(struct ram *ram);
void ram_settle(struct ram *ram);

/* ram_shut - fail every access of the guest from now on; who waits for a page is let go. */
void ram_shut(struct ram *ram);

void ram_get_stats(struct ram *ram, struct ram_stats *stats);
/* ram_mapped - pages of 4K that the guest's tables have now. */
uint64_t ram_mapped(struct ram *ram);

/*
 * ram_working_set - how many pages the guest has used since the last call; the first one counts from the start. @stride 1: all
 * are asked, and each costs the guest a fault when it is used again. Else one in @stride is, and this is an estimate; @stride is
 * a multiple of the last call's, or what was used before is counted again. Any thread.
 */
uint64_t ram_working_set(struct ram *ram, uint64_t stride);

/*
 * ram_check - compare the guest's tables with the host's, and what the guest can really reach with its tables. The number of entries that are wrong, and the first of them
 * in *@first. No vCPU and no host thread runs.
 */
struct ram_mismatch {
	uint64_t gpa;
	const char *what; /* a literal */
};
uint64_t ram_check(struct ram *ram, struct ram_mismatch *first);
/* ram_can_check - of what the guest can reach, ram_check() sees: 0 all; -EPERM all but the frames; another -errno nothing. */
int ram_can_check(void);

#endif /* UMBRA_HV_RAM_H */
