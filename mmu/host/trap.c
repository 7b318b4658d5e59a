/* SPDX-License-Identifier: BSD-2-Clause */
#include "mmu/host/trap.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <ucontext.h>
#include <unistd.h>

/*
 * Locks used to protect members:
 *	t	traps_lock
 *	r	written under traps_lock, read inside an RCU section (publish/acquire)
 *	h	written under traps_lock when the handlers are installed, then constant
 *	s	strays_lock
 */
static struct lock traps_lock = LOCK_INITIALIZER;
static _Atomic(struct trap *) traps;		     /* [r] */
static struct sigaction previous_segv, previous_bus; /* [h] */
static bool is_installed;			     /* [t] */
static pid_t owner;				     /* [h] */
static struct rwlock strays_lock;		     /* made with the handlers */
static struct trap *strays;			     /* [s] */

/* Bit 1 of the error code of a page fault: it was a store. */
#define FAULT_WRITE 2

static bool is_write(const ucontext_t *context)
{
	return context->uc_mcontext.gregs[REG_ERR] & FAULT_WRITE;
}

/* The trap's resolver, copied: the trap may be gone by the time it is called, its owner is not. */
static bool find(hva_t addr, struct trap *found)
{
	struct trap *t;

	sync_rcu_read_lock();
	t = sync_load_acquire(&traps);
	while (t && !(t->start <= addr && addr < t->end))
		t = sync_load_acquire(&t->next);
	if (t) {
		found->resolve = t->resolve;
		found->ctx = t->ctx;
	}
	sync_rcu_read_unlock();
	return t;
}

/* Is there anybody who knows better by now? Seldom, and worth waiting for. */
static bool resolve_stray(hva_t addr, bool write)
{
	bool resolved = false;

	rwlock_read_acquire(&strays_lock);
	for (struct trap *t = strays; t && !resolved; t = sync_load(&t->next))
		resolved = !t->resolve(t->ctx, addr, write);
	rwlock_read_release(&strays_lock);
	return resolved;
}

/* Not ours: whoever had the signal before gets it. The default needs the instruction to fault again. */
static void chain(int sig, siginfo_t *info, void *context)
{
	const struct sigaction *before = sig == SIGBUS ? &previous_bus : &previous_segv;
	const ucontext_t *uc = context;

	if (before->sa_flags & SA_SIGINFO) {
		pthread_sigmask(SIG_SETMASK, &uc->uc_sigmask, NULL);
		before->sa_sigaction(sig, info, context);
	} else if (before->sa_handler != SIG_DFL && before->sa_handler != SIG_IGN) {
		pthread_sigmask(SIG_SETMASK, &uc->uc_sigmask, NULL);
		before->sa_handler(sig);
	} else {
		signal(sig, SIG_DFL);
		/* Sent by a process and not by a fault, it would be lost. */
		if (info->si_code <= 0)
			raise(sig);
	}
}

static void handle(int sig, siginfo_t *info, void *context)
{
	hva_t addr = (hva_t)(uintptr_t)info->si_addr;
	/* A child of fork(2) has the handler, but what it would resolve is its parent's: a userfaultfd knows whose. */
	bool is_fault = info->si_code > 0 && getpid() == owner, write = is_write(context), done;
	int saved = errno;
	struct trap t;

	done = is_fault && find(addr, &t) && !t.resolve(t.ctx, addr & PAGE_MASK, write);
	if (!done && is_fault && sig == SIGBUS)
		done = resolve_stray(addr & PAGE_MASK, write);
	if (!done)
		chain(sig, info, context);
	errno = saved;
}

static int install(int sig, struct sigaction *before)
{
	struct sigaction action = { .sa_sigaction = handle, .sa_flags = SA_SIGINFO | SA_ONSTACK };

	sigfillset(&action.sa_mask);
	return sigaction(sig, &action, before) ? -errno : 0;
}

int trap_add(struct trap *t)
{
	int rc = 0;

	lock_acquire(&traps_lock);
	/* Once and for good: whoever installs a handler later may keep ours as what was before his. */
	if (!is_installed) {
		rc = install(SIGSEGV, &previous_segv);
		if (!rc)
			rc = install(SIGBUS, &previous_bus);
		if (!rc)
			rwlock_init(&strays_lock);
		owner = getpid();
		is_installed = !rc;
	}
	if (!rc && t->is_stray) {
		rwlock_write_acquire(&strays_lock);
		sync_store(&t->next, strays);
		strays = t;
		rwlock_write_release(&strays_lock);
	} else if (!rc) {
		sync_store(&t->next, sync_load(&traps));
		sync_store_release(&traps, t); /* pairs with find() */
	}
	lock_release(&traps_lock);
	return rc;
}

static void remove_stray(struct trap *t)
{
	struct trap *before;

	rwlock_write_acquire(&strays_lock);
	if (strays == t) {
		strays = sync_load(&t->next);
	} else {
		for (before = strays; sync_load(&before->next) != t;
		     before = sync_load(&before->next))
			;
		sync_store(&before->next, sync_load(&t->next));
	}
	rwlock_write_release(&strays_lock);
}

void trap_remove(struct trap *t)
{
	_Atomic(struct trap *) *link = &traps;

	if (t->is_stray) {
		remove_stray(t);
		return;
	}
	lock_acquire(&traps_lock);
	while (sync_load(link) != t)
		link = &sync_load(link)->next;
	sync_store_release(link, sync_load(&t->next));
	lock_release(&traps_lock);
	sync_rcu_wait();
}
