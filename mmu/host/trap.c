/* SPDX-License-Identifier: BSD-2-Clause */
#include "mmu/host/trap.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <ucontext.h>

/*
 * Locks used to protect members:
 *	t	traps_lock
 *	r	written under traps_lock, read inside an RCU section (publish/acquire)
 *	h	written under traps_lock when the handlers are installed, then constant
 */
static struct lock traps_lock = LOCK_INITIALIZER;
static _Atomic(struct trap *) traps;		     /* [r] */
static struct sigaction previous_segv, previous_bus; /* [h] */
static bool is_installed;			     /* [t] */

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
	int saved = errno;
	struct trap t;

	if (info->si_code <= 0 || !find(addr, &t) ||
	    t.resolve(t.ctx, addr & PAGE_MASK, is_write(context)))
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
		is_installed = !rc;
	}
	if (!rc) {
		sync_store(&t->next, sync_load(&traps));
		sync_store_release(&traps, t); /* pairs with find() */
	}
	lock_release(&traps_lock);
	return rc;
}

void trap_remove(struct trap *t)
{
	_Atomic(struct trap *) *link = &traps;

	lock_acquire(&traps_lock);
	while (sync_load(link) != t)
		link = &sync_load(link)->next;
	sync_store_release(link, sync_load(&t->next));
	lock_release(&traps_lock);
	sync_rcu_wait();
}
