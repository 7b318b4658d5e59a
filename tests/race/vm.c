// SPDX-License-Identifier: BSD-2-Clause
#include "tests/race/vm.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "mmu/base/addr.h"
#include "mmu/host/trap.h"
#include "mmu/host/uffd.h"
#include "tests/race/events.h"
#include "tests/race/explore.h"
#include "tests/race/heap.h"

/* A descriptor that no call of the kernel is to see. */
#define UFFD_FD	      (1 << 20)
#define UFFDS	      64u
#define UFFD_FEATURES 0x1ffffu

#define PAGES	      (HEAP_MAPS_SIZE >> PAGE_SHIFT)

struct page {
	int fd;
	uint32_t frame;
	uint8_t prot;
	bool shared, watched, present, protected;
	bool has_events; /* whoever watches it */
};

static struct page *pages; /* by address, from HEAP_MAPS_BASE on; sparse */
static size_t used;
static struct trap *traps;
static unsigned uffds;
static bool has_events[UFFDS]; /* by descriptor */

int __real_madvise(void *addr, size_t len, int advice);
int __real_mprotect(void *addr, size_t len, int prot);
int __real_close(int fd);
int __real_ioctl(int fd, unsigned long request, void *arg);
void *__real_mmap(void *addr, size_t len, int prot, int flags, int fd, off_t offset);
int __wrap_madvise(void *addr, size_t len, int advice);
int __wrap_mprotect(void *addr, size_t len, int prot);
int __wrap_close(int fd);
int __wrap_ioctl(int fd, unsigned long request, void *arg);
long __wrap_syscall(long number, ...);
int __wrap_sched_yield(void);

static bool is_mapping(const void *addr)
{
	return (const char *)addr >= HEAP_MAPS_BASE &&
	       (const char *)addr < HEAP_MAPS_BASE + HEAP_MAPS_SIZE;
}

bool vm_is_uffd(int fd)
{
	return fd >= UFFD_FD;
}

static struct page *page_at(const void *addr)
{
	bug_on(!is_mapping(addr));
	return &pages[((uintptr_t)addr - (uintptr_t)HEAP_MAPS_BASE) >> PAGE_SHIFT];
}

/* ---- Mappings ---- */

/* The part from @p on, of @len bytes, whose change is told; a change of it has begun then. Nobody watches a part in the middle. */
static size_t changes(const struct page *p, size_t len)
{
	size_t n = 0;

	while (n < (len + PAGE_SIZE - 1) >> PAGE_SHIFT && p[n].has_events)
		n++;
	if (n)
		events_begin(1);
	return n << PAGE_SHIFT;
}

static void tell(unsigned event, void *addr, size_t len)
{
	struct uffd_msg msg = { .event = (uint8_t)event };

	msg.arg.remove.start = (uintptr_t)addr;
	msg.arg.remove.end = (uintptr_t)addr + len;
	if (len)
		events_raise(&msg);
}

static void forget(struct page *p, size_t len)
{
	for (size_t i = 0; i < (len + PAGE_SIZE - 1) >> PAGE_SHIFT; i++)
		if (p[i].shared) {
			explore_point(EXPLORE_STORE, &p[i], NULL, "a view's entry", "munmap");
			p[i] = (struct page){ 0 };
		}
}

