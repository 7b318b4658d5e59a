/* SPDX-License-Identifier: BSD-2-Clause */
#include "tests/bench/bare_loop.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "mmu/base/addr.h"
#include "mmu/host/uffd.h"
#include "mmu/host/uffd_compat.h"
#include "tests/bench/bench.h"

#define MOST 8u

struct bare_loop {
	int fd;
	char *base;
	uint64_t bytes, block; /* bytes of a block */
	unsigned n;
	atomic_bool
		stop; /* whoever has resolved a fault ends; behind the memory there is a page for each to fault on */
	pthread_t thread[MOST];
};

/* *@fd: its file. */
static void *map_file(uint64_t bytes, int *fd)
{
	void *p;

	*fd = memfd_create("umbra-bench-plain", MFD_CLOEXEC);
	if (*fd < 0)
		return MAP_FAILED;
	p = ftruncate(*fd, (off_t)bytes)
		    ? MAP_FAILED
		    : mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, *fd, 0);
	if (p == MAP_FAILED)
		close(*fd);
	return p;
}

void *bare_plain(uint64_t bytes)
{
	int fd;
	void *p = map_file(bytes, &fd);

	if (p != MAP_FAILED)
		close(fd);
	return p;
}

/* Somebody may have been faster; then the one who waits is woken all the same. */
static void resolve(const struct bare_loop *l, uint64_t addr)
{
	uint64_t base = (uint64_t)(uintptr_t)l->base,
		 start = base + (addr - base) / l->block * l->block;
	uint64_t end = min_u64(start + l->block, base + l->bytes);
	struct uffdio_zeropage zero = { .range = { .start = start, .len = end - start } };
	struct uffdio_range page = { .start = addr & PAGE_MASK, .len = PAGE_SIZE };

	if (addr < base + l->bytes && !ioctl(l->fd, UFFDIO_ZEROPAGE, &zero))
		return;
	/* A block that is there in part: the page alone, then. */
	zero = (struct uffdio_zeropage){ .range = page };
	if (ioctl(l->fd, UFFDIO_ZEROPAGE, &zero) && ioctl(l->fd, UFFDIO_WAKE, &page)) {
		perror("bench: UFFDIO_WAKE");
		abort(); /* or somebody would wait for ever */
	}
}

/* Blocked in read(2) between faults. */
static void *loop(void *arg)
{
	struct bare_loop *l = arg;
	struct uffd_msg msg;

	while (read(l->fd, &msg, sizeof(msg)) == sizeof(msg)) {
		bool last = atomic_load(&l->stop);

		resolve(l, msg.arg.pagefault.address);
		if (last)
			break;
	}
	return NULL;
}

int bare_loop_start(struct bare_loop **out, uint64_t bytes, unsigned around, unsigned threads)
{
	struct bare_loop *l = calloc(1, sizeof(*l));
	struct uffdio_register reg = { .mode = UFFDIO_REGISTER_MODE_MISSING };
	struct uffd u = { .fd = -1 };
	int rc;

	if (!l)
		return -ENOMEM;
	*l = (struct bare_loop){ .fd = -1,
				 .bytes = bytes,
				 .block = (uint64_t)around << PAGE_SHIFT };
	l->base = bare_plain(bytes + MOST * PAGE_SIZE);
	rc = l->base == MAP_FAILED ? -errno : uffd_open(&u, 0);
	if (rc)
		goto err;
	l->fd = u.fd;
	reg.range = (struct uffdio_range){ .start = (uint64_t)(uintptr_t)l->base,
					   .len = bytes + MOST * PAGE_SIZE };
	if (ioctl(l->fd, UFFDIO_REGISTER, &reg)) {
		rc = -errno;
		goto err;
	}
	for (; l->n < min_u64(threads, MOST) && !rc; l->n += !rc)
		rc = -pthread_create(&l->thread[l->n], NULL, loop, l);
	if (rc)
		goto err;
	*out = l;
	return 0;
err:
	bare_loop_stop(l);
	return rc;
}

void *bare_loop_base(const struct bare_loop *l)
{
	return l->base;
}

void bare_loop_stop(struct bare_loop *l)
{
	atomic_store(&l->stop, true);
	/* A fault that was read before has been resolved before: nobody waits in this memory any more. */
	for (unsigned i = 0; i < l->n; i++)
		(void)*(volatile char *)(l->base + l->bytes + i * PAGE_SIZE);
	for (unsigned i = 0; i < l->n; i++)
		pthread_join(l->thread[i], NULL);
	if (l->base != MAP_FAILED)
		munmap(l->base, l->bytes + MOST * PAGE_SIZE);
	if (l->fd >= 0)
		close(l->fd);
	free(l);
}

static int map_and_load(const struct uffd *u, int fd, char *base, uint64_t bytes, uint64_t block)
{
	for (uint64_t at = 0; at < bytes; at += block) {
		uint64_t len = min_u64(block, bytes - at);
		struct uffdio_continue map = {
			.range = { .start = (uint64_t)(uintptr_t)base + at, .len = len },
		};

		if (fallocate(fd, 0, (off_t)at, (off_t)len) || ioctl(u->fd, UFFDIO_CONTINUE, &map))
			return -errno;
		for (uint64_t page = 0; page < len; page += PAGE_SIZE)
			(void)*(volatile char *)(base + at + page);
	}
	return 0;
}

int bare_ahead(uint64_t bytes, unsigned around, uint64_t *ns)
{
	uint64_t begin;
	struct uffd u;
	int fd, rc;
	char *base = map_file(bytes, &fd);

	if (base == MAP_FAILED)
		return -errno;
	rc = uffd_open(&u, 0);
	if (!rc) {
		rc = uffd_register(&u, base, bytes);
		begin = bench_now_ns();
		if (!rc)
			rc = map_and_load(&u, fd, base, bytes, (uint64_t)around << PAGE_SHIFT);
		*ns = bench_now_ns() - begin;
		uffd_close(&u);
	}
	munmap(base, bytes);
	close(fd);
	return rc;
}
