// SPDX-License-Identifier: BSD-2-Clause
#include "hv/bindings.h"

#include <stdio.h>
#include <string.h>

#define AT(field)      offsetof(struct machine, field)
#define SIZE_OF(field) sizeof(((struct machine *)NULL)->field)
#define WORDS(...)     ((const char *const[]){ __VA_ARGS__, NULL })

/* The order of the words is the order of the enumerators in hv/machine.h. */
#define FILL_WORDS     WORDS("zero", "stamp")
#define SOURCE_WORDS   WORDS("uffd", "uffd-sigbus", "mprotect")
#define REGION_SOURCES WORDS("uffd", "uffd-sigbus", "mprotect", "default")
#define REGION_AUDITS  WORDS("false", "true", "default")
#define CHURN_WORDS    WORDS("discard", "wrprotect", "remap", "zap", "update")

_Static_assert(FILL_ZERO == 0 && FILL_STAMP == 1, "FILL_WORDS");
_Static_assert(SOURCE_UFFD == 0 && SOURCE_SIGBUS == 1 && SOURCE_MPROTECT == 2 &&
		       SOURCE_DEFAULT == 3,
	       "SOURCE_WORDS");
_Static_assert(REGION_AUDIT_NO == 0 && REGION_AUDIT_YES == 1 && REGION_AUDIT_DEFAULT == 2,
	       "REGION_AUDITS");
_Static_assert(CHURN_DISCARD == 1 && CHURN_WRPROTECT == 2 && CHURN_REMAP == 4 && CHURN_ZAP == 8 &&
		       CHURN_UPDATE == 16,
	       "CHURN_WORDS");

