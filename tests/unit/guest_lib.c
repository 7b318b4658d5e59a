// SPDX-License-Identifier: BSD-2-Clause
/* What the guest has instead of a C library: boot arguments, the formatter, memory and strings. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "guest/args.c"	 // NOLINT(bugprone-suspicious-include)
#include "guest/print.c" // NOLINT(bugprone-suspicious-include)
#include "tests/test.h"

/* lib.c defines the C library's names; here they get others. */
#define memcpy		 guest_memcpy
#define memset		 guest_memset
#define memmove		 guest_memmove
#define memcmp		 guest_memcmp
#define memchr		 guest_memchr
#define strnlen		 guest_strnlen
#define strlen		 guest_strlen
#define strcmp		 guest_strcmp
#define strchr		 guest_strchr
#define strrchr		 guest_strrchr
#define __stack_chk_fail guest_stack_chk_fail
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmissing-prototypes"
#include "guest/lib.c" // NOLINT(bugprone-suspicious-include)
#pragma GCC diagnostic pop
#undef memcpy
#undef memset
#undef memmove
#undef memcmp
#undef memchr
#undef strnlen
#undef strlen
#undef strcmp
#undef strchr
#undef strrchr

static char console[PRINT_MAX + 1];

int hc_console(unsigned cpu, const void *buf, uint64_t len)
{
	check(cpu == 7 && len <= PRINT_MAX);
	memcpy(console, buf, len);
	console[len] = '\0';
	return 0;
}

UTEST(guest_args, steps_through)
{
	const char *args = "  workload=touch  flag a=b=c =odd ";
	static const char *const want[][2] = { { "workload", "touch" },
					       { "flag", "" },
					       { "a", "b=c" },
					       { "", "odd" } };
	struct arg arg;

	for (size_t i = 0; i < sizeof(want) / sizeof(want[0]); i++) {
		check(arg_next(&args, &arg));
		check(arg.key_len == strlen(want[i][0]) &&
		      !strncmp(arg.key, want[i][0], arg.key_len));
		check(arg.value_len == strlen(want[i][1]) &&
		      !strncmp(arg.value, want[i][1], arg.value_len));
	}
	check(!arg_next(&args, &arg));
	check(!arg_next(&args, &arg));
}

UTEST(guest_args, finds_whole_keys_only)
{
	struct arg arg;

	check(arg_find("pages=1 page=2", "page", &arg));
	check(arg.value_len == 1 && *arg.value == '2');
	check(!arg_find("pages=1", "page", &arg));
	check(!arg_find("page=1", "pages", &arg));
	check(!arg_find("", "page", &arg));
	check_eq(arg_word("seq random stride", "random=", 6), 1);
	check_eq(arg_word("seq random stride", "rand", 4), -1);
	check_eq(arg_word("seq random stride", "", 0), -1);
	check_eq(arg_word("", "x", 1), -1);
}

UTEST(guest_args, reads_numbers)
{
	static const struct {
		const char *args;
		uint64_t value;
	} good[] = {
		{ "n=0", 0 },
		{ "n=42", 42 },
		{ "n=0xfec00000", 0xfec00000 },
		{ "n=64K", 65536 },
		{ "n=3G", UINT64_C(3) << 30 },
		{ "n=18446744073709551615", UINT64_MAX },
		{ "m=1", 99 },
	};
	static const char *const wrong[] = { "n=",
					     "n",
					     "n=K",
					     "n=0x",
					     "n=-1",
					     "n=1.5",
					     "n=12q",
					     "n=18446744073709551616",
					     "n=99999999999G",
					     "n=0x1F" };
	bool bad = false;

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		check_eq(arg_number(good[i].args, "n", 99, &bad), good[i].value);
	check(!bad);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		bad = false;
		arg_number(wrong[i], "n", 99, &bad);
		check(bad, "%s", wrong[i]);
	}
}

UTEST(guest_args, reads_choices)
{
	bool bad = false;

	check_eq(arg_choice("op=write", "op", "read write mixed", 0, &bad), 1);
	check_eq(arg_choice("", "op", "read write mixed", 2, &bad), 2);
	check(!bad);
	arg_choice("op=wri", "op", "read write mixed", 0, &bad);
	check(bad);
}

UTEST(guest_print, formats_what_it_knows)
{
	print(7, "%s %u %lu %lx %016lx %04x 100%%\n", "s", 42u, UINT64_MAX, UINT64_C(0xabc),
	      UINT64_C(0xdef), 0x12345u);
	check_str(console, "s 42 18446744073709551615 abc 0000000000000def 12345 100%\n");
	print(7, "%u", 0u);
	check_str(console, "0");
}

UTEST(guest_print, cuts_long_lines)
{
	char text[2 * PRINT_MAX];

	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	print(7, "%s", text);
	check_eq(strlen(console), PRINT_MAX);
}

static int sign(int x)
{
	return (x > 0) - (x < 0);
}

/* Every length and overlap of a small buffer, against the C library. */
UTEST(guest_lib, moves_memory)
{
	for (size_t to = 0; to < 16; to++) {
		for (size_t from = 0; from < 16; from++) {
			for (size_t len = 0; len < 16; len++) {
				char a[32] = "abcdefghijklmnopqrstuvwxyz01234", b[32];

				memcpy(b, a, sizeof(a));
				check(guest_memmove(a + to, a + from, len) == a + to);
				memmove(b + to, b + from, len);
				check(!memcmp(a, b, sizeof(a)), "%zu %zu %zu", to, from, len);
				check(guest_memset(a + to, (int)from, len) == a + to);
				memset(b + to, (int)from, len);
				check(!memcmp(a, b, sizeof(a)), "%zu %zu %zu", to, from, len);
			}
		}
	}
}

UTEST(guest_lib, compares_and_finds)
{
	static const char *const words[] = { "", "a", "ab", "b", "a\xff", "abab" };

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		const char *x = words[i];

		check_eq(guest_strlen(x), strlen(x));
		check_eq(guest_strnlen(x, 1), strnlen(x, 1));
		check(guest_strchr(x, 'b') == strchr(x, 'b'));
		check(guest_strchr(x, 0) == strchr(x, 0));
		check(guest_strrchr(x, 'a') == strrchr(x, 'a'));
		check(guest_strrchr(x, 0) == strrchr(x, 0));
		check(guest_memchr(x, 0xff, strlen(x)) == memchr(x, 0xff, strlen(x)));
		for (size_t j = 0; j < sizeof(words) / sizeof(words[0]); j++) {
			const char *y = words[j];
			size_t len = strlen(x) < strlen(y) ? strlen(x) : strlen(y);

			check_eq(sign(guest_strcmp(x, y)), sign(strcmp(x, y)));
			check_eq(sign(guest_memcmp(x, y, len)), sign(memcmp(x, y, len)));
		}
	}
}
