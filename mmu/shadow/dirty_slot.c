/* SPDX-License-Identifier: BSD-2-Clause */
/* Logging goes on and off with the slots. */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>

#include "mmu/shadow/dirty_priv.h"
#include "mmu/shadow/shadow_priv.h"

/* mmu_lock is given up after so many pages. */

bool dirty_is_followed(struct shadow *sh, const struct memslot *slot)
{
	return slot->dirty ? !slot->dirty->by_backend : dirty_is_owned(sh, slot->id);
}

uint64_t dirty_withheld(struct shadow *sh, const struct memslot *slot)
{
	if (!dirty_is_followed(sh, slot))
		return 0;
	if (!dirty_by_d_bit(sh))
		return SPTE_WRITE;
	return dirty_is_asked(sh, slot->id) && !mutant(1123) ? SPTE_WRITE | SPTE_DIRTY : SPTE_DIRTY;
}

bool dirty_some_slot_logs(struct shadow *sh)
{
	const struct memslot *slot = slots_first_id(&sh->slots, 0);

	while (slot && !slot->dirty)
		slot = slot->id == UINT_MAX ? NULL : slots_first_id(&sh->slots, slot->id + 1);
	return slot;
}

int shadow_dirty_configure(struct shadow *sh, unsigned how)
{
	const unsigned known = SHADOW_DIRTY_MANUAL | SHADOW_DIRTY_INITIALLY_SET |
			       SHADOW_DIRTY_BACKEND;
	int rc = 0;

	if (how & ~known)
		return -EINVAL;
	if ((how & SHADOW_DIRTY_INITIALLY_SET) &&
	    (how & (SHADOW_DIRTY_MANUAL | SHADOW_DIRTY_BACKEND)) != SHADOW_DIRTY_MANUAL)
		return -EINVAL;
	lock_acquire(&sh->slots_lock);
	if (how != sh->dirty.how && dirty_some_slot_logs(sh))
		rc = -EBUSY;
	else
		sh->dirty.how = how;
	lock_release(&sh->slots_lock);
	return rc;
}

static struct dirty_log *log_alloc(struct shadow *sh, uint64_t npages)
{
	uint64_t words = shadow_dirty_words(npages);
	struct dirty_log *log = calloc(1, sizeof(*log) + words * sizeof(log->word[0]));

	if (!log)
		return NULL;
	log->by_backend = (sh->dirty.how & SHADOW_DIRTY_BACKEND) && sh->ops->collect_dirty;
	for (uint64_t i = 0; (sh->dirty.how & SHADOW_DIRTY_INITIALLY_SET) && i < words; i++)
		atomic_init(&log->word[i], dirty_word_all(npages, i));
	return log;
}

int shadow_dirty_prepare_slot(struct shadow *sh, const struct memslot *old, struct memslot *new)
{
	int rc;

	lock_assert_held(&sh->slots_lock);
	new->dirty = NULL;
	if ((new->flags &(MEMSLOT_LOG_DIRTY | MEMSLOT_READONLY)) && dirty_is_owned(sh, new->id))
		return -EPERM;
	if (!(new->flags &MEMSLOT_LOG_DIRTY))
		return 0;
	if (old && old->dirty) {
		new->dirty = old->dirty;
		return 0;
	}
	new->dirty = log_alloc(sh, new->npages);
	if (!new->dirty)
		return -ENOMEM;
	rc = new->dirty->by_backend ? sh->ops->log_dirty(new->backend, true) : 0;
	if (rc) {
		free(new->dirty);
		new->dirty = NULL;
	}
	return rc;
}

static void log_free(struct shadow *sh, const struct memslot *slot)
{
	if (slot->dirty->by_backend)
		(void)sh->ops->log_dirty(slot->backend, false);
	free(slot->dirty);
}

/* A fault that finds @new marks; one that found @old is over. So what may still be stored to unseen is in the table. */
static void protect_all(struct shadow *sh, const struct memslot *slot)
{
	for (gfn_t gfn = slot->gfn; gfn < memslot_end(slot); gfn += DIRTY_BATCH) {
		gfn_t end = min_u64(gfn + DIRTY_BATCH, memslot_end(slot));
		bool exclusive = dirty_lock(sh, gfn, end);

		dirty_protect(sh, slot, gfn, end);
		dirty_unlock(sh, exclusive);
	}
}

void shadow_dirty_slot_changed(struct shadow *sh, const struct memslot *old,
			       const struct memslot *new)
{
	const struct dirty_log *before = old ? old->dirty : NULL, *after = new ? new->dirty : NULL;

	lock_assert_held(&sh->slots_lock);
	if (after && after != before && !after->by_backend &&
	    !(sh->dirty.how & SHADOW_DIRTY_INITIALLY_SET))
		protect_all(sh, new);
	if (before && before != after)
		log_free(sh, old);
}