/* clang-format off */
const struct binding bindings[] = {
	{ .node = "/", .prop = "compatible", .type = BIND_CHOICE, .offset = BIND_NOWHERE,
	  .required = true, .choices = WORDS("umbra,machine"),
	  .help = "says that this tree describes a machine of umbra" },
	{ .node = "/", .prop = "model", .type = BIND_STRING, .offset = AT(model),
	  .max = SIZE_OF(model), .def = "unnamed",
	  .help = "a name, for messages and statistics" },
	{ .node = "/", .prop = "#address-cells", .type = BIND_U32, .offset = BIND_NOWHERE,
	  .min = 2, .max = 2, .required = true,
	  .help = "addresses in reg take two cells" },
	{ .node = "/", .prop = "#size-cells", .type = BIND_U32, .offset = BIND_NOWHERE,
	  .min = 2, .max = 2, .required = true,
	  .help = "sizes in reg take two cells" },

	{ .node = "/chosen", .prop = "bootargs", .type = BIND_STRING, .offset = AT(bootargs),
	  .max = SIZE_OF(bootargs), .def = "workload=hello",
	  .help = "the guest's command line: workload=NAME and its key=value parameters" },

	{ .node = "/cpus", .prop = "count", .type = BIND_U32, .offset = AT(cpus),
	  .min = 1, .max = MACHINE_MAX_CPUS, .def = "1",
	  .help = "virtual CPUs; all start at the ELF entry" },
	{ .node = "/cpus", .prop = "cpl", .type = BIND_U32, .offset = AT(cpl),
	  .choices = WORDS("0", "3"), .def = "3",
	  .help = "privilege level of the guest: 3 or 0 (`umbra doctor` tells how fast 0 is)" },

	{ .node = "/memory", .prop = "device_type", .type = BIND_CHOICE, .offset = BIND_NOWHERE,
	  .choices = WORDS("memory"),
	  .help = "what the device tree standard asks of memory nodes" },
	{ .node = "/memory", .prop = "reg", .type = BIND_REG, .offset = AT(ram),
	  .required = true,
	  .help = "RAM for image, stacks and page tables: address 0, at least 4 MiB" },
	{ .node = "/memory", .prop = "host-view-source", .type = BIND_CHOICE,
	  .offset = AT(region_source[MACHINE_MEMORY]), .choices = REGION_SOURCES, .def = "default",
	  .help = "what tells that a host thread touches it; default: as /umbra says" },
	{ .node = "/memory", .prop = "host-view-audit", .type = BIND_CHOICE,
	  .offset = AT(region_audit[MACHINE_MEMORY]), .choices = REGION_AUDITS, .def = "default",
	  .help = "follow system calls of others on it; default: as /umbra says" },

	{ .node = "/input", .prop = "compatible", .type = BIND_CHOICE, .offset = BIND_NOWHERE,
	  .required = true, .choices = WORDS("umbra,input"),
	  .help = "the bytes of --input FILE, read-only for the guest" },
	{ .node = "/input", .prop = "reg", .type = BIND_REG, .offset = AT(input),
	  .required = true,
	  .help = "where the file starts; its size must be 0: it comes from the file" },
	{ .node = "/input", .prop = "host-view-source", .type = BIND_CHOICE,
	  .offset = AT(region_source[MACHINE_INPUT]), .choices = REGION_SOURCES, .def = "default",
	  .help = "what tells that a host thread touches it; default: as /umbra says" },
	{ .node = "/input", .prop = "host-view-audit", .type = BIND_CHOICE,
	  .offset = AT(region_audit[MACHINE_INPUT]), .choices = REGION_AUDITS, .def = "default",
	  .help = "follow system calls of others on it; default: as /umbra says" },

	{ .node = "/work", .prop = "compatible", .type = BIND_CHOICE, .offset = BIND_NOWHERE,
	  .required = true, .choices = WORDS("umbra,work"),
	  .help = "memory that guest and host threads work on, and that churn changes" },
	{ .node = "/work", .prop = "reg", .type = BIND_REG, .offset = AT(work),
	  .required = true,
	  .help = "address and size, multiples of 4096" },
	{ .node = "/work", .prop = "host-view-source", .type = BIND_CHOICE,
	  .offset = AT(region_source[MACHINE_WORK]), .choices = REGION_SOURCES, .def = "default",
	  .help = "what tells that a host thread touches it; default: as /umbra says" },
	{ .node = "/work", .prop = "host-view-audit", .type = BIND_CHOICE,
	  .offset = AT(region_audit[MACHINE_WORK]), .choices = REGION_AUDITS, .def = "default",
	  .help = "follow system calls of others on it; default: as /umbra says" },
	{ .node = "/work", .prop = "fill", .type = BIND_CHOICE, .offset = AT(work_fill),
	  .choices = FILL_WORDS, .def = "zero",
	  .help = "what a page holds when it is first touched" },

	{ .node = "/board", .prop = "compatible", .type = BIND_CHOICE, .offset = BIND_NOWHERE,
	  .required = true, .choices = WORDS("umbra,board"),
	  .help = "a small shared region for flags and floors; churn leaves it alone" },
	{ .node = "/board", .prop = "reg", .type = BIND_REG, .offset = AT(board),
	  .required = true,
	  .help = "address and size, multiples of 4096" },
	{ .node = "/board", .prop = "host-view-source", .type = BIND_CHOICE,
	  .offset = AT(region_source[MACHINE_BOARD]), .choices = REGION_SOURCES, .def = "default",
	  .help = "what tells that a host thread touches it; default: as /umbra says" },
	{ .node = "/board", .prop = "host-view-audit", .type = BIND_CHOICE,
	  .offset = AT(region_audit[MACHINE_BOARD]), .choices = REGION_AUDITS, .def = "default",
	  .help = "follow system calls of others on it; default: as /umbra says" },

	{ .node = "/umbra", .prop = "image", .type = BIND_PATH, .offset = AT(image),
	  .max = SIZE_OF(image),
	  .help = "the guest's ELF file (default: the toy guest that came with umbra)" },
	{ .node = "/umbra", .prop = "fault-around", .type = BIND_U32, .offset = AT(fault_around),
	  .max = 512, .power_of_two = true, .def = "0",
	  .help = "pages installed per fault; 0: adaptive" },
	{ .node = "/umbra", .prop = "fault-threads", .type = BIND_U32, .offset = AT(fault_threads),
	  .max = MACHINE_MAX_THREADS, .def = "0",
	  .help = "threads that serve faults; 0: one per virtual CPU" },
	{ .node = "/umbra", .prop = "host-view-source", .type = BIND_CHOICE,
	  .offset = AT(host_view_source), .choices = SOURCE_WORDS, .def = "uffd",
	  .help = "what tells umbra that a host thread touches guest memory" },
	{ .node = "/umbra", .prop = "host-view-audit", .type = BIND_BOOL,
	  .offset = AT(host_view_audit), .def = "false",
	  .help = "follow munmap, mremap ... of others on the host's view; not with mprotect" },
	{ .node = "/umbra", .prop = "timeout-ms", .type = BIND_U32, .offset = AT(timeout_ms),
	  .max = INT_MAX, .def = "0",
	  .help = "stop a guest that runs longer; 0: never; --timeout overrides it" },
	{ .node = "/umbra", .prop = "canary", .type = BIND_BOOL, .offset = AT(canary),
	  .def = "false",
	  .help = "fill freed frames with a pattern, so that a stale read shows" },

	{ .node = "/umbra/host", .prop = "threads", .type = BIND_U32, .offset = AT(host.threads),
	  .max = MACHINE_MAX_THREADS, .def = "0",
	  .help = "host threads that increment counters in /work through the host view" },
	{ .node = "/umbra/host", .prop = "seconds", .type = BIND_U32, .offset = AT(host.seconds),
	  .max = 86400, .def = "0",
	  .help = "when to set the stop flag on the board; 0: when the guest ends" },

	{ .node = "/umbra/churn", .prop = "enabled", .type = BIND_BOOL, .offset = AT(churn.on),
	  .def = "false",
	  .help = "change /work under the running guest" },
	{ .node = "/umbra/churn", .prop = "ops", .type = BIND_SET, .offset = AT(churn.ops),
	  .choices = CHURN_WORDS, .def = "discard,wrprotect,remap,zap",
	  .help = "which changes, chosen at random; update needs fill = \"stamp\"" },
	{ .node = "/umbra/churn", .prop = "period-us", .type = BIND_U32,
	  .offset = AT(churn.period_us), .max = 1000000, .def = "100",
	  .help = "pause between two changes, in microseconds" },
	{ .node = "/umbra/churn", .prop = "pages", .type = BIND_U32, .offset = AT(churn.pages),
	  .min = 1, .max = 65536, .def = "8",
	  .help = "how many pages one change covers" },
	{ .node = "/umbra/churn", .prop = "seed", .type = BIND_U64, .offset = AT(churn.seed),
	  .max = UINT64_MAX, .def = "1",
	  .help = "start of the random sequence: the same seed, the same changes" },

	{ .node = "/umbra/ksm", .prop = "enabled", .type = BIND_BOOL, .offset = AT(ksm.on),
	  .def = "false",
	  .help = "let equal pages of /memory and /work share frames" },
	{ .node = "/umbra/ksm", .prop = "pages-to-scan", .type = BIND_U32,
	  .offset = AT(ksm.pages_to_scan), .min = 1, .max = INT_MAX, .def = "100",
	  .help = "pages that the scanner looks at before it sleeps" },
	{ .node = "/umbra/ksm", .prop = "sleep-millisecs", .type = BIND_U32,
	  .offset = AT(ksm.sleep_ms), .max = 1000000, .def = "20",
	  .help = "for how long it sleeps, in milliseconds" },
	{ .node = "/umbra/ksm", .prop = "use-zero-pages", .type = BIND_BOOL,
	  .offset = AT(ksm.use_zero_pages), .def = "false",
	  .help = "pages of zeros share the frames of zeros" },
};
/* clang-format on */

