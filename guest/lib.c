// SPDX-License-Identifier: BSD-2-Clause
/*
 * The part of the C library that the compiler, libfdt and xxhash call: plain, byte by byte where
 * speed does not matter. Debian's libfdt.a is built with the stack protector.
 */
#include <stddef.h>
#include <string.h>

/*
 * Keep gcc from turning a loop in strlen() into a call of strlen(). clang needs only
 * -ffreestanding.
 */
#ifdef __clang__
#define NO_IDIOM
#else
#define NO_IDIOM __attribute__((optimize("no-tree-loop-distribute-patterns")))
#endif

void __stack_chk_fail(void);

void *memcpy(void *restrict to, const void *restrict from, size_t len)
{
	void *start = to;

	__asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(len) : : "memory");
	return start;
}

void *memset(void *to, int byte, size_t len)
{
	void *start = to;

	__asm__ volatile("rep stosb" : "+D"(to), "+c"(len) : "a"(byte) : "memory");
	return start;
}

NO_IDIOM void *memmove(void *to, const void *from, size_t len)
{
	unsigned char *t = to;
	const unsigned char *f = from;

	if (t <= f || t >= f + len)
		return memcpy(to, from, len);
	while (len--)
		t[len] = f[len];
	return to;
}

NO_IDIOM int memcmp(const void *a, const void *b, size_t len)
{
	const unsigned char *x = a, *y = b;

	for (; len; len--, x++, y++)
		if (*x != *y)
			return *x < *y ? -1 : 1;
	return 0;
}

NO_IDIOM void *memchr(const void *buf, int byte, size_t len)
{
	const unsigned char *b = buf;

	for (; len; len--, b++)
		if (*b == (unsigned char)byte)
			return (void *)b;
	return NULL;
}

NO_IDIOM size_t strnlen(const char *s, size_t max)
{
	size_t len = 0;

	while (len < max && s[len])
		len++;
	return len;
}

NO_IDIOM size_t strlen(const char *s)
{
	size_t len = 0;

	while (s[len])
		len++;
	return len;
}

NO_IDIOM int strcmp(const char *a, const char *b)
{
	while (*a && *a == *b) {
		a++;
		b++;
	}
	return *(const unsigned char *)a - *(const unsigned char *)b;
}

char *strchr(const char *s, int c)
{
	return memchr(s, c, strlen(s) + 1);
}

char *strrchr(const char *s, int c)
{
	for (size_t len = strlen(s) + 1; len--;)
		if (s[len] == (char)c)
			return (char *)s + len;
	return NULL;
}

void __stack_chk_fail(void)
{
	__builtin_trap();
}
