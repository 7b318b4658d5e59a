// SPDX-License-Identifier: BSD-2-Clause
/* The doctor: what it concludes from a userfaultfd's features, and that the library concludes the same of this kernel. */
#include "hv/doctor.h"

#include <string.h>

#include "hv/kvmio.h"
#include "mmu/host/uffd.h"
#include "tests/test.h"

#define LINUX_6_1  0x1fffu
#define LINUX_6_12 0x1ffffu

static struct doctor_report report;

static const struct doctor_finding *finding(const char *id)
{
	for (size_t i = 0; i < report.count; i++)
		if (!strcmp(report.findings[i].id, id))
			return &report.findings[i];
	return NULL;
}

static void judge(uint64_t mask)
{
	report.count = 0;
	doctor_judge_uffd(&report, mask);
}

static void check_finding(const char *id, enum doctor_verdict verdict, const char *text)
{
	const struct doctor_finding *f = finding(id);

	check(f, "nothing about %s", id);
	check_eq(f->verdict, verdict);
	check(strstr(f->found, text), "%s: %s", id, f->found);
	/* What is to be mended says how. */
	check(verdict == DOCTOR_OK || f->fix[0], "%s has no fix", id);
}

UTEST(doctor, features_of_kernels)
{
	judge(LINUX_6_1);
	check_finding("uffd.features", DOCTOR_OK, "mask 0x1fff");
	check_finding("uffd.wp-shmem", DOCTOR_OK, "can protect");
	check_finding("uffd.wp-unpopulated", DOCTOR_OK, "cannot protect");
	check_finding("uffd.poison", DOCTOR_OK, "cannot let");
	check_finding("uffd.events", DOCTOR_OK, "remap, remove, unmap, fork");

	judge(LINUX_6_12);
	check_finding("uffd.wp-unpopulated", DOCTOR_OK, "can protect");
	check_finding("uffd.poison", DOCTOR_OK, "can let");
}

/* Each bit that is needed is missed, and no other hinders a guest. */
UTEST(doctor, a_missing_bit_is_told)
{
	for (unsigned bit = 0; bit < 17; bit++) {
		bool missing = false;

		judge(LINUX_6_12 & ~(1ull << bit));
		for (size_t i = 0; i < report.count; i++) {
			const struct doctor_finding *f = &report.findings[i];

			missing |= f->verdict == DOCTOR_MISSING;
			check(f->verdict == DOCTOR_OK || f->fix[0], "%s has no fix", f->id);
		}
		check_eq(missing, (UFFD_FEATURES_NEEDED >> bit & 1));
	}
	judge(LINUX_6_12 & ~(uint64_t)UFFD_FEATURE_SIGBUS);
	check_finding("uffd.sigbus", DOCTOR_DEGRADED, "cannot");
	judge(LINUX_6_12 & ~(uint64_t)UFFD_FEATURE_EVENT_REMAP);
	check_finding("uffd.events", DOCTOR_DEGRADED, "not all");
}

/* Two probes of one kernel: the doctor's, and the one that decides. */
/* The thread sanitizer starts a thread of its own beside the first. */
UTEST(doctor, agrees_with_the_library, .may_leak = true)
{
	struct uffd u;
	bool continue_wp, unpopulated;
	int err = uffd_open(&u, 0);

	report.count = 0;
	doctor_probe_uffd(&report);
	if (err) {
		bool missing = false;

		for (size_t i = 0; i < report.count; i++)
			missing |= report.findings[i].verdict == DOCTOR_MISSING;
		check(missing, "uffd_open() fails, and the doctor finds nothing");
		skip_if(true, "userfaultfd: %s", strerror(-err));
	}
	continue_wp = u.has_continue_wp;
	unpopulated = u.features & UFFD_FEATURE_WP_UNPOPULATED;
	uffd_close(&u);

	check_finding("uffd.open", DOCTOR_OK, "through");
	check_finding("uffd.register", DOCTOR_OK, "missing, minor and write");
	check_finding("uffd.continue-wp", continue_wp ? DOCTOR_OK : DOCTOR_DEGRADED,
		      continue_wp ? "one step" : "second step");
	check_finding("uffd.wp-unpopulated", DOCTOR_OK, unpopulated ? "can " : "cannot ");
}

/* What is wrong is told apart: a module, the firmware, or the host of a virtual machine. */
UTEST(doctor, advice_without_kvm)
{
	check(strstr(kvmio_advice(true, false, false), "modprobe kvm_intel"));
	check(strstr(kvmio_advice(true, false, true), "modprobe kvm_intel"));
	check(strstr(kvmio_advice(false, true, true), "modprobe kvm_amd"));
	check(strstr(kvmio_advice(false, false, true), "nested"));
	check(strstr(kvmio_advice(false, false, false), "firmware"));
}

/* Every probe fits: none was dropped for want of room, and no two have one name. */
UTEST(doctor, all_findings_have_room)
{
	doctor_examine(&report);
	check(report.count && report.count < DOCTOR_MAX_FINDINGS, "%zu", report.count);
	for (size_t i = 0; i < report.count; i++)
		check(finding(report.findings[i].id) == &report.findings[i], "%s twice",
		      report.findings[i].id);
}
