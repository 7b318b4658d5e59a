// SPDX-License-Identifier: BSD-2-Clause
/* The image loader: what it takes, what it refuses and says, and that refusing writes nothing. */
#include "hv/load.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "guest/abi.h"
#include "hv/machine.h"
#include "tests/test.h"
#include "tests/unit/fake_ram.h"

#define RAM_SIZE  ABI_RAM_MIN
#define TEXT_GPA  ABI_IMAGE_GPA
#define DATA_GPA  (ABI_IMAGE_GPA + 0x1000)
#define TEXT_BYTE 0x90
#define DATA_BYTE 0x5a

/* A good image: text, and data with a bss behind it. */
struct image {
	Elf64_Ehdr ehdr;
	Elf64_Phdr text, data, stack;
	uint8_t text_bytes[64];
	uint8_t data_bytes[32];
};

static struct machine machine;
static struct ram *ram;
static uint64_t entry;
static char why[MACHINE_WHY_SIZE];

static struct image good_image(void)
{
	struct image img = {
		.ehdr = {
			.e_ident = { ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB, EV_CURRENT },
			.e_type = ET_EXEC,
			.e_machine = EM_X86_64,
			.e_version = EV_CURRENT,
			.e_entry = TEXT_GPA + 8,
			.e_phoff = offsetof(struct image, text),
			.e_ehsize = sizeof(Elf64_Ehdr),
			.e_phentsize = sizeof(Elf64_Phdr),
			.e_phnum = 3,
		},
		.text = {
			.p_type = PT_LOAD,
			.p_flags = PF_R | PF_X,
			.p_offset = offsetof(struct image, text_bytes),
			.p_vaddr = TEXT_GPA,
			.p_filesz = sizeof(img.text_bytes),
			.p_memsz = sizeof(img.text_bytes),
		},
		.data = {
			.p_type = PT_LOAD,
			.p_flags = PF_R | PF_W,
			.p_offset = offsetof(struct image, data_bytes),
			.p_vaddr = DATA_GPA,
			.p_filesz = sizeof(img.data_bytes),
			.p_memsz = 0x10000,
		},
		.stack = { .p_type = PT_GNU_STACK, .p_flags = PF_R | PF_W },
	};

	memset(img.text_bytes, TEXT_BYTE, sizeof(img.text_bytes));
	memset(img.data_bytes, DATA_BYTE, sizeof(img.data_bytes));
	return img;
}

static int load_path(const char *path)
{
	why[0] = '\0';
	entry = 0;
	ram->writes = 0;
	return load_image(ram, &machine, path, &entry, why, sizeof(why));
}

static int load_bytes(const void *bytes, size_t len)
{
	char path[64];
	int fd = memfd_create("image", MFD_CLOEXEC), err;

	check(fd >= 0);
	check(write(fd, bytes, len) == (ssize_t)len);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	err = load_path(path);
	close(fd);
	return err;
}

static void setup(void)
{
	machine = (struct machine){ .ram = { .size = RAM_SIZE, .present = true } };
	ram = fake_ram_create(RAM_SIZE);
}

static void teardown(void)
{
	fake_ram_destroy(ram);
}

static void check_refused(const char *name, int err, const char *reason)
{
	check(err == -EINVAL, "%s: %d (%s)", name, err, why);
	check(strstr(why, reason), "%s: \"%s\" lacks \"%s\"", name, why, reason);
	check(!ram->writes, "%s: wrote %u times", name, ram->writes);
	check(!entry, "%s: stored an entry", name);
}

