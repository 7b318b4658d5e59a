/* SPDX-License-Identifier: BSD-2-Clause */
/* Who is on the list: subscribing, leaving, and the death of an mm. */
#include "mmu/notify/notifier.h"

#include <errno.h>
#include <limits.h>

#include "mmu/base/mutant.h"
#include "mmu/notify/lint.h"
#include "mmu/notify/notify_priv.h"

/* ---- The mm ---- */

void mmu_notifier_subscriptions_init(struct mmu_notifier_subscriptions *mm)
{
	*mm = (struct mmu_notifier_subscriptions){ .invalidate_seq = 2 };
	atomic_init(&mm->first, NULL);
	atomic_init(&mm->is_tracked, false);
	atomic_init(&mm->misuses, 0);
	lock_init(&mm->lock);
	cond_init(&mm->changed);
	interval_tree_init(&mm->itree);
	list_init(&mm->deferred);
	list_init(&mm->open);
	mm->lint = notify_lint_create();
}

void mmu_notifier_subscriptions_set_mmap_lock(struct mmu_notifier_subscriptions *mm,
					      struct rwlock *mmap_lock)
{
	bug_on(mm->grabs != 0);
	mm->mmap_lock = mmap_lock;
}

void mmu_notifier_subscriptions_set_seq(struct mmu_notifier_subscriptions *mm, uint64_t seq)
{
	bug_on(seq & 1 || mm->grabs != 0);
	mm->invalidate_seq = seq;
}

void mmu_notifier_subscriptions_fini(struct mmu_notifier_subscriptions *mm)
{
	if (mm->dying)
		mmu_notifier_synchronize(mm);
	bug_on(mm->grabs || mm->active);
	notify_lint_destroy(mm->lint);
	cond_fini(&mm->changed);
	lock_fini(&mm->lock);
}

uint64_t mmu_notifier_misuses(struct mmu_notifier_subscriptions *mm)
{
	return atomic_load_explicit(&mm->misuses, memory_order_relaxed);
}

void notify_track(struct mmu_notifier_subscriptions *mm)
{
	sync_store_release(&mm->is_tracked, true); /* pairs with sync_load_acquire() of start */
}

/* ---- The list; mm->lock held ---- */

static void enlist(struct mmu_notifier *mn)
{
	struct mmu_notifier_subscriptions *mm = mn->mm;
	struct mmu_notifier *first = sync_load(&mm->first);

	if (mutant(137)) /* what a relaxed store allows: seen before its members */
		sync_store(&mm->first, mn);
	sync_store(&mn->next, first);
	mn->link = &mm->first;
	if (first)
		first->link = &mn->next;
	sync_store_release(&mm->first, mn); /* pairs with sync_load_acquire() of every traversal */
	notify_lint_listed(mn, true);
}

/* A traversal that stands on @mn still finds its way through mn->next. */
static void delist(struct mmu_notifier *mn)
{
	struct mmu_notifier *next = sync_load(&mn->next);

	if (!mn->link)
		return;
	sync_store_release(mn->link, next);
	if (next)
		next->link = mn->link;
	mn->link = NULL;
	notify_lint_listed(mn, false);
}

/* ---- Waiting for traversals ---- */

/*
 * Wait for every RCU section open now, and free what was put before. One thread at a time frees; others only wait.
 * Nothing may be freed under mm->lock, since free_notifier is the user's.
 */
static void grace_period(struct mmu_notifier_subscriptions *mm)
{
	struct mmu_notifier *dying = NULL;
	uint64_t freed = 0;

	lock_acquire(&mm->lock);
	if (!mm->is_reaping) {
		dying = mm->dying;
		mm->dying = NULL;
		mm->is_reaping = dying != NULL;
	}
	lock_release(&mm->lock);

	sync_rcu_wait();
	if (!dying)
		return;
	for (struct mmu_notifier *next; dying; dying = next, freed++) {
		next = dying->next_dying;
		sync_callback(dying->ops->free_notifier)(dying);
	}
	lock_acquire(&mm->lock);
	mm->grabs -= freed;
	mm->freed += freed;
	mm->is_reaping = false;
	cond_broadcast(&mm->changed);
	lock_release(&mm->lock);
}

