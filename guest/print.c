// SPDX-License-Identifier: BSD-2-Clause
#include "guest/print.h"

#include <stdint.h>

#include "guest/hcall.h"

struct out {
	char *buf;
	size_t size, len;
};

static void put(struct out *out, char c)
{
	if (out->len < out->size)
		out->buf[out->len++] = c;
}

static void put_string(struct out *out, const char *s)
{
	while (*s)
		put(out, *s++);
}

static void put_number(struct out *out, uint64_t value, unsigned base, unsigned width)
{
	char digits[20]; /* 2^64 in decimal */
	unsigned n = 0;

	do {
		digits[n++] = "0123456789abcdef"[value % base];
		value /= base;
	} while (value);
	for (; width > n; width--)
		put(out, '0');
	while (n)
		put(out, digits[--n]);
}

size_t print_format(char *buf, size_t size, const char *fmt, va_list args)
{
	struct out out = { .buf = buf, .size = size };

	for (; *fmt; fmt++) {
		unsigned width = 0, is_long = 0;

		if (*fmt != '%') {
			put(&out, *fmt);
			continue;
		}
		for (fmt++; *fmt >= '0' && *fmt <= '9'; fmt++)
			width = width * 10 + (unsigned)(*fmt - '0');
		if (*fmt == 'l') {
			is_long = 1;
			fmt++;
		}
		switch (*fmt) {
		case 's':
			put_string(&out, va_arg(args, const char *));
			break;
		case 'u':
		case 'x':
			put_number(&out, is_long ? va_arg(args, uint64_t) : va_arg(args, unsigned),
				   *fmt == 'x' ? 16 : 10, width);
			break;
		case '\0':
			return out.len;
		default:
			put(&out, *fmt);
		}
	}
	return out.len;
}

void print(unsigned cpu, const char *fmt, ...)
{
	char buf[PRINT_MAX];
	va_list args;
	size_t len;

	va_start(args, fmt);
	len = print_format(buf, sizeof(buf), fmt, args);
	va_end(args);
	hc_console(cpu, buf, len);
}
