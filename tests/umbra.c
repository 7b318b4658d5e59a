// SPDX-License-Identifier: BSD-2-Clause
#include "tests/umbra.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/kvm.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/test.h"

#define MAX_ARGS    48
#define PATIENCE_MS 60000 /* a run that takes longer hangs */
#define SOON_MS	    10000 /* at once, by a machine that is busy with other things, too */

static struct said said;

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* Cut @words up, in place; add to @argv from @argc on, and a NULL. */
static int split(char *words, char **argv, int argc)
{
	for (char *at = words; *at;) {
		char *word;

		while (*at == ' ')
			at++;
		if (!*at)
			break;
		check(argc < MAX_ARGS - 1, "too many words");
		argv[argc++] = word = at;
		for (bool quoted = false; *at && (quoted || *at != ' '); at++) {
			if (*at == '\'')
				quoted = !quoted;
			else
				*word++ = *at;
		}
		if (*at)
			at++;
		*word = '\0';
	}
	argv[argc] = NULL;
	return argc;
}

static void slurp(FILE *f, char *buf, size_t size)
{
	size_t len;

	rewind(f);
	len = fread(buf, 1, size - 1, f);
	buf[len] = '\0';
	fclose(f);
}

unsigned slowly(unsigned ms)
{
	return ms * test_slowness();
}

