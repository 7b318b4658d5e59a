// SPDX-License-Identifier: BSD-2-Clause
/* Children of fork(3) in orders of events that hardly ever come about: each is made to, and nobody sleeps for it. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "mmu/host/child_priv.h"
#include "tests/rig_child.h"
#include "tests/test.h"

static void before_ioctl(int fd, unsigned long request);
static void after_read(const void *buf, ssize_t n);

#define BEFORE_IOCTL(fd, request) before_ioctl(fd, request)
#define AFTER_READ(buf, n)	  after_read(buf, n)

#include "tests/unit/fail_calls.h"

static void (*_Atomic before_unregister)(int fd), (*_Atomic before_wake)(int fd);
static struct gate in_reader = GATE_INIT;

static void before_ioctl(int fd, unsigned long request)
{
	void (*fn)(int fd) = request == UFFDIO_UNREGISTER ? before_unregister
			     : request == UFFDIO_WAKE	  ? before_wake
							  : NULL;

	if (fn)
		fn(fd);
}

static void after_read(const void *buf, ssize_t n)
{
	const struct uffd_msg *msg = buf;

	if (n == sizeof(*msg) && msg->event == UFFD_EVENT_UNMAP)
		gate_pass(&in_reader);
}

static void down(void)
{
	before_unregister = before_wake = NULL;
	forking_down();
}

static void up(void)
{
	forking_up(rig_source(), rig_audit());
}

/* Whose children have nothing, unless they are given it. */
static void up_paged_audited(void)
{
	rig_up(&forking, &(struct rig_opts){ .source = HOSTMM_SOURCE_UFFD,
					     .audit = true,
					     .pages = CHILD_PAGES,
					     .pool_frames = 512,
					     .pager = &gated_pager });
	forking_begin();
}

static struct child *only_child(void)
{
	struct child *c;

	lock_acquire(&children_lock);
	c = children->list;
	lock_release(&children_lock);
	return c;
}

/* A line of the file that begins with @with? */
static bool has_line(const char *path, const char *with, char line[128])
{
	FILE *f = fopen(path, "re");
	bool found = false;

	check(f);
	while (!found && fgets(line, 128, f))
		found = !strncmp(line, with, strlen(with));
	fclose(f);
	return found;
}

/* ---- Discards at the end ---- */

static void discards_at_0(void)
{
	step_wait(0);
	childs(!madvise(forking.host, 4 * PAGE_SIZE, MADV_DONTNEED));
	childs(child_load(0) == 0);
	child_finds_stamps(4, CHILD_STAMPED);
}

static void wait_for_discard(int fd)
{
	struct pollfd pfd = { .fd = fd, .events = POLLIN };

	step_done(0);
	while (poll(&pfd, 1, -1) < 0)
		check_eq(errno, EINTR);
}

/*
 *	child				its thread in the parent
 *					all is given
 *	MADV_DONTNEED, waits
 *					UNREGISTER
 *					read: the last one there is
 */
UTEST(child_order, a_discard_that_is_the_last_is_read, .init = up, .fini = down)
{
	pid_t pid = child_fork(discards_at_0);

	before_unregister = wait_for_discard;
	hostmm_children_destroy(children);
	children = NULL;
	child_passes(pid);
}

#if !defined(__SANITIZE_THREAD__) && !defined(__SANITIZE_ADDRESS__) /* no threads after fork(2) */

static void up_paged(void)
{
	forking_up_pager(&gated_pager);
}

/* Faults that nobody has read yet. */
static unsigned long pending(int fd)
{
	char path[64], line[128];

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	check(has_line(path, "pending:", line));
	return strtoul(line + strlen("pending:"), NULL, 10);
}

static bool is_changing(int fd)
{
	struct uffd u = { .fd = fd };

	return uffd_is_changing(&u);
}

/* Whoever is woken too early is given the time to ask again. */
static void wait_for_next_fault(int fd)
{
	while (is_changing(fd) && !pending(fd))
		sched_yield();
}

static void *load_page(void *arg)
{
	childs(child_load((uint64_t)(uintptr_t)arg) == CHILD_FILLED);
	return NULL;
}

static void discards_beside_faults(void)
{
	pthread_t thread[2] = { 0 };

	childs(!pthread_create(&thread[0], NULL, load_page, (void *)50UL));
	step_wait(0);
	childs(!pthread_create(&thread[1], NULL, load_page, (void *)9UL));
	childs(!madvise(forking.host, 4 * PAGE_SIZE, MADV_DONTNEED));
	for (unsigned i = 0; i < 2; i++)
		childs(!pthread_join(thread[i], NULL));
}