void mmu_notifier_synchronize(struct mmu_notifier_subscriptions *mm)
{
	uint64_t ticket;

	lock_acquire(&mm->lock);
	/* Two rounds, whatever is put meanwhile: a batch under way, and the next one, which takes all there is. */
	ticket = mm->puts;
	while (mm->freed < ticket) {
		if (mm->is_reaping) {
			cond_wait(&mm->changed, &mm->lock);
			continue;
		}
		lock_release(&mm->lock);
		grace_period(mm);
		lock_acquire(&mm->lock);
	}
	lock_release(&mm->lock);
}

/* ---- Subscribing ---- */

static bool are_ops_valid(const struct mmu_notifier_ops *ops)
{
	return ops && !(ops->arch_invalidate_secondary_tlbs &&
			(ops->invalidate_range_start || ops->invalidate_range_end));
}

static void begin_writing(struct mmu_notifier_subscriptions *mm)
{
	if (mm->mmap_lock)
		rwlock_write_acquire(mm->mmap_lock);
}

static void end_writing(struct mmu_notifier_subscriptions *mm)
{
	if (mm->mmap_lock)
		rwlock_write_release(mm->mmap_lock);
}

/* The one with @ops that mmu_notifier_get() has made, or NULL. mm->lock held. */
static struct mmu_notifier *find(struct mmu_notifier_subscriptions *mm,
				 const struct mmu_notifier_ops *ops)
{
	struct mmu_notifier *mn = sync_load(&mm->first);

	while (mn && !(mn->ops == ops && mn->users))
		mn = sync_load(&mn->next);
	return mn;
}

/* Put @mn on the list with @users references, unless there is one to share; *@found is the one that is listed. */
static int subscribe(struct mmu_notifier *mn, struct mmu_notifier_subscriptions *mm, unsigned users,
		     struct mmu_notifier **found)
{
	int rc = 0;

	if (mm->mmap_lock)
		rwlock_assert_held_write(mm->mmap_lock);
	lock_acquire(&mm->lock);
	*found = users ? find(mm, mn->ops) : NULL;
	if (mm->is_dead) {
		rc = -EINVAL;
	} else if (*found) {
		rc = (*found)->users == UINT_MAX ? -EOVERFLOW : 0;
		(*found)->users += !rc;
	} else {
		*found = mn;
		mn->mm = mm;
		mn->release_state = MMU_NOTIFIER_LIVE;
		mn->users = users;
		mm->grabs++;
		enlist(mn);
		if (mn->ops->change_pte)
			notify_track(mm);
	}
	lock_release(&mm->lock);
	return rc;
}

int mmu_notifier_register_locked(struct mmu_notifier *mn, struct mmu_notifier_subscriptions *mm)
{
	struct mmu_notifier *found;

	return are_ops_valid(mn->ops) ? subscribe(mn, mm, 0, &found) : -EINVAL;
}

int mmu_notifier_register(struct mmu_notifier *mn, struct mmu_notifier_subscriptions *mm)
{
	int rc;

	begin_writing(mm);
	rc = mmu_notifier_register_locked(mn, mm);
	end_writing(mm);
	return rc;
}

int mmu_notifier_get_locked(struct mmu_notifier **out, const struct mmu_notifier_ops *ops,
			    struct mmu_notifier_subscriptions *mm)
{
	struct mmu_notifier *mn, *found;
	int rc;

