// SPDX-License-Identifier: BSD-2-Clause
#include "tests/race/mutants.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * One line an arm, or a part of a mutant that is pending. The variant tells the rest: a failing one kills the arm, a pending
 * one says what is missing, a passing one why nothing can notice. Without a switch, it is a device or a caller that does it.
 */
static const struct mutant_arm {
	char kind; /* M, A or C */
	unsigned number, arm;
	const char *scenario, *variant;
} table[] = {
	{ 'M', 1, 1, "a20-after-clear", "M1" },
	{ 'M', 2, 2, "m2-change-alone", "M2" },
	{ 'M', 3, 31, "a18-whole-range", "M3-pages" },
	{ 'M', 3, 32, "a18-whole-range", "M3-other-op" },
	{ 'M', 3, 33, "a7-contiguous", "M3" },
	{ 'M', 3, 34, "m3-large-install", "M3-unaligned" },
	{ 'M', 4, 4, "a32-begin-retry", "M4" },
	{ 'M', 4, 41, "a32-begin-retry", "M4-omitted" },
	{ 'M', 5, 5, "m5-writer-step", "M5" },
	{ 'M', 5, 51, "m5-table-life", "at-once" },
	{ 'M', 6, 6, "a35-odd-sequence", "M6" },
	{ 'M', 7, 7, "m7-prefetch", "M7" },
	{ 'M', 8, 8, "m8-early-retry", "M8" },
	{ 'M', 9, 9, "m9-slot-swap", "M9" },
	{ 'M', 9, 91, "m9-slot-freed", "no-grace" },
	{ 'M', 10, 10, "a36-refusal", "M10" },
	{ 'M', 11, 11, "a36-refusal", "M11" },
	{ 'M', 12, 12, "a34-deferred-remove", "M12" },
	{ 'M', 13, 131, "m13-first-number", "M13" },
	{ 'M', 13, 132, "m13-one-wait", "M13" },
	{ 'M', 14, 141, "m14-bracket-removal", "M14" },
	{ 'M', 14, 142, "m14-fault-removal", "no-seq" },
	{ 'M', 14, 143, "m14-roots", "M14" },
	{ 'M', 14, 145, "m14-stale-root", "no-root" },
	{ 'M', 14, 144, "m5-table-life", "thawed" },
	{ 'M', 14, 146, "m14-fast-root", "cas-only" },
	{ 'M', 15, 15, "m15-flush-span", "M15" },
	{ 'M', 15, 151, "m15-yield", "M15-yield" },
	{ 'M', 15, 152, "m15-age-window", "M15-installed" },
	{ 'M', 15, 153, "m15-age-log", "M15-pending" },
	{ 'M', 15, 154, "m15-yield-protect", "M15-yield" },
	{ 'M', 16, 16, "m16-hardware", "M16" },
	{ 'M', 16, 161, "m16-entry-store", "M16" },
	{ 'M', 16, 162, "m16-split", "on-line" },
	{ 'M', 16, 163, "m16-collapse", "unfrozen" },
	{ 'M', 16, 164, "m16-age", "M16-resurrected" },
	{ 'M', 16, 165, "m16-split-fault", "overwrite" },
	{ 'M', 17, 17, "m14-fault-removal", "M17" },
	{ 'M', 17, 171, "m17-mmio", "M17" },
	{ 'M', 17, 172, "m17-slot-move", "leaves-stay" },
	{ 'M', 17, 173, "m17-read-only", "leaves-stay" },
	{ 'M', 17, 174, "a7-collapse", "first-page" },
	{ 'M', 17, 175, "m17-recover", "leaves" },
	{ 'M', 17, 176, "m17-recover", "neither" },
	{ 'M', 18, 18, "a32-begin-retry", "M18" },
	{ 'M', 19, 19, "a30-xpmem", "M19" },
	{ 'M', 20, 20, "m20-large-logging", "M20" },
	{ 'M', 21, 21, "m21-flush-unlocked", "M21" },
	{ 'M', 21, 211, "m21-flush-unlocked", "M21-view" },
	{ 'M', 22, 22, "m22-move-flush", "M22" },
	{ 'M', 23, 23, "m23-unshare", "M23" },
	{ 'M', 23, 231, "m23-heir", "no-copy" },
	{ 'M', 23, 232, "m23-heir", "counts-alone" },
	{ 'M', 24, 24, "a19-page-lifetime", "M24" },
	{ 'M', 24, 241, "a19-page-lifetime", "M24-view" },
	{ 'M', 25, 25, "a19-page-lifetime", "M25" },
	{ 'M', 26, 0, "m22-move-flush", "M26" },
	{ 'M', 27, 27, "m27-exit", "M27" },
	{ 'M', 28, 28, "m28-eagain", "M28" },
	{ 'M', 29, 29, "m29-stable-merge", "M29" },
	{ 'M', 29, 291, "m28-eagain", "M29-gap" },
	{ 'M', 30, 0, "a30-xpmem", "M30" },
	{ 'M', 30, 30, "a6-huge-entry", "M30" },
	{ 'A', 2, 102, "a2-zero-split", "never" },
	{ 'A', 5, 105, "a5-any-range", "by-address" },
	{ 'A', 7, 107, "a7-contiguous", "first-page" },
	{ 'A', 9, 109, "a9-span", "last-page" },
	{ 'A', 10, 110, "a10-bitmap", "no-offset" },
	{ 'A', 11, 111, "a11-timings", "flush-clear" },
	{ 'A', 12, 112, "a12-cached", "not-nested" },
	{ 'A', 12, 1122, "a12-cached", "lock-dropped" },
	{ 'A', 12, 1123, "a12-born", "clean-only" },
	{ 'A', 13, 113, "a13-consumer", "before" },
	{ 'A', 14, 1141, "a14-union", "dropped" },
	{ 'A', 14, 1142, "a14-root", "current" },
	{ 'A', 14, 1161, "a14-ring-wait", "no-wait" },
	{ 'A', 14, 1162, "a14-ring-full", "overwritten" },
	{ 'A', 14, 1163, "a14-ring", "unprotected" },
	{ 'A', 14, 1165, "a14-ring-wait", "no-wake" },
	{ 'A', 14, 1166, "a14-ring-own", "any" },
	{ 'A', 15, 114, "a15-modes", "protect-first" },
	{ 'A', 15, 115, "a15-modes", "tlb" },
	{ 'A', 16, 116, "a16-owner-lock", "any" },
	{ 'A', 16, 1164, "a16-owner-lock", "unasserted" },
	{ 'A', 17, 117, "a17-report-always", "look-first" },
	{ 'A', 18, 118, "a18-whole-range", "first-page" },
	{ 'A', 19, 119, "a19-page-lifetime", "changed-first" },
	{ 'A', 20, 120, "a20-after-clear", "set-first" },
	{ 'A', 21, 121, "a21-mkclean", "untold" },
	{ 'A', 21, 1211, "a21-reclaim", "write-first" },
	{ 'A', 21, 1212, "a21-reclaim", "free-first" },
	{ 'A', 21, 1213, "a21-hwpoison", "first-map" },
	{ 'A', 21, 1214, "a21-writeback", "write-first" },
	{ 'A', 21, 1215, "a21-store-order", "late-lock" },
	{ 'A', 21, 1216, "a21-store-order", "no-lock" },
	{ 'A', 21, 1217, "a21-hwpoison-reclaim", "unseen" },
	{ 'A', 22, 122, "a22-change-now", "late" },
	{ 'A', 23, 123, "a23-async-fork", "untold" },
	{ 'A', 23, 1231, "m29-stable-merge", "compare-first" },
	{ 'A', 23, 1232, "a23-async-fork", "entry-kept" },
	{ 'A', 24, 124, "a24-stale-but-alive", "untold" },
	{ 'A', 24, 1241, "a24-stale-but-alive", "readers-stay" },
	{ 'A', 26, 126, "a26-one-flush", "each-page" },
	{ 'A', 27, 127, "a27-collapse", "first-page" },
	{ 'A', 28, 128, "a28-truncate", "untold" },
	{ 'A', 34, 134, "a34-deferred-remove", "at-once" },
	{ 'A', 34, 135, "a34-last-one-thaws", "first" },
	{ 'A', 36, 136, "a36-misuse", "back-out" },
	{ 'A', 37, 137, "a37-publish", "relaxed" },
	{ 'A', 38, 138, "a38-insert", "not-counted" },
	{ 'C', 2, 421, "c2-unmap-fault", "contents" },
	{ 'C', 3, 431, "c3-stranger", "late" },
	{ 'C', 3, 433, "c3-stranger", "unheeded" },
	{ 'C', 3, 435, "c3-stranger", "unlocked" },
	{ 'C', 5, 453, "c2-unmap-fault", "in-hand" },
};

