// SPDX-License-Identifier: BSD-2-Clause
#include "hv/hcall.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include "guest/abi.h"
#include "hv/ram.h"

/*
 * One call. The page was copied once: the guest may change its own copy meanwhile, so nothing is
 * read from there again.
 */
struct call {
	struct ram *ram;
	const struct hcall_ops *ops;
	void *ctx;
	unsigned cpu;
	struct hc_page page;
};

/* What the guest reads back; lies in struct hc_page from ret on. */
struct answer {
	uint64_t ret;
	int32_t status;
} __attribute__((packed));

_Static_assert(offsetof(struct hc_page, status) == offsetof(struct hc_page, ret) + 8,
	       "struct answer");

/* Return 0 or -HC_E*: is the page one that some op could take? */
static int32_t check_page(const struct hc_page *page)
{
	if (page->magic != HC_MAGIC || page->flags || page->reserved0)
		return -HC_EINVAL;
	for (size_t i = 0; i < sizeof(page->reserved); i++)
		if (page->reserved[i])
			return -HC_EINVAL;
	if (page->op < HC_CONSOLE || page->op > HC_WAIT)
		return -HC_ENOSYS;
	if (page->ndesc > (page->op == HC_CONSOLE ? HC_MAX_DESCS : 0))
		return -HC_EINVAL;
	return 0;
}

/* Sum the lengths of all descriptors. Return 0 or -HC_EINVAL. */
static int32_t console_len(const struct hc_page *page, size_t *total)
{
	*total = 0;
	for (uint32_t i = 0; i < page->ndesc; i++) {
		if (page->desc[i].len > HC_CONSOLE_MAX - *total)
			return -HC_EINVAL;
		*total += page->desc[i].len;
	}
	return 0;
}

/*
 * Gather all descriptors in @buf, which has room. Return 0 or -errno; -EFAULT is the guest's
 * fault.
 */
static int console_gather(struct call *call, char *buf)
{
	for (uint32_t i = 0; i < call->page.ndesc; i++) {
		const struct hc_desc *desc = &call->page.desc[i];
		int err = ram_read(call->ram, desc->gpa, buf, desc->len);

		if (err)
			return err;
		buf += desc->len;
	}
	return 0;
}

/*
 * The functions below return 0 or -errno of the host, and leave what the guest did wrong in
 * @answer.
 */

static int do_console(struct call *call, struct answer *answer)
{
	size_t len;
	char *buf;
	int err;

	answer->status = console_len(&call->page, &len);
	if (answer->status || !len)
		return 0;
	buf = malloc(len);
	if (!buf)
		return -ENOMEM;
	err = console_gather(call, buf);
	if (!err) {
		err = call->ops->console(call->ctx, call->cpu, buf, len);
		answer->ret = len;
	} else if (err == -EFAULT) {
		err = 0;
		answer->status = -HC_EFAULT;
	}
	free(buf);
	return err;
}

static int do_phase(struct call *call, struct answer *answer)
{
	const uint64_t *args = call->page.args;
	uint64_t ret = 0;
	int err;

	if (args[0] < PHASE_READY || args[0] > PHASE_LAST) {
		answer->status = -HC_EINVAL;
		return 0;
	}
	err = call->ops->phase(call->ctx, call->cpu, (uint32_t)args[0], args + 1, &ret);
	answer->ret = ret;
	return err;
}

static int do_clock(struct call *call, struct answer *answer)
{
	uint64_t ns = 0;
	int err = call->ops->clock(call->ctx, call->cpu, &ns);

	answer->ret = ns;
	return err;
}

static int do_wait(struct call *call, struct answer *answer)
{
	if (call->page.args[0] > HC_WAIT_MAX) {
		answer->status = -HC_EINVAL;
		return 0;
	}
	return call->ops->wait(call->ctx, call->cpu, call->page.args[0]);
}

/* Set *@exits, and nothing else happens, when the vCPU is done. */
static int do_call(struct call *call, struct answer *answer, bool *exits)
{
	answer->status = check_page(&call->page);
	if (answer->status)
		return 0;
	switch ((enum hc_op)call->page.op) {
	case HC_CONSOLE:
		return do_console(call, answer);
	case HC_EXIT:
		*exits = call->page.args[0] <= HC_EXIT_MAX;
		answer->status = *exits ? 0 : -HC_EINVAL;
		return 0;
	case HC_PHASE:
		return do_phase(call, answer);
	case HC_CLOCK:
		return do_clock(call, answer);
	case HC_WAIT:
		return do_wait(call, answer);
	}
	return 0; /* check_page() lets no other op pass */
}

static enum hcall_result host_error(struct hcall_exit *out, int err)
{
	out->error = err;
	return HCALL_HOST_ERROR;
}

static enum hcall_result bad_page(struct hcall_exit *out, int err, uint64_t gpa, const char *what)
{
	if (err != -EFAULT)
		return host_error(out, err);
	snprintf(out->reason, sizeof(out->reason), "hypercall page at gpa 0x%" PRIx64 " %s", gpa,
		 what);
	return HCALL_BAD;
}

enum hcall_result hcall_dispatch(struct ram *ram, const struct hcall_ops *ops, void *ctx,
				 unsigned cpu, uint32_t gfn, struct hcall_exit *out)
{
	struct call call = { .ram = ram, .ops = ops, .ctx = ctx, .cpu = cpu };
	struct answer answer = { 0 };
	uint64_t gpa = (uint64_t)gfn * ABI_PAGE_SIZE;
	bool exits = false;
	int err;

	*out = (struct hcall_exit){ 0 };
	err = ram_read(ram, gpa, &call.page, sizeof(call.page));
	if (err)
		return bad_page(out, err, gpa, "is outside guest memory");
	out->op = call.page.op;
	err = do_call(&call, &answer, &exits);
	if (err)
		return host_error(out, err);
	if (exits) {
		out->code = (unsigned)call.page.args[0];
		return HCALL_EXIT;
	}
	err = ram_write(ram, gpa + offsetof(struct hc_page, ret), &answer, sizeof(answer));
	if (err)
		return bad_page(out, err, gpa, "cannot take the answer");
	return HCALL_CONTINUE;
}
