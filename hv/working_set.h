/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The working set over time: how many pages the guest used in each interval of the run.
 * Owns the samples. The thread that supervises the run takes them, the report prints them.
 * Does not know how use is seen.
 */
#ifndef UMBRA_HV_WORKING_SET_H
#define UMBRA_HV_WORKING_SET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct ram;

/* Samples kept, at most and by a line of text. With no room for more, neighbours are merged and the interval is doubled. */
#define WORKING_SET_SAMPLES 4096u
#define WORKING_SET_LINE    16u

/* Pages that an estimate asks for, at most: with a fault each, a second of a guest is shorter by about one percent. */
#define WORKING_SET_BUDGET  256u

/* All members belong to the thread of vm_run(). */
struct working_set {
	uint64_t interval_ns; /* 0: off */
	uint64_t next_ns;     /* when the next one is due, from the start of the run */
	uint64_t budget;      /* 0: every page is asked for */
	uint64_t stride;      /* one page in so many is; a power of 3, and never less than it was */
	size_t most, count;
	struct working_set_sample {
		uint64_t ns;	/* from the start of the run */
		uint64_t pages; /* used since the sample before */
	} * sample;
};

/*
 * 0, -ENOMEM. @interval_ms 0: nothing is ever taken. @budget 0: exact; else an estimate of that many pages at most. @most:
 * samples to keep, even.
 */
int working_set_init(struct working_set *set, unsigned interval_ms, uint64_t budget, size_t most);
void working_set_fini(struct working_set *set);

/* How long from @now_ns until the next sample is due; UINT64_MAX: never. */
uint64_t working_set_wait(const struct working_set *set, uint64_t now_ns);

/*
 * Ask which pages were used since the last time, if that is due or @last says so, and remember the answer. 1: there is a
 * new sample; 0: not yet. Each page that was asked for and that the guest uses again costs it a fault.
 */
bool working_set_take(struct working_set *set, struct ram *ram, uint64_t now_ns, bool last);

/* As a JSON array of objects with ns and pages. */
void working_set_json(const struct working_set *set, FILE *out);
/* As words: "3.7 MiB to 0.007 s", more with commas between. */
void working_set_text(const struct working_set *set, FILE *out);

#endif /* UMBRA_HV_WORKING_SET_H */