#define ARMS (sizeof(table) / sizeof(table[0]))

static const struct race_variant *variant_of(const struct mutant_arm *a)
{
	for (unsigned i = 0; race_scenarios[i]; i++) {
		const struct race_scenario *s = race_scenarios[i];

		for (unsigned n = 0; n < RACE_VARIANTS && s->variant[n].expect != RACE_NONE; n++)
			if (!strcmp(s->name, a->scenario) &&
			    !strcmp(s->variant[n].name, a->variant))
				return &s->variant[n];
	}
	return NULL;
}

/* What stands in for a switch that is not there. */
static void explain_missing(const struct mutant_arm *a, const struct race_variant *v)
{
	if (v->expect == RACE_PENDING)
		fprintf(stderr, "umbra-race: %c%u is pending: %s\n", a->kind, a->number, v->says);
	else
		fprintf(stderr,
			"umbra-race: %c%u has no switch, a device or a caller does it: umbra-race run %s --variant %s\n",
			a->kind, a->number, a->scenario, a->variant);
}

int mutants_find(const char *text, unsigned arm[MUTANT_ARMS])
{
	char kind = *text == 'm' || *text == 'M'   ? 'M'
		    : *text == 'a' || *text == 'A' ? 'A'
		    : *text == 'c' || *text == 'C' ? 'C'
						   : 0;
	const char *digits = text + (kind != 0);
	const struct mutant_arm *missing = NULL;
	bool is_arm = false;
	unsigned long number;
	char *end;
	int n = 0;

	number = strtoul(digits, &end, 10);
	if (*digits < '0' || *digits > '9' || *end)
		return -1;
	for (unsigned i = 0; i < ARMS; i++)
		is_arm |= !kind && number && table[i].arm == number;
	for (unsigned i = 0; i < ARMS; i++) {
		const struct mutant_arm *a = &table[i];
		const struct race_variant *v = variant_of(a);

		if (is_arm ? a->arm != number
			   : a->number != number || a->kind != (kind ? kind : 'M'))
			continue;
		if (!a->arm || v->expect == RACE_PENDING)
			missing = a;
		else
			arm[n++] = a->arm;
	}
	if (n || !missing)
		return n ? n : -1;
	explain_missing(missing, variant_of(missing));
	return 0;
}

