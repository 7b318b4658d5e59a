// SPDX-License-Identifier: BSD-2-Clause
/* From a struct machine to vCPUs that could run, and back. */
#include "hv/vm_priv.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "guest/abi.h"
#include "hv/churn.h"
#include "hv/cpu.h"
#include "hv/guest_fdt.h"
#include "hv/kvmio.h"
#include "hv/load.h"
#include "hv/log.h"
#include "hv/ram.h"

/* Pages that KVM itself wants on Intel; machine.h keeps regions out of there. */
#define KVM_IDENTITY_MAP_GPA 0xfffbc000ull
#define KVM_TSS_GPA	     0xfffbd000ul

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

/* The steps. Each returns 0 or -errno with the reason in @w. */

static int setup_trace(struct vm *vm, struct why *w)
{
	const struct vm_opts *o = vm->opts;
	const char *keep[4];
	unsigned n = 0;

	if (!o->trace)
		return 0;
	keep[n++] = vm->m.image;
	if (o->input)
		keep[n++] = o->input;
	if (o->machine)
		keep[n++] = o->machine;
	keep[n] = NULL;
	return trace_file_open(&vm->trace, o->trace, keep, w);
}

static int setup_signals(struct vm *vm, struct why *w)
{
	int err;

	vm->interrupt.stop = &vm->stop;
	if (!vm->opts->alone)
		return 0;
	err = interrupt_start(&vm->interrupt, &vm->stop);
	return err ? why_fail(w, err, "handlers: %s", strerror(-err)) : 0;
}

static int setup_input(struct vm *vm, struct why *w)
{
	uint64_t bytes = 0;
	int err = machine_open_input(&vm->m, vm->opts->input, &vm->input_fd, &bytes, w->text,
				     w->size);

	vm->input = (struct file_store){ .fd = vm->input_fd, .bytes = bytes };
	return err;
}

static void *slot_memory(struct vm *vm, enum ram_region region, const struct ram_slot *slot)
{
	return region == RAM_WORK && vm->opts->plain_work ? vm->opts->plain_work : slot->window;
}

/* The slot as setup_slots() has given it to KVM, with or without its log. */
static int kvm_log_dirty(void *ctx, enum ram_region region, bool on)
{
	struct vm *vm = ctx;
	struct ram_slot slot;
	uint32_t flags;

	if (!ram_slot(vm->ram, region, &slot))
		return -EINVAL;
	flags = (slot.read_only ? KVM_MEM_READONLY : 0) | (on ? KVM_MEM_LOG_DIRTY_PAGES : 0);
	return kvmio_set_slot(vm->fd, region, flags, slot.gpa, slot.size,
			      slot_memory(vm, region, &slot));
}

static int kvm_collect_dirty(void *ctx, enum ram_region region, uint64_t *bitmap)
{
	struct vm *vm = ctx;

	return kvmio_get_dirty_log(vm->fd, region, bitmap);
}

static int setup_memory(struct vm *vm, struct why *w)
{
	struct ram_opts opts = {
		.failed = memory_failed,
		.failed_ctx = vm,
		.kvm_log_dirty = kvm_log_dirty,
		.kvm_collect_dirty = kvm_collect_dirty,
		.kvm_ctx = vm,
	};
	int err;

	opts.spare_frames = vm->opts->spare_frames;
	if (vm->opts->work_store)
		opts.store[RAM_WORK] = *vm->opts->work_store;
	opts.store[RAM_INPUT] = (struct ram_store){ .fill = file_store_fill, .ctx = &vm->input };
	if (vm->m.work.present && vm->m.work_fill == FILL_STAMP) {
		err = stamp_store_init(&vm->stamps, vm->m.work.size / ABI_PAGE_SIZE);
		if (err)
			return why_fail(w, err, "no memory for the stamps of /work");
		vm->has_stamps = true;
		opts.store[RAM_WORK] = (struct ram_store){ .fill = stamp_store_fill,
							   .ctx = &vm->stamps };
	}
	err = churn_prepare();
	if (err)
		return why_fail(w, err, "handlers of SIGSEGV and SIGBUS: %s", strerror(-err));
	return ram_create(&vm->ram, &vm->m, &opts, w);
}

/* What every guest begins with: a fault each is a way through three threads. Pages that do not come now come when they are touched. */
static void show_boot_pages(struct vm *vm)
{
	static const uint64_t shown[] = { ABI_SCRATCH_GPA, ABI_HC_GPA, ABI_DT_GPA, ABI_TABLES_GPA };
	const uint64_t zero = 0;

	/* Stored to, by us as by the guest, so that these come for stores. */
	(void)ram_write(vm->ram, ABI_SCRATCH_GPA, &zero, sizeof(zero));
	for (unsigned i = 0; i < vm->m.cpus; i++)
		(void)ram_write(vm->ram, ABI_HC_GPA + i * (uint64_t)ABI_PAGE_SIZE, &zero,
				sizeof(zero));
	for (size_t i = 0; i < sizeof(shown) / sizeof(shown[0]); i++)
		ram_prefault(vm->ram, shown[i], 1);
	ram_prefault(vm->ram, vm->entry, 1);
}

