// SPDX-License-Identifier: BSD-2-Clause
/*
 * The hypercall page: what each op does, what a malformed page gets, and whose fault a failure is.
 */
#include "hv/hcall.h"

#include <errno.h>
#include <string.h>

#include "guest/abi.h"
#include "tests/test.h"
#include "tests/unit/fake_ram.h"

#define RAM_SIZE  0x100000
#define CPU	  3
#define PAGE_GFN  ((ABI_HC_GPA >> 12) + CPU)
#define TEXT_GPA  0x80000
#define UNTOUCHED 0x7777

/* What the ops were asked, and what they answer. */
static struct {
	unsigned calls;
	char text[HC_CONSOLE_MAX];
	size_t len;
	uint32_t phase;
	uint64_t payload[3];
	uint64_t ns;
	int answer;
} seen;

static struct ram *ram;
static struct hc_page *page;
static struct hcall_exit out;

static int note(void *ctx, unsigned cpu)
{
	check(ctx == &seen);
	check_eq(cpu, CPU);
	seen.calls++;
	return seen.answer;
}

static int on_console(void *ctx, unsigned cpu, const char *buf, size_t len)
{
	check(len > 0 && len <= sizeof(seen.text), "%zu bytes", len);
	memcpy(seen.text, buf, len);
	seen.len = len;
	return note(ctx, cpu);
}

static int on_phase(void *ctx, unsigned cpu, uint32_t phase, const uint64_t payload[3],
		    uint64_t *answer)
{
	check_eq(*answer, 0);
	seen.phase = phase;
	memcpy(seen.payload, payload, sizeof(seen.payload));
	*answer = 42;
	return note(ctx, cpu);
}

static int on_clock(void *ctx, unsigned cpu, uint64_t *ns)
{
	*ns = 123456789;
	return note(ctx, cpu);
}

static int on_wait(void *ctx, unsigned cpu, uint64_t ns)
{
	seen.ns = ns;
	return note(ctx, cpu);
}

static const struct hcall_ops ops = {
	.console = on_console,
	.phase = on_phase,
	.clock = on_clock,
	.wait = on_wait,
};

static enum hcall_result dispatch(uint32_t gfn)
{
	return hcall_dispatch(ram, &ops, &seen, CPU, gfn, &out);
}

static void prepare(uint32_t op)
{
	memset(&seen, 0, sizeof(seen));
	memset(page, 0, sizeof(*page));
	page->magic = HC_MAGIC;
	page->op = op;
	page->ret = UNTOUCHED;
	page->status = UNTOUCHED;
}

static void setup(void)
{
	ram = fake_ram_create(RAM_SIZE);
	page = (struct hc_page *)(ram->bytes + (uint64_t)PAGE_GFN * ABI_PAGE_SIZE);
}

static void teardown(void)
{
	fake_ram_destroy(ram);
}

/* The guest goes on, reads @status, and nothing was done. */
static void check_refused(const char *what, int status)
{
	enum hcall_result result = dispatch(PAGE_GFN);

	check(result == HCALL_CONTINUE, "%s: result %d %s", what, result, out.reason);
	check(page->status == status, "%s: status %d, want %d", what, page->status, status);
	check(page->ret == 0, "%s: ret %lu", what, page->ret);
	check(seen.calls == 0, "%s: something was done", what);
}

static void check_done(uint64_t ret)
{
	check_eq(dispatch(PAGE_GFN), HCALL_CONTINUE);
	check_eq(page->status, 0);
	check_eq(page->ret, ret);
	check_eq(seen.calls, 1);
}

UTEST(hcall, console_gathers_into_one_write, .init = setup, .fini = teardown)
{
	prepare(HC_CONSOLE);
	memcpy(ram->bytes + TEXT_GPA, "hello, world", 12);
	page->ndesc = 3;
	page->desc[0] = (struct hc_desc){ TEXT_GPA + 7, 5 };
	page->desc[1] = (struct hc_desc){ TEXT_GPA + 5, 2 };
	page->desc[2] = (struct hc_desc){ TEXT_GPA, 5 };
	check_done(12);
	check(seen.len == 12 && !memcmp(seen.text, "world, hello", 12));
}

UTEST(hcall, console_takes_the_most_and_nothing, .init = setup, .fini = teardown)
{
	prepare(HC_CONSOLE);
	page->ndesc = HC_MAX_DESCS;
	for (int i = 0; i < HC_MAX_DESCS; i++)
		page->desc[i] = (struct hc_desc){ TEXT_GPA, HC_CONSOLE_MAX / HC_MAX_DESCS };
	check_done(HC_CONSOLE_MAX);

	/* No bytes, no write; a descriptor of no bytes may point anywhere below the end. */
	prepare(HC_CONSOLE);
	check_refused("no descriptor", 0);
	page->ndesc = 1;
	page->desc[0] = (struct hc_desc){ TEXT_GPA, 0 };
	check_refused("empty descriptor", 0);
}

UTEST(hcall, console_refuses_what_it_cannot_read, .init = setup, .fini = teardown)
{
	prepare(HC_CONSOLE);
	page->ndesc = 2;
	page->desc[0] = (struct hc_desc){ TEXT_GPA, 4 };
	page->desc[1] = (struct hc_desc){ RAM_SIZE - 2, 3 };
	check_refused("over the end", -HC_EFAULT);
	page->desc[1] = (struct hc_desc){ UINT64_MAX - 1, 4 };
	check_refused("wrapping", -HC_EFAULT);
	page->desc[1] = (struct hc_desc){ TEXT_GPA, HC_CONSOLE_MAX - 3 };
	check_refused("too long in all", -HC_EINVAL);
	page->desc[1] = (struct hc_desc){ TEXT_GPA, UINT64_MAX - 3 };
	check_refused("lengths that wrap to zero", -HC_EINVAL);
	page->ndesc = HC_MAX_DESCS + 1;
	check_refused("too many", -HC_EINVAL);
	page->ndesc = UINT32_MAX;
	check_refused("far too many", -HC_EINVAL);
}

