/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A rig's child: the same machine on a forked host mm, with a shadow and a window of its own. And what tests of sharing
 * ask about frames.
 * Owns: what rig_fork() builds. Who may call: tests of mmu/.
 * May not know: KVM, hv/.
 */
#ifndef UMBRA_TESTS_RIG_FORK_H
#define UMBRA_TESTS_RIG_FORK_H

#include "tests/rig.h"

/* Fork @parent's host mm and run a guest on the child; the hooks of a rig are not called for it. */
void rig_fork(struct rig *child, struct rig *parent);
void rig_fork_down(struct rig *child);

/* Pages whose VMA in the host view is not the linear one. */
uint64_t rig_foreign(struct rig *r);

/* Maps and references of the frame that @page has. */
uint32_t rig_maps(struct rig *r, uint64_t page);
/* How many regions have the page by sharing the chunk that is @r's. */
uint32_t rig_sharers(struct rig *r, uint64_t page);
uint32_t rig_refs(struct rig *r, uint64_t page);

/* The home frame of @page. */
fn_t rig_home(struct rig *r, uint64_t page);

/* The first word of @page, through the direct map: no view, no sharing broken. */
uint64_t rig_peek(struct rig *r, uint64_t page);

/* Bring every page home, by way of as many loose frames; there each has its frame alone, and its VMAs have merged. */
void rig_check_all_home(struct rig *r);

#endif
