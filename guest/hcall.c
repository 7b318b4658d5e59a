// SPDX-License-Identifier: BSD-2-Clause
#include "guest/hcall.h"

static struct hc_page *page_of(unsigned cpu)
{
	return (struct hc_page *)(ABI_HC_GPA + (uint64_t)cpu * ABI_PAGE_SIZE);
}

struct hc_page *hc_prepare(unsigned cpu, uint32_t op)
{
	struct hc_page *page = page_of(cpu);

	/* Descriptors and arguments left from the call before are ignored: see abi.h. */
	page->magic = HC_MAGIC;
	page->op = op;
	page->flags = 0;
	page->ndesc = 0;
	return page;
}

int hc_issue(uint32_t gfn)
{
	const struct hc_page *page = (struct hc_page *)((uint64_t)gfn * ABI_PAGE_SIZE);

	__asm__ volatile("outl %0, %1" : : "a"(gfn), "N"(HC_PORT) : "memory");
	return page->status;
}

static int issue(struct hc_page *page)
{
	return hc_issue((uint32_t)((uint64_t)page / ABI_PAGE_SIZE));
}

int hc_console(unsigned cpu, const void *buf, uint64_t len)
{
	struct hc_page *page = hc_prepare(cpu, HC_CONSOLE);

	page->ndesc = 1;
	page->desc[0] = (struct hc_desc){ .gpa = (uint64_t)buf, .len = len };
	return issue(page);
}

void hc_exit(unsigned cpu, unsigned code)
{
	struct hc_page *page = hc_prepare(cpu, HC_EXIT);

	page->args[0] = code;
	issue(page);
}

uint64_t hc_phase(unsigned cpu, enum hc_phase phase, uint64_t a, uint64_t b, uint64_t c)
{
	struct hc_page *page = hc_prepare(cpu, HC_PHASE);

	page->args[0] = phase;
	page->args[1] = a;
	page->args[2] = b;
	page->args[3] = c;
	issue(page);
	return page->ret;
}

uint64_t hc_clock(unsigned cpu)
{
	struct hc_page *page = hc_prepare(cpu, HC_CLOCK);

	issue(page);
	return page->ret;
}

void hc_wait(unsigned cpu, uint64_t ns)
{
	struct hc_page *page = hc_prepare(cpu, HC_WAIT);

	page->args[0] = ns;
	issue(page);
}
