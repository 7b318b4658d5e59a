// SPDX-License-Identifier: BSD-2-Clause
/* A run as a timeline: a column a thread, time downwards, as mailing lists draw races. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "tests/race/mutants.h"
#include "tests/race/scenario.h"
#include "tests/xml.h"

/* Take up to @width bytes of the text at *@at, breaking between words. Returns how many; *@at moves past blanks. */
static int take_line(const char **at, int width)
{
	const char *start = *at;
	int len = (int)strlen(start), cut = len;

	if (len > width) {
		for (cut = width; cut > 0 && start[cut] != ' '; cut--)
			;
		if (!cut)
			cut = width;
	}
	*at = start + cut;
	while (**at == ' ')
		(*at)++;
	return cut;
}

static const char *outcome(const struct explore_result *r)
{
	static const char *const names[] = { "this schedule passes", "violation", "deadlock" };

	return names[r->verdict];
}

static bool is_verdict(const struct explore_note *n)
{
	return !strncmp(n->text, "VIOLATION", 9) || !strncmp(n->text, "DEADLOCK", 8) ||
	       !strncmp(n->text, "LIVELOCK", 8);
}

static bool is_fold(const struct explore_note *n)
{
	return n->text[0] == '(' && n->thread < 0 && !n->important;
}

/* Before the first note that no thread has made, at the start and at the end: when that was. Else NULL. */
static const char *moment(const struct explore_note *n, int last)
{
	if (n->thread >= 0 || last == -1 || is_verdict(n) || is_fold(n))
		return NULL;
	return last < -1 ? "before the threads start" : "after they have ended";
}

/* A timeline that goes in circles is drawn once around. */

#define FOLD_LINES 32u
#define FOLD_TIMES 3u

static bool is_same(const struct explore_note *a, const struct explore_note *b, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (a[i].thread != b[i].thread || a[i].important != b[i].important ||
		    strcmp(a[i].text, b[i].text) != 0)
			return false;
	return true;
}

/* How often the @n lines at @at come again behind them. */
static unsigned repeats(const struct explore_note *at, unsigned n, unsigned left)
{
	unsigned times = 0;

	while ((times + 2) * n <= left && is_same(at, at + (size_t)(times + 1) * n, n))
		times++;
	return times;
}

/* The notes of the last run, with lines that repeat folded. */
static const struct explore_note *folded_notes(unsigned *count)
{
	static struct explore_note folded[EXPLORE_NOTES];
	const struct explore_note *notes = explore_notes(count);
	unsigned out = 0;

	for (unsigned i = 0; i < *count;) {
		unsigned times = 0, n = 0;

		while (times < FOLD_TIMES && n++ < FOLD_LINES)
			times = repeats(&notes[i], n, *count - i);
		if (times < FOLD_TIMES) {
			folded[out++] = notes[i++];
			continue;
		}
		memcpy(&folded[out], &notes[i], n * sizeof(*notes));
		out += n;
		folded[out] = (struct explore_note){ .thread = -1, .step = notes[i].step };
		if (n == 1)
			snprintf(folded[out].text, sizeof(folded->text),
				 "(the last line %u times more)", times);
		else
			snprintf(folded[out].text, sizeof(folded->text),
				 "(the last %u lines %u times more)", n, times);
		out++;
		i += n * (times + 1);
	}
	*count = out;
	return folded;
}

/* The command that draws this run again. */
static void again(const struct race_picture *p, char *text, size_t size)
{
	char mutant[32] = "";

	if (p->mutant)
		snprintf(mutant, sizeof(mutant), " --mutant %u", p->mutant);
	snprintf(text, size, "umbra-race run %s --variant %s%s --replay %s --explain",
		 p->scenario->name, p->variant->name, mutant, p->result->schedule);
}

/* What the switch breaks that is on instead of the variant's own. False: none is. */
static bool broken(const struct race_picture *p, char *text, size_t size)
{
	const char *says = p->mutant ? mutants_says(p->mutant) : NULL;

	snprintf(text, size, "switch %u: %s", p->mutant, says ? says : "breaks a rule.");
	return p->mutant;
}

/* Text. */

static void print_wrapped(const char *head, const char *text, int width)
{
	while (*text) {
		const char *line = text;
		int n = take_line(&text, width);

		printf("%-10s%.*s\n", head, n, line);
		head = "";
	}
}

