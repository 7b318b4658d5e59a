// SPDX-License-Identifier: BSD-2-Clause
/* What devices refuse, and what is left behind when they do: nothing. */
#include <errno.h>

#include "tests/unit/device.h"
#include "tests/unit/fake_calloc.h"

static int try_create(struct rig *r, const struct device_profile *p, hva_t start, uint64_t n)
{
	struct device *dev;
	int rc = device_create(&dev, p, r->mm, start, n);

	if (!rc)
		device_destroy(dev);
	return rc;
}

UTEST(device_bad, create_refuses_what_is_no_range_of_a_region)
{
	struct rig r;

	rig_up(&r, &(struct rig_opts){ .pages = PAGES, .no_slot = true });
	for (const struct device_profile *p = device_profiles; p->name; p++) {
		check_of(p, try_create(&r, p, r.hva, 0), -EINVAL);
		check_of(p, try_create(&r, p, r.hva + 1, 1), -EINVAL);
		check_of(p, try_create(&r, p, r.hva + 8, PAGES), -EINVAL);
		check_of(p, try_create(&r, p, r.hva, UINT64_MAX), -EINVAL);
		check_of(p, try_create(&r, p, r.hva, 1UL << 52), -EINVAL);
		check_of(p, try_create(&r, p, -PAGE_SIZE, 2), -EINVAL);
		check_of(p, try_create(&r, p, r.hva, PAGES + 1), -EFAULT);
		check_of(p, try_create(&r, p, r.hva - PAGE_SIZE, 2), -EFAULT);
		check_of(p, try_create(&r, p, rig_hva(&r, PAGES), 1), -EFAULT);
		check_of(p, try_create(&r, p, 0, 1), -EFAULT);
		check_of(p, try_create(&r, p, r.hva, PAGES), 0);
	}
	rig_down(&r);
}

/* The device, its mirror, its table: whichever there is no memory for, nothing is subscribed and nothing leaks. */
UTEST(device_bad, create_without_memory_leaves_nothing)
{
	for (const struct device_profile *p = device_profiles; p->name; p++) {
		unsigned n = 0;
		struct rig r;
		int rc;

		rig_up(&r, &(struct rig_opts){ .pages = PAGES, .no_slot = true });
		do {
			fake_calloc_at = ++n;
			rc = try_create(&r, p, r.hva, PAGES);
			fake_calloc_at = 0;
			check(!rc || rc == -ENOMEM, "%s: %d", p->name, rc);
			check_eq(hostmm_zap(r.mm, r.hva, rig_hva(&r, PAGES)), 0);
		} while (rc);
		check(n > (p->walk == DEVICE_WALK_HOST ? 1U : 2U), "%s: %u", p->name, n);
		rig_down(&r);
	}
}

/* Accesses that leave the device, or the address space: what lies before has been copied, nothing else is touched. */
UTEST(device_bad, accesses_end_where_the_device_does)
{
	for (const struct device_profile *p = device_profiles; p->name; p++) {
		char buf[2 * PAGE_SIZE];
		struct device *dev;
		struct rig r;
		hva_t last;

		rig_up(&r, &(struct rig_opts){ .pages = PAGES + 1, .no_slot = true });
		check_eq(device_create(&dev, p, r.mm, r.hva, PAGES), 0);
		last = rig_hva(&r, PAGES) - 8;
		memset(buf, 7, sizeof(buf));
		check(device_write(dev, last, buf, 16) < 0, "%s", p->name);
		check_of(p, host_load(&r, PAGES), 0);
		check_eq(device_read(dev, last, buf + 8, 8), 0);
		check(!memcmp(buf, buf + 8, 8), "%s", p->name);
		check(device_read(dev, -(hva_t)8, buf, 16) < 0, "%s", p->name);
		check(device_add(dev, -(hva_t)8, 1, NULL) < 0, "%s", p->name);
		check_of(p, device_add(dev, last + 1, 1, NULL), -EINVAL);
		check_of(p, device_read(dev, 0, buf, 0), 0);
		check_of(p, device_write(dev, 0, buf, 0), 0);
		down(&r, dev);
	}
}
