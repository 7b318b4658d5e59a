/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Strings in JSON.
 * Owns nothing. Called by everything in hv/ that writes JSON.
 * Does not know what the JSON says.
 */
#ifndef UMBRA_HV_JSON_H
#define UMBRA_HV_JSON_H

#include <stdio.h>

/* Write @s with its quotes, escaped; bytes that are no UTF-8 become U+FFFD. */
void json_put_string(FILE *out, const char *s);

#endif /* UMBRA_HV_JSON_H */
