/* SPDX-License-Identifier: BSD-2-Clause */
/* The thread that a child gets its copy from. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "mmu/host/child_priv.h"
#include "mmu/host/hostmm_actors.h"
#include "mmu/host/uffd_child.h"

/* Pages that are given at a time, if they have contents. */
#define AHEAD	16u
/* Messages that are answered before anything else is looked at. */
#define AT_ONCE 64u
/* Where no process has memory that is watched. Kernel: mmap_min_addr. */
#define NOBODYS 0x10000UL

struct server {
	struct child *c;
	struct uffd uffd;
	bool is_gone; /* the child, or what it had of us */
	bool is_late; /* somebody waits who could not be answered while the child was changing what is where */
	char buf[AHEAD * PAGE_SIZE];
};

/* ---- What there is to give ---- */

enum contents { NOWHERE, ZEROS, SOMETHING };

/* Of the child's page at @addr, which is the fork's at *@hva. Nobody else changes what the fork has. */
static enum contents look(struct server *s, hva_t addr, hva_t *hva)
{
	struct hostmm *mm = s->c->snapshot;
	enum contents what = NOWHERE;
	struct region *r;

	if (hostmm_fork_hva(mm, addr, hva))
		return NOWHERE;
	rwlock_read_acquire(&mm->mmap_lock);
	r = hostmm_region(mm, *hva);
	if (r)
		what = r->pager || hpte_peek(r, region_page(r, *hva)) ? SOMETHING : ZEROS;
	rwlock_read_release(&mm->mmap_lock);
	return what;
}

/* The child has [hva, hva + len) or has thrown it away: who comes back for it gets what he would of any new page. */
static void drop(struct server *s, hva_t hva, size_t len)
{
	bug_on(hostmm_discard(s->c->snapshot, hva, hva + len));
}

/* Pages from @addr on, up to AHEAD, of one region and with contents, to buf. How many bytes, or the -errno of the first. */
static int64_t collect(struct server *s, hva_t addr, hva_t *first, unsigned most)
{
	size_t len = 0;
	hva_t hva;
	int rc = 0;

	for (; !rc && len < most * PAGE_SIZE; len += rc ? 0 : PAGE_SIZE) {
		if (look(s, addr + len, &hva) != SOMETHING || (len && hva != *first + len))
			break;
		if (!len)
			*first = hva;
		rc = hostmm_read(s->c->snapshot, hva, s->buf + len, PAGE_SIZE);
	}
	return len ? (int64_t)len : rc;
}

/* ---- Giving ---- */

/* Who cannot get what is his must not find zeros. children_lock held. */
static void end_child(struct child *c)
{
	close(c->pipe[1]);
	c->pipe[1] = -1;
}

/* The child must not wait, nor find zeros: SIGBUS, or its end. */
static void refuse(struct server *s, hva_t addr)
{
	/* An address of the child's: NOLINTNEXTLINE(performance-no-int-to-ptr) */
	int rc = uffd_poison(&s->uffd, (void *)(uintptr_t)addr);

	if (!rc || rc == -EEXIST || rc == -ENOENT || rc == -ESRCH)
		return;
	lock_acquire(&children_lock);
	if (s->c->pipe[1] >= 0)
		end_child(s->c);
	lock_release(&children_lock);
}

/* Pages from @addr on, at most @most, at @to. How many bytes the child has now, at least of the first; or -EAGAIN, -ESRCH. */
static int64_t give(struct server *s, hva_t addr, hva_t to, unsigned most)
{
	hva_t hva;
	int64_t len, done;

	if (uffd_is_changing(&s->uffd))
		return -EAGAIN;

	switch (look(s, addr, &hva)) {
	case NOWHERE:
		return PAGE_SIZE;
	case ZEROS:
		done = uffd_child_zero(&s->uffd, to);
		break;
	default:
		len = collect(s, addr, &hva, most);
		if (len < 0) {
			refuse(s, to);
			return PAGE_SIZE;
		}
		done = uffd_child_copy(&s->uffd, to, s->buf, (size_t)len);
		/* What follows may be another VMA's. */
		if (done == -ENOENT && len > (int64_t)PAGE_SIZE)
			done = uffd_child_copy(&s->uffd, to, s->buf, PAGE_SIZE);
	}
	if (done > 0) {
		atomic_fetch_add_explicit(&s->c->children->pages, (uint64_t)done >> PAGE_SHIFT,
					  memory_order_relaxed);
		drop(s, hva, (size_t)done);
		return done;
	}
	if (done == -EAGAIN || done == -ESRCH)
		return done;
	/* It has the page, or no memory there any more. */
	if (done == -EEXIST || done == -ENOENT)
		drop(s, hva, PAGE_SIZE);
	else
		refuse(s, to);
	return PAGE_SIZE;
}

