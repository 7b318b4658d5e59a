// SPDX-License-Identifier: BSD-2-Clause
#include "tests/bench/guest.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "guest/abi.h"
#include "hv/log.h"
#include "hv/machine.h"
#include "hv/ram.h"
#include "hv/vm.h"
#include "tests/bench/bench.h"

#define RAM_BYTES  (16ull << 20)
#define WORK_GPA   (2ull << 30)
#define TIMEOUT_MS 120000u
#define MEET_S	   10

struct stopwatch {
	const struct guest_run *run;
	struct guest_work work;
	unsigned cpus;
	pthread_mutex_t lock;
	pthread_cond_t all_here;
	unsigned arrived, ended;	      /* [lock] vCPUs at PHASE_BEGIN, at PHASE_END */
	uint64_t begin, end;		      /* [lock] */
	uint64_t faults_before, faults_after; /* [lock] */
};

/* Hold every vCPU until the last is here; its arrival starts the clock. A vCPU that died is not waited for long. */
static int meet(struct stopwatch *s, struct ram *ram)
{
	struct ram_stats stats;
	struct timespec until;
	int err = 0;

	if (++s->arrived == s->cpus) {
		ram_get_stats(ram, &stats);
		s->faults_before = stats.faults;
		s->begin = bench_now_ns();
		pthread_cond_broadcast(&s->all_here);
		return 0;
	}
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += MEET_S;
	while (s->arrived < s->cpus && !err)
		err = pthread_cond_timedwait(&s->all_here, &s->lock, &until);
	return -err;
}

static int on_phase(void *ctx, struct ram *ram, unsigned cpu, uint32_t phase,
		    const uint64_t payload[3], uint64_t *answer)
{
	uint64_t now = bench_now_ns();
	struct stopwatch *s = ctx;
	struct ram_stats stats;
	int err = 0;

	(void)cpu;
	(void)answer;
	if (s->run->mark) {
		s->work.ram = ram;
		return s->run->mark(s->run->mark_ctx, &s->work, phase, payload[0]);
	}
	pthread_mutex_lock(&s->lock);
	if (phase == PHASE_BEGIN) {
		err = meet(s, ram);
	} else if (phase == PHASE_END) {
		s->ended++;
		if (now > s->end) {
			ram_get_stats(ram, &stats);
			s->end = now;
			s->faults_after = stats.faults;
		}
	}
	pthread_mutex_unlock(&s->lock);
	return err;
}

/* The guest that the build has put beside this program. */
static int find_image(char image[static PATH_MAX])
{
	static const char name[] = "/guest/guest.elf";
	ssize_t n = readlink("/proc/self/exe", image, PATH_MAX - 1);
	char *slash;

	if (n < 0)
		return -errno;
	image[n] = 0;
	slash = strrchr(image, '/');
	if (!slash || (size_t)(slash - image) + sizeof(name) > PATH_MAX)
		return -ENAMETOOLONG;
	memcpy(slash, name, sizeof(name));
	return 0;
}

static int describe(struct machine *m, const struct guest_run *run)
{
	*m = (struct machine){
		.model = "bench",
		.cpus = run->cpus ? run->cpus : 1,
		.cpl = 3,
		.ram = { .gpa = 0, .size = RAM_BYTES, .present = true },
		.work = { .gpa = WORK_GPA,
			  .size = run->work_pages * MACHINE_PAGE_SIZE,
			  .present = true },
		.fault_around = run->fault_around,
		.timeout_ms = TIMEOUT_MS,
	};
	snprintf(m->bootargs, sizeof(m->bootargs), "%s", run->bootargs);
	return find_image(m->image);
}

int guest_run(const struct guest_run *run, struct guest_time *time)
{
	struct stopwatch watch = {
		.run = run,
		.lock = PTHREAD_MUTEX_INITIALIZER,
		.all_here = PTHREAD_COND_INITIALIZER,
	};
	struct vm_opts opts = {
		.quiet = true,
		.phase = on_phase,
		.phase_ctx = &watch,
		.plain_vm = &watch.work.vm,
		.plain_vcpu = &watch.work.vcpu,
		.plain_ring = run->plain_ring,
	};
	struct machine m;
	int err = describe(&m, run), status;

	if (err)
		return err;
	watch.cpus = m.cpus;
	opts.plain_work = run->plain;
	watch.work.slot = RAM_WORK;
	watch.work.gpa = m.work.gpa;
	watch.work.bytes = m.work.size;
	watch.work.plain = opts.plain_work;
	log_set_quiet(true);
	status = vm_run(&m, &opts);
	if (status || (!run->mark && watch.ended != m.cpus)) {
		fprintf(stderr, "bench: the guest of \"%s\" ended with %d\n", run->bootargs,
			status);
		return -EIO;
	}
	*time = (struct guest_time){
		.ns = watch.end - watch.begin,
		.faults = watch.faults_after - watch.faults_before,
	};
	return 0;
}
