// SPDX-License-Identifier: BSD-2-Clause
/* /dev/kvm: may it be opened, what kind is it, how fast is each privilege level. */
#include "hv/doctor.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hv/kvmio.h"
#include "hv/machine.h"

/* CPL 0 this much slower than CPL 3 means that it is interpreted. */
#define INTERPRETED_FACTOR 20

/* A flavour of KVM by its module. @paging: the module's parameter for nested paging, or NULL. */
struct flavour {
	const char *module;
	const char *what;
	const char *paging;
};

static const struct flavour flavours[] = {
	{ "kvm_intel", "Intel VMX", "/sys/module/kvm_intel/parameters/ept" },
	{ "kvm_amd", "AMD SVM", "/sys/module/kvm_amd/parameters/npt" },
	{ "kvm_pvm", "PVM, no hardware virtualisation", NULL },
};

static bool is_module_loaded(const char *module)
{
	char path[64];
	struct stat st;

	snprintf(path, sizeof(path), "/sys/module/%s", module);
	return !stat(path, &st);
}

/* Is the module's parameter Y or 1? */
static bool is_parameter_on(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	char c = 'N';

	if (fd < 0)
		return false;
	if (read(fd, &c, 1) != 1)
		c = 'N';
	close(fd);
	return c == 'Y' || c == '1';
}

static void probe_flavour(struct doctor_report *r)
{
	for (size_t i = 0; i < sizeof(flavours) / sizeof(flavours[0]); i++) {
		const struct flavour *f = &flavours[i];

		if (!is_module_loaded(f->module))
			continue;
		if (f->paging && is_parameter_on(f->paging))
			doctor_add(r, "kvm.flavour", DOCTOR_OK, NULL, "%s (%s), nested paging",
				   f->module, f->what);
		else if (f->paging)
			doctor_add(r, "kvm.flavour", DOCTOR_DEGRADED,
				   "load the module with ept=1 or npt=1",
				   "%s (%s), shadow paging: page "
				   "faults cost more",
				   f->module, f->what);
		else
			doctor_add(r, "kvm.flavour", DOCTOR_DEGRADED,
				   "use a host with VMX or SVM for speed; results are the same",
				   "%s (%s), shadow paging: exits and faults cost more", f->module,
				   f->what);
		return;
	}
	doctor_add(r, "kvm.flavour", DOCTOR_OK, NULL, "unknown: no module of KVM in /sys/module");
}

static void probe_caps(struct doctor_report *r, int kvm)
{
	int cpus = kvmio_check(kvm, KVM_CAP_MAX_VCPUS);
	int slots = kvmio_check(kvm, KVM_CAP_NR_MEMSLOTS);

	if (cpus < (int)MACHINE_MAX_CPUS)
		doctor_add(r, "kvm.vcpus", DOCTOR_DEGRADED, "set /cpus/count to at most that",
			   "at most %d of %u vCPUs", cpus < 1 ? 1 : cpus, MACHINE_MAX_CPUS);
	else
		doctor_add(r, "kvm.vcpus", DOCTOR_OK, NULL, "up to %d", cpus);
	doctor_add(r, "kvm.memslots", slots < 32 ? DOCTOR_DEGRADED : DOCTOR_OK, NULL, "%d", slots);
	if (kvmio_check(kvm, KVM_CAP_READONLY_MEM) > 0)
		doctor_add(r, "kvm.readonly-mem", DOCTOR_OK, NULL,
			   "the guest cannot write to its input");
	else
		doctor_add(r, "kvm.readonly-mem", DOCTOR_DEGRADED, "use a newer kernel",
			   "absent: only umbra's own tables keep the input read-only");
}

