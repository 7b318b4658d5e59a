// SPDX-License-Identifier: BSD-2-Clause
/*
 * bad: a guest that misbehaves, for tests of the host. kind=...
 *
 *   triple     triple fault
 *   spin       loop without a sound
 *   wildhc     hypercall page outside memory
 *   hole       load from at=GPA (default 0xfec00000) where there is no memory
 *   store      store there
 *   input      store to the input region, which is read-only
 *   far        load beyond the page tables
 *   in         in from the hypercall port
 *   port       out to a port that means nothing
 *   byte       out of one byte to the hypercall port
 *   hlt        halt: a general protection fault at CPL 3, for ever at CPL 0
 *   malformed  every malformed call; each must be refused and leave the guest running: exit 0
 *   wilddesc, badop    one of them
 */
#include "guest/hcall.h"
#include "guest/print.h"
#include "guest/workload.h"

#define HOLE_GPA   0xfec00000u
#define FAR_GPA	   (UINT64_C(1) << 46)
#define WILD_GPA   (UINT64_C(1) << 40)
#define WRONG_PORT 0x80

struct malformed {
	const char *name;
	int status;
	uint32_t op;
	uint32_t magic, flags, ndesc, reserved;
	uint64_t arg;
	struct hc_desc desc;
};

static const char some[] = "never to be seen\n";
/* clang-format off */
#define GOOD_DESC { (uint64_t)some, sizeof(some) - 1 }
/* clang-format on */

static const struct malformed malformed[] = {
	{ .name = "wilddesc",
	  .status = -HC_EFAULT,
	  .op = HC_CONSOLE,
	  .ndesc = 1,
	  .desc = { WILD_GPA, 1 } },
	{ .name = "badop", .status = -HC_ENOSYS, .op = 0x1234 },
	{ .name = "op 0", .status = -HC_ENOSYS, .op = 0 },
	{ .name = "wrapping descriptor",
	  .status = -HC_EFAULT,
	  .op = HC_CONSOLE,
	  .ndesc = 1,
	  .desc = { UINT64_MAX - 15, 32 } },
	{ .name = "descriptor too long",
	  .status = -HC_EINVAL,
	  .op = HC_CONSOLE,
	  .ndesc = 1,
	  .desc = { ABI_IMAGE_GPA, HC_CONSOLE_MAX + 1 } },
	{ .name = "endless descriptor",
	  .status = -HC_EINVAL,
	  .op = HC_CONSOLE,
	  .ndesc = 1,
	  .desc = { ABI_IMAGE_GPA, UINT64_MAX } },
	{ .name = "too many descriptors",
	  .status = -HC_EINVAL,
	  .op = HC_CONSOLE,
	  .ndesc = HC_MAX_DESCS + 1,
	  .desc = GOOD_DESC },
	{ .name = "good descriptor before a wild one",
	  .status = -HC_EFAULT,
	  .op = HC_CONSOLE,
	  .ndesc = 2,
	  .desc = GOOD_DESC },
	{ .name = "bad magic",
	  .status = -HC_EINVAL,
	  .op = HC_CONSOLE,
	  .magic = 1,
	  .ndesc = 1,
	  .desc = GOOD_DESC },
	{ .name = "flags", .status = -HC_EINVAL, .op = HC_CLOCK, .flags = 1 },
	{ .name = "reserved bytes", .status = -HC_EINVAL, .op = HC_CLOCK, .reserved = 1 },
	{ .name = "descriptor of a clock",
	  .status = -HC_EINVAL,
	  .op = HC_CLOCK,
	  .ndesc = 1,
	  .desc = GOOD_DESC },
	{ .name = "exit code of the host",
	  .status = -HC_EINVAL,
	  .op = HC_EXIT,
	  .arg = HC_EXIT_MAX + 1 },
	{ .name = "long wait",
	  .status = -HC_EINVAL,
	  .op = HC_WAIT,
	  .arg = HC_WAIT_MAX + UINT64_C(1) },
	{ .name = "no such phase", .status = -HC_EINVAL, .op = HC_PHASE, .arg = 0 },
};

static int try_malformed(const struct guest *g, const struct malformed *m)
{
	struct hc_page *page = hc_prepare(g->cpu, m->op);
	int status;

	page->magic ^= m->magic;
	page->flags = m->flags;
	page->ndesc = m->ndesc;
	page->reserved[sizeof(page->reserved) - 1] = (uint8_t)m->reserved;
	page->args[0] = m->arg;
	page->desc[0] = m->desc;
	page->desc[1] = (struct hc_desc){ WILD_GPA, 1 };
	status = hc_issue((uint32_t)((uint64_t)page / ABI_PAGE_SIZE));
	page->reserved[sizeof(page->reserved) - 1] = 0;

	print(g->cpu, "bad: %s: status -%u, %s\n", m->name, (unsigned)-status,
	      status == m->status ? "right" : "wrong");
	return status == m->status ? EXIT_GOOD : EXIT_WRONG_VALUE;
}

/* All of them, or the one called @name. */
static int run_malformed(const struct guest *g, const struct arg *name)
{
	int code = EXIT_GOOD;

	for (size_t i = 0; i < sizeof(malformed) / sizeof(malformed[0]); i++)
		if (!name || arg_word(malformed[i].name, name->value, name->value_len) == 0)
			code |= try_malformed(g, &malformed[i]);
	return code;
}

static int run(const struct guest *g)
{
	bool bad = false;
	uint64_t at = arg_number(g->bootargs, "at", HOLE_GPA, &bad);
	struct arg kind;

	if (bad || !arg_find(g->bootargs, "kind", &kind))
		return workload_refuse(g, "bad needs kind=...");
	print(g->cpu, "bad: %s\n", g->bootargs);
	switch (arg_word("triple spin wildhc hole far malformed wilddesc badop store input in port "
			 "byte hlt",
			 kind.value, kind.value_len)) {
	case 0:
		__builtin_trap();
	case 1:
		for (;;)
			__builtin_ia32_pause();
	case 2:
		/* On its own: the status word of a page that is not there cannot be read back. */
		__asm__ volatile("outl %0, %1" : : "a"(UINT32_MAX), "N"(HC_PORT) : "memory");
		break;
	case 3:
		(void)*(volatile uint64_t *)at;
		break;
	case 4:
		(void)*(volatile uint64_t *)FAR_GPA;
		break;
	case 5:
		return run_malformed(g, NULL);
	case 6:
	case 7:
		return run_malformed(g, &kind);
	case 8:
		*(volatile uint64_t *)at = 1;
		break;
	case 9:
		if (!g->has_input)
			return workload_refuse(g, "kind=input needs an input");
		*(volatile uint64_t *)g->input.gpa = 1;
		break;
	case 10:
		__asm__ volatile("inl %0, %%eax" : : "N"(HC_PORT) : "eax", "memory");
		break;
	case 11:
		__asm__ volatile("outl %%eax, %0" : : "N"(WRONG_PORT) : "memory");
		break;
	case 12:
		__asm__ volatile("outb %%al, %0" : : "N"(HC_PORT) : "memory");
		break;
	case 13:
		__asm__ volatile("hlt");
		break;
	default:
		return workload_refuse(g, "no such kind (the head of guest/bad.c lists them)");
	}
	print(g->cpu, "bad: survived, which is wrong\n");
	return EXIT_WRONG_VALUE;
}

const struct workload workload_bad = { .name = "bad", .run = run };
