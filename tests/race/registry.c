// SPDX-License-Identifier: BSD-2-Clause
#include "tests/race/scenario.h"

const struct race_scenario *const race_scenarios[] = {
	NULL,
};
