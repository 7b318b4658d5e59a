// SPDX-License-Identifier: BSD-2-Clause
#include "hv/ram.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "hv/machine.h"
#include "hv/ram_priv.h"
#include "hv/thread.h"

/* Frames beyond the regions': for pages that live away from home. */
#define SPARE_FRAMES 1024u

static void window_fatal(void *ctx, gpa_t gpa, bool write, int error)
{
	struct ram *ram = ctx;
	struct ram_failure failure = {
		.has_gpa = gpa != GPA_NONE,
		.gpa = gpa,
		.write = write,
		.error = error,
	};

	ram->opts.failed(ram->opts.failed_ctx, &failure);
}

static void host_view_fatal(void *ctx, hva_t hva, int error)
{
	struct ram *ram = ctx;
	struct ram_failure failure = { .host_view = true, .error = -error };
	struct window *window;

	/* 0: all of it is meant, and no page of a region that is not mapped yet. */
	for (unsigned i = 0; hva && i < RAM_REGIONS; i++) {
		const struct region_map *r = &ram->region[i];

		if (hva < r->hva || hva - r->hva >= r->npages << PAGE_SHIFT)
			continue;
		failure.has_gpa = true;
		failure.gpa = r->gpa + (hva - r->hva);
	}
	/* The reason first: a vCPU that meets shut memory stops for reasons of its own. */
	ram->opts.failed(ram->opts.failed_ctx, &failure);
	atomic_store(&ram->host_view_lost, true);
	window = ram->window;
	if (window)
		window_shut(window);
}

_Static_assert((int)SOURCE_UFFD == HOSTMM_SOURCE_UFFD &&
		       (int)SOURCE_SIGBUS == HOSTMM_SOURCE_SIGBUS &&
		       (int)SOURCE_MPROTECT == HOSTMM_SOURCE_MPROTECT,
	       "one order of sources");
_Static_assert((int)MACHINE_MEMORY == RAM_MEMORY && (int)MACHINE_INPUT == RAM_INPUT &&
		       (int)MACHINE_WORK == RAM_WORK && (int)MACHINE_BOARD == RAM_BOARD,
	       "one order of regions");

static void plan_region(struct ram *ram, const struct machine *m, enum ram_region region,
			const struct machine_mem *mem, bool read_only)
{
	if (!mem->present)
		return;
	ram->region[region] = (struct region_map){
		.gpa = mem->gpa,
		.npages = mem->size >> PAGE_SHIFT,
		.read_only = read_only,
		.source = (enum hostmm_source)machine_source_of(m, region),
		.audit = machine_audits(m, region),
		.pager.fill = ram->opts.store[region].fill,
		.pager.writeback = ram->opts.store[region].writeback,
	};
}

