// SPDX-License-Identifier: BSD-2-Clause
#include "hv/vm.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "guest/abi.h"
#include "hv/churn.h"
#include "hv/cpu.h"
#include "hv/guest_fdt.h"
#include "hv/kvmio.h"
#include "hv/load.h"
#include "hv/log.h"
#include "hv/machine.h"
#include "hv/ram.h"
#include "hv/report.h"
#include "hv/store.h"
#include "hv/vcpu.h"
#include "mmu/base/trace.h"

/* Events that --trace keeps: the last 2^18, 16 MiB. */
#define TRACE_ORDER	     18

/* Pages that KVM itself wants on Intel; machine.h keeps regions out of there. */
#define KVM_IDENTITY_MAP_GPA 0xfffbc000ull
#define KVM_TSS_GPA	     0xfffbd000ul

#define NS_PER_S	     1000000000ull
#define PROGRESS_AFTER_S     2u

struct vm {
	struct machine m;
	const struct vm_opts *opts;
	struct stop stop;   /* leave the guest */
	struct stop finish; /* host threads end; the board says so to the guest */

	int input_fd;
	struct file_store input;
	struct stamp_store stamps;
	bool has_stamps;
	FILE *trace;
	struct ram *ram;
	int kvm, fd;
	struct vcpu_shared shared;
	unsigned nvcpus; /* created */
	struct vcpu vcpu[MACHINE_MAX_CPUS];
	struct churn *churn;

	struct lock lock;
	unsigned running;		 /* [lock] vCPUs that have not called HC_EXIT */
	unsigned code[MACHINE_MAX_CPUS]; /* [lock] */
	uint64_t guest_increments;	 /* [lock] */
	bool counted;			 /* [lock] */
};

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}

/* Hypercalls. */

static int hc_console(void *ctx, unsigned cpu, const char *buf, size_t len)
{
	struct vm *vm = ctx;
	int err = 0;

	(void)cpu;
	lock_acquire(&vm->lock);
	while (len && !err) {
		ssize_t n = write(STDOUT_FILENO, buf, len);

		if (n > 0) {
			buf += n;
			len -= (size_t)n;
		} else if (n < 0 && errno != EINTR) {
			err = -errno;
		}
	}
	lock_release(&vm->lock);
	if (err)
		stop_because(&vm->stop, VM_HOST_FAILED, "console", "standard output: %s",
			     strerror(-err));
	return err;
}

static int hc_phase(void *ctx, unsigned cpu, uint32_t phase, const uint64_t payload[3],
		    uint64_t *answer)
{
	struct vm *vm = ctx;

	if (phase == PHASE_COUNTER) {
		lock_acquire(&vm->lock);
		vm->guest_increments += payload[0];
		vm->counted = true;
		lock_release(&vm->lock);
	}
	if (!vm->opts->phase)
		return 0;
	return vm->opts->phase(vm->opts->phase_ctx, vm->ram, cpu, phase, payload, answer);
}

static int hc_clock(void *ctx, unsigned cpu, uint64_t *ns)
{
	(void)ctx;
	(void)cpu;
	*ns = now_ns();
	return 0;
}

static int hc_wait(void *ctx, unsigned cpu, uint64_t ns)
{
	struct vm *vm = ctx;

	(void)cpu;
	if (!stop_is_set(&vm->finish))
		stop_sleep(&vm->finish, ns);
	return 0;
}

static const struct hcall_ops hcalls = {
	.console = hc_console,
	.phase = hc_phase,
	.clock = hc_clock,
	.wait = hc_wait,
};

static void vcpu_exited(void *ctx, unsigned id, unsigned code)
{
	struct vm *vm = ctx;
	bool last;

	lock_acquire(&vm->lock);
	vm->code[id] = code;
	last = --vm->running == 0;
	lock_release(&vm->lock);
	if (last)
		stop_orderly(&vm->stop);
}

/* Memory gave up: say whose fault it is. */
static void memory_failed(void *ctx, const struct ram_failure *f)
{
	struct vm *vm = ctx;
	uint64_t in_input = f->gpa - vm->m.input.gpa;

	if (!f->has_gpa)
		stop_because(
			&vm->stop, VM_HOST_FAILED, "memory",
			"a fault thread ended%s%s; pages would be missing for ever, so the machine is stopped",
			f->error ? ": " : "", f->error ? strerror(-f->error) : "");
	else if (f->error == -EFAULT || f->error == -EACCES)
		stop_because(&vm->stop, f->host_view ? VM_HOST_FAILED : VM_GUEST_STOPPED,
			     f->host_view ? "host view" : "guest",
			     "%s at guest physical 0x%" PRIx64 ", which the host does not allow",
			     f->write ? "store" : "load", f->gpa);
	else if (vm->m.input.present && in_input < vm->m.input.size)
		stop_because(&vm->stop, VM_HOST_FAILED, "input",
			     "%s: byte %" PRIu64
			     " and on can no longer be read; was the file cut short while the "
			     "guest read it? Keep it unchanged and run again",
			     vm->opts->input, in_input);
	else
		stop_because(&vm->stop, VM_HOST_FAILED, "memory",
			     "page at guest physical 0x%" PRIx64
			     ": %s; free memory or raise vm.max_map_count",
			     f->gpa, strerror(-f->error));
}

