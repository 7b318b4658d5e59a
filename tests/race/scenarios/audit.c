// SPDX-License-Identifier: BSD-2-Clause
/* System calls of others on a host view with an audit: what happens between the call, the reading of its event, and the following. */
#include <errno.h>
#include <sys/mman.h>

#include "mmu/host/hostmm_actors.h"
#include "tests/race/events.h"
#include "tests/race/scenario.h"
#include "tests/race/world.h"

#define SHOWN(value) ((unsigned long long)(value))

#define READER                                        \
	{                                             \
		"userfaultfd: is read", events_reader \
	}
#define FOLLOWER                                  \
	{                                         \
		"audit: follows", events_follower \
	}

static struct {
	struct lock lock;
	struct cond changed;
	bool is_over; /* under lock: the call */
} call;

static void call_begin(void)
{
	lock_init(&call.lock);
	cond_init(&call.changed);
	call.is_over = false;
}

static void call_is_over(void)
{
	lock_acquire(&call.lock);
	call.is_over = true;
	cond_broadcast(&call.changed);
	lock_release(&call.lock);
}

static void wait_for_call(void)
{
	lock_acquire(&call.lock);
	while (!call.is_over)
		cond_wait(&call.changed, &call.lock);
	lock_release(&call.lock);
}

static void *page_at(uint64_t page)
{
	return (void *)(uintptr_t)world_page(page);
}

/* ---- C2 ---- */

static int try_device_load(const char *who, uint64_t *value)
{
	int rc = device_read(world.device[0], world_page(0), value, sizeof(*value));

	if (rc)
		explore_say("%s gets an error", who);
	else
		explore_say("%s reads %llu", who, SHOWN(*value));
	return rc;
}

static void c2_setup(void *ctx)
{
	(void)ctx;
	world_setup_audit(2, "kvm");
	host_store("host thread", 0, 1);
	(void)view_load("host thread", 0);
	(void)device_load(0, "guest", 0);
}

static void c2_unmap(void *ctx)
{
	uint64_t value = 0;

	(void)ctx;
	explore_say("host code calls munmap() of page 0");
	munmap(page_at(0), PAGE_SIZE);
	explore_say("munmap() has returned");
	hostmm_audit_wait(world.mm);
	if (try_device_load("guest, once that is followed,", &value) != -EFAULT)
		explore_fail("the guest reads %llu from memory that is unmapped", SHOWN(value));
}

static void c2_guest(void *ctx)
{
	uint64_t value = 0;

	(void)ctx;
	if (!try_device_load("guest, meanwhile,", &value) && value != 1)
		explore_fail("the guest reads %llu, which page 0 has never held", SHOWN(value));
}

static void finish(void *ctx)
{
	(void)ctx;
	world_finish();
}

const struct race_scenario c2_unmap_fault = {
	.name = "c2-unmap-fault",
	.rows = "C2 C5",
	.title = "munmap() by code that knows nothing of umbra",
	.question = "userfaultfd tells of an munmap() when it is over. A guest faults on the page meanwhile. What may it find, and "
		    "what when the call has been followed?",
	.lesson = "Until then the guest may have the old frame, which is the page's still. Afterwards there must be none; and who waits for that must wait for what is in hand, not only for what is in the log.",
	.variant = {
		{ "safe", RACE_PASS, 0, "The page loses its contents, in a bracket." },
		{ "contents", RACE_VIOLATION, 421, "It loses its rights only." },
		{ "in-hand", RACE_VIOLATION, 453, "What has been taken out of the log counts as followed." },
	},
	.program = {
		.setup = c2_setup,
		.finish = finish,
		.threads = 4,
		.thread = { { "host code", c2_unmap }, { "guest", c2_guest }, READER, FOLLOWER },
		.daemons = 2,
	},
	.bound = 1,
};

/* ---- C3 ---- */

static void c3_setup(void *ctx)
{
	(void)ctx;
	call_begin();
	world_setup_audit(3, NULL);
	view_store("host thread", 1, 1);
}

static void c3_map_over(void *ctx)
{
	_Atomic uint64_t *mine = mmap(page_at(1), PAGE_SIZE, PROT_READ | PROT_WRITE,
				      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);

	(void)ctx;
	atomic_store(mine, 77);
	explore_say("host code has mapped memory of its own over page 1, and stored 77 there");
	call_is_over();
}

static void c3_operate(void *ctx)
{
	int rc;

	(void)ctx;
	wait_for_call();
	explore_say("umbra zaps pages 0 to 2, moves them to other frames, and shows page 1");
	must(hostmm_zap(world.mm, world_page(0), world_page(3)), "hostmm_zap()");
	must(hostmm_migrate(world.mm, world_page(0), world_page(3), HOSTMM_MIGRATE_AWAY),
	     "hostmm_migrate()");
	rc = hostmm_prefault(world.mm, world_page(1), world_page(2), false);
	if (rc != -EFAULT)
		explore_fail("page 1 is shown where it is no more: %d", rc);
}

static void c3_finish(void *ctx)
{
	const _Atomic uint64_t *mine = page_at(1);

	(void)ctx;
	if (atomic_load(mine) != 77)
		explore_fail("there is %llu in memory of others, instead of 77",
			     SHOWN(atomic_load(mine)));
	world_finish();
	munmap(page_at(1), PAGE_SIZE);
}

const struct race_scenario c3_stranger = {
	.name = "c3-stranger",
	.rows = "C3",
	.title = "Memory of others where a page was",
	.question = "Host code maps memory of its own over a page of a view. userfaultfd tells of that, and the call returns when that has "
		    "been read. It takes time to follow it. Meanwhile umbra works on the page.",
	.lesson = "Umbra's call meets the memory of somebody else. What has been read is marked before the caller goes on, under the "
		  "lock that messages are read under, and every call passes over what is marked.",
	.variant = {
		{ "safe", RACE_PASS, 0, "Pages are marked when the event is read." },
		{ "late", RACE_VIOLATION, 431, "Not when it is read." },
		{ "unheeded", RACE_VIOLATION, 433, "They are marked, and calls on views do not heed it." },
		{ "unlocked", RACE_VIOLATION, 435, "Marks are looked at without the lock: the event has been read, and nobody has marked yet." },
	},
	.program = {
		.setup = c3_setup,
		.finish = c3_finish,
		.threads = 4,
		.thread = { { "host code", c3_map_over }, { "umbra", c3_operate }, READER, FOLLOWER },
		.daemons = 2,
	},
	.bound = 1,
};