UTEST(load, places_segments, .init = setup, .fini = teardown)
{
	struct image img = good_image();

	check(!load_bytes(&img, sizeof(img)), "%s", why);
	check_eq(entry, TEXT_GPA + 8);
	check(!memcmp(ram->bytes + TEXT_GPA, img.text_bytes, sizeof(img.text_bytes)));
	check(!memcmp(ram->bytes + DATA_GPA, img.data_bytes, sizeof(img.data_bytes)));
	check_eq(ram->bytes[TEXT_GPA + sizeof(img.text_bytes)], 0);
	check_eq(ram->bytes[DATA_GPA + sizeof(img.data_bytes)], 0);
	check_eq(ram->writes, 2);
	check_eq(ram->prefaulted, DATA_GPA + sizeof(img.data_bytes));
	check(ram->prefault_len && ram->prefault_len <= img.data.p_memsz - img.data.p_filesz);
}

UTEST(load, takes_the_toy_guest, .init = setup, .fini = teardown)
{
	char path[512];

	snprintf(path, sizeof(path), "%s/guest/guest.elf", test_build_dir());
	check(!load_path(path), "%s", why);
	check_eq(entry, ABI_IMAGE_GPA);
}

UTEST(load, fills_ram_to_the_last_byte, .init = setup, .fini = teardown)
{
	struct image img = good_image();

	img.data.p_memsz = RAM_SIZE - DATA_GPA;
	check(!load_bytes(&img, sizeof(img)), "%s", why);
	img.data.p_memsz++;
	check_refused("one byte more", load_bytes(&img, sizeof(img)), "does not fit");
}

/* A good image with one field changed. */
struct change {
	size_t at, len;
	uint64_t value;
	const char *reason;
};

/* clang-format off */
#define CHANGE(field, value_, reason_) \
	{ offsetof(struct image, field), sizeof(((struct image *)0)->field), value_, reason_ }

static const struct change changes[] = {
	CHANGE(ehdr.e_ident[0], 0, "not an ELF file"),
	CHANGE(ehdr.e_ident[EI_CLASS], ELFCLASS32, "not a 64-bit"),
	CHANGE(ehdr.e_ident[EI_DATA], ELFDATA2MSB, "little-endian"),
	CHANGE(ehdr.e_machine, EM_AARCH64, "ELF machine 183"),
	CHANGE(ehdr.e_type, ET_DYN, "-no-pie"),
	CHANGE(ehdr.e_type, ET_REL, "ELF type 1"),
	CHANGE(ehdr.e_phnum, 0, "0 program headers"),
	CHANGE(ehdr.e_phnum, PN_XNUM, "65535 program headers"),
	CHANGE(ehdr.e_phentsize, 32, "of 32 bytes"),
	CHANGE(ehdr.e_phoff, sizeof(struct image) - 8, "beyond the end"),
	CHANGE(ehdr.e_phoff, UINT64_MAX - 8, "beyond the end"),
	CHANGE(ehdr.e_entry, TEXT_GPA - 1, "not in a loaded executable segment"),
	CHANGE(ehdr.e_entry, TEXT_GPA + 64, "not in a loaded executable segment"),
	CHANGE(ehdr.e_entry, DATA_GPA, "not in a loaded executable segment"),
	CHANGE(text.p_flags, PF_R | PF_W, "not in a loaded executable segment"),
	CHANGE(text.p_offset, UINT64_MAX - 8, "truncated"),
	CHANGE(text.p_memsz, 8, "more bytes in the file"),
	CHANGE(data.p_offset, offsetof(struct image, data_bytes) + 1, "truncated"),
	CHANGE(data.p_filesz, 33, "truncated"),
	CHANGE(data.p_vaddr, 0, "boot area"),
	CHANGE(data.p_vaddr, ABI_IMAGE_GPA - 1, "boot area"),
	CHANGE(data.p_vaddr, RAM_SIZE, "does not fit"),
	CHANGE(data.p_vaddr, UINT64_MAX - 0x1000, "does not fit"),
	CHANGE(data.p_memsz, RAM_SIZE, "does not fit"),
	CHANGE(data.p_memsz, UINT64_MAX, "does not fit"),
	CHANGE(data.p_vaddr, TEXT_GPA + 63, "segments 0 and 1 overlap at 0x20003f"),
	CHANGE(data.p_vaddr, TEXT_GPA, "segments 0 and 1 overlap at 0x200000"),
	CHANGE(text.p_vaddr, DATA_GPA + 0xffff, "overlap at 0x210fff"),
	CHANGE(stack.p_type, PT_INTERP, "dynamically linked"),
	CHANGE(stack.p_type, PT_DYNAMIC, "dynamically linked"),
	CHANGE(stack.p_type, PT_TLS, "thread-local"),
};
/* clang-format on */

