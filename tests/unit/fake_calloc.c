// SPDX-License-Identifier: BSD-2-Clause
#include "tests/unit/fake_calloc.h"

#include <errno.h>
#include <stddef.h>

_Thread_local unsigned fake_calloc_at;

void *__real_calloc(size_t nmemb, size_t size);
void *__wrap_calloc(size_t nmemb, size_t size);

void *__wrap_calloc(size_t nmemb, size_t size)
{
	if (!fake_calloc_at || --fake_calloc_at)
		return __real_calloc(nmemb, size);
	errno = ENOMEM;
	return NULL;
}
