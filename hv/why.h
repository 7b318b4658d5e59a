/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A reason: the text that travels up beside a -errno, so that main can tell the user.
 * Owns nothing: the buffer is the caller's.
 * Called by everything in hv/ that checks what a user wrote.
 * Does not print; hv/log.h does.
 */
#ifndef UMBRA_HV_WHY_H
#define UMBRA_HV_WHY_H

#include <stddef.h>

/*
 * @where: put before the reason ("machine.dts", "--set /cpus/count=2"), or NULL.
 */
struct why {
	char *text;
	size_t size;
	const char *where;
};

/* Put the reason in @w, control characters replaced. Keep errno. */
void why_set(struct why *w, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* The same; the value is @err, so that callers can return it. */
#define why_fail(w, err, ...) (why_set(w, __VA_ARGS__), (err))

/* "; what to do", to stand behind strerror(-@err), for an error of the host that says so little; or "". */
const char *why_advice(int err);

#endif /* UMBRA_HV_WHY_H */