static void print_note(const struct race_picture *p, const struct explore_note *n, int width)
{
	unsigned threads = p->scenario->program.threads;
	const char *text = n->text;
	bool first = true;

	while (*text) {
		const char *line = text;
		int len = take_line(&text,
				    n->thread < 0 ? (width + 2) * (int)threads - 8 : width - 3);

		if (n->thread < 0) {
			printf("      %s%.*s\n", first ? "" : "  ", len, line);
		} else {
			for (unsigned t = 0; t < threads; t++) {
				bool mine = (int)t == n->thread;

				printf("%s %s%-*.*s", t ? "|" : " ",
				       !mine			? "  "
				       : first && !n->important ? ". "
								: "  ",
				       width - 2, mine ? len : 0, mine ? line : "");
			}
			printf("\n");
		}
		first = false;
	}
}

void draw_text(const struct race_picture *p)
{
	unsigned threads = p->scenario->program.threads, count;
	const struct explore_note *notes = folded_notes(&count);
	char command[EXPLORE_SCHEDULE + 256], text[256];
	int width = threads <= 2 ? 50 : threads == 3 ? 36 : 28, last = -2;

	printf("\n%s, %s (%s)\n\n", p->scenario->title, p->variant->name, p->scenario->rows);
	print_wrapped("question", p->scenario->question, 90);
	print_wrapped("protocol", p->variant->says, 90);
	if (broken(p, text, sizeof(text)))
		print_wrapped("broken by", text, 90);
	printf("\n");
	for (unsigned t = 0; t < threads; t++)
		printf("%s   %-*s", t ? "|" : " ", width - 2, p->scenario->program.thread[t].name);
	printf("\n");
	for (unsigned t = 0; t < threads; t++)
		printf("%s%.*s", t ? "+" : "-", width + 1,
		       "----------------------------------------------------------");
	printf("\n");
	for (unsigned i = 0; i < count; i++) {
		if (last >= 0 && notes[i].thread >= 0 && notes[i].thread != last) {
			for (unsigned t = 0; t < threads; t++)
				printf("%s%*s", t ? "|" : " ", width + 1, "");
			printf("\n");
		}
		if (moment(&notes[i], last))
			printf("      (%s)\n", moment(&notes[i], last));
		last = notes[i].thread;
		print_note(p, &notes[i], width);
	}
	printf("\n");
	print_wrapped("verdict", outcome(p->result), 90);
	if (p->result->verdict != EXPLORE_PASS) {
		print_wrapped("", p->result->why, 90);
		print_wrapped("lesson", p->scenario->lesson, 90);
		again(p, command, sizeof(command));
		printf("%-10s%s\n", "again", command);
	}
}

/* SVG. */

/* Widths are those of DejaVu Sans, the widest of the usual fonts: 7.2 units a character, 8 in bold. */
#define SVG_COLUMN 400
#define SVG_MARGIN 24
#define SVG_LINE   16
#define SVG_CHARS  50
#define SVG_BOLD   44

/* Lines of text from (@x, @y) on. Returns the y after them. With @f NULL, only measures. */
static int svg_text(FILE *f, int x, int y, const char *class, const char *text, int chars)
{
	int height = !strcmp(class, "h") ? SVG_LINE + 8 : SVG_LINE;

	while (*text) {
		const char *line = text;
		int n = take_line(&text, chars);

		if (f) {
			fprintf(f, "<text x=\"%d\" y=\"%d\" class=\"%s\">", x, y, class);
			xml_put(f, line, (size_t)n);
			fputs("</text>\n", f);
		}
		y += height;
	}
	return y;
}

/* What no thread has made stands across all columns. */
static int svg_note(FILE *f, const struct explore_note *n, int threads, int y)
{
	bool bad = is_verdict(n);
	const char *class = bad ? "bad" : n->important ? "say" : "lib";
	int x = SVG_MARGIN + (n->thread < 0 ? 0 : n->thread) * SVG_COLUMN + 8;
	int columns = n->thread < 0 ? threads : 1;
	int chars = (bad ? SVG_BOLD : SVG_CHARS) * columns;
	int end = svg_text(NULL, x, y, class, n->text, chars);

	if (n->important)
		fprintf(f,
			"<rect x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" rx=\"4\" class=\"%s\"/>\n",
			x - 8, y - SVG_LINE + 3, columns * SVG_COLUMN - 24, end - y + 4,
			bad ? "badbox" : "box");
	svg_text(f, x, y, class, n->text, chars);
	return end + (n->important ? 8 : 2);
}

