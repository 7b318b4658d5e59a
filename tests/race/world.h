/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The world of most scenarios: a pool, a host mm with one region, and devices on it.
 * Owns them from world_setup() to world_finish(), which a scenario calls from its own setup and finish.
 * Accesses go through the library, and say in the timeline what they did. Knows no scenario.
 */
#ifndef UMBRA_TESTS_RACE_WORLD_H
#define UMBRA_TESTS_RACE_WORLD_H

#include "mmu/host/hostmm.h"
#include "mmu/shadow/device.h"
#include "tests/race/explore.h"

#define WORLD_DEVICES 2
#define WORLD_LARGE   512UL /* pages of 2M */

struct world {
	struct pool *pool;
	struct hostmm *mm;
	hva_t hva; /* of page 0 */
	uint64_t pages;
	struct device *device[WORLD_DEVICES];
};

extern struct world world;

/* must - @rc is 0, or a violation says what @what was and how it failed. */
void must(int rc, const char *what);

/* A region of @pages zeroed pages, and up to two devices by the names of their profiles (NULL: none). */
void world_setup(uint64_t pages, const char *profile, const char *profile2);
/* The same, with an audit: events.h has threads for the scenario. */
void world_setup_audit(uint64_t pages, const char *profile);
/* Check every device against the primary (a disagreement is a violation), then destroy all. */
void world_finish(void);
/* The same for a scenario with a bad device, which has its own oracle: no check. */
void world_finish_unchecked(void);

/* Device @d (none so far) from now on, on other pages than world_setup() gives it perhaps. */
void world_add_device(unsigned d, const char *profile, hva_t hva, uint64_t pages);
/* Device @d by a profile of the scenario's own. */
void world_add_profile(unsigned d, const struct device_profile *profile);
/* Make every page of the region present, at home and writable: what entries of 2M need. */
void world_populate(void);
/* Migrate a page of the region to another frame. */
void world_move(uint64_t page);

static inline hva_t world_page(uint64_t page)
{
	return world.hva + (page << PAGE_SHIFT);
}

/*
 * Word 0 of a page, by the host's CPU and by device @d. Each says "CPU reads 1 from page 0" and so on, under the name
 * @who of the actor. An errno other than 0 is a violation.
 */
uint64_t host_load(const char *who, uint64_t page);
void host_store(const char *who, uint64_t page, uint64_t value);
/* The same by an instruction of a host thread, which goes through the host view: by the entry that this has, or a fault. */
uint64_t view_load(const char *who, uint64_t page);
void view_store(const char *who, uint64_t page, uint64_t value);
uint64_t device_load(unsigned d, const char *who, uint64_t page);
void device_store(unsigned d, const char *who, uint64_t page, uint64_t value);

/*
 * Versions of page 0 and 1: the CPU writes ever higher numbers; a load that begins after a write has returned must find that
 * number or a higher one. An older one, or the pattern of freed frames, is a violation.
 * check_version - load @page by device @d, and compare. version_of - what a load must find at least; 0 before any write.
 */
#define WORLD_VERSIONS 2
void write_version(uint64_t page, uint64_t version);
void check_version(unsigned d, const char *who, uint64_t page);
uint64_t version_of(uint64_t page);

#endif
