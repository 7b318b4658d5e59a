// SPDX-License-Identifier: BSD-2-Clause
#include "tests/rig.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <ucontext.h>

#include "mmu/host/uffd.h"
#include "tests/test.h"

#ifdef UMBRA_PLAIN_TESTS
static void *return_at_once(void *arg)
{
	return arg;
}

/* The thread sanitizer starts a thread of its own with the first of the program: not a leak of the first test. */
__attribute__((constructor)) static void start_sanitizer(void)
{
	pthread_t t;

	if (!pthread_create(&t, NULL, return_at_once, NULL))
		pthread_join(t, NULL);
}
#endif

void gate_arm(struct gate *g)
{
	pthread_mutex_lock(&g->lock);
	g->armed = true;
	g->arrived = 0;
	pthread_mutex_unlock(&g->lock);
}

void gate_pass(struct gate *g)
{
	pthread_mutex_lock(&g->lock);
	g->arrived++;
	pthread_cond_broadcast(&g->changed);
	while (g->armed)
		pthread_cond_wait(&g->changed, &g->lock);
	pthread_mutex_unlock(&g->lock);
}

void gate_wait(struct gate *g)
{
	pthread_mutex_lock(&g->lock);
	while (!g->arrived)
		pthread_cond_wait(&g->changed, &g->lock);
	pthread_mutex_unlock(&g->lock);
}

void gate_open(struct gate *g)
{
	pthread_mutex_lock(&g->lock);
	g->armed = false;
	pthread_cond_broadcast(&g->changed);
	pthread_mutex_unlock(&g->lock);
}

/* ---- The window, with hooks around it ---- */

static int hooked_slot_add(void *ctx, struct memslot *slot, fn_t home)
{
	struct rig *r = ctx;

	return window_ops.slot_add(r->window, slot, home);
}

static void hooked_slot_remove(void *ctx, struct memslot *slot)
{
	struct rig *r = ctx;

	window_ops.slot_remove(r->window, slot);
}

static void hooked_slot_move(void *ctx, struct memslot *slot)
{
	struct rig *r = ctx;

	window_ops.slot_move(r->window, slot);
}

/* The pane does not lead back to the rig, so there can be one rig a process. */
static struct rig *the_rig;

static void call(void (*hook)(struct rig *, uint64_t, uint64_t), struct rig *r, uint64_t page,
		 uint64_t n)
{
	if (hook)
		hook(r, page, n);
}

static int hooked_map(void *pane, uint64_t page, uint64_t n, fn_t fn, bool writable)
{
	struct rig *r = the_rig;
	int rc = r->map_error;

	atomic_fetch_add(&r->maps, 1);
	call(r->before_map, r, page, n);
	if (rc && r->map_half && n > 1)
		window_ops.map(pane, page, n / 2, fn, writable);
	if (!rc)
		rc = window_ops.map(pane, page, n, fn, writable);
	call(r->after_map, r, page, n);
	return rc;
}

static int hooked_make_writable(void *pane, uint64_t page, uint64_t n)
{
	int rc = the_rig->writable_error;

	return rc ? rc : window_ops.make_writable(pane, page, n);
}

static int hooked_restore(void *pane, uint64_t page, uint64_t n, fn_t fn, bool writable)
{
	int rc = the_rig->restore_error;

	return rc ? rc : window_ops.restore(pane, page, n, fn, writable);
}

static void hooked_wrprotect(void *pane, uint64_t page, uint64_t n)
{
	atomic_fetch_add(&the_rig->wrprotects, 1);
	window_ops.wrprotect(pane, page, n);
}

static void hooked_zap(void *pane, uint64_t page, uint64_t n)
{
	struct rig *r = the_rig;

	atomic_fetch_add(&r->zaps, 1);
	call(r->before_zap, r, page, n);
	window_ops.zap(pane, page, n);
	call(r->after_zap, r, page, n);
}

static void hooked_age(void *pane, uint64_t page, uint64_t n)
{
	struct rig *r = the_rig;

	atomic_fetch_add(&r->ages, 1);
	call(r->before_age, r, page, n);
	window_ops.age(pane, page, n);
}

static uint64_t hooked_compare(void *pane, uint64_t page, uint64_t n,
			       const struct backend_page *allowed,
			       void (*wrong)(void *ctx, uint64_t page, const char *what), void *ctx)
{
	return window_ops.compare(pane, page, n, allowed, wrong, ctx);
}

static void hooked_zap_all(void *ctx)
{
	struct rig *r = ctx;

	atomic_fetch_add(&r->zap_alls, 1);
	window_ops.zap_all(r->window);
}

static void hooked_wake(void *pane, uint64_t page, uint64_t n)
{
	atomic_fetch_add(&the_rig->wakes, 1);
	window_ops.wake(pane, page, n);
}

