// SPDX-License-Identifier: BSD-2-Clause
/*
 * The guest: vm_run() on a thread of its own. Its memory is the world's from the moment that all vCPUs have come to
 * PHASE_BEGIN, where they are held until the players start, until vm_run() calls vm_ended(), where that thread is held until
 * the world has taken back what it made.
 */
#include "tests/stress/vcpus.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "hv/log.h"
#include "hv/machine.h"
#include "hv/ram.h"
#include "hv/vm.h"

#define RAM_BYTES (24ull << 20)

struct guest_run {
	struct world *w;
	struct machine m;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct ram *ram;		  /* [lock] */
	unsigned arrived;		  /* [lock] at PHASE_BEGIN */
	bool go, ended, taken_back, over; /* [lock] */
	int status;
};

struct ram *vcpus_ram(struct guest_run *g)
{
	return g->ram;
}

static void set(struct guest_run *g, bool *what)
{
	pthread_mutex_lock(&g->lock);
	*what = true;
	pthread_cond_broadcast(&g->changed);
	pthread_mutex_unlock(&g->lock);
}

static void wait_for(struct guest_run *g, const bool *what)
{
	pthread_mutex_lock(&g->lock);
	while (!*what)
		pthread_cond_wait(&g->changed, &g->lock);
	pthread_mutex_unlock(&g->lock);
}

static void arrive(struct guest_run *g, struct ram *ram)
{
	pthread_mutex_lock(&g->lock);
	g->ram = ram;
	g->arrived++;
	pthread_cond_broadcast(&g->changed);
	pthread_mutex_unlock(&g->lock);
	wait_for(g, &g->go);
}

static int on_phase(void *ctx, struct ram *ram, unsigned cpu, uint32_t phase,
		    const uint64_t payload[3], uint64_t *answer)
{
	struct guest_run *g = ctx;
	struct player *p = &g->w->player[cpu];

	switch (phase) {
	case PHASE_BEGIN:
		arrive(g, ram);
		atomic_store(&p->tid, gettid());
		break;
	case PHASE_STRESS_STEPS:
	case PHASE_STRESS_PAUSE:
		atomic_store(&p->adds, payload[1]);
		atomic_store(&p->operations, payload[2]);
		if (phase == PHASE_STRESS_PAUSE)
			*answer = pause_here(p);
		break;
	case PHASE_STRESS_WRONG:
		player_wrong(p, (enum play_oracle)(payload[0] >> 32), (uint32_t)payload[0],
			     payload[1], payload[2]);
	}
	return 0;
}

static void on_ended(void *ctx, struct ram *ram)
{
	struct guest_run *g = ctx;

	(void)ram;
	set(g, &g->ended);
	if (atomic_load(&g->w->started) && !atomic_load(&g->w->players_end))
		fail(ORACLE_ERROR, 0, "the guest has stopped; the line above says why");
	if (g->arrived == g->m.cpus)
		wait_for(g, &g->taken_back);
}

static void *guest_main(void *arg)
{
	struct guest_run *g = arg;
	const struct ram_store store = { .fill = store_ops.fill,
					 .writeback = store_ops.writeback,
					 .ctx = g->w->store };
	struct vm_opts opts = {
		.quiet = true,
		.phase = on_phase,
		.phase_ctx = g,
		.ended = on_ended,
		.spare_frames = 3 * pool_room(RAM_BYTES >> PAGE_SHIFT) + world_spare(g->w),
		.work_store = g->w->store ? &store : NULL,
	};

	g->status = vm_run(&g->m, &opts);
	set(g, &g->over);
	return NULL;
}

static void describe(struct guest_run *g)
{
	const struct world *w = g->w;
	ssize_t n = readlink("/proc/self/exe", g->m.image, sizeof(g->m.image) - 32);
	char *slash;

	g->m.cpus = w->o->vcpus;
	g->m.cpl = 3;
	g->m.ram = (struct machine_mem){ .size = RAM_BYTES, .present = true };
	g->m.work = (struct machine_mem){ .gpa = STRESS_GFN << PAGE_SHIFT,
					  .size = w->pages << PAGE_SHIFT,
					  .present = true };
	g->m.board = (struct machine_mem){ .gpa = 0x40000000,
					   .size = board_size(w->pages),
					   .present = true };
	g->m.host_view_source = (enum machine_source)w->o->source;
	for (unsigned i = 0; i < MACHINE_REGIONS; i++)
		g->m.region_source[i] = SOURCE_DEFAULT;
	/* The threads that resolve the faults of host threads: for players and actors. */
	g->m.host.threads = 0;
	g->m.canary = true;
	snprintf(g->m.bootargs, sizeof(g->m.bootargs),
		 "workload=stress players=%u keep=%lu seed=%lu", w->players, w->keep, w->o->seed);
	g->m.image[n < 0 ? 0 : n] = 0;
	/* Beside this program, as it is built, or where it is installed. */
	slash = strrchr(g->m.image, '/');
	if (slash)
		strcpy(slash, "/guest/guest.elf");
	if (access(g->m.image, R_OK))
		snprintf(g->m.image, sizeof(g->m.image), "%s/guest.elf", UMBRA_LIBDIR);
}

int vcpus_create(struct world *w)
{
	struct guest_run *g = calloc(1, sizeof(*g));
	struct ram_parts parts;
	int rc;

	if (!g)
		return -ENOMEM;
	*g = (struct guest_run){ .w = w,
				 .lock = PTHREAD_MUTEX_INITIALIZER,
				 .changed = PTHREAD_COND_INITIALIZER };
	describe(g);
	log_set_quiet(true);
	rc = -pthread_create(&g->thread, NULL, guest_main, g);
	if (rc) {
		free(g);
		return rc;
	}
	pthread_mutex_lock(&g->lock);
	while (g->arrived < g->m.cpus && !g->ended && !g->over)
		pthread_cond_wait(&g->changed, &g->lock);
	rc = g->arrived < g->m.cpus ? -ENODEV : 0;
	pthread_mutex_unlock(&g->lock);
	if (rc) {
		pthread_join(g->thread, NULL);
		free(g);
		return rc;
	}
	ram_get_parts(g->ram, &parts);
	w->guest = g;
	w->mm = parts.mm;
	w->pool = hostmm_pool(parts.mm);
	w->shadow = parts.shadow;
	w->hva = (hva_t)(uintptr_t)ram_host_view(g->ram, RAM_WORK);
	w->board = ram_host_view(g->ram, RAM_BOARD);
	w->floor = w->board->floor;
	return 0;
}

void vcpus_start(struct world *w)
{
	set(w->guest, &w->guest->go);
}

/* The board says stop: returns when no vCPU runs any more. */
void vcpus_join(struct world *w)
{
	__atomic_store_n(&w->board->stop, 1, __ATOMIC_RELEASE);
	wait_for(w->guest, &w->guest->ended);
}

int vcpus_end(struct world *w)
{
	struct guest_run *g = w->guest;
	int status;

	set(g, &g->taken_back);
	pthread_join(g->thread, NULL);
	status = g->status;
	free(g);
	w->guest = NULL;
	return status;
}
