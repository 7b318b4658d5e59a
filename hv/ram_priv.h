/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The inside of guest memory: what hv/ram.c and hv/ram_dirty.c share.
 * Owns nothing of its own: hv/ram.c makes and frees a struct ram.
 * Included by hv/ram*.c only.
 */
#ifndef UMBRA_HV_RAM_PRIV_H
#define UMBRA_HV_RAM_PRIV_H

#include <stdatomic.h>

#include "hv/ram.h"
#include "mmu/host/hostmm.h"
#include "mmu/host/ksm.h"
#include "mmu/shadow/shadow.h"
#include "mmu/shadow/window.h"

struct region_map {
	uint64_t gpa, npages; /* npages 0: not in this machine */
	hva_t hva;
	bool read_only;
	enum hostmm_source source;
	bool audit;
	struct pager_ops pager;
};

/*
 * Locks used to protect members:
 *	I	immutable once ram_create() has returned; what it points to synchronises itself
 *	a	atomic
 */
struct ram {
	struct ram_opts opts; /* [I] */
	struct pool *pool;    /* [I] */
	struct hostmm *mm;    /* [I] */
	/* A fault thread of the host view may fail before there is a window; each side looks after it wrote. */
	struct window *_Atomic window;	       /* [a] */
	atomic_bool host_view_lost;	       /* [a] */
	struct shadow *shadow;		       /* [I] */
	struct ksm *ksm;		       /* [I] NULL: equal pages stay apart */
	struct region_map region[RAM_REGIONS]; /* [I] */
};

/* hv/ram_dirty.c: window_opts.log_dirty and .collect_dirty, @ctx the struct ram. */
int ram_kvm_log_dirty(void *ctx, unsigned id, bool on);
int ram_kvm_collect_dirty(void *ctx, unsigned id, uint64_t *bitmap);

#endif /* UMBRA_HV_RAM_PRIV_H */
