/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What host and guest agree on: the layout, the hypercall page, the board, the words of a page.
 * Owns: every number that both sides compile in. Nothing here is stored in a file.
 * Who may include it: guest/, hv/, tests. It is the only header of guest/ that the host sees.
 * May not know: libc, KVM, mmu/. Fixed-width types only, so that both sides see the same bytes.
 */
#ifndef UMBRA_GUEST_ABI_H
#define UMBRA_GUEST_ABI_H

#define ABI_MAX_CPUS	16
#define ABI_PAGE_SIZE	4096

/*
 * Guest physical layout. Everything is identity mapped; page 0 is never used.
 *
 *   0x010000  device tree                  rdi at entry
 *   0x020000  boot scratch                 fs.base at entry; the stack protector reads fs:0x28
 *   0x030000  hypercall pages              one per vCPU
 *   0x100000  page tables                  written by the host before entry
 *   0x200000  the image                    linked here; the heap follows it, up to the end of RAM
 */
#define ABI_DT_GPA	0x10000
#define ABI_DT_SIZE	0x10000
#define ABI_SCRATCH_GPA 0x20000
#define ABI_HC_GPA	0x30000
#define ABI_TABLES_GPA	0x100000
#define ABI_IMAGE_GPA	0x200000
#define ABI_RAM_MIN	0x400000

#ifndef __ASSEMBLER__

#include <stddef.h>
#include <stdint.h>

/*
 * Hypercalls. The guest fills a page and stores its gfn to the port: `out %eax, $HC_PORT`, one
 * exit per call. The host copies the page in once, acts, and writes ret and status back before the
 * guest runs on.
 *
 * A page that the host cannot read or write back ends the guest. Anything wrong inside the page
 * comes back as -HC_E* in status, and the guest runs on; nothing was done then, not even in part.
 */
#define HC_PORT	       0xe0
#define HC_MAGIC       0x52424d55u /* "UMBR", little endian */
#define HC_MAX_DESCS   16
#define HC_CONSOLE_MAX 65536	   /* bytes in one HC_CONSOLE, over all descriptors */
#define HC_EXIT_MAX    124	   /* codes above are the host's own */
#define HC_WAIT_MAX    1000000000u /* ns in one HC_WAIT */

enum hc_op {
	HC_CONSOLE = 1, /* write descriptors to the console in order; ret = bytes */
	HC_EXIT,	/* args[0] = 0..HC_EXIT_MAX; this vCPU never runs again */
	HC_PHASE, /* args[0] = enum hc_phase, args[1..3] its payload; ret = host's answer; may block */
	HC_CLOCK, /* ret = CLOCK_MONOTONIC of the host in ns */
	HC_WAIT,  /* sleep args[0] ns, or less when the host has news on the board */
};

/* The usual numbers, so that a host can map them one to one. */
enum hc_error {
	HC_EFAULT = 14, /* a descriptor leaves guest memory */
	HC_EINVAL = 22, /* bad magic, flags or reserved bytes not zero, number out of range */
	HC_ENOSYS = 38, /* unknown op */
};

struct hc_desc {
	uint64_t gpa;
	uint64_t len;
};

struct hc_page {
	uint32_t magic;			   /* IN: HC_MAGIC */
	uint32_t op;			   /* IN: enum hc_op */
	uint32_t flags;			   /* IN: zero */
	uint32_t ndesc;			   /* IN: used entries of desc[]; zero but for HC_CONSOLE */
	uint64_t args[4];		   /* IN: those an op does not name are ignored */
	uint64_t ret;			   /* OUT: zero when status is not */
	int32_t status;			   /* OUT: 0 or -HC_E* */
	uint32_t reserved0;		   /* IN: zero */
	struct hc_desc desc[HC_MAX_DESCS]; /* IN: entries past ndesc are ignored */
	uint8_t reserved[4096 - 320];	   /* IN: zero */
};

