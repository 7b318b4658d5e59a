// SPDX-License-Identifier: BSD-2-Clause
#include "hv/load.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "guest/abi.h"
#include "hv/machine.h"
#include "hv/ram.h"
#include "hv/why.h"

#define LOAD_MAX_PHDRS 64
#define LOAD_CHUNK     65536
/* Of what begins as zeros, a stack among it, so much is there at once. */
#define LOAD_ZEROS     20480

struct image {
	int fd;
	uint64_t size;
	uint64_t ram_size;
	Elf64_Ehdr ehdr;
	Elf64_Phdr phdrs[LOAD_MAX_PHDRS];
	struct why why;
};

#define reject(img, ...) why_fail(&(img)->why, -EINVAL, __VA_ARGS__)

static int host_error(struct image *img, const char *what, int err)
{
	return why_fail(&img->why, -err, "%s: %s%s", what, strerror(err), why_advice(-err));
}

static int open_error(struct image *img, int err)
{
	if (*why_advice(-err))
		return host_error(img, "cannot open the image", err);
	return why_fail(&img->why, -err,
			"cannot open the image: %s: name another in /umbra/image, or build the toy "
			"guest with make",
			strerror(err));
}

/* Read exactly @len bytes. The caller checked that the file has them; it may have shrunk since. */
static int read_at(struct image *img, void *buf, size_t len, uint64_t offset)
{
	for (size_t done = 0; done < len;) {
		ssize_t n = pread(img->fd, (char *)buf + done, len - done, (off_t)(offset + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return host_error(img, "cannot read the image", errno);
		if (n == 0)
			return reject(
				img,
				"shrank while it was loaded: leave the file alone and try again");
		done += (size_t)n;
	}
	return 0;
}

static bool is_inside(uint64_t start, uint64_t len, uint64_t limit)
{
	return start <= limit && len <= limit - start;
}

static int check_ident(struct image *img)
{
	const Elf64_Ehdr *e = &img->ehdr;

	if (memcmp(e->e_ident, ELFMAG, SELFMAG))
		return reject(img, "not an ELF file: name a guest image in /umbra/image");
	if (e->e_ident[EI_CLASS] != ELFCLASS64 || e->e_ident[EI_DATA] != ELFDATA2LSB)
		return reject(img,
			      "not a 64-bit little-endian ELF file: build the image for x86-64");
	if (e->e_machine != EM_X86_64)
		return reject(img, "built for ELF machine %u, not for x86-64 (%u)", e->e_machine,
			      EM_X86_64);
	if (e->e_type == ET_DYN)
		return reject(
			img, "position independent or shared: link the image with -static -no-pie");
	if (e->e_type != ET_EXEC)
		return reject(img, "ELF type %u, not an executable: link the image", e->e_type);
	return 0;
}

static int read_headers(struct image *img)
{
	const Elf64_Ehdr *e = &img->ehdr;
	int err;

	if (img->size < sizeof(*e))
		return reject(img, "%lu bytes, too short for an ELF header: truncated?", img->size);
	err = read_at(img, &img->ehdr, sizeof(img->ehdr), 0);
	if (err)
		return err;
	err = check_ident(img);
	if (err)
		return err;
	if (e->e_phentsize != sizeof(Elf64_Phdr) || e->e_phnum == 0 || e->e_phnum > LOAD_MAX_PHDRS)
		return reject(img, "%u program headers of %u bytes: 1 to %d of %zu can be loaded",
			      e->e_phnum, e->e_phentsize, LOAD_MAX_PHDRS, sizeof(Elf64_Phdr));
	if (!is_inside(e->e_phoff, e->e_phnum * sizeof(Elf64_Phdr), img->size))
		return reject(img,
			      "program headers at %#lx lie beyond the end of the file: truncated?",
			      e->e_phoff);
	return read_at(img, img->phdrs, e->e_phnum * sizeof(Elf64_Phdr), e->e_phoff);
}

static bool is_loaded(const Elf64_Phdr *p)
{
	return p->p_type == PT_LOAD && p->p_memsz;
}

static int check_segment(struct image *img, unsigned i)
{
	const Elf64_Phdr *p = &img->phdrs[i];

	if (p->p_filesz > p->p_memsz)
		return reject(img, "segment %u has more bytes in the file than in memory", i);
	if (!is_inside(p->p_offset, p->p_filesz, img->size))
		return reject(img,
			      "segment %u needs %#lx bytes at %#lx of a file of %#lx: truncated?",
			      i, p->p_filesz, p->p_offset, img->size);
	if (p->p_vaddr < ABI_IMAGE_GPA)
		return reject(
			img,
			"segment %u at %#lx is in the boot area: link the image at %#x or above", i,
			p->p_vaddr, ABI_IMAGE_GPA);
	if (!is_inside(p->p_vaddr, p->p_memsz, img->ram_size))
		return reject(img,
			      "segment %u of %#lx bytes at %#lx does not fit %#lx bytes of RAM: "
			      "enlarge /memory@0 or link the image lower",
			      i, p->p_memsz, p->p_vaddr, img->ram_size);
	for (unsigned j = 0; j < i; j++) {
		const Elf64_Phdr *q = &img->phdrs[j];

		if (is_loaded(q) && p->p_vaddr < q->p_vaddr + q->p_memsz &&
		    q->p_vaddr < p->p_vaddr + p->p_memsz)
			return reject(img, "segments %u and %u overlap at %#lx", j, i,
				      p->p_vaddr > q->p_vaddr ? p->p_vaddr : q->p_vaddr);
	}
	return 0;
}

static int check_segments(struct image *img)
{
	uint64_t entry = img->ehdr.e_entry;
	bool any = false, has_entry = false;

	for (unsigned i = 0; i < img->ehdr.e_phnum; i++) {
		const Elf64_Phdr *p = &img->phdrs[i];
		int err;

		if (p->p_type == PT_INTERP || p->p_type == PT_DYNAMIC)
			return reject(img,
				      "dynamically linked: link the image with -static -no-pie");
		if (p->p_type == PT_TLS)
			return reject(img, "has thread-local storage, which nobody would set up");
		if (!is_loaded(p))
			continue;
		err = check_segment(img, i);
		if (err)
			return err;
		any = true;
		if ((p->p_flags & PF_X) && entry >= p->p_vaddr && entry - p->p_vaddr < p->p_filesz)
			has_entry = true;
	}
	if (!any)
		return reject(
			img,
			"has no segment to load: link the image with a linker script or -Ttext");
	if (!has_entry)
		return reject(img, "entry %#lx is not in a loaded executable segment", entry);
	return 0;
}

static int write_segment(struct image *img, struct ram *ram, const Elf64_Phdr *p, char *chunk)
{
	for (uint64_t done = 0; done < p->p_filesz;) {
		size_t len = p->p_filesz - done < LOAD_CHUNK ? p->p_filesz - done : LOAD_CHUNK;
		int err = read_at(img, chunk, len, p->p_offset + done);

		if (err)
			return err;
		err = ram_write(ram, p->p_vaddr + done, chunk, len);
		if (err)
			return host_error(img, "cannot write guest memory", -err);
		done += len;
	}
	return 0;
}

/* In memory that whoever comes next gets again, which on a stack would be touched for this alone. */
static int write_segments(struct image *img, struct ram *ram)
{
	char *chunk = malloc(LOAD_CHUNK);
	int err = chunk ? 0 : host_error(img, "cannot load the image", ENOMEM);

	for (unsigned i = 0; !err && i < img->ehdr.e_phnum; i++) {
		const Elf64_Phdr *p = &img->phdrs[i];
		uint64_t zeros = p->p_memsz - p->p_filesz;

		if (!is_loaded(p))
			continue;
		err = write_segment(img, ram, p, chunk);
		if (!err && zeros)
			ram_prefault(ram, p->p_vaddr + p->p_filesz,
				     zeros < LOAD_ZEROS ? zeros : LOAD_ZEROS);
	}
	free(chunk);
	return err;
}

static int load_open(struct image *img, struct ram *ram, uint64_t *entry)
{
	struct stat st;
	int err;

	if (fstat(img->fd, &st))
		return host_error(img, "cannot stat the image", errno);
	if (!S_ISREG(st.st_mode))
		return reject(img, "not a regular file: name a guest image in /umbra/image");
	img->size = (uint64_t)st.st_size;
	err = read_headers(img);
	if (!err)
		err = check_segments(img);
	if (!err)
		err = write_segments(img, ram);
	if (!err)
		*entry = img->ehdr.e_entry;
	return err;
}

int load_image(struct ram *ram, const struct machine *m, const char *path, uint64_t *entry,
	       char *why, size_t why_len)
{
	struct image img = {
		.ram_size = m->ram.size,
		.why = { .text = why, .size = why_len, .where = path },
	};
	int err;

	/* O_NONBLOCK: a FIFO must be rejected, not waited for. */
	img.fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (img.fd < 0)
		return open_error(&img, errno);
	err = load_open(&img, ram, entry);
	close(img.fd);
	return err;
}
