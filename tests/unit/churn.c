// SPDX-License-Identifier: BSD-2-Clause
/* SIGSEGV in a host thread: its own views are memory that was shut, anything else is somebody else's. */
#include "tests/test.h"

#include <sys/mman.h>

#include "hv/churn.c"

#define SIZE 8192u

/* What hv/churn.c wants of guest memory beyond the fake: nothing of it happens here. */

void *ram_host_view(struct ram *ram, enum ram_region region)
{
	(void)ram;
	(void)region;
	return NULL;
}

int ram_discard(struct ram *ram, enum ram_region region, uint64_t page, uint64_t n)
{
	(void)ram;
	(void)region;
	(void)page;
	(void)n;
	return -ENOSYS;
}

int ram_wrprotect(struct ram *ram, enum ram_region region, uint64_t page, uint64_t n)
{
	return ram_discard(ram, region, page, n);
}

int ram_zap(struct ram *ram, enum ram_region region, uint64_t page, uint64_t n)
{
	return ram_discard(ram, region, page, n);
}

int ram_remap(struct ram *ram, enum ram_region region, uint64_t page, uint64_t n, bool away)
{
	(void)away;
	return ram_discard(ram, region, page, n);
}

static sigjmp_buf other;
static void *volatile other_at;

static void other_handler(int signal, siginfo_t *info, void *context)
{
	(void)signal;
	(void)context;
	other_at = info->si_addr;
	siglongjmp(other, 1);
}

/* Load at @at as a host thread does. True: the thread is told that it lost its memory. */
static bool is_lost(struct churn_thread *self, const char *at)
{
	struct sigaction sa = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO }, saved;
	volatile bool lost = false;

	old_segv = (struct sigaction){ .sa_sigaction = other_handler, .sa_flags = SA_SIGINFO };
	other_at = NULL;
	check(!sigaction(SIGSEGV, &sa, &saved));
	self_or_null = self;
	if (sigsetjmp(self->lost, 1))
		lost = true;
	else if (!sigsetjmp(other, 1))
		(void)*(volatile const char *)at;
	self_or_null = NULL;
	sigaction(SIGSEGV, &saved, NULL);
	check(lost || other_at == at, "neither");
	return lost;
}

UTEST(churn, only_its_own_memory_is_lost)
{
	char *shut = mmap(NULL, 4ul * SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct machine m = { .work.size = SIZE, .board.size = SIZE };
	struct churn churn = { .m = &m };
	struct churn_thread self = { .churn = &churn };

	check(shut != MAP_FAILED);
	check(!is_lost(&self, shut));
	churn.work = (_Atomic uint64_t *)(void *)shut;
	check(is_lost(&self, shut));
	check(is_lost(&self, shut + SIZE - 1));
	check(!is_lost(&self, shut + SIZE));
	churn.board = (struct board *)(void *)(shut + 2ul * SIZE);
	check(!is_lost(&self, shut + SIZE));
	check(is_lost(&self, shut + 2ul * SIZE));
	check(is_lost(&self, shut + 3ul * SIZE - 1));
	check(!is_lost(&self, shut + 3ul * SIZE));
	munmap(shut, 4ul * SIZE);
}