static int create_parts(struct ram *ram, const struct machine *m, struct why *w)
{
	struct hostmm_opts host = {
		.source = (enum hostmm_source)m->host_view_source,
		.audit = m->host_view_audit && m->host_view_source != SOURCE_MPROTECT,
		.fault_threads = m->host.threads + 1, /* and the thread that churns */
		.fatal = host_view_fatal,
		.fatal_ctx = ram,
	};
	struct window_opts window = {
		.fault_threads = m->fault_threads ? m->fault_threads : m->cpus,
		.fatal = window_fatal,
		.fatal_ctx = ram,
		.log_dirty = ram->opts.kvm_log_dirty ? ram_kvm_log_dirty : NULL,
		.collect_dirty = ram->opts.kvm_log_dirty ? ram_kvm_collect_dirty : NULL,
		.dirty_ctx = ram,
	};
	struct shadow_opts shadow = { .fault_around = m->fault_around };
	uint64_t frames = SPARE_FRAMES + ram->opts.spare_frames;
	char name[THREAD_NAME_SIZE];
	struct window *created;
	int err;

	for (unsigned i = 0; i < RAM_REGIONS; i++)
		frames += 2 * pool_room(ram->region[i].npages);
	err = pool_create(&ram->pool, frames, m->canary);
	if (err)
		return why_fail(w, err, "no memory pool of %llu MiB: %s%s",
				(unsigned long long)(frames >> 8), strerror(-err), why_advice(err));
	thread_lend_name("host fault", name);
	err = hostmm_create(&ram->mm, ram->pool, &host);
	thread_return_name(name);
	if (!err)
		err = window_create(&created, ram->pool, &window);
	if (!err) {
		ram->window = created;
		if (atomic_load(&ram->host_view_lost))
			window_shut(created);
		err = shadow_create(&ram->shadow, ram->mm, &window_ops, created, &shadow);
	}
	if (err == -EPERM)
		return why_fail(w, err,
				"no permission for userfaultfd; run as root, or give access to "
				"/dev/userfaultfd, or set vm.unprivileged_userfaultfd to 1 "
				"(umbra doctor tells more)");
	if (err == -EOPNOTSUPP || err == -ENOSYS)
		return why_fail(
			w, err,
			"this kernel's userfaultfd lacks what umbra needs (Linux 5.19 has it); "
			"umbra doctor tells what");
	if (err)
		return why_fail(w, err, "memory threads: %s%s", strerror(-err), why_advice(err));
	return 0;
}

static int create_region(struct ram *ram, enum ram_region i, struct why *w)
{
	struct region_map *r = &ram->region[i];
	unsigned prot = HOSTMM_PROT_READ | (r->read_only ? 0 : HOSTMM_PROT_WRITE);
	int err;

	if (!r->npages)
		return 0;
	err = hostmm_map_source(ram->mm, r->npages, prot, r->pager.fill ? &r->pager : NULL,
				ram->opts.store[i].ctx, r->source, r->audit, &r->hva);
	if (!err)
		err = shadow_add_slot(ram->shadow, i, r->gpa >> PAGE_SHIFT, r->npages, r->hva,
				      r->read_only ? MEMSLOT_READONLY : 0);
	if (err)
		return why_fail(w, err, "region at 0x%llx, %llu MiB: %s",
				(unsigned long long)r->gpa, (unsigned long long)(r->npages >> 8),
				strerror(-err));
	return 0;
}

/* Guest memory that is not shared with the host for its own purposes is merged. */
static int start_ksm(struct ram *ram, const struct machine_ksm *m, struct why *w)
{
	const struct ksm_opts opts = { .pages_to_scan = m->pages_to_scan,
				       .sleep_millisecs = m->sleep_ms,
				       .use_zero_pages = m->use_zero_pages };
	static const enum ram_region merged[] = { RAM_MEMORY, RAM_WORK };
	char name[THREAD_NAME_SIZE];
	int err;

	if (!m->on)
		return 0;
	err = ksm_create(&ram->ksm, ram->pool, &opts);
	for (unsigned i = 0; !err && i < sizeof(merged) / sizeof(merged[0]); i++) {
		const struct region_map *r = &ram->region[merged[i]];

		if (r->npages)
			err = ksm_register(ram->ksm, ram->mm, r->hva,
					   r->hva + (r->npages << PAGE_SHIFT));
	}
	thread_lend_name("ksmd", name);
	if (!err)
		err = ksm_start(ram->ksm);
	thread_return_name(name);
	if (err)
		return why_fail(w, err, "/umbra/ksm: %s%s", strerror(-err), why_advice(err));
	return 0;
}

int ram_create(struct ram **out, const struct machine *m, const struct ram_opts *opts,
	       struct why *w)
{
	struct ram *ram = calloc(1, sizeof(*ram));
	char name[THREAD_NAME_SIZE];
	int err;

