// SPDX-License-Identifier: BSD-2-Clause
#include "hv/json.h"

#include <stddef.h>
#include <stdint.h>

/* The length of the UTF-8 sequence at @s, 0 when there is none. Each @min is what fewer bytes could not say. */
static size_t utf8_len(const unsigned char *s)
{
	static const struct {
		unsigned char mask, lead;
		uint32_t min;
	} form[] = { { 0xe0, 0xc0, 0x80 }, { 0xf0, 0xe0, 0x800 }, { 0xf8, 0xf0, 0x10000 } };

	if (*s < 0x80)
		return 1;
	for (size_t more = 1; more <= 3; more++) {
		uint32_t code = *s & (0x3fu >> more);

		if ((*s & form[more - 1].mask) != form[more - 1].lead)
			continue;
		for (size_t i = 1; i <= more; i++) {
			if ((s[i] & 0xc0) != 0x80)
				return 0;
			code = code << 6 | (s[i] & 0x3f);
		}
		if (code < form[more - 1].min || code > 0x10ffff || (code >> 11) == 0x1b)
			return 0;
		return more + 1;
	}
	return 0;
}

void json_put_string(FILE *out, const char *s)
{
	const unsigned char *at = (const unsigned char *)s;

	fputc('"', out);
	while (*at) {
		size_t len = utf8_len(at);

		if (!len)
			fputs("\\ufffd", out);
		else if (*at == '"' || *at == '\\')
			fprintf(out, "\\%c", *at);
		else if (*at < ' ' || *at == 0x7f)
			fprintf(out, "\\u%04x", *at);
		else
			fwrite(at, 1, len, out);
		at += len ? len : 1;
	}
	fputc('"', out);
}
