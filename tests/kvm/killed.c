// SPDX-License-Identifier: BSD-2-Clause
/*
 * A vCPU's thread that is killed in the middle of a run, waiting for a page or in the guest: the machine says so and ends, whatever the
 * others wait for; nothing of the run is left (tests/test.h looks), and the next one does not notice.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "guest/abi.h"
#include "hv/machine.h"
#include "hv/ram.h"
#include "hv/vm.h"
#include "mmu/host/hostmm.h"
#include "tests/test.h"
#include "tests/umbra.h"

#define PAGES 64u
#define OWN   32u /* where vCPU 1 of two begins */
#define VALUE 1000u

/* One run. The pages of /work have VALUE increments each when they come in. */
struct killed {
	bool in_fault; /* kill vCPU 1 while it waits for page OWN; else some time later */
	pthread_t victim;
	pid_t tid;
	sem_t ready, arrived, go; /* vCPU 1 is about to begin; its page is wanted; it may come */
	sem_t others;		  /* vCPU 0 may go on */
	uint64_t word;		  /* of page OWN, at the end */
	int error;
};

static int fill(void *ctx, uint64_t page, void *dst, uint64_t npages)
{
	struct killed *k = ctx;

	memset(dst, 0, npages << PAGE_SHIFT);
	for (uint64_t i = 0; i < npages; i++)
		((uint64_t *)dst)[(i << PAGE_SHIFT) / sizeof(uint64_t) + WORD_COUNTER] = VALUE;
	if (k->in_fault && page <= OWN && OWN < page + npages) {
		sem_post(&k->arrived);
		while (sem_wait(&k->go))
			;
	}
	return 0;
}

/* vCPU 0 waits until vCPU 1 is gone: so the fault is that one's, and nobody else stores to the page. */
static int on_phase(void *ctx, struct ram *ram, unsigned cpu, uint32_t phase,
		    const uint64_t payload[3], uint64_t *answer)
{
	struct killed *k = ctx;

	(void)ram;
	(void)payload;
	(void)answer;
	if (phase != PHASE_READY)
		return 0;
	if (cpu == 0) {
		while (k->in_fault && sem_wait(&k->others))
			;
		return 0;
	}
	k->victim = pthread_self();
	k->tid = (pid_t)syscall(SYS_gettid);
	sem_post(&k->ready);
	return 0;
}

static void at_end(void *ctx, struct ram *ram)
{
	struct killed *k = ctx;
	hva_t hva = (hva_t)ram_host_view(ram, RAM_WORK) + OWN * PAGE_SIZE;
	struct ram_parts parts;

	ram_get_parts(ram, &parts);
	k->error = hostmm_read(parts.mm, hva + WORD_COUNTER * sizeof(k->word), &k->word,
			       sizeof(k->word));
}

static bool lives(pid_t tid)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/task/%d", tid);
	return !access(path, F_OK);
}

static void pause_ms(unsigned ms)
{
	const struct timespec t = { .tv_nsec = ms * 1000000L };

	nanosleep(&t, NULL);
}

/*
 * The page comes when the thread is gone. Before Linux 6.2 or so a signal does not end the wait for a page in KVM_RUN: then it comes
 * nevertheless, some time later, and the thread ends before the guest goes on.
 */
static void *kill_it(void *arg)
{
	struct killed *k = arg;

	while (sem_wait(&k->ready))
		;
	while (k->in_fault && sem_wait(&k->arrived))
		;
	if (!k->in_fault)
		pause_ms(20);
	expect(!pthread_cancel(k->victim));
	if (!k->in_fault)
		return NULL;
	for (unsigned ms = 0; lives(k->tid) && ms < slowly(100); ms++)
		pause_ms(1);
	sem_post(&k->go);
	while (lives(k->tid)) /* the test has a deadline */
		pause_ms(1);
	sem_post(&k->others);
	return NULL;
}

static int run(struct killed *k, const char *bootargs, const char *errors)
{
	struct ram_store store = { .fill = fill, .ctx = k };
	struct vm_opts opts = { .quiet = true,
				.check = true,
				.phase = on_phase,
				.phase_ctx = k,
				.ended = at_end,
				.work_store = k ? &store : NULL };
	const struct vm_opts none = { .quiet = true, .check = true };
	char why[MACHINE_WHY_SIZE], guest[4200], args[256];
	const char *sets[] = { guest, args, "/umbra/churn/enabled=0", "/umbra/host/threads=0" };
	struct machine m;
	int saved = dup(STDERR_FILENO), fd, status;

	snprintf(guest, sizeof(guest), "/umbra/image=%s/guest/guest.elf", test_build_dir());
	snprintf(args, sizeof(args), "/chosen/bootargs=workload=counter pages=%u %s", PAGES,
		 bootargs);
	check(!machine_load(&m, "configs/counter-2.dts", sets, 4, why, sizeof(why)), "%s", why);
	fd = open(errors, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	check(fd >= 0 && dup2(fd, STDERR_FILENO) >= 0);
	close(fd);
	status = vm_run(&m, k ? &opts : &none);
	dup2(saved, STDERR_FILENO);
	close(saved);
	return status;
}

static void check_killed(bool in_fault)
{
	struct killed k = { .in_fault = in_fault };
	const char *errors = scratch("errors");
	pthread_t killer;
	char *text;
	size_t len;

	sem_init(&k.ready, 0, 0);
	sem_init(&k.arrived, 0, 0);
	sem_init(&k.go, 0, 0);
	sem_init(&k.others, 0, 0);
	check(!pthread_create(&killer, NULL, kill_it, &k));
	check_eq(run(&k, "", errors), VM_HOST_FAILED);
	check(!pthread_join(killer, NULL));
	text = file_read(errors, &len);
	check(len && strstr(text, "vcpu: stop: vCPU 1: its thread was killed"), "%.*s", (int)len,
	      text);
	free(text);
	/* What was asked for has come in; nothing was stored by who was gone. */
	check_eq(k.error, 0);
	if (in_fault)
		check_eq(k.word, VALUE);
	else
		check(k.word >= VALUE);
	/* As if nothing had been. */
	check_eq(run(NULL, "increments=10000", errors), 0);
}

UTEST(killed, a_vcpu_that_waits_for_a_page, .init = kvm_setup, .fini = kvm_fini)
{
	check_killed(true);
}

UTEST(killed, a_vcpu_in_the_guest, .init = kvm_setup, .fini = kvm_fini)
{
	check_killed(false);
}
