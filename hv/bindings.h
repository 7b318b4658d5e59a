/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The bindings: one row per property that a machine description may have.
 * Owns the table that drives checking, --set, defaults and `umbra help machine`.
 * Called by hv/machine.c, hv/dtb.c, hv/main.c and the tests.
 * Does not know files, and looks at one property at a time: what must hold between
 * properties is in hv/machine.c.
 */
#ifndef UMBRA_HV_BINDINGS_H
#define UMBRA_HV_BINDINGS_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "hv/machine.h"
#include "hv/why.h"

enum binding_type {
	BIND_BOOL,   /* empty: true; or one cell, 0 or 1          -> bool */
	BIND_U32,    /* one cell                                  -> unsigned */
	BIND_U64,    /* two cells, high one first                 -> uint64_t */
	BIND_REG,    /* four cells: address, size                 -> struct machine_mem */
	BIND_STRING, /* one string                                -> char[max] */
	BIND_PATH,   /* one string; relative to the machine file  -> char[PATH_MAX] */
	BIND_CHOICE, /* one string out of @choices                -> enum: its index */
	BIND_SET,    /* several strings out of @choices           -> unsigned: bits by index */
};

/* For rows that are only checked: they do not end up in struct machine. */
#define BIND_NOWHERE SIZE_MAX

struct binding {
	const char *node; /* path of the node without unit addresses: "/", "/umbra/churn" */
	const char *prop;
	enum binding_type type;
	size_t offset;	   /* of the field in struct machine, or BIND_NOWHERE */
	uint64_t min, max; /* numbers: the range, inclusive; strings: max is the field's size */
	bool power_of_two; /* 0 or a power of two */
	bool required;	   /* must be there when the node is */
	const char *const *choices; /* the only values, NULL-terminated; for BIND_U32 in decimal */
	const char *def;	    /* as one would write it after --set, or NULL: none */
	const char *help;	    /* one line */
};

/* More rows than there are, for arrays with one entry per row. */
#define BINDINGS_MAX 64

extern const struct binding bindings[];
extern const size_t bindings_count;

/* Room for any encoded property. */
#define BIND_VALUE_SIZE (2ul * PATH_MAX)

/* Return the row of @prop in @node (@node_len bytes, no unit addresses), or NULL. */
const struct binding *binding_find(const char *node, size_t node_len, const char *prop);

/* Does any row live in node @path or below it? */
bool binding_node_known(const char *path);

/* Write "; did you mean A or B?" for the rows most like @path, or where to look, into @buf. */
void binding_suggest(const char *path, char *buf, size_t size);

/* Describe type and range of @b ("1..16", "\"zero\" | \"stamp\"") in @buf. */
void binding_describe(const struct binding *b, char *buf, size_t size);

/*
 * Encode @text, as written after --set, as property bytes of @b in @buf; *@len gets their number.
 * Return 0 or -EINVAL with the reason in @w. binding_check() has still to judge the bytes.
 */
int binding_encode(const struct binding *b, const char *text, char buf[static BIND_VALUE_SIZE],
		   size_t *len, struct why *w);

/* Judge property bytes of @b: length, type, range. Return 0 or -EINVAL with the reason in @w. */
int binding_check(const struct binding *b, const void *data, size_t len, struct why *w);

/* Store property bytes that binding_check() accepted in @m; @dir is where relative paths start. */
int binding_store(const struct binding *b, const void *data, size_t len, const char *dir,
		  struct machine *m, struct why *w);

/* Give every field of @m that has a row with a default that default. */
void bindings_set_defaults(struct machine *m);

#endif /* UMBRA_HV_BINDINGS_H */
