// SPDX-License-Identifier: BSD-2-Clause
/* Loads and stores as instructions, so that no sanitizer looks along, and a way out where memory is shut. */
#include <setjmp.h>
#include <signal.h>
#include <stddef.h>
#include <ucontext.h>

#include "tests/stress/stress.h"

static _Thread_local sigjmp_buf *volatile way_out;

static void on_signal(int sig, siginfo_t *info, void *context)
{
	sigjmp_buf *out = way_out;

	way_out = NULL;
	/* The mask is restored here, since saving it for each access would be slow. */
	pthread_sigmask(SIG_SETMASK, &((ucontext_t *)context)->uc_sigmask, NULL);
	if (out)
		siglongjmp(*out, 1);
	fail(ORACLE_BUG, 0, "signal %d at address %p", sig, info->si_addr);
}

/* Before any source of a host view: it hands on what is not its own, and this does not. */
void access_prepare(void)
{
	struct sigaction sa = { .sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_NODEFER };

	sigaction(SIGSEGV, &sa, NULL);
	sigaction(SIGBUS, &sa, NULL);
	sigaction(SIGABRT, &sa, NULL);
	sigaction(SIGFPE, &sa, NULL);
	sigaction(SIGILL, &sa, NULL);
}

bool access_load(const void *at, uint64_t *value)
{
	sigjmp_buf out;

	if (sigsetjmp(out, 0))
		return false;
	way_out = &out;
	__asm__ volatile("mov (%1), %0" : "=r"(*value) : "r"(at) : "memory");
	way_out = NULL;
	return true;
}

bool access_store(void *at, uint64_t value)
{
	sigjmp_buf out;

	if (sigsetjmp(out, 0))
		return false;
	way_out = &out;
	__asm__ volatile("mov %1, (%0)" : : "r"(at), "r"(value) : "memory");
	way_out = NULL;
	return true;
}

bool access_add(void *at, uint64_t value)
{
	sigjmp_buf out;

	if (sigsetjmp(out, 0))
		return false;
	way_out = &out;
	__asm__ volatile("lock add %1, (%0)" : : "r"(at), "r"(value) : "memory", "cc");
	way_out = NULL;
	return true;
}