static const struct backend_ops hooked_ops = {
	.slot_add = hooked_slot_add,
	.slot_remove = hooked_slot_remove,
	.slot_move = hooked_slot_move,
	.map = hooked_map,
	.make_writable = hooked_make_writable,
	.restore = hooked_restore,
	.wrprotect = hooked_wrprotect,
	.zap = hooked_zap,
	.zap_all = hooked_zap_all,
	.age = hooked_age,
	.compare = hooked_compare,
	.wake = hooked_wake,
};

/* ---- The rig ---- */

static void on_window_fatal(void *ctx, gpa_t gpa, bool write, int error)
{
	struct rig *r = ctx;

	(void)gpa;
	(void)write;
	atomic_store(&r->window_error, error);
	atomic_fetch_add(&r->window_fatal, 1);
}

static void on_host_fatal(void *ctx, hva_t hva, int error)
{
	struct rig *r = ctx;

	(void)hva;
	atomic_store(&r->host_error, error);
	atomic_fetch_add(&r->host_fatal, 1);
}

enum hostmm_source rig_source(void)
{
	static const char *const name[HOSTMM_SOURCES] = { "uffd", "uffd-sigbus", "mprotect" };
	const char *want = getenv("RIG_SOURCE");

	for (unsigned i = 1; want && i <= HOSTMM_SOURCES; i++)
		if (!strncmp(want, name[HOSTMM_SOURCES - i], strlen(name[HOSTMM_SOURCES - i])))
			return HOSTMM_SOURCES - i;
	return HOSTMM_SOURCE_UFFD;
}

bool rig_audit(void)
{
	const char *want = getenv("RIG_SOURCE");

	return want && strstr(want, "-audit");
}

bool rig_loads_store(void)
{
	struct uffd u;

	if (rig_source() != HOSTMM_SOURCE_UFFD || uffd_open(&u, 0))
		return false;
	uffd_close(&u);
	return !u.has_continue_wp;
}

/* Also for tests that open userfaultfds by themselves. */
__attribute__((constructor)) static void choose_kernel(void)
{
	const char *want = getenv("RIG_SOURCE");

	uffd_act_old(want && strstr(want, "-old"));
}

static void catch_segv(void);
static pthread_once_t catch_once = PTHREAD_ONCE_INIT;

void rig_up(struct rig *r, const struct rig_opts *opts)
{
	uint64_t pages = opts->pages ? opts->pages : 64;
	unsigned threads = opts->threads ? opts->threads : 4;
	unsigned prot = opts->prot ? opts->prot : HOSTMM_PROT_READ | HOSTMM_PROT_WRITE;
	struct hostmm_opts mm_opts = { .fault_threads = threads,
				       .source = opts->source ? opts->source : rig_source(),
				       .audit = opts->audit || (!opts->source && rig_audit()),
				       .fatal = on_host_fatal,
				       .fatal_ctx = r };
	struct window_opts window_opts = { .fault_threads = threads,
					   .fatal = on_window_fatal,
					   .fatal_ctx = r };
	struct shadow_opts shadow_opts = { .fault_around = opts->around,
					   .max_level = opts->max_level,
					   .no_change_pte = opts->no_change_pte };
	gfn_t gfn = opts->gfn ? opts->gfn : RIG_GFN;
	struct memslot slot;
	int rc;

	memset(r, 0, sizeof(*r));
	r->in_backend = (struct gate)GATE_INIT;
	r->pages = pages;
	the_rig = r;
	/* Before a trap takes the signals: it hands on what is not its own, and this does not. */
	pthread_once(&catch_once, catch_segv);
	check_eq(pool_create(&r->pool,
			     opts->pool_frames ? opts->pool_frames : 2 * pool_room(pages) + 64,
			     opts->canary),
		 0);
	rc = hostmm_create(&r->mm, r->pool, &mm_opts);
	if (rc == -EPERM || rc == -ENOSYS || rc == -EOPNOTSUPP) {
		pool_destroy(r->pool);
		r->pool = NULL; /* .fini sees what is up */
		test_skip("userfaultfd: %s", strerror(-rc));
	}
	check_eq(rc, 0);
	check_eq(hostmm_map(r->mm, pages, prot, opts->pager, opts->pager_ctx, &r->hva), 0);
	r->host = (char *)(uintptr_t)r->hva;
	rc = window_create(&r->window, r->pool, &window_opts);
	if (rc == -EPERM || rc == -ENOSYS || rc == -EOPNOTSUPP) { /* a host view may do without */
		hostmm_destroy(r->mm);
		pool_destroy(r->pool);
		r->pool = NULL;
		test_skip("userfaultfd: %s", strerror(-rc));
	}
	check_eq(rc, 0);
	check_eq(shadow_create(&r->shadow, r->mm, &hooked_ops, r, &shadow_opts), 0);
	if (!opts->no_slot) {
		check_eq(shadow_add_slot(r->shadow, 1, gfn, pages, r->hva, opts->slot_flags), 0);
		check(shadow_slot(r->shadow, gfn, &slot));
		r->guest = window_base(&slot);
	}
	check_eq(window_start(r->window, r->shadow), 0);
}

