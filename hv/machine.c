// SPDX-License-Identifier: BSD-2-Clause
#include "hv/machine.h"

#include <errno.h>
#include <fcntl.h>
#include <libfdt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hv/bindings.h"
#include "hv/dtb.h"
#include "hv/machine_rules.h"
#include "hv/why.h"

#ifndef UMBRA_LIBDIR
#define UMBRA_LIBDIR "/usr/local/share/umbra"
#endif

#define NODE_PATH_SIZE 128
#define WHERE_SIZE     (PATH_MAX + 2 * NODE_PATH_SIZE)

/*
 * A walk over a tree.
 * @seen_prop: rows of the bindings that the tree has.
 * @seen_node: nodes that it has; a node goes by the number of its first row.
 */
struct walk {
	const void *fdt;
	const char *dir;
	struct machine *m;
	struct why *w;
	bool seen_prop[BINDINGS_MAX];
	bool seen_node[BINDINGS_MAX];
};

static size_t row_of_node(const char *path)
{
	size_t row = 0;

	while (row < bindings_count && strcmp(bindings[row].node, path))
		row++;
	return row;
}

/* Give @inner the reason's buffer of @w, and "file: /node/prop" as its place. */
static void narrow(struct why *inner, const struct why *w, char where[static WHERE_SIZE],
		   const char *path, const char *prop)
{
	const char *slash = path[1] && *prop ? "/" : "";

	snprintf(where, WHERE_SIZE, "%s%s%s%s%s", w->where ? w->where : "", w->where ? ": " : "",
		 path, slash, prop);
	*inner = (struct why){ .text = w->text, .size = w->size, .where = where };
}

static int walk_property(struct walk *k, const char *path, int at)
{
	char where[WHERE_SIZE], full[2 * NODE_PATH_SIZE], hint[256];
	const struct binding *b;
	const char *name;
	const void *data;
	struct why inner;
	int len, err;

	data = fdt_getprop_by_offset(k->fdt, at, &name, &len);
	if (!data)
		return why_fail(k->w, -EINVAL, "damaged property in %s: %s", path,
				fdt_strerror(len));
	b = binding_find(path, strlen(path), name);
	if (!b) {
		snprintf(full, sizeof(full), "%s/%.*s", path[1] ? path : "", NODE_PATH_SIZE, name);
		binding_suggest(full, hint, sizeof(hint));
		return why_fail(k->w, -EINVAL, "a machine has no property %s%s", full, hint);
	}

	narrow(&inner, k->w, where, path, name);
	if (k->seen_prop[b - bindings])
		return why_fail(&inner, -EINVAL, "stands there twice; remove one");
	k->seen_prop[b - bindings] = true;
	err = binding_check(b, data, (size_t)len, &inner);
	return err ? err : binding_store(b, data, (size_t)len, k->dir, k->m, &inner);
}

static int walk_node(struct walk *k, const char *path, int node);

/* Nodes go by their name without unit address: a machine has one of each. */
static int walk_child(struct walk *k, const char *path, int child)
{
	char sub[NODE_PATH_SIZE], hint[256];
	const char *name;
	int len, n;

	name = fdt_get_name(k->fdt, child, &len);
	if (!name)
		return why_fail(k->w, -EINVAL, "damaged node in %s: %s", path, fdt_strerror(len));
	n = snprintf(sub, sizeof(sub), "%s/%.*s", path[1] ? path : "", (int)strcspn(name, "@"),
		     name);
	if (n < 0 || (size_t)n >= sizeof(sub) || !binding_node_known(sub)) {
		binding_suggest(sub, hint, sizeof(hint));
		return why_fail(k->w, -EINVAL, "a machine has no node %s%s", sub, hint);
	}
	if (k->seen_node[row_of_node(sub)])
		return why_fail(k->w, -EINVAL, "%s: a second node %.*s; a machine has one", sub,
				NODE_PATH_SIZE, name);
	return walk_node(k, sub, child);
}

/* Recursion ends with the paths that the bindings know: three levels. */
static int walk_node(struct walk *k, const char *path, int node)
{
	int at, err;

	k->seen_node[row_of_node(path)] = true;
	fdt_for_each_property_offset(at, k->fdt, node) {
		err = walk_property(k, path, at);
		if (err)
			return err;
	}
	if (at != -FDT_ERR_NOTFOUND)
		return why_fail(k->w, -EINVAL, "damaged node %s: %s", path, fdt_strerror(at));
	fdt_for_each_subnode(at, k->fdt, node) {
		err = walk_child(k, path, at);
		if (err)
			return err;
	}
	if (at != -FDT_ERR_NOTFOUND)
		return why_fail(k->w, -EINVAL, "damaged node %s: %s", path, fdt_strerror(at));
	return 0;
}

static int check_complete(const struct walk *k)
{
	char values[256];

	for (size_t i = 0; i < bindings_count; i++) {
		const struct binding *b = &bindings[i];

		if (!b->required || !k->seen_node[row_of_node(b->node)] || k->seen_prop[i])
			continue;
		binding_describe(b, values, sizeof(values));
		return why_fail(k->w, -EINVAL, "%s has no property %s; add it (%s)", b->node,
				b->prop, values);
	}
	if (!k->m->ram.present)
		return why_fail(k->w, -EINVAL,
				"a machine needs memory; add a node memory@0 with reg");
	return 0;
}

