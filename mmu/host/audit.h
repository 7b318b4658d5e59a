/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The audit of one userfaultfd: system calls on its views by code that knows nothing of umbra, in the order in which their
 * events were read. Owns the log of what has not been dealt with, a thread that deals with it, and which calls are umbra's own.
 * Views announce theirs, fault threads note what they read, source.c says what is to be done. Knows no regions and no pages.
 *
 * Reading an event lets its caller go on, so what may wait is put in the log, and what may not is done when the event is noted:
 * pages of a view that are not its own any more are marked (view_lost), and nobody makes a call there from then on.
 */
#ifndef UMBRA_MMU_HOST_AUDIT_H
#define UMBRA_MMU_HOST_AUDIT_H

#include "mmu/base/addr.h"
#include "mmu/host/uffd.h"

struct view;

enum audit_kind {
	AUDIT_REMOVE, /* entries of [start, end) go, with MADV_REMOVE contents, too; it has perhaps not happened yet */
	AUDIT_UNMAP, /* the VMAs of [start, end) are gone */
	AUDIT_REMAP, /* the VMA of [start, end) is at @to now. Perhaps there is still one (MREMAP_DONTUNMAP) */
	AUDIT_FORK, /* a child has views, which @fd watches */
	AUDIT_ALL,  /* the log was full: any of the first two may have happened anywhere */
};

struct audit_event {
	enum audit_kind kind;
	hva_t start, end, to;
	int fd;
};

/* required. Deal with it; an @fd is the callee's. No lock held, one call at a time, in order. */
typedef void (*audit_fn)(void *ctx, const struct audit_event *event);

/* audit_start - audit @u, which has events and no view. 0, -ENOMEM, errno of pthread_create. audit_stop - @u has no view left. */
int audit_start(struct uffd *u, audit_fn handle, void *ctx);
void audit_stop(struct uffd *u);

/* audit_note - fault_ops.event: log what is news. u->reading held. */
void audit_note(struct uffd *u, const struct uffd_msg *msg);

/*
 * audit_begin, audit_end - around a call of the caller's own that discards, or unmaps or maps over, [start, end) as a whole.
 * Calls may overlap. Not with u->reading held. Without an audit nothing happens.
 */
struct audit_own {
	struct audit_own *next;
	hva_t start, end;
	bool unmaps, is_read;
};
void audit_begin(struct uffd *u, struct audit_own *own, hva_t start, hva_t end, bool unmaps);
void audit_end(struct uffd *u, struct audit_own *own);

/*
 * audit_add_view, audit_remove_view - mark what is lost of @view. It has its place before, and when it is removed no VMA.
 * audit_adopt_view - the same for one whose VMAs were moved to its place by the AUDIT_REMAP that is being dealt with: what the log
 * says came after that.
 * audit_retire_view - nothing is left of @view, and it is about to be removed: what comes to its place from now on is not its own.
 * False: something has come already, which the log says.
 */
void audit_add_view(struct uffd *u, struct view *view);
void audit_adopt_view(struct uffd *u, struct view *view);
void audit_remove_view(struct uffd *u, struct view *view);
bool audit_retire_view(struct uffd *u, struct view *view);

/*
 * audit_seq - how much has been dealt with. audit_settle - wait until all that has happened by now has been read and dealt with.
 * True: something has been since audit_seq() said @seq, so look again. Not from an audit_fn.
 */
uint64_t audit_seq(struct uffd *u);
bool audit_settle(struct uffd *u, uint64_t seq);

/* audit_shut - nobody will read any more: close all views at once, under no lock that waits for a reader, and give @u up. */
void audit_shut(struct uffd *u);

struct audit_stats {
	uint64_t removes, unmaps, remaps, forks; /* by others */
	uint64_t overflows;			 /* events that did not fit */
	uint64_t own;				 /* umbra's own */
};
void audit_add_stats(struct uffd *u, struct audit_stats *sum);

#endif
