/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Text in an SVG picture. No state. Who draws one calls (tests/bench/report_svg.c, tests/race/draw.c).
 * Knows nothing of pictures.
 */
#ifndef UMBRA_TESTS_XML_H
#define UMBRA_TESTS_XML_H

#include <stdio.h>

/* xml_put - @n bytes of @text as the contents of an element. XML knows no control characters but few. */
static inline void xml_put(FILE *f, const char *text, size_t n)
{
	for (const char *end = text + n; text < end; text++)
		switch (*text) {
		case '&':
			fputs("&amp;", f);
			break;
		case '<':
			fputs("&lt;", f);
			break;
		case '>':
			fputs("&gt;", f);
			break;
		case '\t':
		case '\n':
			fputc(*text, f);
			break;
		default:
			fputc((unsigned char)*text < ' ' ? '?' : *text, f);
		}
}

#endif /* UMBRA_TESTS_XML_H */
