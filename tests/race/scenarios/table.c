// SPDX-License-Identifier: BSD-2-Clause
/* The table alone: hardware that walks it, faults that install, and whoever splits, collapses, zaps or swaps its root. */
#include "mmu/shadow/ept.h"
#include "tests/race/scenario.h"

static struct {
	struct ept ept;
	struct rwlock mmu_lock;
	struct ept_page *fresh;
	bool stored; /* by hardware, to the page of the scenario */
	bool told;   /* the table said that a store may have been */
	uint64_t seq,
		open; /* brackets that are over; that are open. Under mmu_lock, as in a shadow */
} w;

#define PAGE  5
#define LARGE 512

static void dirtied(void *ctx, gfn_t gfn, uint64_t npages)
{
	(void)ctx;
	w.told |= gfn <= PAGE && PAGE < gfn + npages;
}

static void up(void)
{
	const struct ept_opts opts = { .ad = true, .dirtied = dirtied };

	w.stored = w.told = false;
	w.seq = w.open = 0;
	rwlock_init(&w.mmu_lock);
	if (ept_init(&w.ept, &opts) || !(w.fresh = ept_root_alloc(&w.ept)))
		explore_fail("no memory");
}

/* Present, writable, neither used nor written so far. */
static void install_clean(gfn_t gfn, uint64_t n, int level)
{
	uint64_t leaf = ept_make_leaf(&w.ept, gfn, true, level) & ~(SPTE_ACCESSED | SPTE_DIRTY);
	struct ept_page *root = ept_root(&w.ept);
	bool done;

	if (ept_populate(&w.ept, root, gfn, gfn + n, level))
		explore_fail("no memory");
	done = level == SPTE_LEVEL_4K ? ept_install_run(&w.ept, root, gfn, n, leaf) == n
				      : ept_install(&w.ept, root, gfn, level, SPTE_NONE, leaf);
	if (!done)
		explore_fail("the page is not installed");
}

static void down(void)
{
	ept_zap(&w.ept, 0, LARGE);
	if (w.fresh)
		ept_root_free(&w.ept, w.fresh);
	ept_fini(&w.ept);
	rwlock_fini(&w.mmu_lock);
}

static bool walk(bool write)
{
	bool may;

	sync_rcu_read_lock();
	may = ept_walk(&w.ept, PAGE, write, NULL) != SPTE_NONE;
	sync_rcu_read_unlock();
	return may;
}

static void store(void *ctx)
{
	(void)ctx;
	w.stored = walk(true);
	explore_say("the vCPU's store %s", w.stored ? "goes through: the entry gets D" : "faults");
}

/* Does somebody still know of the store? */
static void check_dirty(void *ctx)
{
	uint64_t spte = ept_peek(&w.ept, PAGE, NULL);

	(void)ctx;
	if (w.stored && !w.told && !spte_is_dirty(spte))
		explore_fail("the page was stored to, and nothing says so any more");
	down();
}

/* ---- Zap beside hardware ---- */

static void m16_setup(void *ctx)
{
	(void)ctx;
	up();
	install_clean(PAGE, 1, SPTE_LEVEL_4K);
}

static void m16_zap(void *ctx)
{
	(void)ctx;
	rwlock_write_acquire(&w.mmu_lock);
	ept_zap(&w.ept, PAGE, PAGE + 1);
	rwlock_write_release(&w.mmu_lock);
	explore_say("the kernel has zapped page 5%s", w.told ? ", which was dirty" : "");
}

const struct race_scenario m16_hardware = {
	.name = "m16-hardware",
	.rows = "M16 A15",
	.title = "A zap beside hardware that sets D",
	.question = "Who zaps holds mmu_lock for writing, so nobody installs. May it read the entry, see whether the page is "
		    "dirty, and then overwrite it?",
	.lesson = "Hardware takes no lock: it set D between the two, and the page's contents are dropped as clean. What hardware "
		  "may still change is exchanged.",
	.variant = {
		{ "exchange", RACE_PASS, 0, "One exchange takes the entry, and says what it was." },
		{ "M16", RACE_VIOLATION, 16, "Load, then store (ba3a6120a4e7)." },
	},
	.program = {
		.setup = m16_setup,
		.finish = check_dirty,
		.threads = 2,
		.thread = { { "kernel: zaps page 5", m16_zap }, { "vCPU: stores to page 5", store } },
	},
};

