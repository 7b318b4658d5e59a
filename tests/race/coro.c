// SPDX-License-Identifier: BSD-2-Clause
#include "tests/race/coro.h"

#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>

#include "mmu/base/bug.h"

#define STACK_SIZE (256u << 10)

/* Stacks outlive a run: not from the heap of one (heap.h). */
void *__real_mmap(void *addr, size_t len, int prot, int flags, int fd, off_t offset);
void coro_switch_asm(void **from_sp, void *to_sp);

/* rdi: where to save the stack pointer; rsi: the one to load. */
__asm__(".text\n"
	".type coro_switch_asm, @function\n"
	"coro_switch_asm:\n"
	"	push %rbp\n"
	"	push %rbx\n"
	"	push %r12\n"
	"	push %r13\n"
	"	push %r14\n"
	"	push %r15\n"
	"	mov %rsp, (%rdi)\n"
	"	mov %rsi, %rsp\n"
	"	pop %r15\n"
	"	pop %r14\n"
	"	pop %r13\n"
	"	pop %r12\n"
	"	pop %rbx\n"
	"	pop %rbp\n"
	"	ret\n"
	".size coro_switch_asm, . - coro_switch_asm\n");

void coro_init(struct coro *co, void (*entry)(void))
{
	uint64_t *sp;

	if (!co->stack) {
		co->stack = __real_mmap(NULL, STACK_SIZE, PROT_READ | PROT_WRITE,
					MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		bug_on(co->stack == MAP_FAILED);
	}
	sp = (uint64_t *)(co->stack + STACK_SIZE);
	*--sp = 0; /* keeps the stack aligned as after a call, and ends backtraces */
	*--sp = (uint64_t)(uintptr_t)entry;
	for (int i = 0; i < 6; i++)
		*--sp = 0;
	co->sp = sp;
}

void coro_switch(struct coro *from, struct coro *to)
{
	coro_switch_asm(&from->sp, to->sp);
}
