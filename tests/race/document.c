// SPDX-License-Identifier: BSD-2-Clause
/* docs/races.md from the scenarios themselves, so that text, pictures and schedules are those of the code. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "tests/race/scenario.h"

static const char intro[] =
	"# Races\n"
	"\n"
	"`build/umbra-race` runs the threads of a scenario, which call the real library, under every schedule, and shows the\n"
	"one with the fewest preemptions that goes wrong. This file is written by `umbra-race doc docs`; `make lint` fails when it is stale.\n"
	"\n"
	"How it works: in the explorer's build every lock, condition, protocol atomic, RCU operation and wait of `mmu/` is a\n"
	"scheduling point (`mmu/base/sync_explore.h`). One thread runs at a time; depth first, all choices are made in turn, with at\n"
	"most 0, 1, 2, 3 preemptions. Two operations commute unless they touch one object and one of them writes; runs that differ\n"
	"only in the order of operations that commute are made once. An object that only one thread touches is no choice.\n"
	"`umbra-race selftest` compares this with a search that leaves nothing out.\n"
	"\n"
	"What it does not do, so that a pass says nothing about it:\n"
	"\n"
	"- The explorer is sequentially consistent: what weaker ordering allows is for ThreadSanitizer and for the comments that\n"
	"  name the partner of each barrier. Plain accesses are no scheduling points: data races are for ThreadSanitizer, too.\n"
	"- A condition wakes nobody spuriously, and a wait with a deadline always finds it passed.\n"
	"- The heap never gives memory again, so that a use after free is seen. ABA, a pointer that is the same and means another\n"
	"  object, does not happen therefore.\n"
	"- A device translates and accesses in one step: nothing comes between its TLB and the memory.\n"
	"- A loop that waits for others without sleeping is called a livelock after 20000 steps, though a fair scheduler would end it.\n"
	"- A thread that waits for an rwlock to write keeps new readers out, as the real one does: a reader must not wait for a reader.\n"
	"\n"
	"`exhausted` means that every schedule with so many preemptions has run, `complete` that a larger bound would add none.\n"
	"In a picture time runs downwards; boxes are what the scenario says, small print is what the library traces.\n";

static const char *outcome(enum race_expect e)
{
	static const char *const text[] = { "", "every schedule passes", "caught: violation",
					    "caught: deadlock", "pending" };

	return text[e];
}

/* The pipe would end a cell of a table. */
static void print_cell(FILE *f, const char *text)
{
	for (; *text; text++)
		fprintf(f, *text == '|' ? "\\%c" : "%c", *text);
}

/* The picture of the first variant that fails. Returns 0, also when none does, or -errno. */
static int describe_failure(FILE *f, const char *dir, const struct race_scenario *s)
{
	struct explore_limits limits = { .bound = RACE_BOUND, .schedules = 1000000 };
	static struct explore_result r;
	char path[512];
	unsigned n;
	int err;

	for (n = 0; n < RACE_VARIANTS && s->variant[n].expect != RACE_NONE; n++)
		if (s->variant[n].expect == RACE_VIOLATION || s->variant[n].expect == RACE_DEADLOCK)
			break;
	if (n == RACE_VARIANTS || s->variant[n].expect == RACE_NONE)
		return 0;
	race_explore(s, n, 0, &limits, &r);
	if (r.verdict == EXPLORE_PASS)
		return 0;
	snprintf(path, sizeof(path), "%s/races/%s.svg", dir, s->name);
	err = draw_svg(&(struct race_picture){ s, &s->variant[n], &r, 0 }, path);
	if (err)
		return err;
	fprintf(f,
		"\n![%s, %s](races/%s.svg)\n\n**Verdict** on `%s`: %s. %s\n\n```\nbuild/umbra-race run %s --variant %s --replay %s --explain\n```\n",
		s->title, s->variant[n].name, s->name, s->variant[n].name, r.why, s->lesson,
		s->name, s->variant[n].name, r.schedule);
	return 0;
}

static int describe(FILE *f, const char *dir, const struct race_scenario *s)
{
	fprintf(f,
		"\n## %s\n\n%s: `%s`\n\n**Question.** %s\n\n| protocol | outcome | |\n|---|---|---|\n",
		s->title, s->rows, s->name, s->question);
	for (unsigned n = 0; n < RACE_VARIANTS && s->variant[n].expect != RACE_NONE; n++) {
		fprintf(f, "| `%s` | %s | ", s->variant[n].name, outcome(s->variant[n].expect));
		print_cell(f, s->variant[n].says);
		fputs(" |\n", f);
	}
	return describe_failure(f, dir, s);
}

int race_document(const char *dir)
{
	char path[512];
	FILE *f;
	int err = 0;

	snprintf(path, sizeof(path), "%s", dir);
	if (mkdir(path, 0777) && errno != EEXIST) {
		err = -errno;
		goto out;
	}
	snprintf(path, sizeof(path), "%s/races", dir);
	if (mkdir(path, 0777) && errno != EEXIST) {
		err = -errno;
		goto out;
	}
	snprintf(path, sizeof(path), "%s/races.md", dir);
	f = fopen(path, "we");
	if (!f) {
		err = -errno;
		goto out;
	}
	fputs(intro, f);
	for (unsigned i = 0; !err && race_scenarios[i]; i++)
		err = describe(f, dir, race_scenarios[i]);
	if (ferror(f) && !err)
		err = -EIO;
	if (fclose(f) && !err)
		err = -errno;
out:
	if (err)
		fprintf(stderr, "umbra-race: %s: %s\n", path, strerror(-err));
	return err;
}
