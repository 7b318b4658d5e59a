// SPDX-License-Identifier: BSD-2-Clause
#include "tests/race/scenario.h"

/* One a line, by row. */
#define SCENARIOS(X)            \
	X(a1_store_order)       \
	X(a2_zero_split)        \
	X(a5_any_range)         \
	X(a6_huge_entry)        \
	X(a7_collapse)          \
	X(a7_contiguous)        \
	X(a8_split_switch)      \
	X(a9_span)              \
	X(a10_bitmap)           \
	X(a11_timings)          \
	X(a12_born)             \
	X(a12_cached)           \
	X(a13_consumer)         \
	X(a14_ring)             \
	X(a14_ring_full)        \
	X(a14_ring_own)         \
	X(a14_ring_wait)        \
	X(a14_root)             \
	X(a14_union)            \
	X(a15_modes)            \
	X(a16_owner_lock)       \
	X(a17_report_always)    \
	X(a18_whole_range)      \
	X(a18_large_end)        \
	X(a19_page_lifetime)    \
	X(a20_after_clear)      \
	X(a21_migrate)          \
	X(a21_large)            \
	X(a21_mkclean)          \
	X(a21_hwpoison)         \
	X(a21_hwpoison_reclaim) \
	X(a21_private)          \
	X(a21_reclaim)          \
	X(a21_store_order)      \
	X(a21_writeback)        \
	X(a22_change_now)       \
	X(a22_change_large)     \
	X(a23_async_fork)       \
	X(a23_async_merge)      \
	X(m29_stable_merge)     \
	X(a24_stale_but_alive)  \
	X(a25_swap_by_accident) \
	X(a26_one_flush)        \
	X(a27_collapse)         \
	X(a28_truncate)         \
	X(a29_gru)              \
	X(a30_xpmem)            \
	X(a31_blockable)        \
	X(a32_begin_retry)      \
	X(a34_deferred_remove)  \
	X(a34_last_one_thaws)   \
	X(a35_odd_sequence)     \
	X(a36_misuse)           \
	X(a36_refusal)          \
	X(a37_publish)          \
	X(a38_insert)           \
	X(c2_unmap_fault)       \
	X(c3_stranger)          \
	X(m2_change_alone)      \
	X(m3_large_install)     \
	X(m5_table_life)        \
	X(m5_writer_step)       \
	X(m6_wide_snapshot)     \
	X(m7_large)             \
	X(m7_prefetch)          \
	X(m8_early_retry)       \
	X(m9_slot_freed)        \
	X(m9_slot_swap)         \
	X(m13_first_number)     \
	X(m13_one_wait)         \
	X(m14_bracket_removal)  \
	X(m14_fast_root)        \
	X(m14_fault_removal)    \
	X(m14_roots)            \
	X(m14_stale_root)       \
	X(m15_flush_span)       \
	X(m15_yield)            \
	X(m15_yield_protect)    \
	X(m15_age_log)          \
	X(m15_age_window)       \
	X(m16_age)              \
	X(m16_age_unmap)        \
	X(m16_collapse)         \
	X(m16_entry_store)      \
	X(m16_hardware)         \
	X(m16_recover_fault)    \
	X(m16_split)            \
	X(m16_split_fault)      \
	X(m17_mmio)             \
	X(m17_read_only)        \
	X(m17_recover)          \
	X(m17_slot_move)        \
	X(m20_large_logging)    \
	X(m21_flush_unlocked)   \
	X(m22_move_flush)       \
	X(m23_heir)             \
	X(m23_unshare)          \
	X(m27_exit)             \
	X(m28_eagain)           \
	X(explorer_two_locks)   \
	X(explorer_lost_wake)   \
	X(explorer_grace)       \
	X(explorer_spin)        \
	X(explorer_spin_beside) \
	X(explorer_waiting_writer)

#define DECLARE(name) extern const struct race_scenario name;
SCENARIOS(DECLARE)

#define ENTRY(name) &(name),
const struct race_scenario *const race_scenarios[] = { SCENARIOS(ENTRY) NULL };
