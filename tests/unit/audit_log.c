// SPDX-License-Identifier: BSD-2-Clause
/* What an audit has read and not followed yet: in order, in time, and more than there is room for. */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "tests/rig_audit.h"
#include "tests/test.h"

#define BOTH (HOSTMM_PROT_READ | HOSTMM_PROT_WRITE)

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

	check_eq(hostmm_read(audited.mm, *(hva_t *)arg, &value, sizeof(value)), 0);
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
	char *to = anon_pages(2);
	struct hostmm_stats s;
	uint64_t value;
	pthread_t t;
	hva_t slow;

	stamp_pages(0, 64);
	check_eq(hostmm_map(audited.mm, 1, BOTH, &pager, NULL, &slow), 0);
	gate_arm(&in_fill);
	t = rig_thread(read_slowly, &slow);
	gate_wait(&in_fill);
	check_eq(munmap(host_page(1), PAGE_SIZE), 0); /* waits for the pager, in hand */
	for (unsigned i = 0; i < 300; i++)
		check_eq(madvise(host_page(2), PAGE_SIZE, MADV_DONTNEED), 0);
	check_eq(munmap(host_page(5), 2 * PAGE_SIZE), 0);
	check(mremap(host_page(8), 2 * PAGE_SIZE, 2 * PAGE_SIZE, MREMAP_MAYMOVE | MREMAP_FIXED,
		     to) == to);
	gate_open(&in_fill);
	rig_join(t);
	s = raw_stats();
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
	check_eq(hostmm_unmap(audited.mm, slow), 0);
}

/* What is dealt with first does not take what the rest of the log is about. */
ATEST(a_chain_of_moves_is_followed_in_order)
{
	char *first = anon_pages(1), *second = anon_pages(1);
	hva_t slow, hva;
	pthread_t t;

	stamp_pages(0, 4);
	check_eq(hostmm_map(audited.mm, 1, BOTH, NULL, NULL, &hva), 0);
	check(rig_try_store((_Atomic uint64_t *)hva, 7));
	check_eq(hostmm_map(audited.mm, 1, BOTH, &pager, NULL, &slow), 0);
	gate_arm(&in_fill);
	t = rig_thread(read_slowly, &slow);
	gate_wait(&in_fill);
	check_eq(munmap(host_page(1), PAGE_SIZE), 0);
	check(mremap((void *)hva, PAGE_SIZE, PAGE_SIZE, MREMAP_MAYMOVE | MREMAP_FIXED, first) ==
	      first);
	check(mremap(first, PAGE_SIZE, PAGE_SIZE, MREMAP_MAYMOVE | MREMAP_FIXED, second) == second);
	check(mremap(second, PAGE_SIZE, PAGE_SIZE, MREMAP_MAYMOVE | MREMAP_FIXED, host_page(2)) ==
	      host_page(2));
	gate_open(&in_fill);
	rig_join(t);
	check_eq(raw_stats().raw_remaps, 3);
	check_gone(1);
	check_there(2, 7);
	check_there(3, 103);
	check_eq(hostmm_unmap(audited.mm, hva), -EINVAL);
	check_eq(hostmm_unmap(audited.mm, slow), 0);
}

/* A fault of a page whose region nobody knows yet is not refused: it waits. */
ATEST(a_fault_waits_for_what_is_not_followed_yet)
{
	char *to = anon_pages(1);
	struct access a = { .word = rig_word(to, 0, 0) };
	pthread_t t, toucher;
	hva_t slow;

	stamp_pages(0, 4);
	check_eq(hostmm_zap(audited.mm, rig_hva(&audited, 2), rig_hva(&audited, 3)), 0);
	check_eq(hostmm_map(audited.mm, 1, BOTH, &pager, NULL, &slow), 0);
	gate_arm(&in_fill);
	t = rig_thread(read_slowly, &slow);
	gate_wait(&in_fill);
	check(mremap(host_page(2), PAGE_SIZE, PAGE_SIZE, MREMAP_MAYMOVE | MREMAP_FIXED, to) == to);
	toucher = rig_thread(load_elsewhere, &a);
	check(!atomic_load(&a.done));
	gate_open(&in_fill);
	rig_join(t);
	rig_join(toucher);
	check(a.loaded && a.value == 102);
	check_eq(hostmm_unmap(audited.mm, (hva_t)to), 0);
	check_eq(hostmm_unmap(audited.mm, slow), 0);
}

/* Nobody is left to read but one, and he does: a fault is put off, an event is not kept waiting. */
UTEST(audit, one_thread_always_reads, .fini = audited_down)
{
	struct access a;
	pthread_t t, toucher;
	hva_t slow;

	rig_up(&audited, &(struct rig_opts){ .source = HOSTMM_SOURCE_UFFD,
					     .audit = true,
					     .pages = 64,
					     .threads = 1,
					     .pool_frames = 256 });
	stamp_pages(0, 50);
	check_eq(hostmm_map(audited.mm, 1, BOTH, &pager, NULL, &slow), 0);
	gate_arm(&in_fill);
	a = (struct access){ .word = (_Atomic uint64_t *)slow };
	t = rig_thread(load_elsewhere, &a);
	gate_wait(&in_fill); /* one of the two threads is in there */
	{
		struct access b = { .word = rig_word(audited.host, 60, 0) };

		toucher = rig_thread(load_elsewhere, &b);
		/* No page twice: a discard beside umbra's own of the same page, which follows the first, counts as that. */
		for (unsigned i = 0; i < 50; i++)
			check_eq(madvise(host_page(i), PAGE_SIZE, MADV_DONTNEED), 0);
		check(!atomic_load(&a.done));
		gate_open(&in_fill);
		rig_join(t);
		rig_join(toucher);
		check(a.loaded && b.loaded);
	}
	hostmm_audit_wait(audited.mm);
	check_eq(raw_stats().raw_removes, 50);
	check_eq(hostmm_unmap(audited.mm, slow), 0);
}