/* Setting up. Each returns 0 or -errno with the reason in @w. */

static int setup_memory(struct vm *vm, struct why *w)
{
	struct ram_opts opts = { .failed = memory_failed, .failed_ctx = vm };
	uint64_t bytes = 0;
	int err;

	err = machine_open_input(&vm->m, vm->opts->input, &vm->input_fd, &bytes, w->text, w->size);
	if (err)
		return err;
	vm->input = (struct file_store){ .fd = vm->input_fd, .bytes = bytes };
	opts.store[RAM_INPUT] = (struct ram_store){ file_store_fill, &vm->input };
	if (vm->m.work.present && vm->m.work_fill == FILL_STAMP) {
		err = stamp_store_init(&vm->stamps, vm->m.work.size / ABI_PAGE_SIZE);
		if (err)
			return why_fail(w, err, "no memory for the stamps of /work");
		vm->has_stamps = true;
		opts.store[RAM_WORK] = (struct ram_store){ stamp_store_fill, &vm->stamps };
	}
	err = ram_create(&vm->ram, &vm->m, &opts, w);
	/* Whatever it is, it is the host that cannot, not the user who asked for nonsense. */
	return err ? -ENOMEM : 0;
}

static int setup_image(struct vm *vm, uint64_t *entry, struct why *w)
{
	const char *name = vm->opts->input ? vm->opts->input : "";
	int err;

	err = load_image(vm->ram, &vm->m, vm->m.image, entry, w->text, w->size);
	if (err)
		return err;
	/* By the name the user gave: what the digest guest prints is then what xxh128sum would. */
	err = guest_fdt_write(vm->ram, &vm->m, vm->input.bytes, name);
	if (err)
		return why_fail(w, err, "the guest's device tree: %s", strerror(-err));
	err = cpu_setup_tables(vm->ram, &vm->m);
	if (err)
		return why_fail(w, err, "the guest's page tables: %s", strerror(-err));
	return 0;
}

static int place_kvm_pages(int fd)
{
	uint64_t identity = KVM_IDENTITY_MAP_GPA;

	if (kvmio_check(fd, KVM_CAP_SET_IDENTITY_MAP_ADDR) > 0 &&
	    ioctl(fd, KVM_SET_IDENTITY_MAP_ADDR, &identity))
		return -errno;
	if (kvmio_check(fd, KVM_CAP_SET_TSS_ADDR) > 0 && ioctl(fd, KVM_SET_TSS_ADDR, KVM_TSS_GPA))
		return -errno;
	return 0;
}

static int setup_slots(struct vm *vm, struct why *w)
{
	for (enum ram_region i = 0; i < RAM_REGIONS; i++) {
		struct ram_slot slot;
		void *at;
		int err;

		if (!ram_slot(vm->ram, i, &slot))
			continue;
		at = i == RAM_WORK && vm->opts->plain_work ? vm->opts->plain_work : slot.window;
		err = kvmio_set_slot(vm->fd, i, slot.read_only ? KVM_MEM_READONLY : 0, slot.gpa,
				     slot.size, at);
		if (err)
			return why_fail(w, err, "KVM refuses memory at 0x%" PRIx64 ": %s", slot.gpa,
					strerror(-err));
	}
	return 0;
}

static int setup_kvm(struct vm *vm, uint64_t entry, struct why *w)
{
	int err;

	vm->fd = kvmio_create_vm(vm->kvm);
	if (vm->fd < 0)
		return why_fail(w, vm->fd, "KVM_CREATE_VM: %s", strerror(-vm->fd));
	err = place_kvm_pages(vm->fd);
	if (err)
		return why_fail(w, err, "KVM's own pages: %s", strerror(-err));
	err = setup_slots(vm, w);
	if (err)
		return err;
	vm->shared = (struct vcpu_shared){
		.ram = vm->ram,
		.stop = &vm->stop,
		.hcalls = &hcalls,
		.hcall_ctx = vm,
		.exited = vcpu_exited,
		.exited_ctx = vm,
	};
	for (unsigned i = 0; i < vm->m.cpus; i++) {
		err = vcpu_create(&vm->vcpu[i], vm->kvm, vm->fd, i, &vm->shared);
		if (err)
			return why_fail(w, err, "vCPU %u: %s", i, strerror(-err));
		vm->nvcpus++;
		err = cpu_init(vm->kvm, vm->vcpu[i].fd, &vm->m, i, entry);
		if (err)
			return why_fail(w, err, "registers of vCPU %u: %s", i, strerror(-err));
	}
	vm->running = vm->nvcpus;
	return 0;
}

