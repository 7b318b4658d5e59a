// SPDX-License-Identifier: BSD-2-Clause
#include "hv/vm.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "guest/abi.h"
#include "hv/churn.h"
#include "hv/log.h"
#include "hv/ram.h"
#include "hv/report.h"
#include "hv/thread.h"
#include "hv/vm_priv.h"
#include "mmu/base/trace.h"

#define NS_PER_S	 1000000000ull
#define PROGRESS_AFTER_S 2u
#define ESTIMATE_MS	 1000u

/* A sanitizer looks for what is left. */
#ifdef UMBRA_SANITIZED
#define WANTS_ALL_BACK true
#else
#define WANTS_ALL_BACK false
#endif

static void show_progress(struct vm *vm, uint64_t elapsed_s)
{
	struct ram_stats s;

	if (vm->opts->quiet || elapsed_s < PROGRESS_AFTER_S || !isatty(STDERR_FILENO))
		return;
	ram_get_stats(vm->ram, &s);
	fprintf(stderr,
		"\rumbra: %" PRIu64 " s, %" PRIu64 " faults, %" PRIu64 " MiB in guest reach ",
		elapsed_s, s.faults, s.mapped >> 8);
	fflush(stderr);
}

/* Tell the guest and the host threads that it is time. The board is the guest's to read. */
static void finish(struct vm *vm)
{
	uint64_t one = 1;

	if (vm->m.board.present)
		ram_write(vm->ram, vm->m.board.gpa + offsetof(struct board, stop), &one,
			  sizeof(one));
	stop_orderly(&vm->finish);
}

static void time_is_up(struct vm *vm)
{
	stop_because(&vm->stop, VM_GUEST_STOPPED, "guest", "still running after %u ms; it %s",
		     vm->m.timeout_ms,
		     console_is_waiting(&vm->console)
			     ? "waits for somebody to read its output, the standard output of umbra"
			     : "loops, or wants a longer --timeout");
}

/* Until somebody stops: the clock of the run. */
static void supervise(struct vm *vm)
{
	uint64_t start = trace_now(), limit = vm->m.timeout_ms * 1000000ull;
	uint64_t seconds = vm->m.host.seconds * NS_PER_S;
	bool shown = false;

	for (;;) {
		uint64_t elapsed = trace_now() - start, sleep = NS_PER_S;

		if (limit && elapsed >= limit) {
			time_is_up(vm);
			break;
		}
		if (limit && limit - elapsed < sleep)
			sleep = limit - elapsed;
		if (seconds && elapsed >= seconds && !stop_is_set(&vm->finish))
			finish(vm);
		else if (seconds > elapsed && seconds - elapsed < sleep)
			sleep = seconds - elapsed;
		if (working_set_wait(&vm->working_set, elapsed) < sleep)
			sleep = working_set_wait(&vm->working_set, elapsed);
		if (interrupt_sleep(&vm->interrupt, sleep))
			break;
		working_set_take(&vm->working_set, vm->ram, trace_now() - start, false);
		show_progress(vm, (trace_now() - start) / NS_PER_S);
		shown = true;
	}
	if (shown && !vm->opts->quiet && isatty(STDERR_FILENO))
		fprintf(stderr, "\r\033[K");
}

/* Exact if that was asked for; beside other statistics an estimate, which must not be seen in them. */
static int measure_working_set(struct vm *vm)
{
	const struct vm_opts *o = vm->opts;

	if (o->working_set_ms || o->stats == STATS_NONE)
		return working_set_init(&vm->working_set, o->working_set_ms, 0,
					WORKING_SET_SAMPLES);
	return working_set_init(&vm->working_set, ESTIMATE_MS, WORKING_SET_BUDGET,
				o->stats == STATS_JSON ? WORKING_SET_SAMPLES : WORKING_SET_LINE);
}

static int execute(struct vm *vm)
{
	uint64_t start = trace_now();
	int err = measure_working_set(vm);

	if (!err)
		err = churn_start(&vm->churn, &vm->m, vm->ram, vm->has_stamps ? &vm->stamps : NULL,
				  &vm->stop, &vm->finish);
	if (err) {
		log_error("vm", "start", "host threads: %s%s", strerror(-err), why_advice(err));
		return VM_HOST_FAILED;
	}
	for (unsigned i = 0; i < vm->nvcpus && !err; i++)
		err = vcpu_start(&vm->vcpu[i]);
	if (err)
		stop_because(&vm->stop, VM_HOST_FAILED, "vcpu", "thread: %s%s", strerror(-err),
			     why_advice(err));
	supervise(vm);

	/* An orderly end has no vCPU in the guest. Any other may have one that waits for a page: let it go. */
	if (vm->stop.status)
		ram_shut(vm->ram);
	stop_orderly(&vm->finish); /* before the joins: a vCPU may sleep in HC_WAIT */
	vcpu_join_all(vm->vcpu, vm->nvcpus);
	churn_join(vm->churn);
	if (vm->opts->ended)
		vm->opts->ended(vm->opts->phase_ctx, vm->ram);
	return vm_conclude(vm, trace_now() - start);
}

static void on_bug(const char *file, int line, const char *what)
{
	log_error("umbra", "bug", "%s:%d: %s; please report it", file, line, what);
	report_last_events(stderr);
}

static struct vm *vm_create(const struct machine *m, const struct vm_opts *o)
{
	struct vm *vm = calloc(1, sizeof(*vm));

	if (!vm)
		return NULL;
	vm->m = *m;
	vm->opts = o;
	vm->input_fd = vm->kvm = vm->fd = -1;
	stop_init(&vm->stop);
	stop_init(&vm->finish);
	console_init(&vm->console, &vm->stop);
	lock_init(&vm->lock);
	return vm;
}

static void vm_destroy(struct vm *vm)
{
	if (vm->churn)
		churn_destroy(vm->churn);
	vm_undo_setup(vm);
	working_set_fini(&vm->working_set);
	lock_fini(&vm->lock);
	console_fini(&vm->console);
	stop_fini(&vm->finish);
	stop_fini(&vm->stop);
	free(vm);
}

/*
 * exit(2) frees in one go what vm_destroy() takes apart. Not where threads do more than wait, and not where somebody wants to see
 * that all of it can be given back.
 */
static bool leave_to_exit(struct vm *vm)
{
	if (WANTS_ALL_BACK || !vm->opts->alone || vm->opts->check || vm->m.churn.on || vm->m.ksm.on)
		return false;
	trace_file_close(&vm->trace);
	return true;
}

int vm_run(const struct machine *m, const struct vm_opts *o)
{
	struct vm *vm = vm_create(m, o);
	int status;

	if (!vm) {
		log_error("vm", "create", "no memory");
		return VM_HOST_FAILED;
	}
	bug_set_handler(on_bug);
	/* A console that goes away and a file that may not grow are errors to report, not deaths. */
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);

	thread_forget();
	status = vm_setup(vm);
	if (!status) {
		status = execute(vm);
		if (leave_to_exit(vm))
			return status;
	}
	vm_destroy(vm);
	return status;
}