/* Wait for @pid, but not for ever: what hangs is killed. */
static void wait_for(pid_t pid)
{
	int fd = (int)syscall(SYS_pidfd_open, pid, 0), status;
	struct pollfd pfd = { .fd = fd, .events = POLLIN };

	check(fd >= 0, "pidfd_open: %s", strerror(errno));
	if (poll(&pfd, 1, (int)slowly(PATIENCE_MS)) != 1)
		kill(pid, SIGKILL);
	close(fd);
	check_eq(waitpid(pid, &status, 0), pid);
	said.status = WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

/* Files, not pipes: a child that says much must not block. */
static void run(char **argv)
{
	posix_spawn_file_actions_t acts;
	FILE *out = tmpfile(), *err = tmpfile();
	uint64_t begin = now_ms();
	pid_t pid;

	check(out && err, "tmpfile");
	check(!posix_spawn_file_actions_init(&acts), "spawn");
	posix_spawn_file_actions_addopen(&acts, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_adddup2(&acts, fileno(out), STDOUT_FILENO);
	posix_spawn_file_actions_adddup2(&acts, fileno(err), STDERR_FILENO);
	/* How few a run can do with must not depend on who runs the tests. */
	posix_spawn_file_actions_addclosefrom_np(&acts, STDERR_FILENO + 1);
	check(!posix_spawnp(&pid, argv[0], &acts, NULL, argv, environ), "%s", argv[0]);
	posix_spawn_file_actions_destroy(&acts);
	wait_for(pid);
	said.ms = (unsigned)(now_ms() - begin);
	slurp(out, said.out, sizeof(said.out));
	slurp(err, said.err, sizeof(said.err));
	check(said.status != -SIGKILL, "umbra %s: hangs; it said: %s%s", said.line, said.out,
	      said.err);
}

static const struct said *run_line(const char *program, const char *fmt, va_list ap)
{
	char path[PATH_MAX], before[256], words[sizeof(said.line)], *argv[MAX_ARGS];
	int argc;

	vsnprintf(said.line, sizeof(said.line), fmt, ap);
	snprintf(words, sizeof(words), "%s", said.line);
	snprintf(before, sizeof(before), "%s", program);
	snprintf(path, sizeof(path), "%s/umbra", test_build_dir());
	argc = split(before, argv, 0);
	argv[argc++] = path;
	split(words, argv, argc);
	run(argv);
	return &said;
}

const struct said *umbra(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	run_line("", fmt, ap);
	va_end(ap);
	return &said;
}

const struct said *umbra_under(const char *program, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	run_line(program, fmt, ap);
	va_end(ap);
	return &said;
}

void umbra_ended(int status)
{
	check(said.status == status, "umbra %s: ended with %d, not %d; it said: %s%s", said.line,
	      said.status, status, said.out, said.err);
}

void umbra_said_out(const char *says)
{
	check(strstr(said.out, says), "umbra %s: no \"%s\" in: %s%s", said.line, says, said.out,
	      said.err);
}

void umbra_said_err(const char *says)
{
	check(strstr(said.err, says), "umbra %s: no \"%s\" in: %s", said.line, says, said.err);
}

void umbra_ended_soon(const struct said *s, int status, const char *says)
{
	umbra_ended(status);
	umbra_said_err(says);
	check(s->ms < slowly(SOON_MS), "umbra %s: took %u ms", s->line, s->ms);
}

void umbra_inject(const char *rules)
{
	char shim[PATH_MAX + 32];

	if (!rules) {
		unsetenv("LD_PRELOAD");
		unsetenv("INJECT");
		return;
	}
	snprintf(shim, sizeof(shim), "%s/tests/libinject.so", test_build_dir());
	skip_if(access(shim, R_OK), "%s is not built", shim);
	setenv("INJECT", rules, 1);
	setenv("LD_PRELOAD", shim, 1);
	/* The address sanitizer wants to come first in the list of libraries; behind the shim will do. */
	setenv("ASAN_OPTIONS", "verify_asan_link_order=0", 0);
}

void need_kvm(void)
{
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	int version = kvm < 0 ? -1 : ioctl(kvm, KVM_GET_API_VERSION, 0);

	if (kvm >= 0)
		close(kvm);
	skip_if(kvm < 0, "no access to /dev/kvm");
	skip_if(version != KVM_API_VERSION, "/dev/kvm is not KVM");
	skip_if(access("/dev/userfaultfd", R_OK | W_OK) && geteuid(),
		"no permission for userfaultfd");
}

/* The scratch directory. */

static char scratch_dir[] = "/tmp/umbra-test-XXXXXX";

void scratch_make(void)
{
	check(mkdtemp(scratch_dir), "%s: %s", scratch_dir, strerror(errno));
	chmod(scratch_dir, 0755); /* some runs are another user's */
}

void scratch_remove(void)
{
	DIR *d = opendir(scratch_dir);
	struct dirent *e;

	while (d && (e = readdir(d)))
		unlinkat(dirfd(d), e->d_name, 0);
	if (d)
		closedir(d);
	rmdir(scratch_dir);
	strcpy(strrchr(scratch_dir, '-'), "-XXXXXX");
}

const char *scratch(const char *name)
{
	static char path[4][sizeof(scratch_dir) + 64];
	static unsigned next;
	char *p = path[next++ % 4];

	snprintf(p, sizeof(path[0]), "%s/%s", scratch_dir, name);
	return p;
}

const char *scratch_write(const char *name, const void *data, size_t len)
{
	const char *path = scratch(name);
	FILE *f = fopen(path, "we");

	check(f && fwrite(data, 1, len, f) == len && !fclose(f), "%s", path);
	return path;
}

const char *scratch_random(const char *name, size_t len)
{
	const char *path;
	unsigned char *data = malloc(len + 1);
	uint64_t x = len + 1;

	check(data, "malloc");
	for (size_t i = 0; i < len; i++) {
		x = x * 6364136223846793005u + 1442695040888963407u;
		data[i] = (unsigned char)(x >> 56);
	}
	path = scratch_write(name, data, len);
	free(data);
	return path;
}

const char *scratch_dtb(const char *config)
{
	const char *path = scratch(config);
	char line[256];

	snprintf(line, sizeof(line), "dtc -q -I dts -O dtb -o %s configs/%s.dts", path, config);
	check(!system(line), "%s", line);
	return path;
}

void *file_read(const char *path, size_t *len)
{
	FILE *f = fopen(path, "re");
	struct stat st;
	char *data;

	check(f && !fstat(fileno(f), &st), "%s: %s", path, strerror(errno));
	data = malloc((size_t)st.st_size + 1);
	check(data && fread(data, 1, (size_t)st.st_size, f) == (size_t)st.st_size, "%s", path);
	fclose(f);
	data[st.st_size] = '\0';
	if (len)
		*len = (size_t)st.st_size;
	return data;
}

/* JSON: each takes what it knows from *@at and says whether it was there. */

static void skip_space(const char **at)
{
	*at += strspn(*at, " \t\r\n");
}

static bool take(const char **at, char c)
{
	skip_space(at);
	if (**at != c)
		return false;
	++*at;
	return true;
}

static bool take_string(const char **at)
{
	if (!take(at, '"'))
		return false;
	for (; **at != '"'; ++*at) {
		if ((unsigned char)**at < ' ')
			return false;
		if (**at == '\\' && !strchr("\"\\/bfnrtu", *++*at))
			return false;
	}
	++*at;
	return true;
}

static bool take_number(const char **at)
{
	char *end;
	bool starts = isdigit((unsigned char)**at) ||
		      (**at == '-' && isdigit((unsigned char)(*at)[1]));

	if (!starts || (**at == '0' && isdigit((unsigned char)(*at)[1])))
		return false;
	strtod(*at, &end);
	*at = end;
	return true;
}

/* Depth by nesting, not by calls: what is open is kept as a string of closing brackets. */
static bool take_scalar(const char **at)
{
	static const char *const words[] = { "true", "false", "null" };

	skip_space(at);
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		if (!strncmp(*at, words[i], strlen(words[i]))) {
			*at += strlen(words[i]);
			return true;
		}
	}
	return **at == '"' ? take_string(at) : take_number(at);
}

static bool take_key(const char **at, char closes)
{
	return closes != '}' || (take_string(at) && take(at, ':'));
}

bool is_json(const char *text)
{
	char open[32];
	size_t depth = 0;

	for (;;) {
		bool array = take(&text, '[');

		if (array || take(&text, '{')) {
			if (depth == sizeof(open))
				return false;
			open[depth++] = array ? ']' : '}';
			if (!take(&text, open[depth - 1])) {
				if (!take_key(&text, open[depth - 1]))
					return false;
				continue;
			}
			depth--;
		} else if (!take_scalar(&text)) {
			return false;
		}
		while (depth && take(&text, open[depth - 1]))
			depth--;
		if (!depth)
			break;
		if (!take(&text, ',') || !take_key(&text, open[depth - 1]))
			return false;
	}
	skip_space(&text);
	return !*text;
}

uint64_t json_field(const char *text, const char *name)
{
	char key[64];
	const char *at;

	snprintf(key, sizeof(key), "\"%s\":", name);
	at = strstr(text, key);
	check(at, "no %s in %s", key, text);
	return strtoull(at + strlen(key), NULL, 10);
}

void kvm_setup(void)
{
	need_kvm();
	scratch_make();
}

void kvm_fini(void)
{
	umbra_inject(NULL);
	scratch_remove();
}
