/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * For functions that stand before those of the C library: the ones behind them.
 * Owns nothing. Who may call: libinject.so, and tests that do the same. May not know: umbra.
 */
#ifndef UMBRA_TESTS_INJECT_NEXT_H
#define UMBRA_TESTS_INJECT_NEXT_H

#include <dlfcn.h>
#include <stdatomic.h>

/* The next definition of @name, looked up once. dlsym() is idempotent, so a race is harmless. */
#define NEXT(name)                                                     \
	({                                                             \
		static _Atomic(void *) next_;                          \
                                                                       \
		if (!atomic_load(&next_))                              \
			atomic_store(&next_, dlsym(RTLD_NEXT, #name)); \
		(__typeof__(&name))atomic_load(&next_);                \
	})

#endif
