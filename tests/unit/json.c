// SPDX-License-Identifier: BSD-2-Clause
/* Whatever a name holds, the JSON around it stays JSON. */
#include "tests/test.h"

#include <stdio.h>
#include <stdlib.h>

#include "hv/json.h"
#include "tests/umbra.h"

static void check_escaped(const char *s, const char *want)
{
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	check(f);
	json_put_string(f, s);
	fclose(f);
	check_str(text, want);
	check(is_json(text), "%s", text);
	free(text);
}

UTEST(json, strings)
{
	check_escaped("", "\"\"");
	check_escaped("plain /", "\"plain /\"");
	check_escaped("a \"b\\c", "\"a \\\"b\\\\c\"");
	check_escaped("\t\n\x01\x7f", "\"\\u0009\\u000a\\u0001\\u007f\"");
	check_escaped("gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x98\x80",
		      "\"gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x98\x80\"");
}

/* Stray, cut, overlong, surrogate, beyond Unicode. */
UTEST(json, bytes_that_are_no_utf8)
{
	check_escaped("\x80x", "\"\\ufffdx\"");
	check_escaped("\xff\xfe", "\"\\ufffd\\ufffd\"");
	check_escaped("\xe2\x82", "\"\\ufffd\\ufffd\"");
	check_escaped("\xc0\xaf", "\"\\ufffd\\ufffd\"");
	check_escaped("\xed\xa0\x80", "\"\\ufffd\\ufffd\\ufffd\"");
	check_escaped("\xf5\x80\x80\x80", "\"\\ufffd\\ufffd\\ufffd\\ufffd\"");
}