UTEST(load, refuses_each_wrong_field, .init = setup, .fini = teardown)
{
	for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
		struct image img = good_image();

		memcpy((char *)&img + changes[i].at, &changes[i].value, changes[i].len);
		check_refused(changes[i].reason, load_bytes(&img, sizeof(img)), changes[i].reason);
	}
}

UTEST(load, needs_a_segment, .init = setup, .fini = teardown)
{
	struct image img = good_image();

	img.text.p_type = img.data.p_type = PT_NULL;
	check_refused("none", load_bytes(&img, sizeof(img)), "no segment");
	img.text.p_type = img.data.p_type = PT_LOAD;
	img.text.p_memsz = img.data.p_memsz = 0;
	check_refused("empty ones", load_bytes(&img, sizeof(img)), "no segment");
}

UTEST(load, does_not_enter_a_bss, .init = setup, .fini = teardown)
{
	struct image img = good_image();

	img.data.p_flags |= PF_X;
	img.ehdr.e_entry = DATA_GPA + sizeof(img.data_bytes);
	check_refused("bss", load_bytes(&img, sizeof(img)), "not in a loaded");
	img.ehdr.e_entry--;
	check(!load_bytes(&img, sizeof(img)), "%s", why);
}

UTEST(load, refuses_every_truncation, .init = setup, .fini = teardown)
{
	struct image img = good_image();

	for (size_t len = 0; len < sizeof(img); len++)
		check_refused("truncated", load_bytes(&img, len), "truncated");
}

/* Whatever the headers say, the loader stays inside RAM: fake RAM would answer -EFAULT. */
UTEST(load, survives_any_byte_in_the_headers, .init = setup, .fini = teardown)
{
	static const uint8_t values[] = { 0, 1, 0x7f, 0x80, 0xff };

	for (size_t at = 0; at < offsetof(struct image, text_bytes); at++) {
		for (size_t v = 0; v < sizeof(values); v++) {
			struct image img = good_image();
			int err;

			((uint8_t *)&img)[at] = values[v];
			err = load_bytes(&img, sizeof(img));
			check(err == 0 || err == -EINVAL, "byte %zu = %u: %d", at, values[v], err);
			check(!err == !why[0], "byte %zu = %u: \"%s\"", at, values[v], why);
		}
	}
}

UTEST(load, names_the_file_it_cannot_use, .init = setup, .fini = teardown)
{
	check_eq(load_path("/nonexistent/guest.elf"), -ENOENT);
	check(strstr(why, "/nonexistent/guest.elf: cannot open"), "%s", why);
	check_refused("directory", load_path("/"), "not a regular file");
	check_refused("device", load_path("/dev/null"), "not a regular file");
}

UTEST(load, does_not_wait_for_a_fifo, .init = setup, .fini = teardown)
{
	char dir[] = "/tmp/umbra-test-XXXXXX", path[64];
	int err;

	check(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/fifo", dir);
	check(!mkfifo(path, 0600));
	err = load_path(path);
	unlink(path);
	rmdir(dir);
	check_refused("fifo", err, "not a regular file");
}

UTEST(load, reports_errors_of_the_host, .init = setup, .fini = teardown)
{
	struct image img = good_image();

	ram->fail_writes = -EIO;
	check_eq(load_bytes(&img, sizeof(img)), -EIO);
	check(strstr(why, "cannot write guest memory"), "%s", why);
}