_Static_assert(sizeof(bindings) / sizeof(bindings[0]) < BINDINGS_MAX, "BINDINGS_MAX");
const size_t bindings_count = sizeof(bindings) / sizeof(bindings[0]);

const struct binding *binding_find(const char *node, size_t node_len, const char *prop)
{
	for (size_t i = 0; i < bindings_count; i++) {
		const struct binding *b = &bindings[i];

		if (strlen(b->node) == node_len && !memcmp(b->node, node, node_len) &&
		    !strcmp(b->prop, prop))
			return b;
	}
	return NULL;
}

bool binding_node_known(const char *path)
{
	size_t len = strlen(path);

	for (size_t i = 0; i < bindings_count; i++) {
		const char *node = bindings[i].node;

		if (!strncmp(node, path, len) && (node[len] == '\0' || node[len] == '/'))
			return true;
	}
	return false;
}

static size_t min3(size_t a, size_t b, size_t c)
{
	size_t ab = a < b ? a : b;

	return ab < c ? ab : c;
}

/* How many single-character edits make @b out of @a; both are cut at 63 characters. */
static size_t edit_distance(const char *a, const char *b)
{
	size_t alen = strnlen(a, 63), blen = strnlen(b, 63);
	size_t row[64];

	for (size_t j = 0; j <= blen; j++)
		row[j] = j;
	for (size_t i = 1; i <= alen; i++) {
		size_t diagonal = row[0];

		row[0] = i;
		for (size_t j = 1; j <= blen; j++) {
			size_t above = row[j];

			row[j] = min3(above + 1, row[j - 1] + 1, diagonal + (a[i - 1] != b[j - 1]));
			diagonal = above;
		}
	}
	return row[blen];
}

