// SPDX-License-Identifier: BSD-2-Clause
#include "tests/unit/fake_ram.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "tests/test.h"

struct ram *fake_ram_create(uint64_t size)
{
	struct ram *ram = calloc(1, sizeof(*ram));

	check(ram);
	ram->bytes = calloc(1, size);
	check(ram->bytes);
	ram->size = size;
	return ram;
}

void fake_ram_destroy(struct ram *ram)
{
	free(ram->bytes);
	free(ram);
}

static bool is_inside(const struct ram *ram, uint64_t gpa, size_t len)
{
	return gpa <= ram->size && len <= ram->size - gpa;
}

int ram_read(struct ram *ram, uint64_t gpa, void *buf, size_t len)
{
	ram->reads++;
	if (ram->fail_reads)
		return ram->fail_reads;
	if (!is_inside(ram, gpa, len))
		return -EFAULT;
	memcpy(buf, ram->bytes + gpa, len);
	return 0;
}

int ram_write(struct ram *ram, uint64_t gpa, const void *buf, size_t len)
{
	ram->writes++;
	if (ram->fail_writes)
		return ram->fail_writes;
	if (!is_inside(ram, gpa, len))
		return -EFAULT;
	memcpy(ram->bytes + gpa, buf, len);
	return 0;
}

void ram_prefault(struct ram *ram, uint64_t gpa, uint64_t len)
{
	ram->prefaulted = gpa;
	ram->prefault_len = len;
}

uint64_t ram_mapped(struct ram *ram)
{
	return ram->mapped;
}

uint64_t ram_working_set(struct ram *ram, uint64_t stride)
{
	return ram->working_set ? ram->working_set(stride) : 0;
}
