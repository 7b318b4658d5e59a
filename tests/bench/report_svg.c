/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A chart: a row a case, ratios from left to right on a log axis. A bar from quartile to quartile, a dot at the median, a
 * diamond at the ratio of the shortest runs, a short line at the target. What a colour says a shape says, too.
 */
#include <math.h>
#include <string.h>

#include "tests/bench/report.h"
#include "tests/xml.h"

#define LEFT   350.0 /* the plot begins */
#define RIGHT  750.0 /* and ends; figures stand after it */
#define WIDTH  1040
#define TOP    84.0
#define HEIGHT 24.0 /* of a row */

#define BLUE   "#0072b2"
#define GREEN  "#007a5a"
#define RED    "#c2410c"

struct axis {
	double low, high; /* log10 */
};

static void text(FILE *f, double x, double y, const char *class, const char *s)
{
	fprintf(f, "<text x=\"%.1f\" y=\"%.1f\" class=\"%s\">", x, y, class);
	xml_put(f, s, strlen(s));
	fputs("</text>\n", f);
}

static double at(const struct axis *a, double ratio)
{
	double v = log10(fmax(ratio, 1e-6));

	return LEFT +
	       (RIGHT - LEFT) * (fmin(fmax(v, a->low), a->high) - a->low) / (a->high - a->low);
}

static void widen(struct axis *a, double ratio)
{
	if (ratio <= 0)
		return;
	a->low = fmin(a->low, log10(ratio));
	a->high = fmax(a->high, log10(ratio));
}

/* All that is drawn, a bit more, and no more than eight decades. */
static struct axis axis_of(const struct result *r)
{
	struct axis a = { .low = log10(0.8), .high = log10(1.25) };

	for (unsigned i = 0; i < r->nrows; i++) {
		const struct row *row = &r->rows[i];

		widen(&a, row->ratio.low);
		widen(&a, row->ratio.median);
		widen(&a, row->ratio.high);
		widen(&a, row->shortest);
		widen(&a, row->target);
	}
	a.low = fmax(a.low, -4) - 0.05;
	a.high = fmin(a.high, 4) + 0.05;
	return a;
}

static void put_axis(FILE *f, const struct axis *a, double bottom)
{
	static const double step[] = { 1, 2, 5 };
	bool sparse = a->high - a->low > 2.4;
	char label[16];

	for (int decade = -5; decade <= 5; decade++)
		for (unsigned i = 0; i < (sparse ? 1 : 3); i++) {
			double v = step[i] * pow(10, decade), x = at(a, v);

			if (log10(v) < a->low || log10(v) > a->high)
				continue;
			fprintf(f,
				"<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" class=\"%s\"/>\n",
				x, TOP - 6, x, bottom, v > 0.99 && v < 1.01 ? "one" : "grid");
			snprintf(label, sizeof(label), "%g", v);
			text(f, x, bottom + 16, "tick", label);
		}
}

static void put_mark(FILE *f, const struct axis *a, const struct row *row, double y)
{
	const char *colour = row->target <= 0			? BLUE
			     : row->ratio.median <= row->target ? GREEN
								: RED;
	double low = at(a, row->ratio.low), high = at(a, row->ratio.high), x = at(a, row->shortest);

	if (row->target > 0)
		fprintf(f,
			"<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" class=\"target\"/>\n",
			at(a, row->target), y - 9, at(a, row->target), y + 9);
	fprintf(f,
		"<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"8\" rx=\"3\" fill=\"%s\" opacity=\"0.35\"/>\n",
		low, y - 4, fmax(high - low, 1), colour);
	fprintf(f, "<path d=\"M%.1f %.1f l5 5 l-5 5 l-5 -5 z\" fill=\"none\" stroke=\"%s\"/>\n", x,
		y - 5, colour);
	fprintf(f, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"4\" fill=\"%s\"/>\n",
		at(a, row->ratio.median), y, colour);
}

static void put_row(FILE *f, const struct axis *a, const struct row *row, double y)
{
	char buf[3][16], figures[96], goal[16];
	int n;

	text(f, LEFT - 12, y + 4, "name", row->name);
	put_mark(f, a, row, y);
	n = snprintf(figures, sizeof(figures), "%s", report_digits(row->ratio.median, buf[0]));
	if (row->target > 0 && n > 0)
		snprintf(figures + n, sizeof(figures) - (size_t)n, " (\xe2\x89\xa4 %s)",
			 report_digits(row->target, goal));
	text(f, RIGHT + 12, y + 4, "ratio", figures);
	snprintf(figures, sizeof(figures), "%s : %s %s", report_digits(row->umbra.median, buf[1]),
		 report_digits(row->reference.median, buf[2]), row->unit);
	text(f, RIGHT + 108, y + 4, "figures", figures);
}

static void put_legend(FILE *f, double y)
{
	fprintf(f,
		"<circle cx=\"20\" cy=\"%.1f\" r=\"4\" fill=\"" BLUE "\"/>"
		"<rect x=\"12\" y=\"%.1f\" width=\"16\" height=\"8\" rx=\"3\" fill=\"" BLUE
		"\" opacity=\"0.35\"/>\n",
		y - 4, y - 8);
	text(f, 34, y, "note", "median of the ratios of pairs, and quartiles");
	fprintf(f,
		"<path d=\"M320 %.1f l5 5 l-5 5 l-5 -5 z\" fill=\"none\" stroke=\"" BLUE "\"/>\n",
		y - 9);
	text(f, 332, y, "note", "ratio of the shortest runs");
	fprintf(f, "<line x1=\"510\" y1=\"%.1f\" x2=\"510\" y2=\"%.1f\" class=\"target\"/>\n",
		y - 13, y + 5);
	text(f, 518, y, "note", "target: green and left of it, met; red and right of it, missed");
}

static const char style[] =
	"<style>text{font:12px system-ui,\"Helvetica Neue\",Arial,sans-serif;fill:#1f2937}"
	".title{font-size:16px;font-weight:600}.note,.figures,.tick{fill:#4b5563}.name{text-anchor:end}"
	".tick{text-anchor:middle}.ratio{font-weight:600}"
	".grid{stroke:#e5e7eb}.one{stroke:#6b7280;stroke-dasharray:4 3}"
	".target{stroke:#111827;stroke-width:2}</style>\n";

void report_svg(FILE *f, const struct result *r)
{
	struct axis a = axis_of(r);
	double bottom = TOP + HEIGHT * r->nrows;
	char line[512];

	fprintf(f,
		"<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %.0f\" width=\"%d\" height=\"%.0f\">\n",
		WIDTH, bottom + 58, WIDTH, bottom + 58);
	fprintf(f, "%s<rect width=\"100%%\" height=\"100%%\" fill=\"#fff\"/>\n", style);
	snprintf(line, sizeof(line), "%s: %s", r->group->name, r->group->what);
	text(f, 12, 24, "title", line);
	snprintf(line, sizeof(line),
		 "umbra : reference, log scale, less is better; reference at 1: %s",
		 r->group->reference);
	text(f, 12, 44, "note", line);
	snprintf(line, sizeof(line), "%s, %ld CPUs; %s; KVM module: %s; load %.1f", r->host.cpu,
		 r->host.cpus, r->host.kernel, r->host.kvm, r->host.load);
	text(f, 12, 62, "note", line);
	put_axis(f, &a, bottom);
	for (unsigned i = 0; i < r->nrows; i++)
		put_row(f, &a, &r->rows[i], TOP + HEIGHT * (i + 0.5));
	put_legend(f, bottom + 44);
	fputs("</svg>\n", f);
}
