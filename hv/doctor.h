/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The doctor: what this host can do for umbra, what is degraded, and how to fix it.
 * Owns nothing that outlives a call; every probe undoes what it made.
 * Called by hv/main.c and the tests; the probes in hv/doctor_*.c by hv/doctor.c only.
 * Does not know machines.
 */
#ifndef UMBRA_HV_DOCTOR_H
#define UMBRA_HV_DOCTOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum doctor_verdict {
	DOCTOR_OK,	 /* works */
	DOCTOR_DEGRADED, /* guests run, but slower or with something missing */
	DOCTOR_MISSING,	 /* no guest can run */
};

/*
 * One finding.
 * @id: stable, for --json and scripts: "kvm.open".
 * @found: what the probe saw; @fix: what to do, empty when nothing is to be done.
 */
struct doctor_finding {
	const char *id;
	enum doctor_verdict verdict;
	char found[128];
	char fix[192];
};

#define DOCTOR_MAX_FINDINGS 40

struct doctor_report {
	struct doctor_finding findings[DOCTOR_MAX_FINDINGS];
	size_t count;
};

/* Examine the host and print the report to @out. Return true when a guest can run here. */
bool doctor_print(FILE *out, bool json);

/* Examine the host. */
void doctor_examine(struct doctor_report *r);

/* Add a finding. @fix is NULL when nothing is to be done. */
void doctor_add(struct doctor_report *r, const char *id, enum doctor_verdict verdict,
		const char *fix, const char *fmt, ...) __attribute__((format(printf, 5, 6)));

void doctor_probe_kvm(struct doctor_report *r);	 /* hv/doctor_kvm.c */
void doctor_probe_uffd(struct doctor_report *r); /* hv/doctor_uffd.c */
void doctor_probe_host(struct doctor_report *r); /* hv/doctor_host.c */

/* What userfaultfd can do, by the features that UFFDIO_API offers (hv/doctor_uffd.c). */
void doctor_judge_uffd(struct doctor_report *r, uint64_t mask);

/*
 * Time one instruction of a small loop at @cpl in a VM of its own (hv/doctor_cpl.c).
 * Return 0 and nanoseconds in *@ns, or -errno.
 */
int doctor_measure_cpl(int kvm, unsigned cpl, double *ns);

/* Crash a guest in a VM of its own: does KVM still know where that was? Return 0, or -errno. */
int doctor_probe_crash(int kvm, bool *knows);

/* What KVM says of a store to a page that the host may not write: how it leaves KVM_RUN. */
enum doctor_exit {
	DOCTOR_EXIT_EFAULT, /* -1 and EFAULT, without an address: it is like that nearly everywhere */
	DOCTOR_EXIT_MEMORY_FAULT, /* EFAULT, and KVM_EXIT_MEMORY_FAULT has the address */
	DOCTOR_EXIT_MMIO,	  /* an exit for MMIO: an interpreter could not make the store */
	DOCTOR_EXIT_NONE,	  /* it went through, to another page than the host's */
};

/* Make a guest at @cpl do that in a VM of its own. Return 0 and *@how, or -errno. */
int doctor_probe_store(int kvm, unsigned cpl, enum doctor_exit *how);

/* At an exit for an OUT, is rip already behind the instruction? Return 0, or -errno. */
int doctor_probe_out(int kvm, bool *behind);

#endif /* UMBRA_HV_DOCTOR_H */
