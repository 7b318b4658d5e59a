// SPDX-License-Identifier: BSD-2-Clause
/* Rows that wait for parts of the primary or of the secondary. Whoever builds a part turns its line into a scenario. */
#include "tests/race/scenario.h"
