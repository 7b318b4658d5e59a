// SPDX-License-Identifier: BSD-2-Clause
#include "hv/doctor.h"

#include <stdarg.h>

#include "hv/json.h"

static const char *const verdict_names[] = {
	[DOCTOR_OK] = "ok",
	[DOCTOR_DEGRADED] = "degraded",
	[DOCTOR_MISSING] = "missing",
};

void doctor_add(struct doctor_report *r, const char *id, enum doctor_verdict verdict,
		const char *fix, const char *fmt, ...)
{
	struct doctor_finding *f;
	va_list ap;

	if (r->count == DOCTOR_MAX_FINDINGS)
		return;
	f = &r->findings[r->count++];
	f->id = id;
	f->verdict = verdict;
	snprintf(f->fix, sizeof(f->fix), "%s", fix ? fix : "");
	va_start(ap, fmt);
	vsnprintf(f->found, sizeof(f->found), fmt, ap);
	va_end(ap);
}

void doctor_examine(struct doctor_report *r)
{
	r->count = 0;
	doctor_probe_host(r);
	doctor_probe_kvm(r);
	doctor_probe_uffd(r);
}

static size_t count_verdict(const struct doctor_report *r, enum doctor_verdict verdict)
{
	size_t count = 0;

	for (size_t i = 0; i < r->count; i++)
		count += r->findings[i].verdict == verdict;
	return count;
}

static void print_table(FILE *out, const struct doctor_report *r)
{
	size_t missing = count_verdict(r, DOCTOR_MISSING);
	size_t degraded = count_verdict(r, DOCTOR_DEGRADED);

	for (size_t i = 0; i < r->count; i++) {
		const struct doctor_finding *f = &r->findings[i];

		fprintf(out, "%-9s %-22s %s\n", verdict_names[f->verdict], f->id, f->found);
		if (f->fix[0])
			fprintf(out, "%-9s %-22s fix: %s\n", "", "", f->fix);
	}
	if (missing)
		fprintf(out,
			"\nNo guest can run here: %zu missing. The library, its tests and all "
			"software devices still work:\n"
			"make test, make race, make stress ARGS=--no-kvm in the source tree; with guests,\n"
			"under an emulator, make check-qemu.\n",
			missing);
	else if (degraded)
		fprintf(out, "\nGuests run here, with %zu degraded.\n", degraded);
	else
		fprintf(out, "\nGuests run here.\n");
}

static void print_json(FILE *out, const struct doctor_report *r)
{
	fprintf(out, "{\"can_run\": %s, \"findings\": [",
		count_verdict(r, DOCTOR_MISSING) ? "false" : "true");
	for (size_t i = 0; i < r->count; i++) {
		const struct doctor_finding *f = &r->findings[i];

		fprintf(out,
			"%s\n  {\"id\": \"%s\", \"verdict\": \"%s\", \"found\": ", i ? "," : "",
			f->id, verdict_names[f->verdict]);
		json_put_string(out, f->found);
		fprintf(out, ", \"fix\": ");
		json_put_string(out, f->fix);
		fputc('}', out);
	}
	fprintf(out, "\n]}\n");
}

bool doctor_print(FILE *out, bool json)
{
	struct doctor_report report;

	doctor_examine(&report);
	if (json)
		print_json(out, &report);
	else
		print_table(out, &report);
	return !count_verdict(&report, DOCTOR_MISSING);
}
