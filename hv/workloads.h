/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the toy guest can do, as far as the host knows: its boot arguments.
 * Owns nothing; the list is guest/bootargs.h.
 * Called by hv/main.c and hv/machine_rules.c.
 * Does not run anything. Other images may take other arguments.
 */
#ifndef UMBRA_HV_WORKLOADS_H
#define UMBRA_HV_WORKLOADS_H

#include <stdbool.h>
#include <stdio.h>

/* The text of `umbra help workloads`. */
void workloads_print(FILE *out);

/* Does @bootargs have the word "@key=@value"; any value when that is NULL? */
bool bootargs_have(const char *bootargs, const char *key, const char *value);

#endif /* UMBRA_HV_WORKLOADS_H */