UTEST(hcall, exit_gives_the_code, .init = setup, .fini = teardown)
{
	prepare(HC_EXIT);
	page->args[0] = HC_EXIT_MAX;
	check_eq(dispatch(PAGE_GFN), HCALL_EXIT);
	check_eq(out.code, HC_EXIT_MAX);
	page->args[0] = HC_EXIT_MAX + 1;
	check_refused("a code of the host", -HC_EINVAL);
	page->args[0] = UINT64_C(1) << 32;
	check_refused("a code that is 0 in 32 bits", -HC_EINVAL);
}

UTEST(hcall, phase_carries_both_ways, .init = setup, .fini = teardown)
{
	prepare(HC_PHASE);
	page->args[0] = PHASE_END;
	page->args[1] = 1;
	page->args[2] = UINT64_MAX;
	page->args[3] = 3;
	check_done(42);
	check_eq(seen.phase, PHASE_END);
	check(seen.payload[0] == 1 && seen.payload[1] == UINT64_MAX && seen.payload[2] == 3);

	prepare(HC_PHASE);
	check_refused("phase 0", -HC_EINVAL);
	page->args[0] = PHASE_LAST + 1;
	check_refused("a phase too many", -HC_EINVAL);
	page->args[0] = UINT64_C(1) << 32 | PHASE_READY;
	check_refused("a phase that is right in 32 bits", -HC_EINVAL);
}

UTEST(hcall, clock_and_wait, .init = setup, .fini = teardown)
{
	prepare(HC_CLOCK);
	check_done(123456789);
	prepare(HC_WAIT);
	page->args[0] = HC_WAIT_MAX;
	check_done(0);
	check_eq(seen.ns, HC_WAIT_MAX);
	prepare(HC_WAIT);
	page->args[0] = HC_WAIT_MAX + UINT64_C(1);
	check_refused("more than a second", -HC_EINVAL);
}

UTEST(hcall, refuses_malformed_pages, .init = setup, .fini = teardown)
{
	prepare(0);
	check_refused("op 0", -HC_ENOSYS);
	prepare(HC_WAIT + 1);
	check_refused("op behind the last", -HC_ENOSYS);
	prepare(HC_CLOCK);
	page->magic ^= 1;
	check_refused("magic", -HC_EINVAL);
	prepare(HC_CLOCK);
	page->flags = 0x80000000;
	check_refused("flags", -HC_EINVAL);
	prepare(HC_CLOCK);
	page->reserved0 = 1;
	check_refused("reserved word", -HC_EINVAL);
	prepare(HC_CLOCK);
	page->ndesc = 1;
	check_refused("descriptor for a clock", -HC_EINVAL);
	for (size_t i = 0; i < sizeof(page->reserved); i += sizeof(page->reserved) - 1) {
		prepare(HC_CLOCK);
		page->reserved[i] = 1;
		check_refused("reserved byte", -HC_EINVAL);
	}
}

UTEST(hcall, answers_and_nothing_else_changes, .init = setup, .fini = teardown)
{
	struct hc_page before;

	prepare(HC_CLOCK);
	before = *page;
	check_done(123456789);
	before.ret = page->ret;
	before.status = page->status;
	check(!memcmp(&before, page, sizeof(before)));
}

UTEST(hcall, reads_the_page_once, .init = setup, .fini = teardown)
{
	prepare(HC_CONSOLE);
	page->ndesc = 2;
	page->desc[0] = page->desc[1] = (struct hc_desc){ TEXT_GPA, 1 };
	ram->reads = 0;
	ram->writes = 0;
	check_done(2);
	check_eq(ram->reads, 1 + 2);
	check_eq(ram->writes, 1);
}

UTEST(hcall, a_page_out_of_reach_ends_the_guest, .init = setup, .fini = teardown)
{
	prepare(HC_CLOCK);
	check_eq(dispatch(RAM_SIZE >> 12), HCALL_BAD);
	check(strstr(out.reason, "0x100000 is outside"), "%s", out.reason);
	check_eq(dispatch(UINT32_MAX), HCALL_BAD);
	check(strstr(out.reason, "0xffffffff000"), "%s", out.reason);
	check_eq(seen.calls, 0);
	ram->fail_writes = -EFAULT;
	check_eq(dispatch(PAGE_GFN), HCALL_BAD);
	check(strstr(out.reason, "answer"), "%s", out.reason);
}

UTEST(hcall, errors_of_the_host_are_not_the_guests, .init = setup, .fini = teardown)
{
	static const uint32_t all[] = { HC_CONSOLE, HC_PHASE, HC_CLOCK, HC_WAIT };

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		prepare(all[i]);
		page->args[0] = PHASE_READY;
		page->ndesc = all[i] == HC_CONSOLE;
		page->desc[0] = (struct hc_desc){ TEXT_GPA, 1 };
		seen.answer = -EPIPE;
		check_eq(dispatch(PAGE_GFN), HCALL_HOST_ERROR);
		check_eq(out.error, -EPIPE);
		check_eq(page->status, UNTOUCHED);
	}
	prepare(HC_CLOCK);
	ram->fail_reads = -EIO;
	check_eq(dispatch(PAGE_GFN), HCALL_HOST_ERROR);
	check_eq(out.error, -EIO);
	ram->fail_reads = 0;
	ram->fail_writes = -ENOMEM;
	check_eq(dispatch(PAGE_GFN), HCALL_HOST_ERROR);
	check_eq(out.error, -ENOMEM);
}
