/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The file of --trace: opened early, so that a wrong name is told at once; emptied late, so that a run which never
 * starts costs nobody an older trace.
 * Owns the descriptor, and mmu/base/trace.h's ring while it is open. Called by hv/vm*.c, on one thread.
 * Does not know what the events mean.
 */
#ifndef UMBRA_HV_TRACE_FILE_H
#define UMBRA_HV_TRACE_FILE_H

#include <stdbool.h>
#include <stdint.h>

#include "hv/why.h"

struct trace_file {
	const char *path; /* NULL: not open */
	int fd;
	bool created;	/* it was not there before, and nothing is written yet */
	bool recording; /* the ring is this one's */
};

/*
 * Open @path and begin to record events. @keep: paths of files that must not be written over, up to a NULL; those
 * that do not exist are passed over. 0, or -errno with the reason in @w.
 */
int trace_file_open(struct trace_file *t, const char *path, const char *const *keep, struct why *w);

/* Replace the contents by what was recorded, and tell the user what went wrong. 0 or -errno. */
int trace_file_write(struct trace_file *t);

/* Stop recording. Nothing of the run's is left when it was not written. Harmless when not open. */
void trace_file_close(struct trace_file *t);

#endif /* UMBRA_HV_TRACE_FILE_H */
