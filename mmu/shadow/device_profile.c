/* SPDX-License-Identifier: BSD-2-Clause */
/* The profiles: what tells one kind of device from another. */
#include <string.h>

#include "mmu/shadow/device.h"

const struct device_profile device_profiles[] = {
	{ .name = "kvm",
	  .tlb = DEVICE_TLB_MIXED,
	  .walk = DEVICE_WALK_SHADOW,
	  .subscription = DEVICE_START_END },
	{ .name = "kvm-no-ad",
	  .tlb = DEVICE_TLB_MIXED,
	  .walk = DEVICE_WALK_SHADOW,
	  .subscription = DEVICE_START_END,
	  .no_ad = true },
	{ .name = "vmwgfx", .walk = DEVICE_WALK_SHADOW, .subscription = DEVICE_START_END },
	{ .name = "gru",
	  .tlb = DEVICE_TLB_MIXED,
	  .part = DEVICE_PART_ALONE,
	  .walk = DEVICE_WALK_HOST,
	  .subscription = DEVICE_INTERVAL,
	  .atomic = true },
	{ .name = "gru-coarse",
	  .tlb = DEVICE_TLB_MIXED,
	  .walk = DEVICE_WALK_HOST,
	  .subscription = DEVICE_INTERVAL,
	  .atomic = true,
	  .expands = true },
	{ .name = "xpmem",
	  .walk = DEVICE_WALK_MIRROR,
	  .subscription = DEVICE_START_END,
	  .pins = true,
	  .expands = true },
	{ .name = "xpmem-async",
	  .walk = DEVICE_WALK_MIRROR,
	  .subscription = DEVICE_START_END,
	  .pins = true,
	  .expands = true,
	  .defers = true },
	{ .name = "hmm",
	  .tlb = DEVICE_TLB_MIXED,
	  .walk = DEVICE_WALK_MIRROR,
	  .subscription = DEVICE_INTERVAL },
	{ .name = "pfn-cache",
	  .walk = DEVICE_WALK_MIRROR,
	  .subscription = DEVICE_START_END,
	  .follows = true },
	{ .name = "ats-4k",
	  .walk = DEVICE_WALK_HOST,
	  .subscription = DEVICE_SECONDARY_TLB,
	  .atomic = true },
	{ .name = "ats-mixed",
	  .tlb = DEVICE_TLB_MIXED,
	  .walk = DEVICE_WALK_HOST,
	  .subscription = DEVICE_SECONDARY_TLB,
	  .atomic = true },
	{ .name = "ats-mixed-buggy",
	  .tlb = DEVICE_TLB_MIXED,
	  .part = DEVICE_PART_IGNORED,
	  .walk = DEVICE_WALK_HOST,
	  .subscription = DEVICE_SECONDARY_TLB,
	  .atomic = true },
	{ .name = NULL },
};

const struct device_profile *device_profile(const char *name)
{
	for (const struct device_profile *p = device_profiles; p->name; p++)
		if (!strcmp(p->name, name))
			return p;
	return NULL;
}
