/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The rules of a machine: what must hold between properties that are each right by themselves.
 * Owns nothing.
 * Called by hv/machine.c.
 * Does not know device trees: it looks at a struct machine.
 */
#ifndef UMBRA_HV_MACHINE_RULES_H
#define UMBRA_HV_MACHINE_RULES_H

#include "hv/why.h"

struct machine;

/* Check @m, filled from properties that binding_check() took. Return 0 or -EINVAL, reason in @w. */
int machine_check_rules(const struct machine *m, struct why *w);

/*
 * Check that the regions of @m are apart, and out of the hole. Every end is at most
 * MACHINE_GPA_END. Return 0 or -EINVAL with the reason in @w.
 */
int machine_check_overlaps(const struct machine *m, struct why *w);

#endif /* UMBRA_HV_MACHINE_RULES_H */
