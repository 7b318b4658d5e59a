/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A process at vm.max_map_count, for real and without a change of the setting: what is left of its mappings is used up.
 * Owns the mapping that does so. Who may call: tests; one at a time. May not know: umbra.
 */
#ifndef UMBRA_TESTS_VMAS_H
#define UMBRA_TESTS_VMAS_H

/* vm.max_map_count. Skips where it is too high to be reached. */
unsigned long vmas_most(void);
/* Use up all VMAs but @left: so many splits of a mapping are possible, and one new mapping more. Again
 * for another number. Skips as vmas_most(), and where the sanitizer needs some itself. */
void vmas_use_up(unsigned left);
/* Have them all back; nothing if none are used up. */
void vmas_give_back(void);

#endif
