// SPDX-License-Identifier: BSD-2-Clause
#include "hv/vcpu.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "guest/abi.h"
#include "hv/cpu.h"
#include "hv/kvmio.h"
#include "hv/ram.h"
#include "hv/thread.h"
#include "hv/vm.h"
#include "mmu/base/trace.h"

/*
 * KVM_RUN fails with EFAULT without saying where. In a gap of the window that means: run again. With
 * no gap near, it is tried so often, with a pause, before the machine is given up.
 */
#define UNEXPLAINED_TRIES    10
#define UNEXPLAINED_PAUSE_NS 10000000ull

/* Wakes a vCPU out of KVM_RUN; the handler does nothing. */
#define KICK_SIGNAL	     SIGUSR1
#define KICK_PAUSE_NS	     1000000

static void on_kick(int signal)
{
	(void)signal;
}

int vcpu_create(struct vcpu *vcpu, int kvm, int vm, unsigned id, const struct vcpu_shared *shared)
{
	int err;

	memset(vcpu, 0, sizeof(*vcpu));
	vcpu->shared = shared;
	vcpu->id = id;
	vcpu->fd = kvmio_create_vcpu(vm, id);
	if (vcpu->fd < 0)
		return vcpu->fd;
	err = kvmio_map_run(kvm, vcpu->fd, &vcpu->run, &vcpu->run_size);
	if (err)
		close(vcpu->fd);
	return err;
}

void vcpu_destroy(struct vcpu *vcpu)
{
	munmap(vcpu->run, vcpu->run_size);
	close(vcpu->fd);
}

static void guest_stopped(struct vcpu *vcpu, const char *what)
{
	struct kvm_regs regs;

	if (cpu_was_reset(vcpu->fd)) {
		stop_because(vcpu->shared->stop, VM_GUEST_STOPPED, "guest",
			     "vCPU %u: %s, at a rip that this host's KVM forgets", vcpu->id, what);
		return;
	}
	if (kvmio_get_regs(vcpu->fd, &regs))
		memset(&regs, 0, sizeof(regs));
	stop_because(vcpu->shared->stop, VM_GUEST_STOPPED, "guest", "vCPU %u: %s, near rip 0x%llx",
		     vcpu->id, what, (unsigned long long)regs.rip);
}

static void exit_io(struct vcpu *vcpu)
{
	const struct vcpu_shared *shared = vcpu->shared;
	struct kvm_run *run = vcpu->run;
	struct hcall_exit out = { 0 };
	uint64_t begin = trace_begin();
	enum hcall_result result;
	char what[128];
	uint32_t gfn;

	if (run->io.direction != KVM_EXIT_IO_OUT || run->io.port != HC_PORT || run->io.size != 4 ||
	    run->io.count != 1) {
		snprintf(what, sizeof(what),
			 "%s port 0x%x, %u bytes: only a 32-bit out to port 0x%x means anything",
			 run->io.direction == KVM_EXIT_IO_OUT ? "out to" : "in from", run->io.port,
			 run->io.size * run->io.count, HC_PORT);
		guest_stopped(vcpu, what);
		return;
	}
	memcpy(&gfn, (const char *)run + run->io.data_offset, sizeof(gfn));
	result = hcall_dispatch(shared->ram, shared->hcalls, shared->hcall_ctx, vcpu->id, gfn,
				&out);
	trace_span(kvm_hypercall, begin, gfn, out.op, vcpu->id);
	switch (result) {
	case HCALL_CONTINUE:
		break;
	case HCALL_EXIT:
		atomic_store(&vcpu->done, true);
		shared->exited(shared->exited_ctx, vcpu->id, out.code);
		break;
	case HCALL_BAD:
		guest_stopped(vcpu, out.reason);
		break;
	case HCALL_HOST_ERROR:
		stop_because(shared->stop, VM_HOST_FAILED, "hypercall", "vCPU %u: %s", vcpu->id,
			     strerror(-out.error));
		break;
	}
}