static const struct mutant_arm *killer(unsigned arm)
{
	for (unsigned i = 0; i < ARMS; i++)
		if (table[i].arm == arm && variant_of(&table[i])->expect != RACE_PASS)
			return &table[i];
	return NULL;
}

const char *mutants_killer(unsigned arm)
{
	const struct mutant_arm *a = killer(arm);
	static char text[64];

	if (!a)
		return NULL;
	snprintf(text, sizeof(text), "%s/%s", a->scenario, a->variant);
	return text;
}

const char *mutants_says(unsigned arm)
{
	const struct mutant_arm *a = killer(arm);

	return a ? variant_of(a)->says : NULL;
}

void mutants_list(void)
{
	printf("%-6s %6s %-10s %-34s %s\n", "mutant", "switch", "", "variant",
	       "what it does, or what is missing");
	for (unsigned i = 0; i < ARMS; i++) {
		const struct mutant_arm *a = &table[i];
		const struct race_variant *v = variant_of(a);
		char name[16], arm[12] = "-", where[64];

		snprintf(name, sizeof(name), "%c%u", a->kind, a->number);
		if (a->arm)
			snprintf(arm, sizeof(arm), "%u", a->arm);
		snprintf(where, sizeof(where), "%s/%s", a->scenario, a->variant);
		printf("%-6s %6s %-10s %-34s %s\n", name, arm,
		       v->expect == RACE_PENDING ? "pending"
		       : v->expect == RACE_PASS	 ? "not caught"
						 : "killed by",
		       where, v->says);
	}
}

static bool is_known(unsigned arm)
{
	for (unsigned i = 0; i < ARMS; i++)
		if (table[i].arm == arm)
			return true;
	return !arm;
}

static unsigned count_arms(const struct mutant_arm *a)
{
	unsigned n = 0;

	for (unsigned i = 0; i < ARMS; i++)
		n += table[i].arm && table[i].kind == a->kind && table[i].number == a->number;
	return n;
}

bool mutants_check(void)
{
	bool good = true;

	for (unsigned i = 0; i < ARMS; i++) {
		const struct race_variant *v = variant_of(&table[i]);

		bug_on(count_arms(&table[i]) > MUTANT_ARMS);
		if (v && v->mutant == table[i].arm)
			continue;
		printf("mutants: %s/%s does not exist, or has another switch than %u\n",
		       table[i].scenario, table[i].variant, table[i].arm);
		good = false;
	}
	for (unsigned i = 0; race_scenarios[i]; i++)
		for (unsigned n = 0; n < RACE_VARIANTS; n++) {
			unsigned arm = race_scenarios[i]->variant[n].mutant;

			if (is_known(arm))
				continue;
			printf("mutants: switch %u of %s is not in the table\n", arm,
			       race_scenarios[i]->name);
			good = false;
		}
	return good;
}
