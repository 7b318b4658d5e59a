// SPDX-License-Identifier: BSD-2-Clause
#include "hv/dtb.h"

#include <errno.h>
#include <fcntl.h>
#include <libfdt.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hv/bindings.h"

/* A path in a tree: deeper than any that the bindings know. */
#define NODE_PATH_SIZE 128

/* What one assignment may add beside the value: new nodes with their names, one property name. */
#define SET_SLACK      (4ul * NODE_PATH_SIZE)

/* Open @path if it is a regular file of a size that a description can have. */
static int open_regular(const char *path, int *fd, size_t *size, struct why *w)
{
	struct stat st;
	int err;

	/* O_NONBLOCK: opening a pipe nobody writes to must not hang. */
	*fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (*fd < 0)
		return why_fail(w, -errno, "cannot be opened: %s%s", strerror(errno),
				*why_advice(-errno) ? why_advice(-errno) : "; check the path");
	if (fstat(*fd, &st))
		err = why_fail(w, -errno, "cannot be examined: %s", strerror(errno));
	else if (!S_ISREG(st.st_mode))
		err = why_fail(w, S_ISDIR(st.st_mode) ? -EISDIR : -EINVAL,
			       "is %s; name the .dts or .dtb of a machine",
			       S_ISDIR(st.st_mode) ? "a directory" : "not a regular file");
	else if (st.st_size > DTB_MAX_SIZE)
		err = why_fail(w, -EFBIG, "has %jd bytes, more than any machine needs (%u)",
			       (intmax_t)st.st_size, DTB_MAX_SIZE);
	else
		err = 0;
	if (err) {
		close(*fd);
		return err;
	}
	*size = (size_t)st.st_size;
	return 0;
}

static int read_blob(int fd, void **fdt, size_t *size, struct why *w)
{
	char *blob = malloc(*size + 1);
	size_t done = 0;
	ssize_t n;
	int err;

	if (!blob)
		return why_fail(w, -ENOMEM, "no memory for the device tree");
	while (done < *size) {
		n = read(fd, blob + done, *size - done);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			err = why_fail(w, -errno, "cannot be read: %s", strerror(errno));
			free(blob);
			return err;
		}
		if (!n)
			break; /* shrunk meanwhile: fdt_check_full() will tell */
		done += (size_t)n;
	}
	*fdt = blob;
	*size = done;
	return 0;
}

static int check_blob(const void *fdt, size_t size, struct why *w)
{
	fdt32_t magic = 0;
	int err;

	if (size >= sizeof(magic))
		memcpy(&magic, fdt, sizeof(magic));
	if (fdt32_to_cpu(magic) != FDT_MAGIC)
		return why_fail(w, -EINVAL,
				"is not a device tree blob (no magic number 0x%x); device "
				"tree source must have a name that ends in .dts",
				FDT_MAGIC);
	err = fdt_check_full(fdt, size);
	if (err == -FDT_ERR_TRUNCATED)
		return why_fail(w, -EINVAL,
				"is a truncated device tree blob of %zu bytes; compile it "
				"again with dtc",
				size);
	if (err)
		return why_fail(w, -EINVAL,
				"is a damaged device tree blob (%s); compile it again "
				"with dtc",
				fdt_strerror(err));
	return 0;
}

int dtb_read(const char *path, void **fdt, size_t *size, struct why *w)
{
	size_t len = strlen(path);
	int fd, err;

	err = open_regular(path, &fd, size, w);
	if (err)
		return err;
	if (len > 4 && !strcmp(path + len - 4, ".dts"))
		err = dtc_compile(path, fdt, size, w);
	else
		err = read_blob(fd, fdt, size, w);
	close(fd);
	if (err)
		return err;

	err = check_blob(*fdt, *size, w);
	if (err) {
		free(*fdt);
		*fdt = NULL;
	}
	return err;
}

/* How large assignments may make a tree. */
#define DTB_GROWN_SIZE (4ul * DTB_MAX_SIZE)

/* An assignment, taken apart. */
struct assignment {
	char node[NODE_PATH_SIZE]; /* as written, "/" for the root */
	char base[NODE_PATH_SIZE]; /* the same without unit addresses */
	char prop[NODE_PATH_SIZE];
	const char *value;
};

/* Copy @node without the "@unit" parts. */
static void strip_units(const char *node, char *base)
{
	bool in_unit = false;

	for (; *node; node++) {
		if (*node == '/')
			in_unit = false;
		else if (*node == '@')
			in_unit = true;
		if (!in_unit)
			*base++ = *node;
	}
	*base = '\0';
}