/*
 * An access that KVM could not make through a memslot. Inside guest memory it met a page on its way
 * elsewhere (kvm-pvm reports that so at CPL 0): make it here, through the primary. Outside, it is a
 * wild pointer.
 */
static void exit_mmio(struct vcpu *vcpu)
{
	struct kvm_run *run = vcpu->run;
	uint64_t gpa = run->mmio.phys_addr;
	bool write = run->mmio.is_write;
	char what[128];
	int err;

	err = write ? ram_write(vcpu->shared->ram, gpa, run->mmio.data, run->mmio.len)
		    : ram_read(vcpu->shared->ram, gpa, run->mmio.data, run->mmio.len);
	if (!err || stop_is_set(vcpu->shared->stop))
		return;
	if (err == -EFAULT) {
		snprintf(what, sizeof(what),
			 "%s of %u bytes at guest physical 0x%" PRIx64 ", where %s",
			 write ? "store" : "load", run->mmio.len, gpa,
			 write ? "it has no writable memory" : "it has no memory");
		guest_stopped(vcpu, what);
		return;
	}
	stop_because(vcpu->shared->stop, VM_HOST_FAILED, "memory",
		     "page at guest physical 0x%" PRIx64 ": %s", gpa, strerror(-err));
}

static void exit_internal(struct vcpu *vcpu)
{
	char what[128];

	snprintf(
		what, sizeof(what),
		"KVM cannot emulate what the guest did (internal error %u); at CPL 0 some hosts know fewer "
		"instructions than the processor",
		vcpu->run->internal.suberror);
	guest_stopped(vcpu, what);
}

static void handle_exit(struct vcpu *vcpu)
{
	struct kvm_run *run = vcpu->run;
	char what[64];

	trace_instant(kvm_exit, run->exit_reason == KVM_EXIT_MMIO ? run->mmio.phys_addr : 0,
		      run->exit_reason, vcpu->id);
	switch (run->exit_reason) {
	case KVM_EXIT_IO:
		exit_io(vcpu);
		break;
	case KVM_EXIT_MMIO:
		exit_mmio(vcpu);
		break;
	case KVM_EXIT_SHUTDOWN:
		guest_stopped(vcpu,
			      "triple fault: an exception nobody handles, such as a load from an "
			      "address that is not mapped");
		break;
	case KVM_EXIT_HLT:
		guest_stopped(vcpu, "halted with interrupts off: it can never run again");
		break;
	case KVM_EXIT_INTERNAL_ERROR:
		exit_internal(vcpu);
		break;
	case KVM_EXIT_FAIL_ENTRY:
		stop_because(vcpu->shared->stop, VM_HOST_FAILED, "kvm",
			     "vCPU %u: entry refused, hardware reason 0x%llx", vcpu->id,
			     (unsigned long long)run->fail_entry.hardware_entry_failure_reason);
		break;
	case KVM_EXIT_INTR:
		break;
	default:
		snprintf(what, sizeof(what), "unexpected exit %u from KVM", run->exit_reason);
		guest_stopped(vcpu, what);
		break;
	}
}

/*
 *	vCPU				fault thread
 *	gaps = ram_gaps()
 *	KVM_RUN: store			repoint(): mmap(PROT_READ)	gaps is odd
 *	  -> EFAULT
 *	ram_settle() waits			   mprotect(PROT_WRITE)	gaps is even again, and has grown
 *	run again
 */
static void handle_efault(struct vcpu *vcpu, uint64_t gaps, unsigned *unexplained)
{
	struct ram *ram = vcpu->shared->ram;

	ram_settle(ram);
	if (ram_gaps(ram) != gaps) {
		*unexplained = 0;
		return;
	}
	if (++*unexplained < UNEXPLAINED_TRIES) {
		stop_sleep(vcpu->shared->stop, UNEXPLAINED_PAUSE_NS);
		return;
	}
	stop_because(
		vcpu->shared->stop, VM_HOST_FAILED, "kvm",
		"vCPU %u: KVM_RUN says EFAULT and no page of the guest is being changed; the host "
		"may be out of memory",
		vcpu->id);
}

