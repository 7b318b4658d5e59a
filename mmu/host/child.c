/* SPDX-License-Identifier: BSD-2-Clause */
/* What happens around fork(3): a fork of each host mm before it, and after it a thread that serves the child from that. */
#include "mmu/host/child.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "mmu/base/thread.h"
#include "mmu/host/child_priv.h"
#include "mmu/host/hostmm_actors.h"

struct lock children_lock = LOCK_INITIALIZER;
static struct hostmm_children *all;	  /* [c] */
static struct hostmm_children *inherited; /* [c] all of the parent's, in a child */
static bool is_forking;			  /* [c] ... with the lock held */
static sigset_t mask;			  /* [c] while it forks: of the thread that does */
static _Atomic pid_t owner;		  /* [a] whose handlers these are; 0: nobody's yet */

void child_close(struct child *c)
{
	int *const fds[] = { &c->socket, &c->childs_socket, &c->pipe[0], &c->pipe[1], &c->uffd };

	for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++) {
		if (*fds[i] >= 0)
			close(*fds[i]);
		*fds[i] = -1;
	}
}

/* ---- Before ---- */

static int open_fds(struct child *c)
{
	int pair[2], rc;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
		return -errno;
	c->socket = pair[0];
	c->childs_socket = pair[1];
	if (pipe2(pair, O_CLOEXEC))
		return -errno;
	c->pipe[1] = pair[1];
	c->pipe[0] = fcntl(pair[0], F_DUPFD_CLOEXEC, pair[1] + 1);
	rc = c->pipe[0] < 0 ? -errno : 0;
	close(pair[0]);
	return rc;
}

static void child_destroy(struct child *c)
{
	child_close(c);
	hostmm_destroy(c->snapshot);
	free(c);
}

static int child_create(struct child **out, struct hostmm_children *children)
{
	/* Its views are never looked at: the source that needs least. */
	const struct hostmm_opts opts = { .fault_threads = 1, .source = HOSTMM_SOURCE_MPROTECT };
	struct child *c = calloc(1, sizeof(*c));
	int rc;

	if (!c)
		return -ENOMEM;
	*c = (struct child){ .children = children,
			     .socket = -1,
			     .childs_socket = -1,
			     .pipe = { -1, -1 },
			     .uffd = -1 };
	rc = hostmm_create(&c->snapshot, children->mm->pool, &opts);
	if (rc) {
		free(c);
		return rc;
	}
	rc = open_fds(c);
	if (rc)
		child_destroy(c);
	else
		*out = c;
	return rc;
}

/* Threads that have done all that they do but return. children_lock held. */
static void reap(struct hostmm_children *children)
{
	struct child **link = &children->list, *c;

	while ((c = *link)) {
		if (!c->is_done) {
			link = &c->next;
			continue;
		}
		*link = c->next;
		bug_on(pthread_join(c->thread, NULL));
		free(c);
	}
}

/* Whatever goes wrong, the process forks, and the lock is held. */
static void prepare_one(struct hostmm_children *children)
{
	struct hostmm *mm = children->mm;
	struct child *c = NULL;
	int rc;

	reap(children);
	rc = child_create(&c, children);
	rwlock_write_acquire(&mm->mmap_lock);
	for (struct region *r = mm->regions; r && !mutant(502); r = r->next)
		view_heed(r->view);
	if (!rc)
		rc = fork_regions(c->snapshot, mm, true);
	if (!rc)
		rc = thread_start(&c->thread, child_serve, c);
	children->new = c;
	children->error = rc;
	if (mutant(494))
		rwlock_write_release(&mm->mmap_lock);
}

static struct hostmm_children *next_of(struct hostmm_children *children)
{
	while (children && children->is_ending && !mutant(504))
		children = children->next;
	return children;
}

/* From here to the end no handler of a signal runs on this thread: it might touch a view, and wait for itself. */
static void prepare(void)
{
	sigset_t every, old;

	if (getpid() != owner)
		return;
	sigfillset(&every);
	pthread_sigmask(SIG_SETMASK, &every, &old);
	lock_acquire(&children_lock);
	mask = old;
	is_forking = true;
	for (struct hostmm_children *c = next_of(all); c; c = next_of(c->next))
		prepare_one(c);
}

