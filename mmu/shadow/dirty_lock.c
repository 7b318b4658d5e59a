/* SPDX-License-Identifier: BSD-2-Clause */
/* mmu_lock for whoever asks what was stored to, with all that the table knows of it in the current tree or in the log. */
#include "mmu/base/mutant.h"
#include "mmu/shadow/dirty_priv.h"
#include "mmu/shadow/shadow_priv.h"

static bool is_exclusive(struct shadow *sh)
{
	return !sh->ops->walks_table || !can_wrprotect(sh);
}

/*
 *	shadow_drop_root()			get
 *	swap the root, flush all   (write)
 *						lock for reading: a tree is invalid, with D bits in it
 *						lock for writing
 *						D of the invalid tree goes into the log
 *						takes D of the current tree, and the log
 *						unlock
 *	freeze a few tables, and
 *	  tell the log of their D  (read)
 *
 * Beside the last step D would be neither in a tree nor in the log: hence for writing. With the lock held for reading no tree
 * becomes invalid. Hardware sets no D in an invalid tree: all was flushed before the lock was free.
 */
bool dirty_lock(struct shadow *sh, gfn_t gfn, gfn_t end)
{
	bool exclusive = is_exclusive(sh);

	if (!exclusive) {
		rwlock_read_acquire(&sh->mmu_lock);
		if (!dirty_by_d_bit(sh) || !ept_has_invalid(&sh->ept) || mutant(1142))
			return false;
		rwlock_read_release(&sh->mmu_lock);
	}
	rwlock_write_acquire(&sh->mmu_lock);
	if (dirty_by_d_bit(sh))
		ept_tell_dirty(&sh->ept, gfn, end);
	return true;
}

void dirty_unlock(struct shadow *sh, bool exclusive)
{
	if (exclusive)
		rwlock_write_release(&sh->mmu_lock);
	else
		rwlock_read_release(&sh->mmu_lock);
}
