/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Formatted lines to the console, one exit per call.
 * Owns nothing.
 * Called by all guest code.
 * Does not know workloads.
 */
#ifndef UMBRA_GUEST_PRINT_H
#define UMBRA_GUEST_PRINT_H

#include <stdarg.h>
#include <stddef.h>

#define PRINT_MAX 512 /* longer lines are cut */

/* Knows %s %u %lu %lx, a zero-padded width as in %016lx, and %%. */
__attribute__((format(printf, 2, 3))) void print(unsigned cpu, const char *fmt, ...);

/* The formatter alone: at most @size bytes, no terminator. Return the length used. */
size_t print_format(char *buf, size_t size, const char *fmt, va_list args);

#endif
