/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Everything that the library can create, once, and gone again: for a process at one of its limits.
 * Owns nothing. Who may call: tests of mmu/. May not know: KVM, hv/.
 */
#ifndef UMBRA_TESTS_CREATE_H
#define UMBRA_TESTS_CREATE_H

#include "tests/rig.h"

#define CREATE_ALL 6u

/*
 * A pool; beside what @r has an mm, a region, a child, a window, a slot. Each is there or was refused with @error, or with EAGAIN (a
 * thread), else the test fails. How many there were, of CREATE_ALL.
 */
unsigned create_all(struct rig *r, int error);

#endif
