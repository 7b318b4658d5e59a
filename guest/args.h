/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Boot arguments: "workload=NAME key=value ...", separated by spaces.
 * Owns nothing.
 * Called by guest/main.c and the workloads.
 * Does not know which keys there are.
 */
#ifndef UMBRA_GUEST_ARGS_H
#define UMBRA_GUEST_ARGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct arg {
	const char *key, *value; /* not terminated */
	size_t key_len, value_len;
};

/* Step through @args: false at the end, else @arg is the next one and *@args moves behind it. */
bool arg_next(const char **args, struct arg *arg);

/* Find @key. */
bool arg_find(const char *args, const char *key, struct arg *arg);

/* Is @len bytes at @text one of the space-separated @words? Return its position or -1. */
int arg_word(const char *words, const char *text, size_t len);

/*
 * The value of @key as a number (decimal or 0x..., with K, M or G for powers of 1024), or as the
 * position of a word in the list @words; @otherwise when the key is absent. *@bad becomes true
 * when the value is neither, and is left alone when it is right.
 */
uint64_t arg_number(const char *args, const char *key, uint64_t otherwise, bool *bad);
int arg_choice(const char *args, const char *key, const char *words, int otherwise, bool *bad);

#endif
