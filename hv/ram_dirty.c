// SPDX-License-Identifier: BSD-2-Clause
/* The dirty log of a region: by protection in the window, or by KVM's own log of the memslot. */
#include <errno.h>

#include "hv/machine.h"
#include "hv/ram_priv.h"
#include "mmu/base/bug.h"
#include "mmu/base/sync.h"
#include "mmu/shadow/dirty_ring.h"

int ram_kvm_log_dirty(void *ctx, unsigned id, bool on)
{
	struct ram *ram = ctx;

	return ram->opts.kvm_log_dirty(ram->opts.kvm_ctx, (enum ram_region)id, on);
}

int ram_kvm_collect_dirty(void *ctx, unsigned id, uint64_t *bitmap)
{
	struct ram *ram = ctx;

	return ram->opts.kvm_collect_dirty(ram->opts.kvm_ctx, (enum ram_region)id, bitmap);
}

int ram_dirty_log(struct ram *ram, enum ram_region region, enum ram_dirty how)
{
	static const unsigned configuration[] = {
		[RAM_DIRTY_OFF] = 0,
		[RAM_DIRTY_PROTECT] = 0,
		[RAM_DIRTY_KVM] = SHADOW_DIRTY_BACKEND,
		[RAM_DIRTY_PROTECT_MANUAL] = SHADOW_DIRTY_MANUAL,
		[RAM_DIRTY_KVM_MANUAL] = SHADOW_DIRTY_BACKEND | SHADOW_DIRTY_MANUAL,
	};
	const struct region_map *r = &ram->region[region];
	unsigned flags = r->read_only ? MEMSLOT_READONLY : 0;
	int rc;

	if (!r->npages)
		return -EINVAL;
	if (how == RAM_DIRTY_OFF)
		return shadow_set_slot_flags(ram->shadow, region, flags);
	rc = shadow_dirty_configure(ram->shadow, configuration[how]);
	return rc ? rc : shadow_set_slot_flags(ram->shadow, region, flags | MEMSLOT_LOG_DIRTY);
}

int ram_get_dirty_log(struct ram *ram, enum ram_region region, uint64_t *bitmap)
{
	return shadow_get_dirty_log(ram->shadow, region, bitmap);
}

int ram_clear_dirty_log(struct ram *ram, enum ram_region region, uint64_t page, uint64_t n,
			const uint64_t *bitmap)
{
	return shadow_clear_dirty_log(ram->shadow, region, page, n, bitmap);
}

void ram_bind_vcpu(struct ram *ram, unsigned id)
{
	_Static_assert(MACHINE_MAX_CPUS <= SHADOW_DIRTY_RINGS_MAX, "a ring for each vCPU");
	bug_on(shadow_dirty_ring_bind(ram->shadow, id, sync_tid()));
}