_Static_assert(sizeof(struct hc_page) == ABI_PAGE_SIZE, "a hypercall page is a page");
_Static_assert(offsetof(struct hc_page, ret) == 48, "layout of struct hc_page");
_Static_assert(offsetof(struct hc_page, desc) == 64, "layout of struct hc_page");

/*
 * Phase marks: each vCPU calls them for itself. The host may hold the caller, to act at a known
 * point of the workload. It answers 0 unless said otherwise.
 */
enum hc_phase {
	PHASE_READY = 1,    /* about to start the workload */
	PHASE_BEGIN,	    /* payload: round; a timed stretch of memory accesses starts */
	PHASE_END,	    /* payload: round, pages touched in it, wrong values seen in it */
	PHASE_STAMPED,	    /* payload: round; every page holds this round's values, checked next */
	PHASE_COUNTER,	    /* payload: increments this vCPU did in all */
	PHASE_STRESS_STEPS, /* payload: 0, increments, operations, so far */
	PHASE_STRESS_PAUSE, /* payload: board.pause as found, increments, operations; answers 1: load only */
	PHASE_STRESS_WRONG, /* payload: enum play_oracle << 32 | page, what was found, what had to be */
	PHASE_LAST = PHASE_STRESS_WRONG,
};

/*
 * The board: a small region of its own, always mapped, never churned. The host writes, the guest
 * reads.
 *
 * A word that reads 0 lost its value to a discard, or to a bug. The two discard counters tell them
 * apart: if discards_begun, read after the 0, equals discards_ended, read before the store, then
 * no discard can have come between, and a store was lost.
 */
struct board {
	uint64_t stop;		 /* not zero: finish soon (counter, idle, touch without end) */
	uint64_t work_pages;	 /* entries of floor[] */
	uint64_t discards_begun; /* added to before the first page of a discard is dropped */
	uint64_t discards_ended; /* added to after the last page of a discard is dropped */
	uint64_t
		pause; /* has changed: PHASE_STRESS_PAUSE before the next access to work (stress) */
	uint64_t reserved[3];
	uint32_t floor
		[]; /* per page of work: version that a load starting now must see at least; stress: its writer's */
};

_Static_assert(sizeof(struct board) == 64, "floor[] starts on a cache line of its own");

/* Bytes of a board for @pages pages of work, in whole pages. */
static inline uint64_t board_size(uint64_t pages)
{
	uint64_t bytes = sizeof(struct board) + pages * sizeof(uint32_t);

	return (bytes + ABI_PAGE_SIZE - 1) & ~(uint64_t)(ABI_PAGE_SIZE - 1);
}

/*
 * Words of a page of work, as indices of uint64_t. Each word has one writer, but for the counter.
 *
 * Word 0 of a stamped region says whose page this is and how new. The host alone changes it, in
 * its store first, then through the host view, then floor[page]. A discard may drop the page at
 * any time; the fault that refills it writes the stamp of the day and zeroes the rest.
 */
#define WORD_STAMP	0
#define WORD_CPU	1   /* + cpu: what this vCPU last wrote, or 0 after a discard */
#define WORD_HOST	32  /* + thread: the same for host threads */
#define WORD_COUNTER	64  /* shared by everyone, atomic increments only */
#define WORD_VERIFY	128 /* + WORD_VERIFY_LEN * cpu: WORD_VERIFY_LEN words of this vCPU */
#define WORD_VERIFY_LEN 24
#define WORDS_PER_PAGE	512

_Static_assert(WORD_VERIFY + WORD_VERIFY_LEN * ABI_MAX_CPUS == WORDS_PER_PAGE, "words of a page");

/* Not zero, and different for every page below 2^32 - 1. */
static inline uint32_t stamp_tag(uint64_t page)
{
	return (uint32_t)(page + 1) * 0x9e3779b1u;
}

static inline uint64_t stamp_make(uint64_t page, uint32_t version)
{
	return (uint64_t)stamp_tag(page) << 32 | version;
}

#endif /* !__ASSEMBLER__ */
#endif