static int split_assignment(const char *text, struct assignment *a, struct why *w)
{
	const char *equals = strchr(text, '='), *slash = text;
	size_t node_len, prop_len;

	if (!equals || text[0] != '/')
		return why_fail(w, -EINVAL, "write it as /node/property=value");
	for (const char *c = text; c < equals; c++)
		if (*c == '/')
			slash = c;
	node_len = slash == text ? 1 : (size_t)(slash - text);
	prop_len = (size_t)(equals - slash - 1);
	if (node_len >= NODE_PATH_SIZE || prop_len >= NODE_PATH_SIZE)
		return why_fail(w, -EINVAL, "the path is longer than any that a machine has");

	memcpy(a->node, text, node_len);
	a->node[node_len] = '\0';
	memcpy(a->prop, slash + 1, prop_len);
	a->prop[prop_len] = '\0';
	a->value = equals + 1;
	strip_units(a->node, a->base);
	return 0;
}

/* Find a child of @parent by name; without '@' in @name, any unit address will do. */
static int find_child(const void *fdt, int parent, const char *name, size_t len)
{
	bool whole = memchr(name, '@', len);
	int node;

	fdt_for_each_subnode(node, fdt, parent) {
		int has_len;
		const char *has = fdt_get_name(fdt, node, &has_len);
		size_t cmp;

		if (!has)
			return has_len;
		cmp = whole ? (size_t)has_len : strcspn(has, "@");
		if (cmp == len && !memcmp(has, name, len))
			return node;
	}
	return node;
}

/* Return the offset of the node at @path; make what is missing. */
static int find_or_make(void *fdt, const char *path)
{
	int node = 0;

	for (path++; *path && node >= 0;) {
		size_t len = strcspn(path, "/");
		int child = find_child(fdt, node, path, len);

		if (child == -FDT_ERR_NOTFOUND)
			child = fdt_add_subnode_namelen(fdt, node, path, (int)len);
		node = child;
		path += len;
		path += *path == '/';
	}
	return node;
}

/* A unit address that names another node than the machine's would silently make a second one. */
static int check_unit(const void *fdt, const struct assignment *a, struct why *w)
{
	int by_base, by_name;
	size_t len = strlen(a->node + 1);

	if (!strchr(a->node, '@') || strchr(a->node + 1, '/'))
		return 0;
	by_base = find_child(fdt, 0, a->base + 1, strlen(a->base + 1));
	by_name = find_child(fdt, 0, a->node + 1, len);
	if (by_base < 0 || by_name >= 0)
		return 0;
	return why_fail(w, -EINVAL, "the machine has no %s, but it has /%s", a->node,
			fdt_get_name(fdt, by_base, NULL));
}

static int grow(void **fdt, size_t *size, size_t by, struct why *w)
{
	size_t larger = fdt_totalsize(*fdt) + by;
	void *copy;
	int err;

	if (larger > DTB_GROWN_SIZE)
		return why_fail(w, -EINVAL, "the assignments make the tree too large");
	copy = malloc(larger);
	if (!copy)
		return why_fail(w, -ENOMEM, "no memory for the device tree");
	err = fdt_open_into(*fdt, copy, (int)larger);
	if (err) {
		free(copy);
		return why_fail(w, -EINVAL, "%s", fdt_strerror(err));
	}
	free(*fdt);
	*fdt = copy;
	*size = larger;
	return 0;
}

int dtb_set(void **fdt, size_t *size, const char *text, struct why *w)
{
	char value[BIND_VALUE_SIZE], path[2 * NODE_PATH_SIZE], hint[256];
	const struct binding *b;
	struct assignment a;
	size_t len;
	int err, node;

	err = split_assignment(text, &a, w);
	if (err)
		return err;
	b = binding_find(a.base, strlen(a.base), a.prop);
	if (!b) {
		snprintf(path, sizeof(path), "%s/%s", a.base[1] ? a.base : "", a.prop);
		binding_suggest(path, hint, sizeof(hint));
		return why_fail(w, -EINVAL, "a machine has no property %s%s", path, hint);
	}
	err = check_unit(*fdt, &a, w);
	if (!err)
		err = binding_encode(b, a.value, value, &len, w);
	if (!err)
		err = binding_check(b, value, len, w);
	if (!err)
		err = grow(fdt, size, len + SET_SLACK, w);
	if (err)
		return err;

	node = find_or_make(*fdt, a.node);
	err = node < 0 ? node : fdt_setprop(*fdt, node, a.prop, value, (int)len);
	if (err)
		return why_fail(w, -EINVAL, "cannot be put into the device tree: %s",
				fdt_strerror(err));
	return 0;
}