/* The smaller, the more alike: a right property name in a wrong node is a near miss, too. */
static size_t unlikeness(const struct binding *b, const char *path)
{
	const char *slash = strrchr(path, '/');
	const char *prop = slash ? slash + 1 : path;
	char full[64];
	size_t whole, last;

	snprintf(full, sizeof(full), "%s%s%s", b->node, b->node[1] ? "/" : "", b->prop);
	whole = edit_distance(full, path);
	last = edit_distance(b->prop, prop) + 2;
	return whole < last ? whole : last;
}

void binding_suggest(const char *path, char *buf, size_t size)
{
	enum { MOST = 3 };
	size_t limit = 2 + strlen(path) / 8, used = 0, found = 0;
	int n;

	for (size_t near = 0; near <= limit && found < MOST; near++) {
		for (size_t i = 0; i < bindings_count && found < MOST; i++) {
			const struct binding *b = &bindings[i];

			if (unlikeness(b, path) != near)
				continue;
			n = snprintf(buf + used, size - used, "%s%s%s%s",
				     found ? " or " : "; did you mean ", b->node,
				     b->node[1] ? "/" : "", b->prop);
			if (n < 0 || (size_t)n >= size - used)
				return;
			used += (size_t)n;
			found++;
		}
	}
	if (found)
		snprintf(buf + used, size - used, "?");
	else
		snprintf(buf, size, "; `umbra help machine` lists every property");
}

static void describe_words(const struct binding *b, const char *between, char *buf, size_t size)
{
	const char *quote = b->type == BIND_U32 ? "" : "\"";
	size_t used = 0;

	for (size_t i = 0; b->choices[i] && used < size; i++) {
		int n = snprintf(buf + used, size - used, "%s%s%s%s", i ? between : "", quote,
				 b->choices[i], quote);

		if (n < 0)
			return;
		used += (size_t)n;
	}
}

void binding_describe(const struct binding *b, char *buf, size_t size)
{
	switch (b->type) {
	case BIND_BOOL:
		snprintf(buf, size, "true | false");
		break;
	case BIND_U32:
		if (b->choices)
			describe_words(b, " | ", buf, size);
		else if (b->min == b->max)
			snprintf(buf, size, "%ju", (uintmax_t)b->min);
		else
			snprintf(buf, size, "%ju..%ju%s", (uintmax_t)b->min, (uintmax_t)b->max,
				 b->power_of_two ? ", a power of two" : "");
		break;
	case BIND_U64:
		snprintf(buf, size, "64-bit number");
		break;
	case BIND_REG:
		snprintf(buf, size, "address, size");
		break;
	case BIND_STRING:
		snprintf(buf, size, "string, at most %ju bytes", (uintmax_t)b->max - 1);
		break;
	case BIND_PATH:
		snprintf(buf, size, "path");
		break;
	case BIND_CHOICE:
		describe_words(b, " | ", buf, size);
		break;
	case BIND_SET:
		describe_words(b, ", ", buf, size);
		break;
	}
}
