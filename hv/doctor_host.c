// SPDX-License-Identifier: BSD-2-Clause
/* The host: kernel, privileges, limits on memory, mappings and descriptors. */
#include "hv/doctor.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>

#define CAP_SYS_PTRACE_BIT 19
#define MAPS_WANTED	   65530u	 /* the kernel's default */
#define FILES_WANTED	   256u		 /* descriptors: pool, userfaultfds, VM, 16 vCPUs, trace */
#define MEMORY_WANTED	   (64ull << 20) /* RAM and tables of a small machine */
#define ADDRESS_WANTED	   (8ull << 30)	 /* views, windows and thread stacks of one */

/*
 * Find the line of @path that starts with @key ("" for the first) and copy what follows it.
 * Return false when there is none.
 */
static bool read_field(const char *path, const char *key, char *buf, size_t size)
{
	FILE *f = fopen(path, "re");
	bool found = false;
	size_t len = strlen(key);

	if (!f)
		return false;
	while (!found && fgets(buf, (int)size, f)) {
		found = !strncmp(buf, key, len);
		buf[strcspn(buf, "\n")] = '\0';
	}
	fclose(f);
	if (found)
		memmove(buf, buf + len, strlen(buf + len) + 1);
	return found;
}

static void probe_kernel(struct doctor_report *r)
{
	struct utsname u;
	unsigned long major, minor = 0;
	char *end;

	if (uname(&u))
		return;
	major = strtoul(u.release, &end, 10);
	if (*end == '.')
		minor = strtoul(end + 1, NULL, 10);
	if (major > 6 || (major == 6 && minor >= 1))
		doctor_add(r, "host.kernel", DOCTOR_OK, NULL, "Linux %s", u.release);
	else
		doctor_add(r, "host.kernel", DOCTOR_DEGRADED, "use Linux 6.1 or newer",
			   "Linux %s: umbra is not tested below 6.1", u.release);
}

/* What userfaultfd asks for; whether it is enough, uffd.open tells. */
static void probe_privilege(struct doctor_report *r)
{
	char text[64] = "", sysctl[16] = "0";
	bool held, device = !access("/dev/userfaultfd", R_OK | W_OK);
	uint64_t caps = 0;

	if (read_field("/proc/self/status", "CapEff:", text, sizeof(text)))
		caps = strtoull(text, NULL, 16);
	read_field("/proc/sys/vm/unprivileged_userfaultfd", "", sysctl, sizeof(sysctl));
	held = caps >> CAP_SYS_PTRACE_BIT & 1;
	doctor_add(r, "uffd.privilege",
		   held || device || *sysctl == '1' ? DOCTOR_OK : DOCTOR_MISSING,
		   held || device || *sysctl == '1'
			   ? NULL
			   : "run as root, or setcap cap_sys_ptrace+ep the umbra binary",
		   "CAP_SYS_PTRACE %s, vm.unprivileged_userfaultfd %s, /dev/userfaultfd %s",
		   held ? "held" : "not held", sysctl, device ? "accessible" : "not accessible");
}

/* The pool is a file of a tmpfs that may have huge pages (mmu/host/pool.c), or else a memfd that has none. */
static void probe_huge(struct doctor_report *r)
{
	int fs = fsopen("tmpfs", FSOPEN_CLOEXEC), mount = -1, err = 0;

	if (fs < 0 || fsconfig(fs, FSCONFIG_SET_STRING, "huge", "advise", 0) ||
	    fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0))
		err = errno;
	if (!err) {
		mount = fsmount(fs, FSMOUNT_CLOEXEC, 0);
		err = mount < 0 ? errno : 0;
	}
	if (mount >= 0)
		close(mount);
	if (fs >= 0)
		close(fs);
	if (!err)
		doctor_add(r, "host.huge-pages", DOCTOR_OK, NULL,
			   "fresh memory comes 2 MiB at a time");
	else
		doctor_add(
			r, "host.huge-pages", DOCTOR_DEGRADED,
			err == EPERM ? "run as root, or with CAP_SYS_ADMIN"
				     : "use a kernel with CONFIG_TRANSPARENT_HUGEPAGE",
			"a tmpfs with huge=advise: %s; fresh memory costs about six times as much",
			strerror(err));
}

static void probe_rlimit(struct doctor_report *r, const char *id, int which, const char *what,
			 uint64_t wanted, const char *fix)
{
	struct rlimit lim;

	if (getrlimit((__rlimit_resource_t)which, &lim))
		return;
	if (lim.rlim_cur == RLIM_INFINITY)
		doctor_add(r, id, DOCTOR_OK, NULL, "unlimited %s", what);
	else
		doctor_add(r, id, lim.rlim_cur < wanted ? DOCTOR_DEGRADED : DOCTOR_OK,
			   lim.rlim_cur < wanted ? fix : NULL, "%ju %s", (uintmax_t)lim.rlim_cur,
			   what);
}

