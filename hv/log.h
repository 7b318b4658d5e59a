/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Messages to the user: lines "component: action: reason" on stderr, each in one write(2).
 * Owns one flag, set before any thread starts: quiet. A stderr that nobody reads costs a second, once; what it has
 * no room for is dropped.
 * Called by any thread of hv/. Never by mmu/, which does not print.
 * Does not touch stdout: that is the guest's console.
 */
#ifndef UMBRA_HV_LOG_H
#define UMBRA_HV_LOG_H

#include <stdbool.h>
#include <stddef.h>

/* Drop what log_info() says; errors always come through. */
void log_set_quiet(bool quiet);

/* A reason of several lines gives several messages, each with component and action in front. */
void log_error(const char *component, const char *action, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
void log_info(const char *component, const char *action, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* Text that has its own form, such as JSON; whole lines. */
void log_text(const char *text, size_t len);

#endif /* UMBRA_HV_LOG_H */