/* Running. */

static void show_progress(struct vm *vm, uint64_t elapsed_s)
{
	struct ram_stats s;

	if (vm->opts->quiet || elapsed_s < PROGRESS_AFTER_S || !isatty(STDERR_FILENO))
		return;
	ram_get_stats(vm->ram, &s);
	fprintf(stderr,
		"\rumbra: %" PRIu64 " s, %" PRIu64 " faults, %" PRIu64 " MiB in guest reach ",
		elapsed_s, s.faults, s.leaves >> 8);
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

/* Until somebody stops: the clock of the run. */
static void supervise(struct vm *vm)
{
	uint64_t start = now_ns(), limit = vm->m.timeout_ms * 1000000ull;
	uint64_t seconds = vm->m.host.seconds * NS_PER_S;
	bool shown = false;

	for (;;) {
		uint64_t elapsed = now_ns() - start, sleep = NS_PER_S;

		if (limit && elapsed >= limit) {
			stop_because(
				&vm->stop, VM_GUEST_STOPPED, "guest",
				"still running after %u ms; it loops, or wants a longer --timeout",
				vm->m.timeout_ms);
			break;
		}
		if (limit && limit - elapsed < sleep)
			sleep = limit - elapsed;
		if (seconds && elapsed >= seconds && !stop_is_set(&vm->finish))
			finish(vm);
		else if (seconds > elapsed && seconds - elapsed < sleep)
			sleep = seconds - elapsed;
		if (stop_sleep(&vm->stop, sleep))
			break;
		show_progress(vm, (now_ns() - start) / NS_PER_S);
		shown = true;
	}
	if (shown && !vm->opts->quiet && isatty(STDERR_FILENO))
		fprintf(stderr, "\r\033[K");
}

static int execute(struct vm *vm, struct why *w)
{
	int err;

	err = churn_start(&vm->churn, &vm->m, vm->ram, vm->has_stamps ? &vm->stamps : NULL,
			  &vm->stop, &vm->finish);
	if (err)
		return why_fail(w, err, "host threads: %s", strerror(-err));
	for (unsigned i = 0; i < vm->nvcpus && !err; i++)
		err = vcpu_start(&vm->vcpu[i]);
	if (err)
		stop_because(&vm->stop, VM_HOST_FAILED, "vcpu", "thread: %s", strerror(-err));
	supervise(vm);

	/* An orderly end has no vCPU in the guest. Any other may have one that waits for a page: let it go. */
	if (vm->stop.status)
		ram_shut(vm->ram);
	stop_orderly(&vm->finish); /* before the joins: a vCPU may sleep in HC_WAIT */
	for (unsigned i = 0; i < vm->nvcpus; i++)
		vcpu_join(&vm->vcpu[i]);
	churn_join(vm->churn);
	return 0;
}

/* Ending. */

/* Every increment of guest and host must be in the pages: the sum is exact, or a store was lost. */
static void check_counters(struct vm *vm, uint64_t host)
{
	uint64_t sum = 0, want = vm->guest_increments + host;

	for (uint64_t gpa = vm->m.work.gpa; gpa < vm->m.work.gpa + vm->m.work.size;
	     gpa += ABI_PAGE_SIZE) {
		uint64_t word;
		int err = ram_read(vm->ram, gpa + WORD_COUNTER * sizeof(word), &word, sizeof(word));

		if (err) {
			vm->stop.status = VM_HOST_FAILED;
			log_error("counter", "read", "page at 0x%" PRIx64 ": %s", gpa,
				  strerror(-err));
			return;
		}
		sum += word;
	}
	if (sum != want) {
		vm->stop.status = VM_HOST_FAILED;
		log_error("counter", "check",
			  "%" PRIu64 " increments by the guest and %" PRIu64
			  " by the host, but the pages hold %" PRIu64 ": stores were lost",
			  vm->guest_increments, host, sum);
	} else {
		log_info("counter", "check",
			 "%" PRIu64 " by the guest + %" PRIu64 " by the host = %" PRIu64 ", exact",
			 vm->guest_increments, host, sum);
	}
}

static void write_trace(struct vm *vm)
{
	uint64_t dropped;
	int err = report_trace(vm->trace, &dropped);

	if (err) {
		log_error("trace", "write", "%s: %s", vm->opts->trace, strerror(-err));
		if (!vm->stop.status)
			vm->stop.status = VM_HOST_FAILED;
	} else if (dropped) {
		log_warn("trace", "write",
			 "%s holds the last %u events; %" PRIu64 " older ones are gone",
			 vm->opts->trace, 1u << TRACE_ORDER, dropped);
	}
}

static int exit_code(const struct vm *vm)
{
	if (vm->stop.status)
		return vm->stop.status;
	for (unsigned i = 0; i < vm->nvcpus; i++)
		if (vm->code[i])
			return (int)vm->code[i];
	return 0;
}

static int conclude(struct vm *vm, uint64_t run_ns)
{
	struct report report = { .run_ns = run_ns };
	struct ram_stats stats;

	if (*vm->stop.component)
		log_error(vm->stop.component, "stop", "%s", vm->stop.reason);
	report.host_increments = churn_increments(vm->churn);
	report.changes = churn_changes(vm->churn);
	report.guest_increments = vm->guest_increments;
	if (!vm->stop.status && vm->counted && !vm->has_stamps)
		check_counters(vm, report.host_increments);
	if (vm->trace)
		write_trace(vm);
	report.status = exit_code(vm);
	ram_get_stats(vm->ram, &stats);
	if (vm->opts->stats != STATS_NONE)
		report_stats(&vm->m, &report, &stats, vm->opts->stats == STATS_JSON);
	return report.status;
}

static void teardown(struct vm *vm)
{
	if (vm->churn)
		churn_destroy(vm->churn);
	for (unsigned i = 0; i < vm->nvcpus; i++)
		vcpu_destroy(&vm->vcpu[i]);
	if (vm->fd >= 0)
		close(vm->fd);
	if (vm->kvm >= 0)
		close(vm->kvm);
	if (vm->ram)
		ram_destroy(vm->ram);
	if (vm->has_stamps)
		stamp_store_fini(&vm->stamps);
	if (vm->input_fd >= 0)
		close(vm->input_fd);
	if (vm->trace) {
		fclose(vm->trace);
		trace_stop();
	}
	lock_fini(&vm->lock);
	stop_fini(&vm->finish);
	stop_fini(&vm->stop);
	free(vm);
}

static void on_bug(const char *file, int line, const char *what)
{
	log_error("umbra", "bug", "%s:%d: %s; please report it", file, line, what);
	report_last_events(stderr);
}

static int start_trace(struct vm *vm, struct why *w)
{
	int err;

	if (!vm->opts->trace)
		return 0;
	vm->trace = fopen(vm->opts->trace, "we");
	if (!vm->trace)
		return why_fail(w, -EINVAL, "--trace %s: %s", vm->opts->trace, strerror(errno));
	err = trace_start(TRACE_ORDER);
	if (err) {
		fclose(vm->trace);
		vm->trace = NULL;
		return why_fail(w, err, "--trace: no memory for the events");
	}
	return 0;
}

static struct vm *vm_alloc(const struct machine *m, const struct vm_opts *o)
{
	struct vm *vm = calloc(1, sizeof(*vm));

	if (!vm)
		return NULL;
	vm->m = *m;
	vm->opts = o;
	vm->input_fd = vm->kvm = vm->fd = -1;
	stop_init(&vm->stop);
	stop_init(&vm->finish);
	lock_init(&vm->lock);
	return vm;
}

int vm_run(const struct machine *m, const struct vm_opts *o)
{
	char text[MACHINE_WHY_SIZE] = "";
	struct why w = { .text = text, .size = sizeof(text) };
	struct vm *vm = vm_alloc(m, o);
	const char *action = "memory";
	uint64_t entry, start;
	int err, status;

	if (!vm) {
		log_error("vm", "create", "no memory");
		return VM_HOST_FAILED;
	}
	bug_set_handler(on_bug);
	/* A console that goes away and a file that may not grow are errors to report, not deaths. */
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);

	err = start_trace(vm, &w);
	if (!err)
		err = setup_memory(vm, &w);
	if (!err) {
		action = "load";
		err = setup_image(vm, &entry, &w);
	}
	status = err ? machine_exit_status(err) : 0;
	if (!err) {
		action = "kvm";
		vm->kvm = err = kvmio_open(&w);
		if (err >= 0)
			err = setup_kvm(vm, entry, &w);
		start = now_ns();
		if (!err)
			err = execute(vm, &w);
		status = err ? VM_HOST_FAILED : conclude(vm, now_ns() - start);
	}
	if (err)
		log_error("vm", action, "%s", text);
	teardown(vm);
	return status;
}