/* Whoever cancels the thread finds it here, where it holds no lock, or waits for a page of the window; the cleanup still runs. */
static int run_guest(struct vcpu *vcpu)
{
	int err;

	pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, NULL);
	err = kvmio_run(vcpu->fd);
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
	return err;
}

/* The guest's other vCPUs may wait for this one for ever: nobody goes on. */
static void vcpu_ends(void *arg)
{
	struct vcpu *vcpu = arg;

	if (!atomic_load(&vcpu->done))
		stop_because(vcpu->shared->stop, VM_HOST_FAILED, "vcpu",
			     "vCPU %u: its thread was killed", vcpu->id);
	atomic_store(&vcpu->done, true);
}

static void run_until_done(struct vcpu *vcpu)
{
	unsigned unexplained = 0;

	while (!stop_is_set(vcpu->shared->stop) && !atomic_load(&vcpu->done)) {
		uint64_t gaps = ram_gaps(vcpu->shared->ram);
		int err = run_guest(vcpu);

		if (err == -EFAULT) {
			handle_efault(vcpu, gaps, &unexplained);
			continue;
		}
		unexplained = 0;
		if (!err)
			handle_exit(vcpu);
		else if (err != -EINTR && err != -EAGAIN)
			stop_because(vcpu->shared->stop, VM_HOST_FAILED, "kvm",
				     "vCPU %u: KVM_RUN: %s", vcpu->id, strerror(-err));
	}
	atomic_store(&vcpu->done, true);
}

static void *vcpu_main(void *arg)
{
	struct vcpu *vcpu = arg;

	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
	/* KVM_RUN, the only call with cancellation on, is no cancellation point: NOLINTNEXTLINE(cert-pos47-c) */
	pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, NULL);
	pthread_cleanup_push(vcpu_ends, vcpu);
	thread_set_name("vcpu %u", vcpu->id);
	ram_bind_vcpu(vcpu->shared->ram, vcpu->id);
	run_until_done(vcpu);
	pthread_cleanup_pop(1);
	return NULL;
}

int vcpu_start(struct vcpu *vcpu)
{
	struct sigaction sa = { .sa_handler = on_kick };
	int err;

	if (sigaction(KICK_SIGNAL, &sa, NULL))
		return -errno;
	err = -pthread_create(&vcpu->thread, NULL, vcpu_main, vcpu);
	vcpu->started = !err;
	return err;
}

static bool is_running(struct vcpu *vcpu)
{
	return vcpu->started && !atomic_load(&vcpu->done);
}

/* All at once: one may wait for another, that is in write(2), to let go of the console. */
static bool kick_all(struct vcpu *vcpu, unsigned n)
{
	bool running = false;

	for (unsigned i = 0; i < n; i++) {
		if (!is_running(&vcpu[i]))
			continue;
		pthread_kill(vcpu[i].thread, KICK_SIGNAL);
		running = true;
	}
	return running;
}

void vcpu_join_all(struct vcpu *vcpu, unsigned n)
{
	struct timespec pause = { .tv_nsec = KICK_PAUSE_NS };

	/* A signal just before KVM_RUN would be lost but for immediate_exit, which KVM_RUN looks at itself. */
	for (unsigned i = 0; i < n; i++)
		__atomic_store_n(&vcpu[i].run->immediate_exit, 1, __ATOMIC_SEQ_CST);
	while (kick_all(vcpu, n))
		nanosleep(&pause, NULL);
	for (unsigned i = 0; i < n; i++) {
		if (vcpu[i].started)
			pthread_join(vcpu[i].thread, NULL);
		vcpu[i].started = false;
	}
}
