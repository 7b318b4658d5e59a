// SPDX-License-Identifier: BSD-2-Clause
/*
 * Raw system calls on the host view of a region with an audit, under each source that has events: what becomes of the pages, for the
 * host, for a guest, and for what others have put in their place. docs/notifier-sources.md says which test shows what.
 */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "mmu/host/hostmm_actors.h"
#include "tests/rig.h"
#include "tests/test.h"

#define BOTH (HOSTMM_PROT_READ | HOSTMM_PROT_WRITE)

static struct rig r;

static void down(void)
{
	rig_down(&r);
}

static void up(enum hostmm_source source, uint64_t pages)
{
	rig_up(&r, &(struct rig_opts){ .source = source,
				       .audit = true,
				       .pages = pages,
				       .pool_frames = 8 * pages + 64,
				       .canary = true });
}

/* A test under each of the two sources. */
#define ATEST(name)                               \
	static void name(void);                   \
	UTEST(audit, name##_uffd, .fini = down)   \
	{                                         \
		up(HOSTMM_SOURCE_UFFD, 64);       \
		name();                           \
	}                                         \
	UTEST(audit, name##_sigbus, .fini = down) \
	{                                         \
		up(HOSTMM_SOURCE_SIGBUS, 64);     \
		name();                           \
	}                                         \
	static void name(void)

static struct hostmm_stats stats(void)
{
	struct hostmm_stats s;

	hostmm_audit_wait(r.mm);
	hostmm_get_stats(r.mm, &s);
	return s;
}

static void *at(uint64_t page)
{
	return r.host + (page << PAGE_SHIFT);
}

static uint64_t load(char *view, uint64_t page)
{
	uint64_t value = 0;

	check(rig_try_load(rig_word(view, page, 0), &value));
	return value;
}

static void store(char *view, uint64_t page, uint64_t value)
{
	check(rig_try_store(rig_word(view, page, 0), value));
}

static void stamp(uint64_t page, uint64_t end)
{
	for (; page < end; page++)
		store(r.host, page, 100 + page);
}

/* What a guest gets: the page is brought into its table, or -errno. */
static int guest_fault(uint64_t page)
{
	return shadow_fault(r.shadow, RIG_GFN + page, false);
}

static void check_gone(uint64_t page)
{
	uint64_t value;

	check_eq(guest_fault(page), -EFAULT);
	check_eq(hostmm_read(r.mm, rig_hva(&r, page), &value, sizeof(value)), -EFAULT);
}

static void check_there(uint64_t page, uint64_t want)
{
	check_eq(rig_load(rig_word(r.guest, page, 0)), want);
	check_eq(load(r.host, page), want);
}

static char *anon(uint64_t pages)
{
	char *p = mmap(NULL, pages << PAGE_SHIFT, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	check(p != MAP_FAILED);
	return p;
}

/* ---- madvise ---- */

ATEST(a_discard_keeps_contents)
{
	struct hostmm_stats s;

	stamp(0, 8);
	check_there(3, 103);
	check_eq(madvise(at(2), 4 * PAGE_SIZE, MADV_DONTNEED), 0);
	s = stats();
	check_eq(s.raw_removes, 1);
	check_eq(s.raw_unmaps + s.raw_remaps, 0);
	for (uint64_t page = 0; page < 8; page++)
		check_there(page, 100 + page);
}

ATEST(what_is_removed_is_zeros)
{
	uint64_t value = 1;

	stamp(0, 8);
	for (uint64_t page = 0; page < 8; page++)
		check_there(page, 100 + page);
	check_eq(madvise(at(2), 4 * PAGE_SIZE, MADV_REMOVE), 0);
	check_eq(stats().raw_removes, 1);
	check_eq(rig_load(rig_word(r.guest, 2, 0)), 0);
	check_eq(load(r.host, 3), 0);
	check_eq(hostmm_read(r.mm, rig_hva(&r, 4), &value, sizeof(value)), 0);
	check_eq(value, 0);
	rig_guest_store(&r, rig_word(r.guest, 5, 0), 55);
	check_there(5, 55);
	check_there(1, 101);
	check_there(6, 106);
	check_eq(r.host_fatal + r.window_fatal, 0);
}

/* A page that is away has a VMA, and so an event, of its own. It is watched like others (field: discard by remapping). */
ATEST(a_page_that_was_repointed_is_watched)
{
	stamp(0, 8);
	check_eq(hostmm_migrate(r.mm, rig_hva(&r, 3), rig_hva(&r, 4), HOSTMM_MIGRATE_AWAY), 0);
	check_there(3, 103);
	check_eq(madvise(at(3), PAGE_SIZE, MADV_DONTNEED), 0);
	check_eq(stats().raw_removes, 1);
	check_there(3, 103);
	check_eq(munmap(at(3), PAGE_SIZE), 0);
	check_eq(stats().raw_unmaps, 1);
	check_gone(3);
	check_there(4, 104);
}

/* ---- munmap ---- */

ATEST(what_is_unmapped_is_gone)
{
	uint64_t used;

	stamp(0, 8);
	for (uint64_t page = 0; page < 8; page++)
		check_there(page, 100 + page);
	used = pool_used(r.pool);
	check_eq(munmap(at(2), 4 * PAGE_SIZE), 0);
	check_eq(stats().raw_unmaps, 1);
	check_eq(pool_used(r.pool), used - 4);
	/* What the host finds there is not ours to say: the system may have given the place to somebody. */
	for (uint64_t page = 2; page < 6; page++)
		check_gone(page);
	check_there(1, 101);
	check_there(6, 106);
	/* As after munmap(): there is nothing to give rights to, or to move. */
	check_eq(hostmm_protect(r.mm, rig_hva(&r, 2), rig_hva(&r, 3), BOTH), -EINVAL);
	check_eq(hostmm_discard(r.mm, rig_hva(&r, 1), rig_hva(&r, 7)), 0);
	check_gone(3);
	check_there(1, 0);
	check_eq(r.host_fatal + r.window_fatal, 0);
}

ATEST(a_region_without_pages_is_gone)
{
	hva_t hva;
	uint64_t value;

	check_eq(hostmm_map(r.mm, 8, BOTH, NULL, NULL, &hva), 0);
	check(rig_try_store((_Atomic uint64_t *)hva, 1));
	check_eq(munmap((void *)hva, 8 * PAGE_SIZE), 0);
	check_eq(stats().raw_unmaps, 1);
	check_eq(hostmm_read(r.mm, hva, &value, sizeof(value)), -EFAULT);
	check_eq(hostmm_unmap(r.mm, hva), -EINVAL);
	check_eq(pool_used(r.pool), 0);
}

/* What others map where a region was is theirs, whatever is done to the region. */
static void check_stranger(uint64_t page)
{
	hva_t start = rig_hva(&r, 0), end = rig_hva(&r, 64);
	char *mine = at(page);
	struct hostmm *child;
	const struct hostmm_opts opts = { .fault_threads = 1 };

	memset(mine, 0x5a, 2 * PAGE_SIZE);
	check(stats().raw_unmaps);
	check_eq(hostmm_wrprotect(r.mm, start, end), 0);
	check_eq(hostmm_zap(r.mm, start, end), 0);
	check_eq(hostmm_migrate(r.mm, start, end, HOSTMM_MIGRATE_AWAY), 0);
	check_there(page - 1, 100 + page - 1);
	check_eq(hostmm_migrate(r.mm, start, end, HOSTMM_MIGRATE_HOME), 0);
	check_eq(hostmm_protect(r.mm, start, end, HOSTMM_PROT_READ), -ENOMEM);
	check_eq(hostmm_move(r.mm, start, rig_hva(&r, 4), rig_hva(&r, page - 2)), -EINVAL);
	check_eq(hostmm_collapse(r.mm, start), -EINVAL);
	check_eq(hostmm_fork(r.mm, &opts, &child), 0);
	hostmm_destroy(child);
	check_eq(hostmm_truncate(r.mm, start, 4), 0);
	check_eq(hostmm_truncate(r.mm, start, 64), 0);
	check_gone(page);
	check_eq(shadow_remove_slot(r.shadow, 1), 0);
	check_eq(hostmm_unmap(r.mm, start), 0);
	for (unsigned i = 0; i < 2 * PAGE_SIZE; i++)
		check_eq(mine[i], 0x5a);
	check_eq(munmap(mine, 2 * PAGE_SIZE), 0);
}

ATEST(what_others_map_after_munmap_is_theirs)
{
	stamp(0, 16);
	check_eq(munmap(at(8), 2 * PAGE_SIZE), 0);
	check(mmap(at(8), 2 * PAGE_SIZE, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) == at(8));
	check_stranger(8);
}

ATEST(what_others_map_over_it_is_theirs)
{
	stamp(0, 16);
	check(mmap(at(8), 2 * PAGE_SIZE, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == at(8));
	check_stranger(8);
}

/* A region where another one has been, a part of which is there still. */
ATEST(a_region_in_the_hole_of_another)
{
	uint64_t value = 7, got;
	hva_t hva = 0;
	char *plug;

	stamp(0, 64);
	check_eq(munmap(at(8), 16 * PAGE_SIZE), 0);
	check_eq(stats().raw_unmaps, 1);
	/* The system gives addresses away from the top: take what is above. */
	for (unsigned i = 0; i < 64 && hva != rig_hva(&r, 8); i++) {
		plug = anon(16);
		if (plug == at(8)) {
			munmap(plug, 16 * PAGE_SIZE);
			check_eq(hostmm_map(r.mm, 16, BOTH, NULL, NULL, &hva), 0);
		}
	}
	if (hva != rig_hva(&r, 8))
		test_skip("the system does not give the address away again");
	check_eq(hostmm_write(r.mm, hva, &value, sizeof(value)), 0);
	check_eq(load(r.host, 8), 7);
	check_there(7, 107);
	check_there(24, 124);
	check_eq(hostmm_discard(r.mm, rig_hva(&r, 0), rig_hva(&r, 64)), 0);
	check_eq(load(r.host, 8), 7);
	check_eq(hostmm_read(r.mm, hva, &got, sizeof(got)), 0);
	check_eq(got, 7);
	check_eq(hostmm_unmap(r.mm, hva), 0);
	r.damaged = true;
}

/* ---- mremap ---- */

ATEST(what_is_moved_goes_with_its_contents)
{
	char *to = anon(4);
	struct memslot slot;
	uint64_t value;
	char *guest;

	stamp(0, 8);
	for (uint64_t page = 0; page < 8; page++)
		check_there(page, 100 + page);
	check_eq(hostmm_migrate(r.mm, rig_hva(&r, 4), rig_hva(&r, 5), HOSTMM_MIGRATE_AWAY), 0);
	check(mremap(at(2), 2 * PAGE_SIZE, 2 * PAGE_SIZE, MREMAP_MAYMOVE | MREMAP_FIXED, to) == to);
	/* At once, whoever has followed what: it waits. */
	check_eq(load(to, 1), 103);
	check_eq(load(to, 0), 102);
	check_eq(stats().raw_remaps, 1);
	check_eq(stats().raw_unmaps, 1);
	check_gone(2);
	check_gone(3);
	check_there(1, 101);
	check_there(4, 104);
	/* It is a region like others. */
	check_eq(shadow_add_slot(r.shadow, 2, 0x10000, 2, (hva_t)to, 0), 0);
	check(shadow_slot(r.shadow, 0x10000, &slot));
	guest = window_base(&slot);
	check_eq(rig_load(rig_word(guest, 0, 0)), 102);
	store(to, 0, 7);
	check_eq(rig_load(rig_word(guest, 0, 0)), 7);
	rig_guest_store(&r, rig_word(guest, 1, 0), 8);
	check_eq(load(to, 1), 8);
	check_eq(hostmm_wrprotect(r.mm, (hva_t)to, (hva_t)to + 2 * PAGE_SIZE), 0);
	store(to, 1, 9);
	check_eq(hostmm_migrate(r.mm, (hva_t)to, (hva_t)to + PAGE_SIZE, HOSTMM_MIGRATE_HOME), 0);
	check_eq(load(to, 0), 7);
	check_eq(hostmm_read(r.mm, (hva_t)to + PAGE_SIZE, &value, sizeof(value)), 0);
	check_eq(value, 9);
	check_eq(shadow_remove_slot(r.shadow, 2), 0);
	check_eq(hostmm_unmap(r.mm, (hva_t)to), 0);
	check_eq(r.host_fatal + r.window_fatal, 0);
	check_eq(munmap(to + 2 * PAGE_SIZE, 2 * PAGE_SIZE), 0);
}

ATEST(what_was_read_only_stays_so)
{
	char *to = anon(2);

	stamp(0, 8);
	check_eq(hostmm_protect(r.mm, rig_hva(&r, 2), rig_hva(&r, 4), HOSTMM_PROT_READ), 0);
	check(mremap(at(2), 2 * PAGE_SIZE, 2 * PAGE_SIZE, MREMAP_MAYMOVE | MREMAP_FIXED, to) == to);
	check_eq(stats().raw_remaps, 1);
	check_eq(load(to, 0), 102);
	check(!rig_try_store(rig_word(to, 0, 0), 1));
	check_eq(hostmm_protect(r.mm, (hva_t)to, (hva_t)to + PAGE_SIZE, BOTH), 0);
	store(to, 0, 1);
	check(!rig_try_store(rig_word(to, 1, 0), 1));
	check_eq(hostmm_unmap(r.mm, (hva_t)to), 0);
}

/* Inside the region, twice: what was there is lost, and the second move takes what the first has brought. */
ATEST(moves_inside_a_region)
{
	stamp(0, 32);
	for (uint64_t page = 0; page < 32; page++)
		check_there(page, 100 + page);
	check(mremap(at(0), 4 * PAGE_SIZE, 4 * PAGE_SIZE, MREMAP_MAYMOVE | MREMAP_FIXED, at(10)) ==
	      at(10));
	check(mremap(at(10), 2 * PAGE_SIZE, 2 * PAGE_SIZE, MREMAP_MAYMOVE | MREMAP_FIXED, at(20)) ==
	      at(20));
	check_eq(stats().raw_remaps, 2);
	for (uint64_t page = 0; page < 4; page++)
		check_gone(page);
	check_gone(10);
	check_gone(11);
	check_there(12, 102);
	check_there(13, 103);
	check_there(14, 114);
	check_there(20, 100);
	check_there(21, 101);
	store(r.host, 20, 5);
	check_there(20, 5);
	check_eq(r.host_fatal + r.window_fatal, 0);
}

ATEST(a_move_that_leaves_the_place)
{
	char *to = mremap(at(2), 2 * PAGE_SIZE, 2 * PAGE_SIZE, MREMAP_MAYMOVE | MREMAP_DONTUNMAP,
			  NULL);

	if (to == MAP_FAILED) /* before Linux 5.13, not for files */
		test_skip("MREMAP_DONTUNMAP: %s", strerror(errno));
	check_eq(stats().raw_remaps, 1);
	check_eq(munmap(to, 2 * PAGE_SIZE), 0);
	stamp(0, 8);
	to = mremap(at(4), 2 * PAGE_SIZE, 2 * PAGE_SIZE, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, NULL);
	check_eq(to == MAP_FAILED ? errno : 0, 0);
	check_eq(stats().raw_remaps, 2);
	check_eq(load(to, 0), 104);
	check_there(4, 0);
	check_there(2, 102);
	store(r.host, 4, 1);
	check_eq(load(to, 0), 104);
	check_eq(hostmm_unmap(r.mm, (hva_t)to), 0);
}

/* The VMA would go on into frames of others: nobody has said that these may be reached. */
ATEST(what_a_region_has_grown_by_is_refused)
{
	hva_t hva;
	char *to;
	uint64_t value;

	check_eq(hostmm_map(r.mm, 4, BOTH, NULL, NULL, &hva), 0);
	check(rig_try_store((_Atomic uint64_t *)hva, 1));
	to = mremap((void *)hva, 4 * PAGE_SIZE, 8 * PAGE_SIZE, MREMAP_MAYMOVE);
	check(to != MAP_FAILED);
	check(!rig_try_load(rig_word(to, 5, 0), &value));
	check_eq(load(to, 0), 1);
	check(!rig_try_store(rig_word(to, 4, 0), 1));
	check_eq(hostmm_unmap(r.mm, (hva_t)to), 0);
	check_eq(munmap(to + 4 * PAGE_SIZE, 4 * PAGE_SIZE), 0);
}

ATEST(a_second_mapping_is_refused)
{
	uint64_t value;
	char *to;

	stamp(0, 4);
	to = mremap(at(0), 0, 2 * PAGE_SIZE, MREMAP_MAYMOVE);
	check(to != MAP_FAILED);
	check(!rig_try_load(rig_word(to, 0, 0), &value));
	check_there(0, 100);
	check_eq(munmap(to, 2 * PAGE_SIZE), 0);
	check_eq(r.host_fatal, 0);
}

/* ---- Umbra's own ---- */

ATEST(own_calls_are_no_news)
{
	hva_t start = rig_hva(&r, 0), end = rig_hva(&r, 64), hva;
	struct hostmm_stats s;

	for (unsigned i = 0; i < 20; i++) {
		stamp(0, 64);
		check_eq(hostmm_migrate(r.mm, start, end,
					i % 2 ? HOSTMM_MIGRATE_HOME : HOSTMM_MIGRATE_AWAY),
			 0);
		check_there(i, 100 + i);
		check_eq(hostmm_zap(r.mm, start, end), 0);
		check_eq(hostmm_wrprotect(r.mm, start, end), 0);
		check_eq(hostmm_protect(r.mm, start, end, HOSTMM_PROT_READ), 0);
		check_eq(hostmm_protect(r.mm, start, end, BOTH), 0);
		check_eq(hostmm_discard(r.mm, start, end), 0);
		check_eq(hostmm_map(r.mm, 8, BOTH, NULL, NULL, &hva), 0);
		check(rig_try_store((_Atomic uint64_t *)hva, 1));
		check_eq(hostmm_unmap(r.mm, hva), 0);
	}
	s = stats();
	check_eq(s.raw_removes + s.raw_unmaps + s.raw_remaps + s.raw_forks, 0);
}

/* ---- More than there is room for ---- */

static struct gate in_fill = GATE_INIT;

static int fill(void *ctx, uint64_t page, void *dst, uint64_t npages)
{
	(void)ctx;
	(void)page;
	gate_pass(&in_fill);
	memset(dst, 0, npages << PAGE_SHIFT);
	return 0;
}

static const struct pager_ops pager = { .fill = fill };

static void *read_slowly(void *arg)
{
	uint64_t value;

	check_eq(hostmm_read(r.mm, *(hva_t *)arg, &value, sizeof(value)), 0);
	return NULL;
}

struct access {
	_Atomic uint64_t *word;
	uint64_t value;
	bool loaded;
	atomic_bool done;
};

static void *load_elsewhere(void *arg)
{
	struct access *a = arg;

	a->loaded = rig_try_load(a->word, &a->value);
	atomic_store(&a->done, true);
	return NULL;
}

/* Nothing is followed while a pager sleeps, and nobody who makes a call waits for that: then all is looked at. */
ATEST(when_the_log_is_full_all_is_looked_at)
{
	char *to = anon(2);
	struct hostmm_stats s;
	uint64_t value;
	pthread_t t;
	hva_t slow;

	stamp(0, 64);
	check_eq(hostmm_map(r.mm, 1, BOTH, &pager, NULL, &slow), 0);
	gate_arm(&in_fill);
	t = rig_thread(read_slowly, &slow);
	gate_wait(&in_fill);
	check_eq(munmap(at(1), PAGE_SIZE), 0); /* waits for the pager, in hand */
	for (unsigned i = 0; i < 300; i++)
		check_eq(madvise(at(2), PAGE_SIZE, MADV_DONTNEED), 0);
	check_eq(munmap(at(5), 2 * PAGE_SIZE), 0);
	check(mremap(at(8), 2 * PAGE_SIZE, 2 * PAGE_SIZE, MREMAP_MAYMOVE | MREMAP_FIXED, to) == to);
	gate_open(&in_fill);
	rig_join(t);
	s = stats();
	check(s.raw_overflows > 0);
	check_gone(1);
	check_gone(5);
	check_gone(6);
	check_gone(8);
	/* Nobody knows any more what is there: not to be reached is all that is left. */
	check(!rig_try_load(rig_word(to, 0, 0), &value));
	check_there(2, 102);
	check_there(7, 107);
	check_eq(munmap(to, 2 * PAGE_SIZE), 0);
	check_eq(hostmm_unmap(r.mm, slow), 0);
}

/* What is dealt with first does not take what the rest of the log is about. */
ATEST(a_chain_of_moves_is_followed_in_order)
{
	char *first = anon(1), *second = anon(1);
	hva_t slow, hva;
	pthread_t t;

	stamp(0, 4);
	check_eq(hostmm_map(r.mm, 1, BOTH, NULL, NULL, &hva), 0);
	check(rig_try_store((_Atomic uint64_t *)hva, 7));
	check_eq(hostmm_map(r.mm, 1, BOTH, &pager, NULL, &slow), 0);
	gate_arm(&in_fill);
	t = rig_thread(read_slowly, &slow);
	gate_wait(&in_fill);
	check_eq(munmap(at(1), PAGE_SIZE), 0);
	check(mremap((void *)hva, PAGE_SIZE, PAGE_SIZE, MREMAP_MAYMOVE | MREMAP_FIXED, first) ==
	      first);
	check(mremap(first, PAGE_SIZE, PAGE_SIZE, MREMAP_MAYMOVE | MREMAP_FIXED, second) == second);
	check(mremap(second, PAGE_SIZE, PAGE_SIZE, MREMAP_MAYMOVE | MREMAP_FIXED, at(2)) == at(2));
	gate_open(&in_fill);
	rig_join(t);
	check_eq(stats().raw_remaps, 3);
	check_gone(1);
	check_there(2, 7);
	check_there(3, 103);
	check_eq(hostmm_unmap(r.mm, hva), -EINVAL);
	check_eq(hostmm_unmap(r.mm, slow), 0);
}

/* A fault of a page whose region nobody knows yet is not refused: it waits. */
ATEST(a_fault_waits_for_what_is_not_followed_yet)
{
	char *to = anon(1);
	struct access a = { .word = rig_word(to, 0, 0) };
	pthread_t t, toucher;
	hva_t slow;

	stamp(0, 4);
	check_eq(hostmm_zap(r.mm, rig_hva(&r, 2), rig_hva(&r, 3)), 0);
	check_eq(hostmm_map(r.mm, 1, BOTH, &pager, NULL, &slow), 0);
	gate_arm(&in_fill);
	t = rig_thread(read_slowly, &slow);
	gate_wait(&in_fill);
	check(mremap(at(2), PAGE_SIZE, PAGE_SIZE, MREMAP_MAYMOVE | MREMAP_FIXED, to) == to);
	toucher = rig_thread(load_elsewhere, &a);
	check(!atomic_load(&a.done));
	gate_open(&in_fill);
	rig_join(t);
	rig_join(toucher);
	check(a.loaded && a.value == 102);
	check_eq(hostmm_unmap(r.mm, (hva_t)to), 0);
	check_eq(hostmm_unmap(r.mm, slow), 0);
}

/* Nobody is left to read but one, and he does: a fault is put off, an event is not kept waiting. */
UTEST(audit, one_thread_always_reads, .fini = down)
{
	struct access a;
	pthread_t t, toucher;
	hva_t slow;

	rig_up(&r, &(struct rig_opts){ .source = HOSTMM_SOURCE_UFFD,
				       .audit = true,
				       .pages = 16,
				       .threads = 1,
				       .pool_frames = 256 });
	stamp(0, 8);
	check_eq(hostmm_map(r.mm, 1, BOTH, &pager, NULL, &slow), 0);
	gate_arm(&in_fill);
	a = (struct access){ .word = (_Atomic uint64_t *)slow };
	t = rig_thread(load_elsewhere, &a);
	gate_wait(&in_fill); /* one of the two threads is in there */
	{
		struct access b = { .word = rig_word(r.host, 12, 0) };

		toucher = rig_thread(load_elsewhere, &b);
		for (unsigned i = 0; i < 50; i++)
			check_eq(madvise(at(i % 8), PAGE_SIZE, MADV_DONTNEED), 0);
		check(!atomic_load(&a.done));
		gate_open(&in_fill);
		rig_join(t);
		rig_join(toucher);
		check(a.loaded && b.loaded);
	}
	hostmm_audit_wait(r.mm);
	check_eq(stats().raw_removes, 50);
	check_eq(hostmm_unmap(r.mm, slow), 0);
}

/* ---- fork ---- */

static int child_ends(pid_t pid)
{
	int status = -1;

	check(pid > 0);
	check_eq(waitpid(pid, &status, 0), pid);
	return status;
}

/* No child has the view: it cannot see what changes after it was made, nor change what the guest has. */
ATEST(a_child_does_not_reach_the_view)
{
	struct hostmm_stats s;
	pid_t pid;
	int status;

	stamp(0, 8);
	check_eq(hostmm_migrate(r.mm, rig_hva(&r, 3), rig_hva(&r, 4), HOSTMM_MIGRATE_AWAY), 0);
	check_there(3, 103);
	for (uint64_t page = 3; page < 5; page++) {
		pid = fork();
		if (!pid) {
			signal(SIGSEGV, SIG_DFL);
			signal(SIGBUS, SIG_DFL);
			rig_store(rig_word(r.host, page, 0), 1);
			_exit(0);
		}
		status = child_ends(pid);
		check(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
		check_there(page, 100 + page);
	}
	pid = fork();
	if (!pid) {
		execl("/bin/true", "true", NULL);
		_exit(1);
	}
	check_eq(child_ends(pid), 0);
	pid = fork();
	if (!pid)
		for (;;)
			pause();
	check_eq(kill(pid, SIGKILL), 0);
	status = child_ends(pid);
	check(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	s = stats();
	check_eq(s.raw_forks, 0);
	check_there(5, 105);
	check_eq(r.host_fatal + r.window_fatal, 0);
}

/* Host code that wants the child to have it anyway: there is an event, and a descriptor, which is not kept. */
ATEST(a_child_that_was_given_the_view)
{
	int status;
	pid_t pid;

	stamp(0, 8);
	check_eq(madvise(at(0), 8 * PAGE_SIZE, MADV_DOFORK), 0);
	pid = fork();
	if (!pid) {
		/* Watched by nobody, once the descriptor is closed: it does not wait for ever. */
		signal(SIGBUS, SIG_DFL);
		(void)rig_load(rig_word(r.host, 2, 0));
		_exit(0);
	}
	status = child_ends(pid);
	check(WIFEXITED(status) || WIFSIGNALED(status));
	check(stats().raw_forks <= 1); /* without CAP_SYS_PTRACE nobody is told */
	check_there(5, 105);
}

/* ---- Without ---- */

UTEST(audit, mprotect_has_no_events, .fini = down)
{
	hva_t hva;

	rig_up(&r, &(struct rig_opts){ .source = HOSTMM_SOURCE_MPROTECT, .pages = 16 });
	check_eq(hostmm_map_source(r.mm, 8, BOTH, NULL, NULL, HOSTMM_SOURCE_MPROTECT, true, &hva),
		 -EINVAL);
	stamp(0, 8);
	check_eq(madvise(at(2), 4 * PAGE_SIZE, MADV_DONTNEED), 0);
	check_there(3, 103);
	check_eq(madvise(at(2), 4 * PAGE_SIZE, MADV_REMOVE), 0);
	check_there(3, 0);
	check_eq(stats().raw_removes, 0);
}

UTEST(audit, without_it_nobody_is_told, .fini = down)
{
	rig_up(&r, &(struct rig_opts){ .source = HOSTMM_SOURCE_SIGBUS, .pages = 16 });
	stamp(0, 8);
	check_eq(madvise(at(2), 4 * PAGE_SIZE, MADV_DONTNEED), 0);
	check_there(3, 103);
	check_eq(madvise(at(2), 4 * PAGE_SIZE, MADV_REMOVE), 0);
	check_there(3, 0);
	check_eq(stats().raw_removes, 0);
}