/* The child throws [start, end) away, or has put something else there. */
static void forget(struct server *s, hva_t start, hva_t end)
{
	for (struct region *r = s->c->snapshot->regions; r; r = r->next) {
		hva_t first = max_u64(start, r->forked_from);
		hva_t last = min_u64(end, r->forked_from + (r->end - r->start));

		if (first < last)
			drop(s, r->start + (first - r->forked_from), last - first);
	}
}

static void wake(struct server *s, hva_t addr, size_t len)
{
	/* An address of the child's: NOLINTNEXTLINE(performance-no-int-to-ptr) */
	uffd_wake(&s->uffd, (void *)(uintptr_t)addr, len);
}

static int answer(struct server *s);

/*
 * Read what is being changed, until nothing is. Faults come before events, and nobody who is late is woken before the end, so there are as
 * many at most as the child has threads. Who changes goes on when that is read, and then it is over soon.
 */
static void let_change(struct server *s)
{
	while (uffd_is_changing(&s->uffd))
		if (answer(s) <= 0)
			sched_yield();
}

/* Give [addr, addr + len) at @to, where the child has it now. False: it is gone. */
static bool give_range(struct server *s, hva_t addr, hva_t to, size_t len)
{
	int64_t done;
	hva_t hva;

	for (size_t at = 0; at < len; at += (size_t)done) {
		done = PAGE_SIZE;
		if (look(s, addr + at, &hva) == SOMETHING)
			done = give(s, addr + at, to + at,
				    (unsigned)min_u64(AHEAD, (len - at) >> PAGE_SHIFT));
		if (done == -ESRCH) {
			s->is_gone = true;
			return false;
		}
		if (done == -EAGAIN) {
			done = 0;
			let_change(s);
		}
	}
	return true;
}

/* mremap(2): what has not been touched goes along, and is nobody's any more. */
static void follow_move(struct server *s, hva_t from, hva_t to, size_t len)
{
	forget(s, to, to + len);
	if (give_range(s, from, to, len))
		(void)uffd_child_unregister(&s->uffd, to, len);
	forget(s, from, from + len);
}

/* Read and answer one message. 1, 0: there is none now, or -errno. */
static int answer(struct server *s)
{
	struct uffd_fault fault;
	struct uffd_msg msg;
	int rc = uffd_read(&s->uffd, &msg);
	int64_t done;

	if (rc <= 0)
		return rc;
	if (msg.event == UFFD_EVENT_REMOVE)
		forget(s, msg.arg.remove.start, msg.arg.remove.end);
	if (msg.event == UFFD_EVENT_REMAP)
		follow_move(s, msg.arg.remap.from, msg.arg.remap.to, msg.arg.remap.len);
	if (!uffd_is_fault(&msg, &fault))
		return 1;
	done = give(s, fault.addr, fault.addr, AHEAD);
	s->is_gone |= done == -ESRCH;
	s->is_late |= done == -EAGAIN;
	/* Also who was too late, or has been refused. */
	if (done != -EAGAIN || mutant(501))
		wake(s, fault.addr, PAGE_SIZE);
	return 1;
}

/* Who was late asks again: no change is under way any more. */
static void wake_late(struct server *s)
{
	let_change(s);
	s->is_late = false;
	for (struct region *r = s->c->snapshot->regions; r; r = r->next)
		wake(s, r->forked_from, r->end - r->start);
}

/* Is there anything in the chunk of @page? Of what nobody has touched there is nothing to look at. */
static bool chunk_has_some(struct region *r, uint64_t page)
{
	struct chunk_lock *chunk;
	bool some = r->pager;

	rwlock_read_acquire(&r->mm->mmap_lock);
	chunk = region_chunk(r, page);
	lock_acquire(&chunk->lock);
	some |= hpte_chunk(r, page)->used;
	lock_release(&chunk->lock);
	rwlock_read_release(&r->mm->mmap_lock);
	return some;
}