/* ---- Split ---- */

static void split_setup(void *ctx)
{
	(void)ctx;
	up();
	install_clean(0, LARGE, SPTE_LEVEL_2M);
}

static void split(void *ctx)
{
	int rc;

	(void)ctx;
	sync_rcu_read_lock();
	rwlock_read_acquire(&w.mmu_lock);
	rc = ept_split(&w.ept, PAGE);
	rwlock_read_release(&w.mmu_lock);
	sync_rcu_read_unlock();
	explore_say(rc ? "the entry has changed: the split is off"
		       : "the kernel has split the 2M entry");
}

static void split_store(void *ctx)
{
	store(ctx);
	if (!w.stored)
		explore_fail("the page was mapped all the time, and the store faults");
}

const struct race_scenario m16_split = {
	.name = "m16-split",
	.rows = "M16 A15",
	.title = "A 2M entry is split under a vCPU",
	.question = "A 2M entry is to become 512 of 4K. The vCPU goes on meanwhile, and nobody flushes. What may it see?",
	.lesson = "A table is linked when it says all that the large entry said. Linked first and filled later it says for a while "
		  "that nothing is mapped: a store faults, and what its fault installs is overwritten.",
	.variant = {
		{ "off-line", RACE_PASS, 0,
		  "The table is filled, then one compare-and-swap puts it there; it fails if D was set meanwhile." },
		{ "on-line", RACE_VIOLATION, 162, "The table is linked, then filled." },
	},
	.program = {
		.setup = split_setup,
		.finish = check_dirty,
		.threads = 2,
		.thread = { { "kernel: splits", split }, { "vCPU: stores to page 5", split_store } },
	},
};

/* ---- Collapse ---- */

static void collapse_setup(void *ctx)
{
	(void)ctx;
	up();
	install_clean(0, LARGE, SPTE_LEVEL_4K);
}

static void collapse(void *ctx)
{
	bool done;

	(void)ctx;
	rwlock_write_acquire(&w.mmu_lock);
	done = ept_collapse(&w.ept, 0, SPTE_LEVEL_2M);
	rwlock_write_release(&w.mmu_lock);
	explore_say(done ? "the kernel has made one entry of 512" : "the entries are not alike");
}

const struct race_scenario m16_collapse = {
	.name = "m16-collapse",
	.rows = "M16 A15",
	.title = "512 entries become one under a vCPU",
	.question = "The table under a 2M entry is read, and one entry of 2M, dirty if one of them was, takes its place. A vCPU "
		    "may be in the middle of a walk through that table. What becomes of its D bit?",
	.lesson = "Whoever is in the table already does not see that it is unlinked. It sets D in an entry that has been read, "
		  "and that is gone with the table.",
	.variant = {
		{ "frozen", RACE_PASS, 0, "FROZEN above, then each entry is exchanged for FROZEN: what comes later finds nothing." },
		{ "unfrozen", RACE_VIOLATION, 163, "The entries are read, and stay." },
	},
	.program = {
		.setup = collapse_setup,
		.finish = check_dirty,
		.threads = 2,
		.thread = { { "kernel: collapses", collapse }, { "vCPU: stores to page 5", store } },
	},
	.bound = 2,
};

/* ---- Collapse beside a change of one page's rights ---- */

static void a7_protect(void *ctx)
{
	(void)ctx;
	rwlock_write_acquire(&w.mmu_lock);
	ept_wrprotect(&w.ept, PAGE, PAGE + 1, EPT_WP_HOST | EPT_WP_PART);
	rwlock_write_release(&w.mmu_lock);
	explore_say("page 5 is read-only now");
	store(ctx);
	if (w.stored)
		explore_fail("page 5 is read-only, and was stored to");
}

static void a7_finish(void *ctx)
{
	a7_protect(ctx);
	down();
}

