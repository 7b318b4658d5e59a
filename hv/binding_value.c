// SPDX-License-Identifier: BSD-2-Clause
/* Property bytes, judged and stored in a struct machine. */
#include "hv/bindings.h"

#include <errno.h>
#include <libfdt.h>
#include <stdio.h>
#include <string.h>

#define CELL sizeof(fdt32_t)

static uint32_t cell_at(const void *data)
{
	fdt32_t cell;

	memcpy(&cell, data, sizeof(cell));
	return fdt32_to_cpu(cell);
}

static uint64_t cells_at(const void *data)
{
	fdt64_t cells;

	memcpy(&cells, data, sizeof(cells));
	return fdt64_to_cpu(cells);
}

/* Return the index of @word in the choices of @b, or -1. */
static int choice_index(const struct binding *b, const char *word)
{
	for (int i = 0; b->choices[i]; i++)
		if (!strcmp(b->choices[i], word))
			return i;
	return -1;
}

static int check_length(size_t len, size_t want, const char *what, struct why *w)
{
	if (len == want)
		return 0;
	return why_fail(w, -EINVAL, "has %zu bytes, but must be %s (%zu bytes)", len, what, want);
}

static int check_u32(const struct binding *b, uint32_t value, struct why *w)
{
	const char *hint = value >> 31 ? "; was it meant to be negative?" : "";
	char range[64], decimal[16];
	bool ok;

	if (b->choices) {
		snprintf(decimal, sizeof(decimal), "%u", value);
		ok = choice_index(b, decimal) >= 0;
	} else {
		ok = value >= b->min && value <= b->max &&
		     !(b->power_of_two && (value & (value - 1)));
	}
	if (ok)
		return 0;
	binding_describe(b, range, sizeof(range));
	return why_fail(w, -EINVAL, "is %u, but must be %s%s", value, range, hint);
}

static int check_page_number(uint64_t value, const char *what, struct why *w)
{
	if (value >> 63)
		return why_fail(w, -EINVAL, "%s 0x%jx has its top bit set: a negative number?",
				what, (uintmax_t)value);
	if (value % MACHINE_PAGE_SIZE)
		return why_fail(w, -EINVAL, "%s 0x%jx is not a multiple of the page size 0x%x",
				what, (uintmax_t)value, MACHINE_PAGE_SIZE);
	return 0;
}

static int check_reg(uint64_t gpa, uint64_t size, struct why *w)
{
	int err = check_page_number(gpa, "address", w);

	if (!err)
		err = check_page_number(size, "size", w);
	if (!err && (gpa > MACHINE_GPA_END || size > MACHINE_GPA_END - gpa))
		err = why_fail(w, -EINVAL, "0x%jx + 0x%jx is above 0x%llx, the end of guest memory",
			       (uintmax_t)gpa, (uintmax_t)size, MACHINE_GPA_END);
	return err;
}

/* One string and nothing else: the only NUL is the last byte. */
static int check_string(const struct binding *b, const char *data, size_t len, struct why *w)
{
	if (!len || memchr(data, '\0', len) != data + len - 1)
		return why_fail(w, -EINVAL, "is not one string; write %s = \"...\"", b->prop);
	if (b->max && len > b->max)
		return why_fail(w, -EINVAL, "is a string of %zu bytes, but at most %ju fit",
				len - 1, (uintmax_t)b->max - 1);
	return 0;
}

static int check_choices(const struct binding *b, const char *data, size_t len, struct why *w)
{
	const char *word = data;
	char words[256];

	if (!len || data[len - 1])
		return why_fail(w, -EINVAL, "is not a string; write %s = \"...\"", b->prop);
	if (b->type == BIND_CHOICE && strlen(data) + 1 != len) {
		binding_describe(b, words, sizeof(words));
		return why_fail(w, -EINVAL, "has several strings, but must be %s", words);
	}
	while (word < data + len && choice_index(b, word) >= 0)
		word += strlen(word) + 1;
	if (word >= data + len)
		return 0;
	binding_describe(b, words, sizeof(words));
	return why_fail(w, -EINVAL, "is \"%.64s\", but must be %s%s", word,
			b->type == BIND_SET ? "out of " : "", words);
}

int binding_check(const struct binding *b, const void *data, size_t len, struct why *w)
{
	int err = -EINVAL;

	switch (b->type) {
	case BIND_BOOL:
		if (!len)
			return 0;
		err = check_length(len, CELL, "empty or one cell", w);
		if (!err && cell_at(data) > 1)
			err = why_fail(w, -EINVAL, "is %u, but must be 0 or 1", cell_at(data));
		break;
	case BIND_U32:
		err = check_length(len, CELL, "one number in a cell", w);
		if (!err)
			err = check_u32(b, cell_at(data), w);
		break;
	case BIND_U64:
		err = check_length(len, 2 * CELL, "one number in two cells", w);
		break;
	case BIND_REG:
		err = check_length(len, 4 * CELL, "one address and one size of two cells each", w);
		if (!err)
			err = check_reg(cells_at(data), cells_at((const char *)data + 2 * CELL), w);
		break;
	case BIND_STRING:
	case BIND_PATH:
		err = check_string(b, data, len, w);
		break;
	case BIND_CHOICE:
	case BIND_SET:
		err = check_choices(b, data, len, w);
		break;
	}
	return err;
}

static unsigned set_mask(const struct binding *b, const char *data, size_t len)
{
	unsigned mask = 0;

	for (const char *word = data; word < data + len; word += strlen(word) + 1)
		for (int i = 0; b->choices[i]; i++)
			if (!strcmp(b->choices[i], word))
				mask |= 1u << i;
	return mask;
}

static int store_path(const char *path, const char *dir, char *field, size_t size, struct why *w)
{
	int n;

	if (path[0] == '/' || !dir[0])
		n = snprintf(field, size, "%s", path);
	else
		n = snprintf(field, size, "%s/%s", dir, path);
	if (n < 0 || (size_t)n >= size)
		return why_fail(w, -EINVAL, "the path is longer than %zu bytes", size - 1);
	return 0;
}

int binding_store(const struct binding *b, const void *data, size_t len, const char *dir,
		  struct machine *m, struct why *w)
{
	void *field;

	if (b->offset == BIND_NOWHERE)
		return 0;
	field = (char *)m + b->offset;

	switch (b->type) {
	case BIND_BOOL:
		*(bool *)field = !len || cell_at(data);
		break;
	case BIND_U32:
		*(unsigned *)field = cell_at(data);
		break;
	case BIND_U64:
		*(uint64_t *)field = cells_at(data);
		break;
	case BIND_REG:
		*(struct machine_mem *)field = (struct machine_mem){
			.gpa = cells_at(data),
			.size = cells_at((const char *)data + 2 * CELL),
			.present = true,
		};
		break;
	case BIND_STRING:
		memcpy(field, data, len);
		break;
	case BIND_PATH:
		return store_path(data, dir, field, b->max, w);
	case BIND_CHOICE:
		*(int *)field = choice_index(b, data);
		break;
	case BIND_SET:
		*(unsigned *)field = set_mask(b, data, len);
		break;
	}
	return 0;
}