/* All that it has not got: then its memory is as good as any. Regions of the fork stay what they are. */
static void give_rest(struct server *s)
{
	if (mutant(497))
		return;
	s->is_gone |= uffd_child_copy(&s->uffd, NOBODYS, s->buf, PAGE_SIZE) == -ESRCH;
	for (struct region *r = s->c->snapshot->regions; r; r = r->next)
		for (uint64_t page = 0, end; page < region_pages(r) && !s->is_gone; page = end) {
			hva_t addr = r->forked_from + (page << PAGE_SHIFT);

			end = chunk_end(page, region_pages(r));
			if (chunk_has_some(r, page))
				give_range(s, addr, addr, (end - page) << PAGE_SHIFT);
		}
}

/* ---- The beginning and the end ---- */

static ssize_t receive(struct child *c, struct child_hello *hello, int *fd)
{
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = { .bytes = { 0 } };
	struct iovec iov = { .iov_base = hello, .iov_len = sizeof(*hello) };
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = &control,
			      .msg_controllen = sizeof(control) };
	ssize_t n;

	do
		n = recvmsg(c->socket, &msg, MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	*fd = -1;
	if (n == sizeof(*hello) && CMSG_FIRSTHDR(&msg))
		memcpy(fd, CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof(*fd));
	return n;
}

/* 1; 0: it has ended before it said anything; -errno: it has nothing, or will find out that it has not. children_lock held. */
static int take_uffd(struct child *c)
{
	struct child_hello hello = { 0 };
	int fd, rc = 1;
	ssize_t n = receive(c, &hello, &fd);

	if (!n || hello.error)
		return hello.error;
	c->uffd = fd;
	if (fd < 0) {
		rc = n < 0 ? -errno : -EMFILE;
		end_child(c);
	}
	return rc;
}

static int meet(struct child *c)
{
	struct pollfd pfd = { .fd = c->socket, .events = POLLIN };
	int rc;

	while (poll(&pfd, 1, -1) < 0 && errno == EINTR)
		;
	/* From when there is a descriptor until it is known: a brother that came in between would keep it. */
	lock_acquire(&children_lock);
	rc = take_uffd(c);
	c->children->stats.forks += rc > 0;
	c->children->stats.failed += rc < 0;
	if (rc < 0)
		c->children->stats.error = rc;
	lock_release(&children_lock);
	return rc;
}

/* Memory that others have mapped between may be such that nothing of a range that has it can be let go. */
static void let_go_of(struct server *s, hva_t addr, uint64_t npages)
{
	int rc = uffd_child_unregister(&s->uffd, addr, npages << PAGE_SHIFT);

	if (rc == -EINVAL && npages > 1) {
		let_go_of(s, addr, npages / 2);
		let_go_of(s, addr + (npages / 2 << PAGE_SHIFT), npages - npages / 2);
	}
}

/*
 * Who waits goes on, with what he has been given or zeros, which are his then. And who waits to have a change read: nothing is watched
 * any more, so these are the last.
 */
static void let_go(struct server *s)
{
	for (struct region *r = s->c->snapshot->regions; r; r = r->next)
		let_go_of(s, r->forked_from, region_pages(r));
	if (!mutant(500))
		let_change(s);
}

/* Until it is gone, or all is to be given. */
static void serve(struct server *s)
{
	struct pollfd pfd[] = { { .fd = s->c->socket },
				{ .fd = s->c->children->stop_fd, .events = POLLIN },
				{ .fd = s->uffd.fd, .events = POLLIN } };

	while (!s->is_gone) {
		if (poll(pfd, 3, -1) < 0)
			continue;
		/*
		 * Its end of the socket goes after its memory, and by execve(2) likewise. Or it has closed all descriptors that
		 * it does not know, and goes on.
		 */
		if (pfd[0].revents || pfd[1].revents) {
			if (!(mutant(499) && pfd[0].revents))
				give_rest(s);
			let_go(s);
			return;
		}
		for (unsigned n = 0; n < AT_ONCE && answer(s) > 0; n++)
			;
		if (s->is_late)
			wake_late(s);
	}
}

/* It lives on without us. Its read end is this one: nobody is to be told that the write end goes. */
static void part(struct child *c)
{
	lock_acquire(&children_lock);
	if (c->pipe[1] >= 0)
		(void)fcntl(c->pipe[0], F_SETFL, 0);
	child_close(c);
	lock_release(&children_lock);
}

void *child_serve(void *arg)
{
	struct server s = { .c = arg };
	struct child *c = arg;

	if (meet(c) > 0) {
		s.uffd.fd = c->uffd;
		serve(&s);
	}
	part(c);
	hostmm_destroy(c->snapshot);
	lock_acquire(&children_lock);
	c->is_done = true;
	lock_release(&children_lock);
	return NULL;
}
