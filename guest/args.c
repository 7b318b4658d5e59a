// SPDX-License-Identifier: BSD-2-Clause
#include "guest/args.h"

#include <string.h>

static size_t span(const char *s, char stop)
{
	size_t len = 0;

	while (s[len] && s[len] != ' ' && s[len] != stop)
		len++;
	return len;
}

bool arg_next(const char **args, struct arg *arg)
{
	const char *at = *args;

	while (*at == ' ')
		at++;
	arg->key = at;
	arg->key_len = span(at, '=');
	at += arg->key_len;
	if (*at == '=')
		at++;
	arg->value = at;
	arg->value_len = span(at, ' ');
	*args = at + arg->value_len;
	return arg->key_len || arg->value_len;
}

bool arg_find(const char *args, const char *key, struct arg *arg)
{
	while (arg_next(&args, arg))
		if (arg_word(key, arg->key, arg->key_len) == 0)
			return true;
	return false;
}

int arg_word(const char *words, const char *text, size_t len)
{
	for (int i = 0; *words; i++) {
		size_t word_len = span(words, ' ');

		if (word_len == len && !memcmp(words, text, len))
			return i;
		words += word_len;
		while (*words == ' ')
			words++;
	}
	return -1;
}

static int digit_of(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return 16;
}

static unsigned shift_of(char suffix)
{
	switch (suffix) {
	case 'K':
		return 10;
	case 'M':
		return 20;
	case 'G':
		return 30;
	}
	return 0;
}

static bool parse_number(const char *s, size_t len, uint64_t *value)
{
	int base = len > 2 && s[0] == '0' && s[1] == 'x' ? 16 : 10;
	unsigned shift = len ? shift_of(s[len - 1]) : 0;
	size_t i = base == 16 ? 2 : 0, end = shift ? len - 1 : len;

	if (i == end)
		return false;
	for (*value = 0; i < end; i++) {
		int digit = digit_of(s[i]);

		if (digit >= base || __builtin_mul_overflow(*value, (uint64_t)base, value) ||
		    __builtin_add_overflow(*value, (uint64_t)digit, value))
			return false;
	}
	return !__builtin_mul_overflow(*value, UINT64_C(1) << shift, value);
}

uint64_t arg_number(const char *args, const char *key, uint64_t otherwise, bool *bad)
{
	struct arg arg;
	uint64_t value = otherwise;

	if (arg_find(args, key, &arg) && !parse_number(arg.value, arg.value_len, &value))
		*bad = true;
	return value;
}

int arg_choice(const char *args, const char *key, const char *words, int otherwise, bool *bad)
{
	struct arg arg;
	int choice;

	if (!arg_find(args, key, &arg))
		return otherwise;
	choice = arg_word(words, arg.value, arg.value_len);
	if (choice < 0)
		*bad = true;
	return choice;
}
