// SPDX-License-Identifier: BSD-2-Clause
/* The end of a run: is the memory as it must be, and what is the user told? */
#include "hv/vm_priv.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "guest/abi.h"
#include "hv/churn.h"
#include "hv/log.h"
#include "hv/ram.h"
#include "hv/report.h"

/* Every increment of guest and host must be in the pages: the sum is exact, or a store was lost. */
static void check_counters(struct vm *vm, uint64_t host, uint64_t discards)
{
	uint64_t sum = 0, want = vm->guest_increments + host;

	if (discards) {
		log_info("counter", "check",
			 "not done: %" PRIu64 " discards have dropped what was counted", discards);
		return;
	}
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

/* Truth about the comparison: which half of it this process may not make. */
static const char *what_was_not_seen(void)
{
	int err = ram_can_check();

	if (!err)
		return "";
	return err == -EPERM ? "; which frames the guest reaches is for CAP_SYS_ADMIN to see"
			     : "; what the guest reaches cannot be seen without /proc/self/pagemap";
}

/* Do the guest's tables say what the host says? One walk over the entries: cheap enough for every run with churn. */
static void check_memory(struct vm *vm, uint64_t leaves)
{
	struct ram_mismatch first;
	uint64_t wrong = ram_check(vm->ram, &first);

	if (wrong) {
		vm->stop.status = VM_HOST_FAILED;
		log_error("check", "compare",
			  "%" PRIu64
			  " entries of the guest's tables disagree with the host, first at "
			  "guest physical 0x%" PRIx64 ": %s; please report it",
			  wrong, first.gpa, first.what);
	} else if (vm->opts->check) {
		log_info("check", "compare",
			 "%" PRIu64 " entries of the guest's tables, all right%s", leaves,
			 what_was_not_seen());
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

/* A line a sample, if that was asked for; with statistics as JSON they are in there. */
static void say_working_set(struct vm *vm)
{
	const struct working_set *set = &vm->working_set;

	if (!vm->opts->working_set_ms || vm->opts->stats == STATS_JSON)
		return;
	for (size_t i = 0; i < set->count; i++)
		log_info("working-set", "use", "%.3f s: %" PRIu64 " pages (%.1f MiB)",
			 (double)set->sample[i].ns / 1e9, set->sample[i].pages,
			 (double)set->sample[i].pages / 256);
}

int vm_conclude(struct vm *vm, uint64_t run_ns)
{
	struct report report = { .run_ns = run_ns };
	struct ram_stats stats;

	ram_get_stats(vm->ram, &stats);
	report.host_increments = churn_increments(vm->churn);
	report.changes = churn_changes(vm->churn);
	report.guest_increments = vm->guest_increments;
	if (*vm->stop.component)
		log_error(vm->stop.component, "stop", "%s", vm->stop.reason);
	if (!vm->stop.status && vm->counted)
		check_counters(vm, report.host_increments, stats.discards);
	if (!vm->stop.status && (vm->opts->check || vm->m.churn.on))
		check_memory(vm, stats.leaves);
	if (vm->trace.path && trace_file_write(&vm->trace) && !vm->stop.status)
		vm->stop.status = VM_HOST_FAILED;
	/* Last: it leaves little to compare in the guest's reach. */
	working_set_take(&vm->working_set, vm->ram, run_ns, true);
	say_working_set(vm);
	report.working_set = &vm->working_set;
	report.status = exit_code(vm);
	if (vm->opts->stats != STATS_NONE)
		report_stats(&vm->m, &report, &stats, vm->opts->stats == STATS_JSON);
	return report.status;
}