const struct race_scenario a7_collapse = {
	.name = "a7-collapse",
	.rows = "A7 M17",
	.title = "A huge entry beside a change of the rights of one page under it",
	.question = "512 pages are contiguous, and a huge entry over them is being made, while one of them becomes read-only. "
		    "Are contiguous frames enough?",
	.lesson = "The entry has one set of rights for all. Taken from the first page it gives back what was just taken from the sixth.",
	.variant = {
		{ "rights", RACE_PASS, 0,
		  "Equal rights of all, looked at under the lock that changes of rights take; to protect one page later splits." },
		{ "first-page", RACE_VIOLATION, 174, "The first page's rights are taken for all." },
	},
	.program = {
		.setup = collapse_setup,
		.finish = a7_finish,
		.threads = 2,
		.thread = { { "kernel: collapses", collapse }, { "kernel: protects page 5", a7_protect } },
	},
	.bound = 2,
};

/* ---- Install of a large entry beside an invalidation ---- */

static void m7_bracket(void *ctx)
{
	(void)ctx;
	rwlock_write_acquire(&w.mmu_lock);
	w.open++;
	ept_zap(&w.ept, PAGE, PAGE + 1);
	rwlock_write_release(&w.mmu_lock);
	explore_say("start: page 5 is being taken away");
	if (walk(false))
		explore_fail("page 5 is being taken away, and can be reached");
	rwlock_write_acquire(&w.mmu_lock);
	w.seq++;
	w.open--;
	rwlock_write_release(&w.mmu_lock);
	explore_say("end");
}

static void m7_fault(void *ctx)
{
	struct ept_page *root;
	uint64_t seq;
	int level;

	(void)ctx;
	sync_rcu_read_lock();
	rwlock_read_acquire(&w.mmu_lock);
	seq = w.seq;
	rwlock_read_release(&w.mmu_lock);
	explore_say("the vCPU faults on page 0; the host has 512 pages in a row");
	root = ept_root(&w.ept);
	if (ept_populate(&w.ept, root, 0, 1, SPTE_LEVEL_2M))
		explore_fail("no memory");
	rwlock_read_acquire(&w.mmu_lock);
	/* "page": is page 0, which faulted, being invalidated? It is not, and never was. */
	if (race_variant_is("page") || (!w.open && w.seq == seq)) {
		level = ept_hole_level(root, 0);
		if (level >= SPTE_LEVEL_2M)
			ept_install(&w.ept, root, 0, SPTE_LEVEL_2M, SPTE_NONE,
				    ept_make_leaf(&w.ept, 0, true, SPTE_LEVEL_2M));
		explore_say("the fault installs one entry of 2M");
	} else
		explore_say("the fault must retry");
	rwlock_read_release(&w.mmu_lock);
	sync_rcu_read_unlock();
}

static void m7_setup(void *ctx)
{
	(void)ctx;
	up();
}

static void m7_finish(void *ctx)
{
	(void)ctx;
	down();
}

const struct race_scenario m7_large = {
	.name = "m7-large",
	.rows = "A32 M7",
	.title = "A fault installs 2M beside the invalidation of 4K in it",
	.question = "The kernel's retry check asks for the faulting page alone, and is right for huge pages only because every "
		    "change of size is told for the whole 2M. What if it is not?",
	.lesson = "A large entry maps 512 pages: the check is about all of them.",
	.variant = {
		{ "block", RACE_PASS, 0, "The check covers what is installed." },
		{ "page", RACE_VIOLATION, 0,
		  "It covers the page that faulted. This fault is the scenario's own, a model of the rule; the library's is m3-large-install/M7." },
	},
	.program = {
		.setup = m7_setup,
		.finish = m7_finish,
		.threads = 2,
		.thread = { { "kernel: takes page 5 away", m7_bracket }, { "vCPU: loads page 0", m7_fault } },
	},
};

/* ---- Roots ---- */

static void swap_root(void *ctx)
{
	struct ept_page *old;

	(void)ctx;
	rwlock_write_acquire(&w.mmu_lock);
	ept_root_swap(&w.ept, w.fresh, &old);
	w.fresh = NULL;
	rwlock_write_release(&w.mmu_lock);
	explore_say("the root is another, empty one");
}

static void fail_on_page(void *ctx, gfn_t gfn, uint64_t spte, int level)
{
	(void)ctx;
	(void)gfn;
	(void)spte;
	(void)level;
	explore_fail("page 5 is gone, and a root still has its frame");
}