	if (!are_ops_valid(ops) || !ops->alloc_notifier || !ops->free_notifier)
		return -EINVAL;
	lock_acquire(&mm->lock);
	found = find(mm, ops);
	/* Dead, but still listed: its release has run, or runs. It is of no use to anybody. */
	if (mm->is_dead)
		rc = -EINVAL;
	else
		rc = found && found->users == UINT_MAX ? -EOVERFLOW : 0;
	if (found && !rc)
		found->users++;
	lock_release(&mm->lock);
	if (!found && !rc) {
		mn = sync_callback(ops->alloc_notifier)(mm);
		if (!mn)
			return -ENOMEM;
		mn->ops = ops;
		rc = subscribe(mn, mm, 1, &found);
		if (found != mn) /* refused, or another thread was faster */
			sync_callback(ops->free_notifier)(mn);
	}
	if (!rc)
		*out = found;
	return rc;
}

int mmu_notifier_get(struct mmu_notifier **out, const struct mmu_notifier_ops *ops,
		     struct mmu_notifier_subscriptions *mm)
{
	int rc;

	begin_writing(mm);
	rc = mmu_notifier_get_locked(out, ops, mm);
	end_writing(mm);
	return rc;
}

void mmu_notifier_put(struct mmu_notifier *mn)
{
	struct mmu_notifier_subscriptions *mm = mn->mm;

	lock_acquire(&mm->lock);
	bug_on(!mn->users);
	if (!--mn->users) {
		delist(mn);
		mn->next_dying = mm->dying;
		mm->dying = mn;
		mm->puts++;
	}
	lock_release(&mm->lock);
}

/* ---- Release ---- */

/*
 * Call release unless somebody else does. The section is open before the claim: whoever fails to claim waits for the other's
 * release by waiting for a grace period.
 */
static bool release_once(struct mmu_notifier *mn, enum mmu_notifier_release_state by)
{
	bool is_mine;

	sync_rcu_read_lock();
	lock_acquire(&mn->mm->lock);
	is_mine = mn->release_state == MMU_NOTIFIER_LIVE;
	if (is_mine)
		mn->release_state = by;
	lock_release(&mn->mm->lock);
	if (is_mine && mn->ops->release)
		sync_callback(mn->ops->release)(mn);
	sync_rcu_read_unlock();
	return is_mine;
}

void mmu_notifier_unregister(struct mmu_notifier *mn)
{
	struct mmu_notifier_subscriptions *mm = mn->mm;

	bug_on(mn->users);
	/* Until it has let go of everything it must go on hearing of changes: release, then leave the list. */
	if (!release_once(mn, MMU_NOTIFIER_RELEASED_BY_UNREGISTER))
		sync_rcu_wait();
	lock_acquire(&mm->lock);
	delist(mn);
	lock_release(&mm->lock);
	grace_period(mm);
	lock_acquire(&mm->lock);
	mm->grabs--;
	lock_release(&mm->lock);
}

static void release_intervals(struct mmu_notifier_subscriptions *mm)
{
	struct mmu_notifier_range range;

	mmu_notifier_range_init(&range, MMU_NOTIFY_RELEASE, mm, 0, UINT64_MAX);
	bug_on(notify_itree_start(&range));
	notify_itree_end(&range);
}

void mmu_notifier_release(struct mmu_notifier_subscriptions *mm)
{
	struct mmu_notifier *next;

	lock_acquire(&mm->lock);
	bug_on(mm->is_dead);
	mm->is_dead = true;
	lock_release(&mm->lock);
	if (sync_load_acquire(&mm->is_tracked))
		release_intervals(mm);

	sync_rcu_read_lock();
	for_each_notifier(mn, mm) release_once(mn, MMU_NOTIFIER_RELEASED_BY_MM);
	sync_rcu_read_unlock();

	/* Those whose release unregister is running leave when that is done. */
	lock_acquire(&mm->lock);
	for (struct mmu_notifier *mn = sync_load(&mm->first); mn; mn = next) {
		next = sync_load(&mn->next);
		if (mn->release_state == MMU_NOTIFIER_RELEASED_BY_MM)
			delist(mn);
	}
	lock_release(&mm->lock);
	grace_period(mm);
}
