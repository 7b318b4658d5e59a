/* SPDX-License-Identifier: BSD-2-Clause */
#include "tests/rule.h"

#include <errno.h>
#include <stdatomic.h>

#define NONE (-1)

static struct {
	atomic_int call;
	atomic_ulong code;
	atomic_int error;
	atomic_uint from, to, seen;
} rule = { .call = NONE };

void rule_clear(void)
{
	rule.call = NONE;
}

void rule_set(int call, unsigned long code, int error, unsigned from, unsigned to)
{
	rule_clear();
	rule.code = code;
	rule.error = error;
	rule.from = from;
	rule.to = to;
	rule.seen = 0;
	rule.call = call;
}

bool rule_fails(int call, unsigned long code)
{
	unsigned n;

	if (rule.call != call || rule.code != code)
		return false;
	n = atomic_fetch_add(&rule.seen, 1) + 1;
	if (n < rule.from || n > rule.to)
		return false;
	errno = rule.error;
	return true;
}

int rule_error(void)
{
	return rule.error;
}

unsigned rule_seen(void)
{
	return rule.seen;
}