/*
 * Faults are read before events. Who is woken while a discard is under way faults again, and the other meanwhile, so that the discard
 * would never be read.
 *
 *	child, threads 1, 2	child, thread 3		its thread in the parent
 *	load			MADV_DONTNEED		COPY: EAGAIN
 *							nobody is woken
 *							read: the discard
 *							both are woken
 *	load again
 */
UTEST(child_order, who_is_refused_waits_for_the_discard, .init = up_paged, .fini = down)
{
	pid_t pid;
	int fd;

	gate_arm(&in_pager);
	pid = child_fork(discards_beside_faults);
	gate_wait(&in_pager);
	fd = only_child()->uffd;
	step_done(0);
	while (!is_changing(fd) || !pending(fd))
		sched_yield();
	before_wake = wait_for_next_fault;
	gate_open(&in_pager);
	child_passes(pid);
}

#endif

/* ---- The beginning ---- */

static atomic_bool is_prepared;

static void note_prepared(void)
{
	atomic_store(&is_prepared, true);
}

/* Does thread @tid wait for @l? */
static bool waits_for(pid_t tid, const struct lock *l)
{
	char path[64], call[64], line[128];

	snprintf(path, sizeof(path), "/proc/self/task/%d/syscall", tid);
	snprintf(call, sizeof(call), "%d %p ", SYS_futex, (const void *)&l->mutex);
	return has_line(path, call, line);
}

static void *open_reader(void *tid)
{
	struct lock *reading = &forking.mm->source[HOSTMM_SOURCE_UFFD][1].uffd.reading;

	while (!atomic_load(&is_prepared) && !waits_for(*(pid_t *)tid, reading))
		sched_yield();
	gate_open(&in_reader);
	return NULL;
}

static void finds_others_memory(void)
{
	for (uint64_t page = 0; page < CHILD_PAGES; page++)
		childs(child_load(page) == (page == 4 ? 55 : CHILD_FILLED));
}

/*
 * What others have mapped there is theirs in the child, also when that is a moment ago, and the fork has nothing to protect there.
 *
 *	thread 1			fault thread
 *	mmap() over a page
 *					read: UNMAP
 *	mmap() returns, a store
 *	fork(3) waits
 *					mark what is lost
 *	fork(2)
 */
UTEST(child_order, what_was_just_mapped_there_is_theirs, .init = up_paged_audited, .fini = down)
{
	pid_t self = gettid(), pid;
	pthread_t opener;
	char *at = forking.host + 4 * PAGE_SIZE;

	between_prepare = note_prepared;
	atomic_store(&is_prepared, false);
	gate_arm(&in_reader);
	check(mmap(at, PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
		   -1, 0) != MAP_FAILED);
	*(uint64_t *)at = 55;
	opener = rig_thread(open_reader, &self);
	pid = child_fork(finds_others_memory);
	rig_join(opener);
	child_passes(pid);
}

static void wait_for_step_0(void)
{
	step_wait(0);
}

static void has_nothing(void)
{
	childs(!call_loads(0) && !call_stores(9) && !call_loads(40));
}

/*
 * What tells of the parent's end is gone before the child asks for it, and the socket is not: so a parent that is killed just then lets
 * go of its descriptors.
 */
UTEST(child_order, a_parent_that_is_gone_before_it_is_followed, .init = up, .fini = down)
{
	struct child *c;
	pid_t pid;

	before_own = wait_for_step_0;
	pid = child_fork(has_nothing);
	c = only_child();
	lock_acquire(&children_lock);
	close(c->pipe[1]);
	c->pipe[1] = -1;
	lock_release(&children_lock);
	step_done(0);
	child_passes(pid);
	wait_unserved();
	check_eq(child_stats().forks, 0);
	check_eq(child_stats().failed, 1);
	check_eq(child_stats().error, -ESRCH);
}

/* ---- The embedder's end ---- */

static void loads_page_50(void)
{
	childs(child_load(50) == CHILD_FILLED);
}

static void *destroy(void *arg)
{
	hostmm_children_destroy(arg);
	return NULL;
}

static bool is_ending(void)
{
	bool ending;

	lock_acquire(&children_lock);
	ending = children->is_ending;
	lock_release(&children_lock);
	return ending;
}

/* Nobody would wait for the thread of a child that comes while all others are waited for. */
UTEST(child_order, forked_while_children_end, .init = up_paged_audited, .fini = down)
{
	pthread_t destroyer;
	pid_t pid;

	gate_arm(&in_pager);
	pid = child_fork(loads_page_50);
	gate_wait(&in_pager);
	destroyer = rig_thread(destroy, children);
	while (!is_ending())
		sched_yield();
	child_passes(child_fork(has_nothing));
	gate_open(&in_pager);
	rig_join(destroyer);
	children = NULL;
	child_passes(pid);
}
