/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A machine: what one device tree asks umbra to build, checked and in plain C.
 * Owns nothing: a struct machine is a value; copy it, change it, drop it.
 * Called by hv/main.c, hv/vm.c and the tests, before any vCPU exists.
 * Does not know KVM, userfaultfd, or how a machine is carried out.
 */
#ifndef UMBRA_HV_MACHINE_H
#define UMBRA_HV_MACHINE_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MACHINE_PAGE_SIZE   4096u
#define MACHINE_MAX_CPUS    16u
#define MACHINE_MAX_THREADS 64u
#define MACHINE_MIN_RAM	    (4ull << 20)

/* Regions end at or below this address: what the page tables in RAM can map. */
#define MACHINE_GPA_END	    (1ull << 37)

/* x86 keeps its interrupt controllers here, and KVM pages of its own: no region may touch it. */
#define MACHINE_HOLE_START  0xfec00000ull
#define MACHINE_HOLE_END    0x100000000ull

/* Room for any reason that the functions below give, dtc's own lines included. */
#define MACHINE_WHY_SIZE    2048

enum machine_fill {
	FILL_ZERO,  /* pages start as zeros */
	FILL_STAMP, /* word 0 of each page carries its tag and version (guest/abi.h) */
};

/* What tells that a host thread touches guest memory (mmu/host/hostmm.h, enum hostmm_source). */
enum machine_source {
	SOURCE_UFFD,	 /* a blocking userfaultfd, read by fault threads */
	SOURCE_SIGBUS,	 /* the thread resolves its own fault, told by userfaultfd */
	SOURCE_MPROTECT, /* the same, told by the rights of its mappings */
	SOURCE_DEFAULT,	 /* of a region: what the machine has */
};

/* Are system calls of others on the host's view of a region followed? */
enum machine_region_audit { REGION_AUDIT_NO, REGION_AUDIT_YES, REGION_AUDIT_DEFAULT };

/* What the host does to its memory under the running guest; bits of machine_churn.ops. */
enum machine_churn_op {
	CHURN_DISCARD = 1u << 0,   /* drop pages; the next touch brings them back from the store */
	CHURN_WRPROTECT = 1u << 1, /* take write permission away, then give it back */
	CHURN_REMAP = 1u << 2,	   /* move pages to foreign frames and home again */
	CHURN_ZAP = 1u << 3,	   /* drop secondary entries only */
	CHURN_UPDATE = 1u << 4,	   /* store a new version through the host view */
};

/*
 * One range of guest memory, [gpa, gpa + size); a multiple of MACHINE_PAGE_SIZE.
 * @present: the machine has this node. An input region that is present has size 0 until
 *           machine_open_input() succeeds, and keeps it when the file is empty: no slot then.
 */
struct machine_mem {
	uint64_t gpa;
	uint64_t size;
	bool present;
};

struct machine_host {
	unsigned threads; /* host threads that work on the region /work; 0..MACHINE_MAX_THREADS */
	unsigned seconds; /* for how long; 0: until the guest ends */
};

struct machine_churn {
	bool on;
	unsigned ops;	    /* mask of enum machine_churn_op, never 0 when on */
	unsigned period_us; /* pause between two operations; 0: none */
	unsigned pages;	    /* pages per operation, at least 1 */
	uint64_t seed;
};

/* Equal pages of guest memory come to share frames. */
struct machine_ksm {
	bool on;
	bool use_zero_pages;
	unsigned pages_to_scan; /* at once, at least 1 */
	unsigned sleep_ms;	/* in between; 0: never */
};

/* For each region, in the order of enum ram_region. */
enum { MACHINE_MEMORY, MACHINE_INPUT, MACHINE_WORK, MACHINE_BOARD, MACHINE_REGIONS };

struct machine {
	char model[64];
	unsigned cpus;		/* 1..MACHINE_MAX_CPUS */
	unsigned cpl;		/* 0 or 3 */
	struct machine_mem ram; /* always present, gpa 0 */
	struct machine_mem input;
	struct machine_mem work;
	struct machine_mem board;
	enum machine_fill work_fill;
	char bootargs[256];
	char image[PATH_MAX]; /* the guest's ELF file */
	unsigned
		fault_around; /* pages installed per fault: 0 adaptive, else a power of two <= 512 */
	unsigned fault_threads;		      /* 0: one per vCPU */
	enum machine_source host_view_source; /* not SOURCE_DEFAULT */
	bool host_view_audit;
	enum machine_source region_source[MACHINE_REGIONS];
	enum machine_region_audit region_audit[MACHINE_REGIONS];
	unsigned timeout_ms; /* 0: none */
	struct machine_host host;
	struct machine_churn churn;
	struct machine_ksm ksm;
	bool canary; /* fill freed frames with a pattern */
};

/* What the region @i has after all defaults. */
static inline enum machine_source machine_source_of(const struct machine *m, unsigned i)
{
	return m->region_source[i] == SOURCE_DEFAULT ? m->host_view_source : m->region_source[i];
}

static inline bool machine_audits(const struct machine *m, unsigned i)
{
	return m->region_audit[i] == REGION_AUDIT_DEFAULT ? m->host_view_audit
							  : m->region_audit[i] == REGION_AUDIT_YES;
}

/*
 * Read the machine description at @path (.dts: compiled with dtc; anything else: a .dtb), apply
 * the @nsets assignments "/node/property=value" of @sets in order, check everything, fill @m.
 * Return 0, or -errno with the reason in @why (what, where, what to do; no newline at the end).
 */
int machine_load(struct machine *m, const char *path, const char *const *sets, size_t nsets,
		 char *why, size_t why_size);

/*
 * Check the flattened device tree in @fdt[0..size) and fill @m from it. @dir is where relative
 * paths in it start ("" : the working directory). Return 0, or -errno with the reason in @why.
 */
int machine_parse(struct machine *m, const void *fdt, size_t size, const char *dir, char *why,
		  size_t why_size);

/*
 * Match --input (@path, NULL when not given) with the machine. When it has an input region:
 * open the regular file, set m->input.size to its length rounded up to a page, check that the
 * region still fits. *@fd is the open file (the caller closes it) or -1 when there is none to
 * read; *@bytes the exact length. Return 0, or -errno with the reason in @why and *@fd = -1.
 */
int machine_open_input(struct machine *m, const char *path, int *fd, uint64_t *bytes, char *why,
		       size_t why_size);

/* Whose fault is @err (negative errno of a function above)? 125: the host's; 126: the user's. */
int machine_exit_status(int err);

#endif /* UMBRA_HV_MACHINE_H */