/*
 * The limit of this process's own memory cgroup (version 2), or of the one at the root of what is
 * mounted here, which in a container is its own. UINT64_MAX: none to be seen.
 */
static uint64_t cgroup_memory_limit(void)
{
	char group[PATH_MAX], path[PATH_MAX + 64], text[64];

	if (read_field("/proc/self/cgroup", "0::", group, sizeof(group))) {
		snprintf(path, sizeof(path), "/sys/fs/cgroup%s/memory.max", group);
		if (read_field(path, "", text, sizeof(text)))
			return strcmp(text, "max") ? strtoull(text, NULL, 10) : UINT64_MAX;
		if (read_field("/sys/fs/cgroup/memory.max", "", text, sizeof(text)))
			return strcmp(text, "max") ? strtoull(text, NULL, 10) : UINT64_MAX;
	}
	if (read_field("/sys/fs/cgroup/memory/memory.limit_in_bytes", "", text, sizeof(text)))
		return strtoull(text, NULL, 10);
	return UINT64_MAX;
}

static void probe_memory(struct doctor_report *r)
{
	uint64_t limit = cgroup_memory_limit(), available = 0;
	char text[128];

	if (read_field("/proc/meminfo", "MemAvailable:", text, sizeof(text)))
		available = strtoull(text, NULL, 10) << 10;
	if (available < MEMORY_WANTED)
		doctor_add(r, "host.memory", DOCTOR_DEGRADED,
			   "stop other programs, or use small machines",
			   "%" PRIu64 " MiB available", available >> 20);
	else
		doctor_add(r, "host.memory", DOCTOR_OK, NULL, "%" PRIu64 " MiB available",
			   available >> 20);

	if (limit >= UINT64_MAX >> 2)
		doctor_add(r, "host.cgroup-memory", DOCTOR_OK, NULL, "no limit");
	else
		doctor_add(r, "host.cgroup-memory",
			   limit < MEMORY_WANTED ? DOCTOR_DEGRADED : DOCTOR_OK,
			   limit < MEMORY_WANTED ? "raise memory.max of the cgroup" : NULL,
			   "%" PRIu64 " MiB at most", limit >> 20);
}

static void probe_maps(struct doctor_report *r)
{
	char text[32];
	unsigned long maps;

	if (!read_field("/proc/sys/vm/max_map_count", "", text, sizeof(text)))
		return;
	maps = strtoul(text, NULL, 10);
	if (maps < MAPS_WANTED)
		doctor_add(r, "host.max-map-count", DOCTOR_DEGRADED,
			   "sysctl vm.max_map_count=65530",
			   "%lu: fewer pages can lie away from their home frames", maps);
	else
		doctor_add(r, "host.max-map-count", DOCTOR_OK, NULL, "%lu", maps);
}

static void probe_memfd(struct doctor_report *r)
{
	int fd = memfd_create("umbra-doctor", MFD_CLOEXEC), err = 0;

	if (fd < 0 || ftruncate(fd, 4096) || pwrite(fd, "x", 1, 0) != 1)
		err = errno;
	if (fd >= 0)
		close(fd);
	if (err)
		doctor_add(r, "host.memfd", DOCTOR_MISSING,
			   "use a kernel with CONFIG_MEMFD_CREATE and free "
			   "memory",
			   "shared memory: %s", strerror(err));
	else
		doctor_add(r, "host.memfd", DOCTOR_OK, NULL, "shared memory for the frame pool");
}

static void probe_dtc(struct doctor_report *r)
{
	const char *path = getenv("PATH");
	char file[PATH_MAX];
	bool found = false;

	for (path = path ? path : ""; !found && *path; path += *path == ':') {
		size_t len = strcspn(path, ":");

		snprintf(file, sizeof(file), "%.*s/dtc", (int)len, path);
		found = !access(file, X_OK);
		path += len;
	}
	if (found)
		doctor_add(r, "host.dtc", DOCTOR_OK, NULL, "%s", file);
	else
		doctor_add(r, "host.dtc", DOCTOR_DEGRADED,
			   "install the package device-tree-compiler",
			   "not found: only compiled machines (.dtb) can be run");
}

void doctor_probe_host(struct doctor_report *r)
{
	probe_kernel(r);
	probe_privilege(r);
	probe_memory(r);
	probe_rlimit(r, "host.rlimit-as", RLIMIT_AS, "bytes of address space", ADDRESS_WANTED,
		     "ulimit -v unlimited");
	probe_rlimit(r, "host.rlimit-fsize", RLIMIT_FSIZE, "bytes in a file", MEMORY_WANTED,
		     "ulimit -f unlimited");
	probe_rlimit(r, "host.rlimit-nofile", RLIMIT_NOFILE, "open files", FILES_WANTED,
		     "ulimit -n 1024");
	probe_maps(r);
	probe_memfd(r);
	probe_huge(r);
	probe_dtc(r);
}