static void svg_style(FILE *f)
{
	fputs("<style>text{font:13px sans-serif;fill:#222}.h{font-size:18px;font-weight:bold}.q{font-style:italic}"
	      ".t{font-weight:bold}.lib{font:11px monospace;fill:#777}.say{font-size:13px}"
	      ".bad{font-weight:bold;fill:#a00}.box{fill:#eef3fb;stroke:#9db7dd}"
	      ".badbox{fill:#fdecec;stroke:#c33}.col{stroke:#ccc;stroke-dasharray:3 4}</style>\n",
	      f);
}

int draw_svg(const struct race_picture *p, const char *path)
{
	unsigned threads = p->scenario->program.threads, count;
	const struct explore_note *notes = folded_notes(&count);
	int wide = (int)threads * SVG_COLUMN, chars = wide / 8, y = SVG_MARGIN + 10, top, last = -2;
	char head[256], command[EXPLORE_SCHEDULE + 256];
	FILE *f = fopen(path, "we");
	long size_at;
	int err;

	if (!f)
		return -errno;
	fputs("<svg xmlns=\"http://www.w3.org/2000/svg\" ", f);
	size_at = ftell(f);
	fprintf(f,
		"width=\"%5d\" height=\"%6d\">\n<rect width=\"100%%\" height=\"100%%\" fill=\"#fff\"/>\n",
		wide, 0);
	svg_style(f);
	snprintf(head, sizeof(head), "%s: %s (%s)", p->scenario->title, p->variant->name,
		 p->scenario->rows);
	y = svg_text(f, SVG_MARGIN, y, "h", head, wide / 11) + 6;
	y = svg_text(f, SVG_MARGIN, y, "q", p->scenario->question, chars) + 6;
	y = svg_text(f, SVG_MARGIN, y, "", p->variant->says, chars);
	if (broken(p, head, sizeof(head)))
		y = svg_text(f, SVG_MARGIN, y, "bad", head, chars);
	y += 14;
	for (unsigned t = 0; t < threads; t++)
		svg_text(f, SVG_MARGIN + (int)t * SVG_COLUMN, y, "t",
			 p->scenario->program.thread[t].name, SVG_CHARS);
	top = y += SVG_LINE + 8;
	for (unsigned i = 0; i < count; i++) {
		y += notes[i].thread != last ? 10 : 0;
		if (moment(&notes[i], last))
			y = svg_text(f, SVG_MARGIN + 8, y, "q", moment(&notes[i], last),
				     SVG_CHARS) +
			    4;
		last = notes[i].thread;
		y = svg_note(f, &notes[i], (int)threads, y);
	}
	for (unsigned t = 1; t < threads; t++)
		fprintf(f, "<line x1=\"%d\" x2=\"%d\" y1=\"%d\" y2=\"%d\" class=\"col\"/>\n",
			(int)t * SVG_COLUMN + 12, (int)t * SVG_COLUMN + 12, top - SVG_LINE, y);
	y += 14;
	y = svg_text(f, SVG_MARGIN, y, p->result->verdict == EXPLORE_PASS ? "t" : "bad",
		     outcome(p->result), chars);
	if (p->result->verdict != EXPLORE_PASS) {
		y = svg_text(f, SVG_MARGIN, y, "", p->result->why, chars);
		y = svg_text(f, SVG_MARGIN, y, "t", p->scenario->lesson, chars);
		again(p, command, sizeof(command));
		y = svg_text(f, SVG_MARGIN, y + 4, "lib", command, chars);
	}
	fputs("</svg>\n", f);
	/* The height is known only now; the header left room for it. */
	if (!fseek(f, size_at, SEEK_SET))
		fprintf(f, "width=\"%5d\" height=\"%6d\">", wide + SVG_MARGIN, y + SVG_MARGIN);
	err = ferror(f) ? -EIO : 0;
	return fclose(f) && !err ? -errno : err;
}
