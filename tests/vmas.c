// SPDX-License-Identifier: BSD-2-Clause
#include "tests/vmas.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/mman.h>

#include "tests/test.h"

#define PAGE	  4096UL
#define VMAS_MOST 1000000UL /* more would take long, and much of the system's memory */

/* Every second page before @at has rights of its own, and so has the last one if @odd. */
static struct {
	char *base;
	size_t len, at;
	bool odd;
} room;

unsigned long vmas_most(void)
{
	FILE *f = fopen("/proc/sys/vm/max_map_count", "re");
	char text[24] = "";
	unsigned long most;

	skip_if(!f, "no /proc/sys/vm/max_map_count");
	if (!fgets(text, sizeof(text), f))
		text[0] = 0;
	fclose(f);
	most = strtoul(text, NULL, 10);
	skip_if(!most || most > VMAS_MOST, "vm.max_map_count is %lu", most);
	return most;
}

static bool set(size_t page, int prot)
{
	return !mprotect(room.base + page * PAGE, PAGE, prot);
}

static void reserve(unsigned long most)
{
	room.len = (most + 2) * PAGE;
	room.at = 1;
	room.base = mmap(NULL, room.len, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
			 0);
	check(room.base != MAP_FAILED);
}

/* A page between others costs two VMAs: when the system refuses it, the first of the two splits may have been made, and stays. */
void vmas_use_up(unsigned left)
{
	unsigned long most = vmas_most();

#ifdef UMBRA_SANITIZED
	test_skip("the sanitizer needs mappings of its own");
#endif
	if (!room.base)
		reserve(most);
	if (room.odd)
		check(set(room.len / PAGE - 1, PROT_NONE));
	room.odd = false;
	while (set(room.at, PROT_READ))
		room.at += 2;
	check_eq(errno, ENOMEM);
	for (unsigned back = 0; back < left; back += 2)
		check(set(room.at -= 2, PROT_NONE));
	if (left % 2)
		room.odd = set(room.len / PAGE - 1, PROT_READ);
}

void vmas_give_back(void)
{
	if (room.base)
		check_eq(munmap(room.base, room.len), 0);
	room.base = NULL;
}