void rig_down(struct rig *r)
{
	if (!r->pool)
		return;
	if (!r->damaged)
		rig_check(r);
	window_stop(r->window);
	shadow_destroy(r->shadow);
	window_destroy(r->window);
	hostmm_destroy(r->mm);
	check_eq(pool_used(r->pool), 0);
	pool_destroy(r->pool);
	the_rig = NULL;
}

fn_t rig_frame(struct rig *r, uint64_t page)
{
	struct gup_page p;

	return hostmm_peek(r->mm, rig_hva(r, page), &p) ? p.fn : FN_NONE;
}

static void report_wrong(void *ctx, gfn_t gfn, uint64_t spte, const char *what)
{
	(void)ctx;
	test_note_failure(__FILE__, __LINE__, "shadow_check", " gfn %#lx: %s (%#lx)", gfn, what,
			  spte);
}

void rig_check(struct rig *r)
{
	check_eq(shadow_check(r->shadow, report_wrong, NULL), 0);
}

void rig_stop(struct rig *r, uint64_t page, uint64_t n)
{
	(void)page;
	(void)n;
	gate_pass(&r->in_backend);
}

pthread_t rig_thread(void *(*fn)(void *), void *arg)
{
	pthread_t t;

	check_eq(pthread_create(&t, NULL, fn, arg), 0);
	return t;
}

void *rig_join(pthread_t t)
{
	void *result;

	check_eq(pthread_join(t, &result), 0);
	return result;
}

/* ---- Accesses that may fail ---- */

static _Thread_local sigjmp_buf *volatile try_leave;

static void on_segv(int sig, siginfo_t *info, void *context)
{
	(void)info;
	sigjmp_buf *leave = try_leave;

	try_leave = NULL;
	/* The mask is restored here, since saving it for each access would be slow. */
	pthread_sigmask(SIG_SETMASK, &((ucontext_t *)context)->uc_sigmask, NULL);
	if (leave)
		siglongjmp(*leave, 1);
	signal(sig, SIG_DFL);
}

static void catch_segv(void)
{
	struct sigaction sa = { .sa_sigaction = on_segv, .sa_flags = SA_SIGINFO | SA_NODEFER };

	sigaction(SIGSEGV, &sa, NULL);
	sigaction(SIGBUS, &sa, NULL);
}

bool rig_try_load(_Atomic uint64_t *word, uint64_t *value)
{
	sigjmp_buf leave;

	pthread_once(&catch_once, catch_segv);
	if (sigsetjmp(leave, 0))
		return false;
	try_leave = &leave;
	*value = rig_load(word);
	try_leave = NULL;
	return true;
}

bool rig_try_store(_Atomic uint64_t *word, uint64_t value)
{
	sigjmp_buf leave;

	pthread_once(&catch_once, catch_segv);
	if (sigsetjmp(leave, 0))
		return false;
	try_leave = &leave;
	rig_store(word, value);
	try_leave = NULL;
	return true;
}

static void guest_failed(struct rig *r, uint64_t repoints)
{
	window_settle(r->window);
	if (window_repoints(r->window) == repoints)
		test_fail(__FILE__, __LINE__, "guest access", " window error %d",
			  atomic_load(&r->window_error));
}

uint64_t rig_guest_add(struct rig *r, _Atomic uint64_t *word, uint64_t value)
{
	volatile uint64_t repoints;
	sigjmp_buf leave;
	uint64_t old;

	pthread_once(&catch_once, catch_segv);
	for (;;) {
		repoints = window_repoints(r->window);
		if (!sigsetjmp(leave, 0))
			break;
		guest_failed(r, repoints);
	}
	try_leave = &leave;
	old = rig_add(word, value);
	try_leave = NULL;
	return old;
}

void rig_guest_store(struct rig *r, _Atomic uint64_t *word, uint64_t value)
{
	volatile uint64_t repoints;
	sigjmp_buf leave;

	pthread_once(&catch_once, catch_segv);
	for (;;) {
		repoints = window_repoints(r->window);
		if (!sigsetjmp(leave, 0))
			break;
		guest_failed(r, repoints);
	}
	try_leave = &leave;
	rig_store(word, value);
	try_leave = NULL;
}

double rig_seconds(double normal)
{
	const char *seconds = getenv("STRESS_SECONDS");
	double wanted = seconds ? strtod(seconds, NULL) : 0;

	return wanted > 0 ? wanted : normal;
}

double rig_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

uint64_t rig_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}