static void m14_bracket(void *ctx)
{
	(void)ctx;
	rwlock_write_acquire(&w.mmu_lock);
	ept_zap(&w.ept, PAGE, PAGE + 1);
	w.seq++;
	explore_say("page 5 is taken away");
	ept_for_each(&w.ept, PAGE, PAGE + 1, fail_on_page, NULL);
	ept_for_each_invalid(&w.ept, PAGE, PAGE + 1, fail_on_page, NULL);
	rwlock_write_release(&w.mmu_lock);
}

static void m14_fault(void *ctx)
{
	struct ept_page *root;
	uint64_t seq;

	(void)ctx;
	sync_rcu_read_lock();
	rwlock_read_acquire(&w.mmu_lock);
	seq = w.seq;
	rwlock_read_release(&w.mmu_lock);
	root = ept_root(&w.ept);
	if (ept_populate(&w.ept, root, PAGE, PAGE + 1, SPTE_LEVEL_4K))
		explore_fail("no memory");
	rwlock_read_acquire(&w.mmu_lock);
	if (w.seq == seq && root == ept_root(&w.ept)) {
		ept_install(&w.ept, root, PAGE, SPTE_LEVEL_4K, SPTE_NONE,
			    ept_make_leaf(&w.ept, PAGE, true, SPTE_LEVEL_4K));
		explore_say("the fault has installed page 5");
		if (ept_peek(&w.ept, PAGE, NULL) == SPTE_NONE)
			explore_fail(
				"the fault is done, and the vCPU's root does not have the page");
	} else
		explore_say("the fault must retry");
	rwlock_read_release(&w.mmu_lock);
	sync_rcu_read_unlock();
}

const struct race_scenario m14_roots = {
	.name = "m14-roots",
	.rows = "M14",
	.title = "A root is swapped beside a fault and an invalidation",
	.question = "To forget a whole table at once, its root is swapped for an empty one; the old one is torn down when there is "
		    "time. Who has to know of the old one until then?",
	.lesson = "It has frames, and they may be freed before it is: until its last entry is gone every invalidation goes there, too. "
		  "And a fault that found it must not finish in it.",
	.variant = {
		{ "listed", RACE_PASS, 0, "Zaps go through invalid roots as well; a fault compares the root under the lock." },
		{ "M14", RACE_VIOLATION, 143, "Zaps pass over invalid roots (d62007edf01f)." },
	},
	.program = {
		.setup = m7_setup,
		.finish = m7_finish,
		.threads = 3,
		.thread = { { "kernel: swaps the root", swap_root },
			    { "vCPU: faults on page 5", m14_fault },
			    { "kernel: takes page 5 away", m14_bracket } },
	},
	.bound = 2,
};

/* ---- The life of a table ---- */

static void life_kernel(void *ctx)
{
	struct ept_page *old = ept_root(&w.ept);
	bool dead;

	swap_root(ctx);
	do {
		sync_rcu_read_lock();
		rwlock_read_acquire(&w.mmu_lock);
		dead = ept_root_teardown(&w.ept, old, 8);
		rwlock_read_release(&w.mmu_lock);
		sync_rcu_read_unlock();
	} while (!dead);
	explore_say("the old tables are dead");
	ept_reap(&w.ept);
	explore_say("and free");
}

const struct race_scenario m5_table_life = {
	.name = "m5-table-life",
	.rows = "M5 M14",
	.title = "A fault walks tables that are torn down",
	.question = "Faults walk the table, and link what is missing, before they take a lock. Beside them an old root's tables are "
		    "unlinked, under the lock for reading. What does the fault find, and when may a table be freed?",
	.lesson = "Who is in a table must find it until he has left his section, and must find nothing in it to build upon.",
	.variant = {
		{ "grace", RACE_PASS, 0, "Entries become FROZEN, which nobody overwrites; tables are freed after a grace period." },
		{ "at-once", RACE_VIOLATION, 51, "Tables are freed when they are unlinked (47b0c2e4c220)." },
		{ "thawed", RACE_VIOLATION, 144, "The fault takes FROZEN for nothing, and links a table over it." },
	},
	.program = {
		.setup = m16_setup,
		.finish = m7_finish,
		.threads = 2,
		.thread = { { "kernel: tears a root down", life_kernel }, { "vCPU: faults on page 5", m14_fault } },
	},
	.bound = 2,
};
