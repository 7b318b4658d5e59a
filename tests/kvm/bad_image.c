// SPDX-License-Identifier: BSD-2-Clause
/* Bad images: each is refused at once, with a status and a message that say whose fault it is. */
#include "tests/test.h"

#include <elf.h>
#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/umbra.h"

static Elf64_Ehdr *image;
static size_t image_size;

static Elf64_Phdr *phdr(unsigned i)
{
	return (Elf64_Phdr *)((char *)image + image->e_phoff) + i;
}

static void setup_image(void)
{
	char path[4096];

	kvm_setup();
	snprintf(path, sizeof(path), "%s/guest/guest.elf", test_build_dir());
	image = file_read(path, &image_size);
}

static void fini_image(void)
{
	free(image);
	image = NULL;
	kvm_fini();
}

static void check_image(size_t size, const char *says)
{
	scratch_write("bad.elf", image, size);
	umbra_ended_soon(umbra("run configs/hello.dts --set /umbra/image=%s", scratch("bad.elf")),
			 126, says);
	umbra_said_err("bad.elf: ");
	umbra_said_err("vm: load: ");
}

UTEST(bad_image, image_truncated, .init = setup_image, .fini = fini_image)
{
	check_image(0, "too short");
	check_image(10, "too short");
	check_image(sizeof(*image), "truncated?");
	check_image(phdr(0)->p_offset + 100, "truncated?");
}

UTEST(bad_image, image_not_elf, .init = setup_image, .fini = fini_image)
{
	memset(image, '#', 4);
	check_image(image_size, "not an ELF file");
}

UTEST(bad_image, image_32_bit, .init = setup_image, .fini = fini_image)
{
	image->e_ident[EI_CLASS] = ELFCLASS32;
	check_image(image_size, "not a 64-bit");
}

UTEST(bad_image, image_of_another_machine, .init = setup_image, .fini = fini_image)
{
	image->e_machine = EM_AARCH64;
	check_image(image_size, "not for x86-64");
}

UTEST(bad_image, image_overlapping, .init = setup_image, .fini = fini_image)
{
	Elf64_Phdr *first = NULL;

	for (unsigned i = 0; i < image->e_phnum; i++) {
		if (phdr(i)->p_type != PT_LOAD || !phdr(i)->p_memsz)
			continue;
		if (first)
			phdr(i)->p_vaddr = first->p_vaddr;
		else
			first = phdr(i);
	}
	check_image(image_size, "overlap");
}

UTEST(bad_image, image_oversized, .init = setup_image, .fini = fini_image)
{
	for (unsigned i = 0; i < image->e_phnum; i++)
		if (phdr(i)->p_type == PT_LOAD)
			phdr(i)->p_memsz = 1ull << 40;
	check_image(image_size, "does not fit");
}

UTEST(bad_image, image_that_is_no_file, .init = kvm_setup, .fini = kvm_fini)
{
	umbra_ended_soon(umbra("run configs/hello.dts --set /umbra/image=/no/such/file"), 126,
			 "/no/such/file: cannot open the image: No such file");
	umbra_said_err("name another in /umbra/image");
	umbra_ended_soon(umbra("run configs/hello.dts --set /umbra/image=/tmp"), 126,
			 "/tmp: not a regular file");
}
