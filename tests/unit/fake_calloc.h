/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * calloc() that fails when a test says so. Every test is linked with --wrap=calloc (Makefile), so the calls of the library, of hv/
 * and of the test come here, under each sanitizer too; calls inside shared libraries do not.
 */
#ifndef UMBRA_TESTS_UNIT_FAKE_CALLOC_H
#define UMBRA_TESTS_UNIT_FAKE_CALLOC_H

/* Of this thread, call number fake_calloc_at from when that is set fails, and sets it to 0. 0: none does. */
extern _Thread_local unsigned fake_calloc_at;

#endif /* UMBRA_TESTS_UNIT_FAKE_CALLOC_H */