static int setup_image(struct vm *vm, struct why *w)
{
	const char *name = vm->opts->input ? vm->opts->input : "";
	int err;

	err = load_image(vm->ram, &vm->m, vm->m.image, &vm->entry, w->text, w->size);
	if (err)
		return err;
	/* By the name the user gave: what the digest guest prints is then what xxh128sum would. */
	err = guest_fdt_write(vm->ram, &vm->m, vm->input.bytes, name);
	if (err)
		return why_fail(w, err, "the guest's device tree: %s", strerror(-err));
	err = cpu_setup_tables(vm->ram, &vm->m);
	if (err)
		return why_fail(w, err, "the guest's page tables: %s", strerror(-err));
	show_boot_pages(vm);
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
		int err;

		if (!ram_slot(vm->ram, i, &slot))
			continue;
		err = kvmio_set_slot(vm->fd, i, slot.read_only ? KVM_MEM_READONLY : 0, slot.gpa,
				     slot.size, slot_memory(vm, i, &slot));
		if (err)
			return why_fail(w, err, "KVM refuses memory at 0x%" PRIx64 ": %s", slot.gpa,
					strerror(-err));
	}
	return 0;
}

/* Before the first vCPU, or KVM refuses. */
static int setup_ring(const struct vm *vm, struct why *w)
{
	struct kvm_enable_cap ring = { .cap = KVM_CAP_DIRTY_LOG_RING,
				       .args = { vm->opts->plain_ring } };

	if (!vm->opts->plain_ring || !ioctl(vm->fd, KVM_ENABLE_CAP, &ring))
		return 0;
	return why_fail(w, -errno, "dirty ring: %s", strerror(errno));
}

static int setup_kvm(struct vm *vm, struct why *w)
{
	int err;

	vm->kvm = kvmio_open(w);
	if (vm->kvm < 0)
		return vm->kvm;
	vm->fd = kvmio_create_vm(vm->kvm);
	if (vm->fd < 0)
		return why_fail(w, vm->fd, "KVM_CREATE_VM: %s%s", strerror(-vm->fd),
				why_advice(vm->fd));
	err = place_kvm_pages(vm->fd);
	if (err)
		return why_fail(w, err, "KVM's own pages: %s", strerror(-err));
	err = setup_slots(vm, w);
	if (err)
		return err;
	if (vm->opts->plain_vm)
		*vm->opts->plain_vm = vm->fd;
	err = setup_ring(vm, w);
	if (err)
		return err;
	vm->shared = (struct vcpu_shared){
		.ram = vm->ram,
		.stop = &vm->stop,
		.hcalls = &vm_hcalls,
		.hcall_ctx = vm,
		.exited = vm_vcpu_exited,
		.exited_ctx = vm,
	};
	for (unsigned i = 0; i < vm->m.cpus; i++) {
		err = vcpu_create(&vm->vcpu[i], vm->kvm, vm->fd, i, &vm->shared);
		if (err)
			return why_fail(w, err, "vCPU %u: %s%s", i, strerror(-err),
					why_advice(err));
		vm->nvcpus++;
		err = cpu_init(vm->kvm, vm->vcpu[i].fd, &vm->m, i, vm->entry);
		if (err)
			return why_fail(w, err, "registers of vCPU %u: %s", i, strerror(-err));
	}
	if (vm->opts->plain_vcpu)
		*vm->opts->plain_vcpu = vm->vcpu[0].fd;
	vm->running = vm->nvcpus;
	return 0;
}

int vm_setup(struct vm *vm)
{
	/* @host: whatever goes wrong there, it is the host that cannot, not the user who asked for nonsense. */
	static const struct {
		const char *action;
		int (*run)(struct vm *vm, struct why *w);
		bool host;
	} step[] = {
		{ "trace", setup_trace, false }, { "signals", setup_signals, true },
		{ "input", setup_input, false }, { "memory", setup_memory, true },
		{ "load", setup_image, false },	 { "kvm", setup_kvm, true },
	};
	char text[MACHINE_WHY_SIZE] = "";
	struct why w = { .text = text, .size = sizeof(text) };

	for (size_t i = 0; i < sizeof(step) / sizeof(step[0]); i++) {
		int err = step[i].run(vm, &w);

		if (!err)
			continue;
		log_error("vm", step[i].action, "%s", text);
		return step[i].host ? VM_HOST_FAILED : machine_exit_status(err);
	}
	return 0;
}

void vm_undo_setup(struct vm *vm)
{
	for (unsigned i = 0; i < vm->nvcpus; i++)
		vcpu_destroy(&vm->vcpu[i]);
	if (vm->fd >= 0)
		close(vm->fd);
	vm->fd = -1; /* logs that end with ram_destroy() have nothing to end here any more */
	if (vm->kvm >= 0)
		close(vm->kvm);
	if (vm->ram)
		ram_destroy(vm->ram);
	if (vm->has_stamps)
		stamp_store_fini(&vm->stamps);
	if (vm->input_fd >= 0)
		close(vm->input_fd);
	interrupt_stop(&vm->interrupt);
	trace_file_close(&vm->trace);
}