static void probe_cpl(struct doctor_report *r, int kvm)
{
	double cpl3 = 0, cpl0 = 0;
	int err3 = doctor_measure_cpl(kvm, 3, &cpl3);
	int err0 = doctor_measure_cpl(kvm, 0, &cpl0);

	if (err3)
		doctor_add(r, "kvm.cpl3", DOCTOR_MISSING, "report it, with the kernel version",
			   "a loop at CPL 3 did not run: %s", strerror(-err3));
	else
		doctor_add(r, "kvm.cpl3", DOCTOR_OK, NULL, "native: %.2f ns an instruction", cpl3);
	if (err0)
		doctor_add(r, "kvm.cpl0", DOCTOR_DEGRADED, "keep /cpus/cpl at 3",
			   "a loop at CPL 0 did not run: %s", strerror(-err0));
	else if (!err3 && cpl0 > INTERPRETED_FACTOR * (cpl3 > 0.1 ? cpl3 : 0.1))
		doctor_add(r, "kvm.cpl0", DOCTOR_DEGRADED,
			   "keep /cpus/cpl at 3, the default; CPL 0 is for checking only",
			   "interpreted: %.2f ns an instruction", cpl0);
	else
		doctor_add(r, "kvm.cpl0", DOCTOR_OK, NULL, "native: %.2f ns an instruction", cpl0);
}

static void probe_crash(struct doctor_report *r, int kvm)
{
	bool knows = false;
	int err = doctor_probe_crash(kvm, &knows);

	if (err)
		doctor_add(r, "kvm.crash", DOCTOR_DEGRADED, "report it, with the kernel version",
			   "a guest that crashes does not shut down: %s", strerror(-err));
	else if (knows)
		doctor_add(r, "kvm.crash", DOCTOR_OK, NULL,
			   "keeps the registers of a guest that crashes");
	else
		doctor_add(r, "kvm.crash", DOCTOR_DEGRADED,
			   "find crashes of a guest's code on a host with VMX",
			   "resets a guest that crashes: where that was is lost");
}

/* None of it matters to a guest: a fault thread has the address, and no exit is told by its rip (hv/vcpu.c). */
static void probe_exits(struct doctor_report *r, int kvm)
{
	static const char *const exits[] = {
		[DOCTOR_EXIT_EFAULT] = "EFAULT without an address",
		[DOCTOR_EXIT_MEMORY_FAULT] = "EFAULT and KVM_EXIT_MEMORY_FAULT",
		[DOCTOR_EXIT_MMIO] = "KVM_EXIT_MMIO",
		[DOCTOR_EXIT_NONE] = "nothing",
	};
	enum doctor_exit cpl3, cpl0;
	bool behind;
	int err = doctor_probe_store(kvm, 3, &cpl3);

	if (!err)
		err = doctor_probe_store(kvm, 0, &cpl0);
	if (err)
		doctor_add(r, "kvm.store-exit", DOCTOR_DEGRADED,
			   "report it, with the kernel version",
			   "a store that the host forbids: %s", strerror(-err));
	else if (cpl3 == DOCTOR_EXIT_NONE)
		doctor_add(r, "kvm.store-exit", DOCTOR_MISSING,
			   "report it, with the kernel version",
			   "a store that the host forbids goes through");
	else
		doctor_add(r, "kvm.store-exit", DOCTOR_OK, NULL,
			   "a store that the host forbids: %s; at CPL 0 %s", exits[cpl3],
			   cpl0 == cpl3 ? "the same" : exits[cpl0]);

	err = doctor_probe_out(kvm, &behind);
	if (err)
		doctor_add(r, "kvm.io-exit", DOCTOR_DEGRADED, "report it, with the kernel version",
			   "an OUT: %s", strerror(-err));
	else
		doctor_add(r, "kvm.io-exit", DOCTOR_OK, NULL, "rip is %s the OUT",
			   behind ? "behind" : "on");
}

void doctor_probe_kvm(struct doctor_report *r)
{
	char text[192];
	struct why w = { .text = text, .size = sizeof(text) };
	char *fix;
	int kvm = kvmio_open(&w);

	if (kvm < 0) {
		/* "what: why: advice" */
		fix = strrchr(text, ':');
		if (fix)
			*fix = '\0';
		doctor_add(r, "kvm.open", DOCTOR_MISSING, fix ? fix + 2 : "", "%s", text);
		return;
	}
	doctor_add(r, "kvm.open", DOCTOR_OK, NULL, "/dev/kvm, API version %d, all that umbra needs",
		   KVM_API_VERSION);
	probe_flavour(r);
	probe_caps(r, kvm);
	probe_cpl(r, kvm);
	probe_crash(r, kvm);
	probe_exits(r, kvm);
	close(kvm);
}
