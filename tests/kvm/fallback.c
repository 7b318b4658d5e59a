// SPDX-License-Identifier: BSD-2-Clause
/*
 * Hosts that offer less: the same guests, right all the same. Without CAP_SYS_ADMIN there is no tmpfs of one's own, so
 * the pool is a memfd without huge pages; before Linux 5.14 memory cannot be populated in one call.
 */
#include "tests/test.h"

#include <sys/mman.h>
#include <unistd.h>

#include "tests/umbra.h"

static void teardown(void)
{
	umbra_inject(NULL);
	scratch_remove();
}

/* The guests whose pages come in bulk, come with a file, and move about. @rules is what the host refuses. */
static void run_guests(const char *rules)
{
	static char plain[sizeof(umbra("--version")->out)];
	/* Either is more than a huge page. */
	const char *input = scratch_random("input", test_slowness() > 1 ? 2500001 : 5000001);
	const char *work = test_slowness() > 1 ? "--set /work/reg=0x80000000,4M" : "";

	strcpy(plain, umbra("run configs/digest-2.dts --input %s", input)->out);
	umbra_ended(0);
	umbra_inject(rules);
	check_str(umbra("run configs/digest-2.dts --input %s", input)->out, plain);
	umbra_ended(0);
	umbra("run configs/touch-2.dts --set /umbra/churn/enabled=1 %s", work);
	umbra_ended(0);
	umbra_said_out(", 0 wrong");
	umbra("run configs/counter-2.dts --set /umbra/host/seconds=1");
	umbra_ended(0);
}

/* How often calls of the last rules were met, by umbra and its children: a line each. */
static unsigned long seen(const char *path)
{
	FILE *f = fopen(path, "re");
	unsigned long sum = 0;
	char line[32];

	check(f, "%s", path);
	while (fgets(line, sizeof(line), f))
		sum += strtoul(line, NULL, 10);
	fclose(f);
	return sum;
}

UTEST(fallback, pool_is_a_memfd, .init = kvm_setup, .fini = teardown)
{
	const char *counts = scratch("counts");

	setenv("INJECT_SEEN", counts, 1);
	run_guests("fsopen:EPERM");
	unsetenv("INJECT_SEEN");
	check(seen(counts) > 0, "the pool did not ask for a file system");
}

UTEST(fallback, pool_cannot_have_huge_pages, .init = kvm_setup, .fini = teardown)
{
	char rules[64];

	snprintf(rules, sizeof(rules), "madvise@%d:EINVAL", MADV_HUGEPAGE);
	run_guests(rules);
}

#ifdef MADV_POPULATE_WRITE
UTEST(fallback, pool_cannot_be_populated, .init = kvm_setup, .fini = teardown)
{
	char rules[64];

	snprintf(rules, sizeof(rules), "madvise@%d:EINVAL", MADV_POPULATE_WRITE);
	run_guests(rules);
}
#endif