void vm_mapped(void *addr, size_t len, int prot, int fd, off_t offset)
{
	struct page *p;
	size_t told;

	if (!pages) {
		pages = __real_mmap(NULL, PAGES * sizeof(*pages), PROT_READ | PROT_WRITE,
				    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		bug_on(pages == MAP_FAILED);
	}
	p = page_at(addr);
	told = changes(p, len);
	forget(p, len);
	if (fd < 0) {
		tell(UFFD_EVENT_UNMAP, addr, told);
		return;
	}
	for (size_t i = 0; i < len >> PAGE_SHIFT; i++) {
		explore_point(EXPLORE_STORE, &p[i], NULL, "a view's entry", "mmap");
		p[i] = (struct page){ .fd = fd,
				      .frame = (uint32_t)((uint64_t)offset >> PAGE_SHIFT) +
					       (uint32_t)i,
				      .prot = (uint8_t)prot,
				      .shared = true };
	}
	used = (size_t)(p - pages) + (len >> PAGE_SHIFT) > used
		       ? (size_t)(p - pages) + (len >> PAGE_SHIFT)
		       : used;
	tell(UFFD_EVENT_UNMAP, addr, told);
}

void vm_unmapped(void *addr, size_t len)
{
	struct page *p = page_at(addr);
	size_t told = changes(p, len);

	forget(p, len);
	tell(UFFD_EVENT_UNMAP, addr, told);
}

void vm_reset(void)
{
	if (used)
		memset(pages, 0, used * sizeof(*pages));
	used = 0;
	traps = NULL;
	uffds = 0;
	events_reset();
}

int __wrap_mprotect(void *addr, size_t len, int prot)
{
	struct page *p = page_at(addr);
	int rc = __real_mprotect(addr, len, prot);

	for (size_t i = 0; !rc && i < len >> PAGE_SHIFT; i++) {
		explore_point(EXPLORE_STORE, &p[i], NULL, "a view's entry", "mprotect");
		p[i].prot = (uint8_t)prot;
	}
	return rc;
}

int __wrap_madvise(void *addr, size_t len, int advice)
{
	struct page *p = page_at(addr);
	int rc = 0;

	if (advice != MADV_DONTNEED)
		return __real_madvise(addr, len, advice);
	tell(UFFD_EVENT_REMOVE, addr, changes(p, len));
	for (size_t i = 0; i < len >> PAGE_SHIFT; i++) {
		if (!p[i].shared) { /* memory of others, or a hole: the rest is done */
			rc = __real_madvise((char *)addr + i * PAGE_SIZE, PAGE_SIZE, advice) ? -1
											     : rc;
			continue;
		}
		explore_point(EXPLORE_STORE, &p[i], NULL, "a view's entry", "madvise");
		p[i].present = p[i].protected = false;
	}
	return rc;
}

/* ---- userfaultfd ---- */

int __wrap_sched_yield(void)
{
	events_settle();
	return 0;
}

/* Pages of @range, all of them watched or to be so. NULL: errno. */
static struct page *pages_of(const struct uffdio_range *range, bool watched)
{
	const void *addr = (void *)(uintptr_t)range->start;
	struct page *p = is_mapping(addr) ? page_at(addr) : NULL;

	for (size_t i = 0; p && i < range->len >> PAGE_SHIFT; i++)
		if (!p[i].shared || (watched && !p[i].watched))
			p = NULL;
	if (!p)
		errno = ENOENT;
	return p;
}

static int do_register(int fd, struct uffdio_register *reg)
{
	struct page *p = pages_of(&reg->range, false);

	for (size_t i = 0; p && i < reg->range.len >> PAGE_SHIFT; i++) {
		explore_point(EXPLORE_STORE, &p[i], NULL, "a view's entry", "UFFDIO_REGISTER");
		p[i].watched = true;
		p[i].has_events = has_events[fd - UFFD_FD];
	}
	return p ? 0 : -1;
}

/* Whether a page of the file exists cannot be asked for. The library asks for others only where the file is empty. */
static bool has_memory(const struct page *p)
{
	struct stat st;

	bug_on(fstat(p->fd, &st));
	return st.st_blocks;
}

/* Kernel: mfill_atomic_continue(). Bytes, or -errno if the first page was refused. */
static int64_t fill(struct page *p, size_t n, bool protect)
{
	if (!has_memory(p))
		return -EFAULT;
	for (size_t i = 0; i < n; i++) {
		explore_point(EXPLORE_STORE, &p[i], NULL, "a view's entry", "UFFDIO_CONTINUE");
		if (p[i].present)
			return i ? (int64_t)(i << PAGE_SHIFT) : -EEXIST;
		p[i].present = true;
		p[i].protected = protect;
	}
	return (int64_t)(n << PAGE_SHIFT);
}

static bool is_changing(const char *what)
{
	if (!events_are_changing())
		return false;
	explore_trace("%s says EAGAIN, and writes no count", what);
	errno = EAGAIN;
	return true;
}

/* Kernel: userfaultfd_continue(), which before 95567729173e left the count alone when the layout was changing. */
static int do_continue(struct uffdio_continue *c)
{
	struct page *p = pages_of(&c->range, true);

	if (is_changing("UFFDIO_CONTINUE") || !p)
		return -1;
	c->mapped = fill(p, c->range.len >> PAGE_SHIFT, c->mode & UFFDIO_CONTINUE_MODE_WP);
	if ((uint64_t)c->mapped == c->range.len)
		return 0;
	errno = c->mapped < 0 ? (int)-c->mapped : EAGAIN;
	if (errno == EAGAIN)
		explore_trace("UFFDIO_CONTINUE says EAGAIN, and has done %llu of %llu pages",
			      (unsigned long long)c->mapped >> PAGE_SHIFT,
			      (unsigned long long)c->range.len >> PAGE_SHIFT);
	return -1;
}

static int do_writeprotect(const struct uffdio_writeprotect *wp)
{
	struct page *p;

	if (is_changing("UFFDIO_WRITEPROTECT"))
		return -1;
	if (!wp) { /* uffd_is_changing() */
		errno = EFAULT;
		return -1;
	}
	p = pages_of(&wp->range, true);
	for (size_t i = 0; p && i < wp->range.len >> PAGE_SHIFT; i++) {
		explore_point(EXPLORE_STORE, &p[i], NULL, "a view's entry", "UFFDIO_WRITEPROTECT");
		p[i].protected = wp->mode & UFFDIO_WRITEPROTECT_MODE_WP;
	}
	return p ? 0 : -1;
}

int __wrap_ioctl(int fd, unsigned long request, void *arg)
{
	struct uffdio_api *api = arg;

	bug_on(!vm_is_uffd(fd));
	switch (request) {
	case UFFDIO_API:
		has_events[fd - UFFD_FD] = api->features & UFFD_EVENTS;
		api->features = UFFD_FEATURES;
		return 0;
	case UFFDIO_REGISTER:
		return do_register(fd, arg);
	case UFFDIO_CONTINUE:
		return do_continue(arg);
	case UFFDIO_WRITEPROTECT:
		return do_writeprotect(arg);
	case UFFDIO_WAKE: /* who faults here resolves his fault himself */
		return 0;
	default:
		errno = EINVAL;
		return -1;
	}
}

long __wrap_syscall(long number, ...)
{
	bug_on(number != SYS_userfaultfd);
	bug_on(uffds == UFFDS);
	return UFFD_FD + (int)uffds++;
}

int __wrap_close(int fd)
{
	return vm_is_uffd(fd) ? 0 : __real_close(fd);
}

/* ---- Accesses ---- */

void *vm_entry(const void *addr)
{
	return page_at(addr);
}

uint64_t vm_frame(const void *addr)
{
	return page_at(addr)->frame;
}

bool vm_access(const void *addr, bool write)
{
	struct page *p = page_at(addr);

	if (!p->shared || !(p->prot & (write ? PROT_WRITE : PROT_READ)))
		return false;
	if (!p->present && !p->watched)
		p->present = true;
	return p->present && !(write && p->protected);
}

int trap_add(struct trap *t)
{
	atomic_store(&t->next, traps);
	traps = t;
	return 0;
}

void trap_remove(struct trap *t)
{
	if (traps == t)
		traps = atomic_load(&t->next);
	for (struct trap *at = traps; at; at = atomic_load(&at->next))
		if (atomic_load(&at->next) == t)
			atomic_store(&at->next, atomic_load(&t->next));
}

int vm_fault(const void *addr, bool write)
{
	hva_t hva = (hva_t)(uintptr_t)addr;

	for (struct trap *t = traps; t; t = atomic_load(&t->next))
		if (t->start <= hva && hva < t->end)
			return t->resolve(t->ctx, hva & PAGE_MASK, write);
	for (struct trap *t = traps; t; t = atomic_load(&t->next))
		if (t->is_stray)
			return t->resolve(t->ctx, hva & PAGE_MASK, write);
	return -EFAULT;
}