	if (!ram)
		return why_fail(w, -ENOMEM, "no memory");
	ram->opts = *opts;
	plan_region(ram, m, RAM_MEMORY, &m->ram, false);
	plan_region(ram, m, RAM_INPUT, &m->input, true);
	plan_region(ram, m, RAM_WORK, &m->work, false);
	plan_region(ram, m, RAM_BOARD, &m->board, false);
	err = create_parts(ram, m, w);
	for (enum ram_region i = 0; !err && i < RAM_REGIONS; i++)
		err = create_region(ram, i, w);
	if (!err) {
		thread_lend_name("guest fault", name);
		err = window_start(ram->window, ram->shadow);
		thread_return_name(name);
		if (err)
			why_set(w, "memory threads: %s%s", strerror(-err), why_advice(err));
	}
	if (!err)
		err = start_ksm(ram, &m->ksm, w);
	if (err) {
		ram_destroy(ram);
		return err;
	}
	*out = ram;
	return 0;
}

void ram_destroy(struct ram *ram)
{
	if (ram->ksm)
		ksm_destroy(ram->ksm);
	if (ram->window)
		window_stop(ram->window);
	if (ram->shadow)
		shadow_destroy(ram->shadow);
	if (ram->window)
		window_destroy(ram->window);
	if (ram->mm)
		hostmm_destroy(ram->mm);
	if (ram->pool)
		pool_destroy(ram->pool);
	free(ram);
}

bool ram_slot(struct ram *ram, enum ram_region region, struct ram_slot *slot)
{
	const struct region_map *r = &ram->region[region];
	struct memslot memslot;

	if (!r->npages || !shadow_slot(ram->shadow, r->gpa >> PAGE_SHIFT, &memslot))
		return false;
	*slot = (struct ram_slot){
		.gpa = r->gpa,
		.size = r->npages << PAGE_SHIFT,
		.window = window_base(&memslot),
		.read_only = r->read_only,
	};
	return true;
}

int ram_read(struct ram *ram, uint64_t gpa, void *buf, size_t len)
{
	return shadow_read(ram->shadow, gpa, buf, len);
}

int ram_write(struct ram *ram, uint64_t gpa, const void *buf, size_t len)
{
	return shadow_write(ram->shadow, gpa, buf, len);
}

void ram_prefault(struct ram *ram, uint64_t gpa, uint64_t len)
{
	uint64_t first = gpa >> PAGE_SHIFT, done;

	(void)shadow_prefault(ram->shadow, first, ((gpa + len - 1) >> PAGE_SHIFT) - first + 1,
			      &done);
}

void *ram_host_view(struct ram *ram, enum ram_region region)
{
	const struct region_map *r = &ram->region[region];

	return r->npages ? (void *)(uintptr_t)r->hva : NULL;
}

void ram_get_parts(struct ram *ram, struct ram_parts *parts)
{
	*parts = (struct ram_parts){ .mm = ram->mm, .shadow = ram->shadow };
}

static hva_t page_hva(const struct ram *ram, enum ram_region region, uint64_t page)
{
	return ram->region[region].hva + (page << PAGE_SHIFT);
}

int ram_discard(struct ram *ram, enum ram_region region, uint64_t page, uint64_t n)
{
	return hostmm_discard(ram->mm, page_hva(ram, region, page),
			      page_hva(ram, region, page + n));
}

int ram_wrprotect(struct ram *ram, enum ram_region region, uint64_t page, uint64_t n)
{
	return hostmm_wrprotect(ram->mm, page_hva(ram, region, page),
				page_hva(ram, region, page + n));
}

int ram_zap(struct ram *ram, enum ram_region region, uint64_t page, uint64_t n)
{
	return hostmm_zap(ram->mm, page_hva(ram, region, page), page_hva(ram, region, page + n));
}

int ram_remap(struct ram *ram, enum ram_region region, uint64_t page, uint64_t n, bool away)
{
	return hostmm_migrate(ram->mm, page_hva(ram, region, page), page_hva(ram, region, page + n),
			      away ? HOSTMM_MIGRATE_AWAY : HOSTMM_MIGRATE_HOME);
}