/* ---- After ---- */

static void parent_one(struct hostmm_children *children)
{
	struct child *c = children->new;

	if (!mutant(494))
		rwlock_write_release(&children->mm->mmap_lock);
	children->new = NULL;
	if (children->error) {
		children->stats.failed++;
		children->stats.error = children->error;
		if (c)
			child_destroy(c);
		return;
	}
	/* If the fork has failed that was the last one, and its thread finds the end. */
	close(c->childs_socket);
	c->childs_socket = -1;
	c->next = children->list;
	children->list = c;
}

static void end_of_fork(void)
{
	sigset_t old = mask;

	is_forking = false;
	lock_release(&children_lock);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
}

static void parent(void)
{
	if (!is_forking)
		return;
	for (struct hostmm_children *c = next_of(all); c; c = next_of(c->next))
		parent_one(c);
	end_of_fork();
}

/* What brothers have is the parent's to close: as long as another has it open, too, they do not see their parent end. */
static void close_brothers(struct hostmm_children *children)
{
	for (struct child *c = children->list; c; c = c->next)
		child_close(c);
}

/* This process is nobody's: what it may own from now on is its own. A child of a child has nothing, and must not seem to be what had. */
static void child(void)
{
	for (struct hostmm_children *c = inherited; c; c = c->next)
		if (c->new)
			child_close(c->new);
	inherited = NULL;
	if (!is_forking)
		return;
	for (struct hostmm_children *c = all; c && !mutant(495); c = c->next)
		close_brothers(c);
	for (struct hostmm_children *c = next_of(all); c; c = next_of(c->next))
		child_own_take(c->new, c->mm, c->error);
	inherited = all;
	all = NULL;
	owner = 0;
	end_of_fork();
}

/* ---- The embedder's side ---- */

static int install(void)
{
	static bool is_installed;
	int rc = is_installed ? 0 : -pthread_atfork(prepare, parent, child);

	if (!rc)
		owner = getpid();
	is_installed |= !rc;
	return rc;
}

int hostmm_children_create(struct hostmm_children **out, struct hostmm *mm)
{
	struct hostmm_children *children = calloc(1, sizeof(*children)), **link;
	int rc;

	if (!children)
		return -ENOMEM;
	children->mm = mm;
	children->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (children->stop_fd < 0) {
		rc = -errno;
		free(children);
		return rc;
	}
	lock_acquire(&children_lock);
	rc = install();
	/* In the order in which a merge takes two of these locks. */
	for (link = &all; *link && (uintptr_t)(*link)->mm < (uintptr_t)mm; link = &(*link)->next)
		;
	if (!rc) {
		children->next = *link;
		*link = children;
	}
	lock_release(&children_lock);
	if (rc) {
		close(children->stop_fd);
		free(children);
		return rc;
	}
	*out = children;
	return 0;
}

void hostmm_children_destroy(struct hostmm_children *children)
{
	struct hostmm_children **link;
	uint64_t one = 1;
	struct child *c;

	lock_acquire(&children_lock);
	children->is_ending = true;
	lock_release(&children_lock);
	bug_on(write(children->stop_fd, &one, sizeof(one)) != sizeof(one));
	/* Nobody adds to it any more, but who forks closes what is in it. */
	for (c = children->list; c; c = c->next)
		bug_on(pthread_join(c->thread, NULL));
	lock_acquire(&children_lock);
	for (link = &all; *link != children; link = &(*link)->next)
		;
	*link = children->next;
	lock_release(&children_lock);
	while ((c = children->list)) {
		children->list = c->next;
		free(c);
	}
	close(children->stop_fd);
	free(children);
}

void hostmm_children_get_stats(struct hostmm_children *children,
			       struct hostmm_children_stats *stats)
{
	lock_acquire(&children_lock);
	*stats = children->stats;
	for (struct child *c = children->list; c; c = c->next)
		stats->alive += !c->is_done;
	lock_release(&children_lock);
	stats->pages = atomic_load_explicit(&children->pages, memory_order_relaxed);
}
