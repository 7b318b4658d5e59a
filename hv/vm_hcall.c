// SPDX-License-Identifier: BSD-2-Clause
/* What hypercalls do to a run. Each is called on the thread of its vCPU, with no lock held. */
#include "hv/vm_priv.h"

#include "guest/abi.h"
#include "mmu/base/trace.h"

static int hc_console(void *ctx, unsigned cpu, const char *buf, size_t len)
{
	struct vm *vm = ctx;

	(void)cpu;
	return console_write(&vm->console, buf, len);
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
	*ns = trace_now();
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

const struct hcall_ops vm_hcalls = {
	.console = hc_console,
	.phase = hc_phase,
	.clock = hc_clock,
	.wait = hc_wait,
};

void vm_vcpu_exited(void *ctx, unsigned id, unsigned code)
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