uint64_t ram_gaps(struct ram *ram)
{
	return window_repoints(ram->window);
}

void ram_settle(struct ram *ram)
{
	window_settle(ram->window);
}

void ram_shut(struct ram *ram)
{
	window_shut(ram->window);
}

void ram_get_stats(struct ram *ram, struct ram_stats *stats)
{
	struct shadow_stats shadow;
	struct hostmm_stats host;
	struct ksm_stats ksm = { 0 };

	if (ram->ksm)
		ksm_get_stats(ram->ksm, &ksm);
	shadow_get_stats(ram->shadow, &shadow);
	hostmm_get_stats(ram->mm, &host);
	*stats = (struct ram_stats){
		.faults = shadow.faults,
		.spurious = shadow.spurious,
		.retries = shadow.retries,
		.fast = shadow.fast,
		.pages = shadow.pages,
		.batches = shadow.batches,
		.upgrades = shadow.upgrades,
		.repointed = shadow.repointed,
		.invalidations = shadow.invalidations,
		.zapped = shadow.zapped,
		.flushes = shadow.flushes,
		.yields = shadow.yields,
		.zap_alls = shadow.zap_alls,
		.splits = shadow.splits,
		.collapses = shadow.collapses,
		.pruned = shadow.pruned,
		.aged = shadow.aged,
		.pages_shared = ksm.pages_shared,
		.pages_sharing = ksm.pages_sharing,
		.pages_unshared = ksm.pages_unshared,
		.pages_volatile = ksm.pages_volatile,
		.full_scans = ksm.full_scans,
		.ksm_zero_pages = ksm.ksm_zero_pages,
		.ksm_merged = ksm.merged,
		.leaves = shadow.leaves,
		.leaves_4k = shadow.leaves_4k,
		.leaves_2m = shadow.leaves_2m,
		.leaves_1g = shadow.leaves_1g,
		.mapped = shadow.leaves_4k + (shadow.leaves_2m << 9) + (shadow.leaves_1g << 18),
		.table_pages = shadow.table_pages,
		.host_faults = host.view_faults,
		.page_ins = host.pages_in,
		.discards = host.discards,
		.wrprotects = host.wrprotects,
		.remaps = host.migrates,
		.zaps = host.zaps,
		.raw_removes = host.raw_removes,
		.raw_unmaps = host.raw_unmaps,
		.raw_remaps = host.raw_remaps,
		.raw_forks = host.raw_forks,
		.raw_overflows = host.raw_overflows,
		.raw_failures = host.raw_failures,
		.frames = pool_used(ram->pool),
	};
}

static void keep_first(void *ctx, gfn_t gfn, uint64_t spte, const char *what)
{
	struct ram_mismatch *first = ctx;

	(void)spte;
	if (!first->what)
		*first = (struct ram_mismatch){ .gpa = gfn << PAGE_SHIFT, .what = what };
}

uint64_t ram_mapped(struct ram *ram)
{
	struct ram_stats stats;

	ram_get_stats(ram, &stats);
	return stats.mapped;
}

uint64_t ram_working_set(struct ram *ram, uint64_t stride)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < RAM_REGIONS; i++) {
		const struct region_map *r = &ram->region[i];
		uint64_t used = 0;

		if (r->npages &&
		    !shadow_age_sample(ram->shadow, r->gpa >> PAGE_SHIFT, r->npages, stride, &used))
			sum += used;
	}
	return sum * stride;
}

uint64_t ram_check(struct ram *ram, struct ram_mismatch *first)
{
	*first = (struct ram_mismatch){ 0 };
	if (ram->ksm)
		ksm_stop(ram->ksm); /* nothing may change meanwhile */
	return shadow_check(ram->shadow, keep_first, first);
}

int ram_can_check(void)
{
	return window_can_check();
}
