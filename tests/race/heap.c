// SPDX-License-Identifier: BSD-2-Clause
#include "tests/race/heap.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "mmu/base/bug.h"
#include "tests/race/explore.h"
#include "tests/race/vm.h"

#define ARENAS	   (EXPLORE_THREADS + 1)
#define ARENA_SIZE (64ul << 20)
#define ARENA_BASE ((char *)0x200000000000ul)
#define LIVE	   0x6c697665ul
#define FREED	   0x66726565ul

struct block {
	size_t size;
	size_t state;
};

#define MAPS_ALIGN (2ul << 20)

void *__real_calloc(size_t n, size_t size);
void __real_free(void *p);
void *__real_mmap(void *addr, size_t len, int prot, int flags, int fd, off_t offset);
int __real_munmap(void *addr, size_t len);
void *__wrap_mmap(void *addr, size_t len, int prot, int flags, int fd, off_t offset);
int __wrap_munmap(void *addr, size_t len);
void *__wrap_aligned_alloc(size_t align, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void __wrap_free(void *p);

static size_t used[ARENAS];
static size_t maps_used;
static size_t live;
static unsigned current;
static bool mapped;

static void map_arenas(void)
{
	bug_on(__real_mmap(ARENA_BASE, ARENAS * ARENA_SIZE, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1,
			   0) != (void *)ARENA_BASE);
	mapped = true;
}

static char *arena(unsigned n)
{
	return ARENA_BASE + n * ARENA_SIZE;
}

void heap_reset(bool abandoned)
{
	bug_on(live && !abandoned);
	for (unsigned i = 0; mapped && i < ARENAS; i++) {
		memset(arena(i), 0, used[i]);
		used[i] = 0;
	}
	live = 0;
	current = 0;
	if (maps_used)
		bug_on(__real_munmap(HEAP_MAPS_BASE, maps_used));
	maps_used = 0;
	vm_reset();
}

void heap_use(unsigned arena)
{
	current = arena;
}

size_t heap_live(void)
{
	return live;
}

static struct block *block_of(const void *p)
{
	return (struct block *)(uintptr_t)((const char *)p - sizeof(struct block));
}

static bool is_ours(const void *p)
{
	return (const char *)p >= ARENA_BASE && (const char *)p < ARENA_BASE + ARENAS * ARENA_SIZE;
}

/* Walks the arena: slow, and only asked when something looks wrong or once per scheduling point on a heap object. */
bool heap_is_freed(const void *p)
{
	unsigned n;
	size_t at = 0;

	if (!is_ours(p))
		return false;
	n = (unsigned)(((const char *)p - ARENA_BASE) / (ptrdiff_t)ARENA_SIZE);
	while (at < used[n]) {
		struct block *b = (struct block *)(arena(n) + at);
		size_t next = at + sizeof(*b) + b->size;

		if ((const char *)p < arena(n) + next)
			return b->state == FREED;
		at = next;
	}
	return false;
}

/* A filler block before the aligned one keeps the arena walkable. */
void *__wrap_aligned_alloc(size_t align, size_t size)
{
	size_t at, data;
	struct block *b;

	if (!mapped)
		map_arenas();
	if (align < 16)
		align = 16;
	size = (size + 15) & ~(size_t)15;
	at = used[current];
	data = (at + sizeof(*b) + align - 1) & ~(align - 1);
	if (data - at > sizeof(*b)) {
		data = (at + 2 * sizeof(*b) + align - 1) & ~(align - 1);
		b = (struct block *)(arena(current) + at);
		b->size = data - at - 2 * sizeof(*b);
		b->state = LIVE;
	}
	bug_on(data + size > ARENA_SIZE);
	b = block_of(arena(current) + data);
	b->size = size;
	b->state = LIVE;
	used[current] = data + size;
	live++;
	return arena(current) + data;
}

void *__wrap_malloc(size_t size)
{
	void *p = __wrap_aligned_alloc(16, size ? size : 1);

	memset(p, 0xa5, size);
	return p;
}

void *__wrap_calloc(size_t n, size_t size)
{
	size_t bytes = n * size;
	void *p = __wrap_aligned_alloc(16, bytes ? bytes : 1);

	memset(p, 0, bytes);
	return p;
}

void __wrap_free(void *p)
{
	if (!p)
		return;
	bug_on(!is_ours(p));
	if (block_of(p)->state != LIVE)
		explore_fail("double free");
	explore_point(EXPLORE_FREE, p, (char *)p + block_of(p)->size - 1, "memory", "free");
	block_of(p)->state = FREED;
	memset(p, 0x5a, block_of(p)->size);
	live--;
}

void *__wrap_mmap(void *addr, size_t len, int prot, int flags, int fd, off_t offset)
{
	if (!addr) {
		bug_on(len > HEAP_MAPS_SIZE - maps_used);
		addr = HEAP_MAPS_BASE + maps_used;
		maps_used += (len + MAPS_ALIGN - 1) & ~(MAPS_ALIGN - 1);
	}
	addr = __real_mmap(addr, len, prot, flags | MAP_FIXED, fd, offset);
	if (addr != MAP_FAILED)
		vm_mapped(addr, len, prot, fd, offset);
	return addr;
}

int __wrap_munmap(void *addr, size_t len)
{
	int rc = __real_munmap(addr, len);

	if (!rc)
		vm_unmapped(addr, len);
	return rc;
}

void *heap_outside(size_t n, size_t size)
{
	void *p = __real_calloc(n, size);

	bug_on(!p);
	return p;
}

void heap_outside_free(void *p)
{
	__real_free(p);
}
