/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Boot arguments: which workloads there are, which keys each takes, and what they mean.
 * Owns the one list of them: the guest checks its arguments by it, `umbra help workloads` prints it, and the host
 * judges machines by it. docs/bindings.md says the same in prose.
 * Included by guest/main.c and hv/workloads.c. Knows nothing.
 */
#ifndef UMBRA_GUEST_BOOTARGS_H
#define UMBRA_GUEST_BOOTARGS_H

/* W(name, what it does), followed by its K(name, key, values, default, what it means). */
/* clang-format off */
#define GUEST_BOOTARGS(W, K)                                                                                \
	W(hello, "each vCPU says what it is")                                                               \
	K(hello, "exit", "0..124", "0", "exit code")                                                        \
	W(digest, "XXH3-128 of the input region, as xxh128sum prints it")                                   \
	W(touch, "go over all pages of /work and check what they hold")                                     \
	K(touch, "pattern", "seq|random|stride", "seq", "order of the pages; each is met once a round")     \
	K(touch, "stride", "N", "16", "pages from one to the next, for pattern=stride")                     \
	K(touch, "op", "read|write|mixed", "read", "mixed: write every fourth page, read the others")       \
	K(touch, "pages", "N", "all", "the first N pages only")                                             \
	K(touch, "rounds", "N", "1", "0: until the host says stop")                                         \
	W(verify, "write all of /work, mark the phase, read it back; not under discards")                   \
	K(verify, "rounds", "1..65535", "1", "how often")                                                   \
	W(counter, "atomic increments shared with host threads; the host checks the sum")                   \
	K(counter, "pages", "N", "all", "the first N pages of /work only")                                  \
	K(counter, "increments", "N", "until stop", "increments of each vCPU")                              \
	W(stress, "a part of build/umbra-stress, which drives it")                                          \
	K(stress, "players", "N", "vCPUs", "of whom the vCPUs are the first")                               \
	K(stress, "keep", "N", "half", "pages of /work that are not twins")                                 \
	K(stress, "seed", "N", "1", "of the choices")                                                       \
	W(idle, "sleep in the host")                                                                        \
	K(idle, "seconds", "N", "until stop", "how long")                                                   \
	W(bad, "misbehave, to test the host")                                                               \
	K(bad, "kind", "...", "required", "how: the head of guest/bad.c lists them")                        \
	K(bad, "at", "GPA", "0xfec00000", "address, for kind=hole and kind=store")
/* clang-format on */

#endif
