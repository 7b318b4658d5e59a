/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * First instructions of every vCPU, in 64-bit mode on the host's identity map, at CPL 3 or 0:
 * rdi = device tree, rsi = index of this vCPU, fs.base = ABI_SCRATCH_GPA. No IDT, no interrupts.
 */
#include "guest/abi.h"

#define STACK_SIZE 0x4000
#define CANARY 0x8f2ad9510a00ff1b /* constant, so that every vCPU may store it at any time */

	/* link.ld cannot include abi.h; it asserts that it was written for this address. */
	.globl abi_image_gpa
	.set abi_image_gpa, ABI_IMAGE_GPA

	.section .text.start, "ax", @progbits
	.globl _start
	.type _start, @function
_start:
	cmp $ABI_MAX_CPUS, %rsi
	jae 1f
	movabs $CANARY, %rax
	mov %rax, %fs:0x28
	mov %esi, %ebx
	lea 1(%rsi), %rax
	shl $14, %rax /* STACK_SIZE */
	lea stacks(%rip), %rsp
	add %rax, %rsp
	xor %ebp, %ebp
	call guest_main
	mov %ebx, %edi
	mov %eax, %esi
	call hc_exit
	/* Nowhere to return to. Without an IDT this is a triple fault, which the host reports. */
1:	ud2
	.size _start, . - _start

	.bss
	.balign 4096
stacks:
	.skip STACK_SIZE * ABI_MAX_CPUS

	.section .note.GNU-stack, "", @progbits
