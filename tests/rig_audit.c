/* SPDX-License-Identifier: BSD-2-Clause */
#include "tests/rig_audit.h"

#include <errno.h>
#include <sys/mman.h>

#include "tests/test.h"

struct rig audited;

void audited_up(enum hostmm_source source, uint64_t pages)
{
	rig_up(&audited, &(struct rig_opts){ .source = source,
					     .audit = true,
					     .pages = pages,
					     .pool_frames = 8 * pages + 64,
					     .canary = true });
}

void audited_down(void)
{
	rig_down(&audited);
}

struct hostmm_stats raw_stats(void)
{
	struct hostmm_stats s;

	hostmm_audit_wait(audited.mm);
	hostmm_get_stats(audited.mm, &s);
	return s;
}

void *host_page(uint64_t page)
{
	return audited.host + (page << PAGE_SHIFT);
}

uint64_t load_from(char *view, uint64_t page)
{
	uint64_t value = 0;

	check(rig_try_load(rig_word(view, page, 0), &value));
	return value;
}

void store_to(char *view, uint64_t page, uint64_t value)
{
	check(rig_try_store(rig_word(view, page, 0), value));
}

void stamp_pages(uint64_t page, uint64_t end)
{
	for (; page < end; page++)
		store_to(audited.host, page, 100 + page);
}

/* What a guest gets: the page is brought into its table, or -errno. */
static int guest_fault(uint64_t page)
{
	return shadow_fault(audited.shadow, RIG_GFN + page, false);
}

void check_gone(uint64_t page)
{
	uint64_t value;

	check_eq(guest_fault(page), -EFAULT);
	check_eq(hostmm_read(audited.mm, rig_hva(&audited, page), &value, sizeof(value)), -EFAULT);
}

void check_there(uint64_t page, uint64_t want)
{
	check_eq(rig_load(rig_word(audited.guest, page, 0)), want);
	check_eq(load_from(audited.host, page), want);
}

char *anon_pages(uint64_t pages)
{
	char *p = mmap(NULL, pages << PAGE_SHIFT, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	check(p != MAP_FAILED);
	return p;
}
