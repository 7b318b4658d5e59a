// SPDX-License-Identifier: BSD-2-Clause
/* Values as people write them after --set, made into property bytes; and the defaults. */
#include "hv/bindings.h"

#include <errno.h>
#include <libfdt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/*
 * Parse a decimal or 0x number, with K, M or G behind it if the user likes. @end: where it stops.
 */
static int parse_number(const char *text, const char **end, uint64_t *value, struct why *w)
{
	static const char units[] = "KMG";
	const char *unit;
	char *stop;

	if (*text == '-')
		return why_fail(w, -EINVAL, "%s is negative; numbers start at 0", text);
	if (*text < '0' || *text > '9')
		return why_fail(w, -EINVAL, "\"%s\" is not a number; write 4096, 0x1000 or 4K",
				text);
	errno = 0;
	*value = strtoull(text, &stop, text[0] == '0' && (text[1] | 0x20) == 'x' ? 16 : 10);
	if (errno)
		return why_fail(w, -EINVAL, "%s does not fit into 64 bits", text);
	unit = *stop ? strchr(units, *stop) : NULL;
	if (unit) {
		unsigned shift = 10 * (unsigned)(unit - units + 1);

		if (*value >> (64 - shift))
			return why_fail(w, -EINVAL, "%s does not fit into 64 bits", text);
		*value <<= shift;
		stop++;
	}
	*end = stop;
	return 0;
}

/* Where the bytes of one property are put together. */
struct sink {
	char *buf;
	size_t len;
	struct why *w;
};

static int sink_bytes(struct sink *s, const void *data, size_t len)
{
	if (len > BIND_VALUE_SIZE - s->len)
		return why_fail(s->w, -EINVAL, "the value is longer than %lu bytes; shorten it",
				BIND_VALUE_SIZE);
	memcpy(s->buf + s->len, data, len);
	s->len += len;
	return 0;
}

static int sink_u32(struct sink *s, uint64_t value)
{
	fdt32_t cell = cpu_to_fdt32((uint32_t)value);

	if (value > UINT32_MAX)
		return why_fail(s->w, -EINVAL, "%ju does not fit into a cell of 32 bits",
				(uintmax_t)value);
	return sink_bytes(s, &cell, sizeof(cell));
}

static int sink_u64(struct sink *s, uint64_t value)
{
	fdt64_t cells = cpu_to_fdt64(value);

	return sink_bytes(s, &cells, sizeof(cells));
}

static int sink_word(struct sink *s, const char *text, size_t len)
{
	int err = sink_bytes(s, text, len);

	return err ? err : sink_bytes(s, "", 1);
}

/* <1 2 0x3> */
static int encode_cells(struct sink *s, const char *text)
{
	const char *at = text + 1;
	uint64_t value;
	int err;

	for (;;) {
		at += strspn(at, " \t");
		if (*at == '>' && !at[1])
			return 0;
		err = parse_number(at, &at, &value, s->w);
		if (err)
			return err;
		if (!strchr(" \t>", *at) || !*at)
			return why_fail(s->w, -EINVAL, "%s: write cells as <1 2 3>", text);
		err = sink_u32(s, value);
		if (err)
			return err;
	}
}

/* "one","two": without escapes, as no value needs them. */
static int encode_strings(struct sink *s, const char *text)
{
	const char *at = text;

	while (*at == '"') {
		const char *end = strchr(at + 1, '"');
		int err;

		if (!end)
			break;
		err = sink_word(s, at + 1, (size_t)(end - at - 1));
		if (err)
			return err;
		at = end + 1 + strspn(end + 1, " \t");
		if (!*at)
			return 0;
		if (*at != ',')
			break;
		at++;
		at += strspn(at, " \t");
	}
	return why_fail(s->w, -EINVAL, "%s: write strings as \"one\",\"two\"", text);
}

static int encode_numbers(struct sink *s, const char *text, size_t count,
			  int (*put)(struct sink *, uint64_t))
{
	const char *at = text;
	uint64_t value;
	int err;

	for (size_t i = 0; i < count; i++) {
		err = parse_number(at, &at, &value, s->w);
		if (!err)
			err = put(s, value);
		if (err)
			return err;
		if (i + 1 < count) {
			size_t gap = strspn(at, ", \t");

			if (!gap)
				return why_fail(s->w, -EINVAL, "%s: write ADDRESS,SIZE", text);
			at += gap;
		}
	}
	if (*at)
		return why_fail(s->w, -EINVAL, "%s: \"%s\" is too much here", text, at);
	return 0;
}

static int encode_bool(struct sink *s, const char *text)
{
	if (!strcmp(text, "true") || !strcmp(text, "1"))
		return sink_u32(s, 1);
	if (!strcmp(text, "false") || !strcmp(text, "0"))
		return sink_u32(s, 0);
	return why_fail(s->w, -EINVAL, "\"%s\" is neither true nor false", text);
}

/* discard,zap */
static int encode_set(struct sink *s, const char *text)
{
	for (;;) {
		size_t len = strcspn(text, ",");
		int err = sink_word(s, text, len);

		if (err || !text[len])
			return err;
		text += len + 1;
	}
}

/* What a path on the command line is relative to is the working directory. */
static int encode_path(struct sink *s, const char *text)
{
	char full[2 * PATH_MAX], cwd[PATH_MAX];

	if (text[0] == '/')
		return sink_word(s, text, strlen(text));
	if (!getcwd(cwd, sizeof(cwd)))
		return why_fail(s->w, -EINVAL,
				"the working directory is not known: %s; give a full path",
				strerror(errno));
	if (snprintf(full, sizeof(full), "%s/%s", cwd, text) >= PATH_MAX)
		return why_fail(s->w, -EINVAL, "the path is longer than %d bytes", PATH_MAX - 1);
	return sink_word(s, full, strlen(full));
}

int binding_encode(const struct binding *b, const char *text, char buf[static BIND_VALUE_SIZE],
		   size_t *len, struct why *w)
{
	struct sink s = { .buf = buf, .w = w };
	int err = -EINVAL;

	if (text[0] == '<') {
		err = encode_cells(&s, text);
	} else if (text[0] == '"') {
		err = encode_strings(&s, text);
	} else {
		switch (b->type) {
		case BIND_BOOL:
			err = encode_bool(&s, text);
			break;
		case BIND_U32:
			err = encode_numbers(&s, text, 1, sink_u32);
			break;
		case BIND_U64:
			err = encode_numbers(&s, text, 1, sink_u64);
			break;
		case BIND_REG:
			err = encode_numbers(&s, text, 2, sink_u64);
			break;
		case BIND_PATH:
			err = encode_path(&s, text);
			break;
		case BIND_STRING:
		case BIND_CHOICE:
			err = sink_word(&s, text, strlen(text));
			break;
		case BIND_SET:
			err = encode_set(&s, text);
			break;
		}
	}
	*len = s.len;
	return err;
}

/* A default that does not pass is a mistake in the table; tests/unit/machine.c looks. */
void bindings_set_defaults(struct machine *m)
{
	char buf[BIND_VALUE_SIZE], text[256];
	struct why w = { .text = text, .size = sizeof(text) };
	size_t len;

	for (size_t i = 0; i < bindings_count; i++) {
		const struct binding *b = &bindings[i];

		if (b->def && !binding_encode(b, b->def, buf, &len, &w) &&
		    !binding_check(b, buf, len, &w))
			binding_store(b, buf, len, "", m, &w);
	}
}