/* The toy guest lies beside a umbra that was built, and in the library directory of an installed one. */
static void find_image(char *image, size_t size)
{
	static const char in_build[] = "/guest/guest.elf", installed[] = UMBRA_LIBDIR "/guest.elf";
	ssize_t n = readlink("/proc/self/exe", image, size - sizeof(in_build));
	char *slash;

	image[n > 0 ? n : 0] = '\0';
	slash = strrchr(image, '/');
	if (slash)
		strcpy(slash, in_build);
	if ((!slash || access(image, R_OK)) && (!slash || !access(installed, R_OK)))
		snprintf(image, size, "%s", installed);
}

static int parse(struct machine *m, const void *fdt, size_t size, const char *dir, struct why *w)
{
	struct walk k = { .fdt = fdt, .dir = dir, .m = m, .w = w };
	int err;

	memset(m, 0, sizeof(*m));
	bindings_set_defaults(m);
	err = fdt_check_full(fdt, size);
	if (err)
		return why_fail(w, -EINVAL, "damaged device tree: %s", fdt_strerror(err));
	if (fdt_num_mem_rsv(fdt) > 0)
		return why_fail(w, -EINVAL,
				"reserves memory (/memreserve/), which a machine of umbra "
				"cannot do; remove it");
	err = walk_node(&k, "/", 0);
	if (!err)
		err = check_complete(&k);
	if (!err)
		err = machine_check_rules(m, w);
	if (!err && !m->image[0])
		find_image(m->image, sizeof(m->image));
	return err;
}

int machine_parse(struct machine *m, const void *fdt, size_t size, const char *dir, char *why,
		  size_t why_size)
{
	struct why w = { .text = why, .size = why_size };

	return parse(m, fdt, size, dir, &w);
}

int machine_load(struct machine *m, const char *path, const char *const *sets, size_t nsets,
		 char *why, size_t why_size)
{
	struct why w = { .text = why, .size = why_size, .where = path };
	char where[WHERE_SIZE], dir[PATH_MAX] = "";
	const char *slash = strrchr(path, '/');
	void *fdt = NULL;
	size_t size;
	int err;

	if (slash && (size_t)(slash - path) >= sizeof(dir))
		return why_fail(&w, -ENAMETOOLONG, "the path is too long");
	if (slash)
		memcpy(dir, path, slash == path ? 1 : (size_t)(slash - path));
	err = dtb_read(path, &fdt, &size, &w);
	if (err)
		return err;
	for (size_t i = 0; i < nsets && !err; i++) {
		snprintf(where, sizeof(where), "--set %.*s", PATH_MAX, sets[i]);
		w.where = where;
		err = dtb_set(&fdt, &size, sets[i], &w);
	}
	w.where = path;
	if (!err)
		err = parse(m, fdt, size, dir, &w);
	free(fdt);
	return err;
}

static int open_regular_input(const char *path, int *fd, uint64_t *bytes, struct why *w)
{
	struct stat st;
	int err = 0;

	/* O_NONBLOCK: opening a pipe nobody writes to must not hang. */
	*fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (*fd < 0)
		return why_fail(w, -errno, "cannot be opened: %s%s", strerror(errno),
				*why_advice(-errno) ? why_advice(-errno)
						    : "; give a file that you can read");
	if (fstat(*fd, &st))
		err = why_fail(w, -errno, "cannot be examined: %s", strerror(errno));
	else if (S_ISDIR(st.st_mode))
		err = why_fail(w, -EISDIR, "is a directory; give a regular file");
	else if (!S_ISREG(st.st_mode))
		err = why_fail(w, -EINVAL, "is not a regular file; copy its bytes to one");
	if (err) {
		close(*fd);
		*fd = -1;
		return err;
	}
	*bytes = (uint64_t)st.st_size;
	return 0;
}

int machine_open_input(struct machine *m, const char *path, int *fd, uint64_t *bytes, char *why,
		       size_t why_size)
{
	struct why w = { .text = why, .size = why_size };
	char where[WHERE_SIZE];
	uint64_t size;
	int err;

	*fd = -1;
	*bytes = 0;
	if (!m->input.present && path)
		return why_fail(&w, -EINVAL,
				"the machine has no input region; leave --input out, or "
				"add a node input");
	if (m->input.present && !path)
		return why_fail(&w, -EINVAL, "the machine reads a file; name it with --input FILE");
	if (!path)
		return 0;

	snprintf(where, sizeof(where), "--input %.*s", PATH_MAX, path);
	w.where = where;
	err = open_regular_input(path, fd, bytes, &w);
	if (err)
		return err;
	size = (*bytes + MACHINE_PAGE_SIZE - 1) & ~(uint64_t)(MACHINE_PAGE_SIZE - 1);
	if (size > MACHINE_GPA_END - m->input.gpa) {
		err = why_fail(&w, -EFBIG,
			       "has %ju bytes, but from 0x%jx guest memory has only 0x%jx",
			       (uintmax_t)*bytes, (uintmax_t)m->input.gpa,
			       (uintmax_t)(MACHINE_GPA_END - m->input.gpa));
	} else {
		m->input.size = size;
		err = machine_check_overlaps(m, &w);
	}
	if (err) {
		m->input.size = 0;
		close(*fd);
		*fd = -1;
	}
	return err;
}

int machine_exit_status(int err)
{
	switch (-err) {
	case EAGAIN:
	case EIO:
	case EMFILE:
	case ENFILE:
	case ENOMEM:
	case ENOPKG:
	case ENOSPC:
		return 125;
	default:
		return 126;
	}
}
