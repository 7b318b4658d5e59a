# SPDX-License-Identifier: BSD-2-Clause
#
# umbra: build, run, test, install. `make help` lists the targets.
#
#   PROFILE=release|debug|asan|tsan   what to build; release goes to build/, the others to build/PROFILE
#   CC=gcc|clang   V=1 (show commands)   INPUT=path (for run)   REQUIRE_KVM=1 (a skipped test fails)
#   PREFIX=/usr/local   DESTDIR=   (for install)
#
# A source file is found by its place: mmu/*/*.c make libumbra, hv/*.c umbra, guest/* guest.elf, each of
# tests/unit/*.c and tests/kvm/*.c a test binary, tests/bench/*.c umbra-bench. A tests/unit/fake_*.c is not
# a test: it stands in for a part of umbra in every test that calls one of its functions. tests/race/ is umbra-race.

VERSION   := 0.1.0
SOVERSION := 0

ifneq ($(filter default undefined,$(origin CC)),)
CC := gcc
endif
AR := ar
PROFILE ?= release
B       ?= build$(if $(filter-out release,$(PROFILE)),/$(PROFILE))
WERROR  ?= -Werror

PREFIX     ?= /usr/local
bindir     := $(PREFIX)/bin
libdir     := $(PREFIX)/lib
datadir    := $(PREFIX)/share
mandir     := $(datadir)/man
docdir     := $(datadir)/doc/umbra
includedir := $(PREFIX)/include

# ---- What the compiler is told ---------------------------------------------------------------------------

CPPFLAGS += -I. -D_GNU_SOURCE -DUMBRA_VERSION='"$(VERSION)"' -DUMBRA_LIBDIR='"$(datadir)/umbra"'
WARN     := -Wall -Wextra $(WERROR) -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla
BASE     := -std=gnu17 -g -fPIC -fno-semantic-interposition -pthread
LDLIBS   := -Wl,--as-needed -lfdt -lurcu-bp -lurcu-cds -lpthread
# The program starts for each guest: what the dynamic linker would do for two small libraries takes as long as a thread.
ARCHIVES := $(filter /%,$(foreach lib,fdt urcu-bp urcu-common,$(shell $(CC) -print-file-name=lib$(lib).a)))

OPT.release := -O2
OPT.debug   := -O0 -g3 -DUMBRA_DEBUG
OPT.asan    := -O1 -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all \
	       -DUMBRA_DEBUG -DUMBRA_SANITIZED
OPT.tsan    := -O1 -fno-omit-frame-pointer -fsanitize=thread \
	       -DUMBRA_DEBUG -DUMBRA_SANITIZED -DUMBRA_PLAIN_TESTS
OPT         := $(or $(OPT.$(PROFILE)),$(error PROFILE=$(PROFILE): use release, debug, asan or tsan))
# Checksums of memory that others store to, which is their purpose.
RACY         = $(if $(filter tsan/mmu/host/ksm_hash.c,$(PROFILE)/$<),-fno-sanitize=thread)
COMPILE      = $(CC) $(CPPFLAGS) $(BASE) $(OPT) $(WARN) $(CFLAGS)
LINK         = $(CC) $(BASE) $(OPT) $(CFLAGS) $(LDFLAGS)

# The guest has no C library and no runtime: no flag of a profile may reach it. What interprets CPL 0 knows no
# vector registers; one file uses them all the same, at CPL 3.
GUEST_FLAGS := -I. -std=gnu17 -O2 -g -ffreestanding -fno-pic -fno-pie -mcmodel=small -fcf-protection=none \
	       -fno-asynchronous-unwind-tables -fstack-protector-strong -Wframe-larger-than=4096
GUEST_REGS   = $(if $(filter guest/xxh3_sse2.c,$<),-mno-avx,-mgeneral-regs-only)
GUEST_LD    := guest/link.ld
GUEST_LINK  := -nostdlib -static -Wl,-T,$(GUEST_LD) -Wl,--build-id=none -Wl,-z,noexecstack \
	       -Wl,--fatal-warnings

# ---- What there is to build ------------------------------------------------------------------------------

objects = $(patsubst %,$(B)/%.o,$(basename $(wildcard $1)))

LIB_OBJ   := $(call objects,mmu/*/*.c)
HV_OBJ    := $(call objects,hv/*.c)
GUEST_OBJ := $(call objects,guest/*.c guest/*.S)
BENCH_OBJ := $(call objects,tests/bench/*.c)
STRESS_OBJ := $(call objects,tests/stress/*.c)
FAKE_OBJ  := $(call objects,tests/unit/fake_*.c)
# These take mmap() over, which the thread sanitizer has taken already; or they end threads in the middle of an access by a signal, which it
# holds back until the access is over.
NOT.tsan  := $(call objects,$(patsubst %,tests/unit/%.c,slot_fail shadow_inject fail_map fail_create audit_place limits_thread))
TEST_OBJ  := $(filter-out $(FAKE_OBJ) $(NOT.$(PROFILE)),$(call objects,tests/unit/*.c tests/kvm/*.c))
AID_OBJ   := $(call objects,tests/*.c)
SHIM_OBJ  := $(call objects,tests/inject/*.c)
OBJ       := $(LIB_OBJ) $(HV_OBJ) $(BENCH_OBJ) $(STRESS_OBJ) $(FAKE_OBJ) $(TEST_OBJ) $(AID_OBJ) $(SHIM_OBJ)

# The explorer: the library again, with every primitive of sync.h a scheduling point, and without what it takes over.
RACE_SRC := $(filter-out mmu/base/sync.c mmu/base/trace.c mmu/host/fault_threads.c mmu/host/trap.c mmu/host/child.c mmu/host/child_own.c \
	    mmu/host/child_serve.c mmu/host/uffd_child.c mmu/shadow/window.c mmu/shadow/window_check.c,\
	    $(wildcard mmu/*/*.c)) $(wildcard tests/race/*.c tests/race/scenarios/*.c)
RACE_OBJ := $(RACE_SRC:%.c=$(B)/race/%.o)
RACE     := $(if $(RACE_OBJ),$(B)/umbra-race)

# The stress with a library whose rules can be broken. What has no switch in it is as it is.
MUTANT_SRC := $(wildcard mmu/*/*.c) tests/stress/mutant.c
MUTANT_OBJ := $(MUTANT_SRC:%.c=$(B)/mutants/%.o)
# Unit tests with that library: UMBRA_MUTANT=N chooses. For rules that neither the stress nor the explorer can notice.
MUTANT_TESTS := $(patsubst %.c,$(B)/mutants/%,$(wildcard tests/unit/audit*.c tests/unit/child*.c))

# Tests without Criterion, for a slow machine: a process that is executed anew for each test costs a second there.
PLAIN_OBJ := $(patsubst $(B)/%,$(B)/plain/%,$(TEST_OBJ) $(AID_OBJ))

# The library's interface: these headers are installed, and what they declare the shared library shows.
PRIVATE := %_priv.h %_compat.h %_explore.h mmu/base/mutant.h mmu/host/hpte.h mmu/host/uffd.h mmu/host/view.h mmu/host/fault_threads.h mmu/host/trap.h \
	   mmu/host/audit.h mmu/host/view_lost.h mmu/host/bell.h mmu/host/uffd_child.h \
	   mmu/shadow/spte.h mmu/shadow/ept.h mmu/shadow/walk.h mmu/shadow/around.h mmu/shadow/zap.h mmu/shadow/flush.h
PUBLIC  := $(filter-out $(PRIVATE),$(wildcard mmu/*/*.h))

LIB   := $(B)/libumbra.a
SO    := $(B)/libumbra.so.$(VERSION)
UMBRA := $(B)/umbra
GUEST := $(B)/guest/guest.elf
BENCH := $(if $(BENCH_OBJ),$(B)/umbra-bench)
STRESS  := $(B)/umbra-stress
MUTANTS := $(B)/umbra-stress-mutants
SHIM  := $(if $(SHIM_OBJ),$(B)/tests/libinject.so)
TESTS := $(TEST_OBJ:.o=)
PLAIN := $(TESTS:$(B)/%=$(B)/plain/%)

# ---- How it looks on the terminal ------------------------------------------------------------------------

MAKEFLAGS += --no-print-directory -rR
ifeq ($(MAKELEVEL)$(filter -j%,$(MAKEFLAGS)),0)
MAKEFLAGS += -j$(shell nproc)
endif
Q   := $(if $(V),,@)
say  = $(if $(V),:,printf '  %-8s %s\n' $1 '$(or $2,$@)')

.DELETE_ON_ERROR:
.SECONDARY:
.PHONY: all run bench race stress stress-mutants test test-unit check-asan check-tsan check-clang check-install check-unprivileged \
	check-stress check-qemu check-instructions store-instructions install uninstall clean help lint lint-deps lint-format lint-headers lint-dts lint-man \
	lint-requirements lint-races lint-free lint-cppcheck lint-tidy deps deps-test deps-lint deps-count FORCE

all: $(UMBRA) $(GUEST) $(LIB) $(SO) $(BENCH) $(STRESS) $(RACE)

# ---- Compile and link ------------------------------------------------------------------------------------

$(TEST_OBJ) $(AID_OBJ) $(FAKE_OBJ): | deps-test
$(OBJ): $(B)/%.o: %.c $(B)/.flags | deps
	@mkdir -p $(@D); $(call say,CC,$<)
	$(Q)$(COMPILE) $(RACY) -MMD -MP -c -o $@ $<

# The last member of a variant (scenario.h) is for the few that need it.
$(RACE_OBJ): WARN += -Wno-missing-field-initializers
$(RACE_OBJ): $(B)/race/%.o: %.c $(B)/.flags | deps
	@mkdir -p $(@D); $(call say,RACE,$<)
	$(Q)$(COMPILE) -DUMBRA_EXPLORER -MMD -MP -c -o $@ $<

$(MUTANT_OBJ): $(B)/mutants/%.o: %.c $(B)/.flags | deps
	@mkdir -p $(@D); $(call say,MUTANT,$<)
	$(Q)$(COMPILE) -DUMBRA_MUTANTS -MMD -MP -c -o $@ $<

$(PLAIN_OBJ): $(B)/plain/%.o: %.c $(B)/.flags | deps
	@mkdir -p $(@D); $(call say,PLAIN,$<)
	$(Q)$(COMPILE) -DUMBRA_PLAIN_TESTS -MMD -MP -c -o $@ $<

$(GUEST_OBJ): $(B)/.flags | deps
$(B)/guest/%.o: guest/%.c
	@mkdir -p $(@D); $(call say,GUEST,$<)
	$(Q)$(CC) $(GUEST_FLAGS) $(GUEST_REGS) $(WARN) -MMD -MP -c -o $@ $<
$(B)/guest/%.o: guest/%.S
	@mkdir -p $(@D); $(call say,GUEST,$<)
	$(Q)$(CC) $(GUEST_FLAGS) -MMD -MP -c -o $@ $<

$(GUEST): $(GUEST_OBJ) $(GUEST_LD)
	@$(call say,LD)
	$(Q)$(CC) $(GUEST_FLAGS) $(GUEST_LINK) -o $@ $(GUEST_OBJ) -l:libfdt.a

$(LIB): $(LIB_OBJ)
$(B)/libhv.a: $(filter-out $(B)/hv/main.o,$(HV_OBJ))
$(B)/tests/libfake.a: $(FAKE_OBJ)
$(B)/tests/libaid.a: $(AID_OBJ)
$(B)/plain/tests/libaid.a: $(filter $(B)/plain/tests/%.o,$(AID_OBJ:$(B)/%=$(B)/plain/%))
$(B)/%.a:
	@mkdir -p $(@D); $(call say,AR)
	$(Q)rm -f $@ && $(AR) rcs $@ $^

$(UMBRA): $(B)/hv/main.o $(B)/libhv.a $(LIB)
$(BENCH): $(BENCH_OBJ) $(B)/libhv.a $(LIB)
$(STRESS): $(STRESS_OBJ) $(B)/tests/libaid.a $(B)/libhv.a $(LIB)
$(MUTANTS): $(filter-out %/mutant.o,$(STRESS_OBJ)) $(MUTANT_OBJ) $(B)/tests/libaid.a $(B)/libhv.a
$(TESTS): %: %.o $(B)/tests/libaid.a $(B)/tests/libfake.a $(B)/libhv.a $(LIB)
$(PLAIN): %: %.o $(B)/plain/tests/libaid.a $(B)/tests/libfake.a $(B)/libhv.a $(LIB)
$(B)/mutants/libumbra.a: $(MUTANT_OBJ)
$(MUTANT_TESTS): $(B)/mutants/%: $(B)/%.o $(B)/tests/libaid.a $(B)/tests/libfake.a $(B)/libhv.a $(B)/mutants/libumbra.a
$(TESTS) $(MUTANT_TESTS): LDLIBS += $(if $(filter tsan,$(PROFILE)),,-lcriterion)
# A test may let calloc() fail (tests/unit/fake_calloc.h); the sanitizers keep theirs.
$(TESTS) $(PLAIN) $(MUTANT_TESTS): LDLIBS += -Wl,--wrap=calloc -Wl,-u,__wrap_calloc
$(BENCH): LDLIBS += -lm
$(UMBRA): LDLIBS := $(if $(word 3,$(ARCHIVES)),$(ARCHIVES) -lpthread,$(LDLIBS))
$(UMBRA) $(BENCH) $(STRESS) $(MUTANTS) $(TESTS) $(PLAIN) $(MUTANT_TESTS):
	@mkdir -p $(@D); $(call say,LD)
	$(Q)$(LINK) -o $@ $^ $(LDLIBS)

# Its heap gives an allocation the same address in every run, and never gives it twice.
$(RACE): $(RACE_OBJ)
	@$(call say,LD)
	$(Q)$(LINK) $(foreach f,malloc calloc aligned_alloc free mmap munmap mprotect madvise close ioctl syscall sched_yield read poll nanosleep pthread_create pthread_join,-Wl,--wrap=$f) -o $@ $^

# Preloaded into programs of any profile, so it must not need a sanitizer's runtime itself.
$(SHIM_OBJ): OPT := -O2
$(SHIM): $(SHIM_OBJ)
	@$(call say,LD)
	$(Q)$(CC) -shared -o $@ $^ -ldl

# The shared library shows what the public headers declare and nothing else.
$(B)/libumbra.map: $(LIB) $(PUBLIC) Makefile
	@{ echo 'UMBRA_$(SOVERSION) { global:'; \
	   nm -g --defined-only $(LIB) | awk 'NF == 3 { print $$3 }' | sort -u >$@.symbols; \
	   sed 's,/\*.*,,; /^[[:space:]]*\*/d' $(PUBLIC) | grep -oE '[a-z_][a-z0-9_]*' | sort -u | comm -12 - $@.symbols | sed 's/$$/;/'; \
	   echo 'local: *; };'; } >$@
$(SO): $(LIB_OBJ) $(B)/libumbra.map
	@$(call say,LD)
	$(Q)$(LINK) -shared -Wl,-soname,libumbra.so.$(SOVERSION) -Wl,--version-script=$(B)/libumbra.map \
		-Wl,-Bsymbolic-functions -o $@ $(LIB_OBJ) $(LDLIBS)
	$(Q)ln -sf $(@F) $(B)/libumbra.so.$(SOVERSION)

# Rebuild everything when a flag or the compiler changes, nothing when they do not.
$(B)/.flags: FORCE
	@mkdir -p $(@D); echo '$(subst ','\'',$(COMPILE) $(LDFLAGS) $(GUEST_FLAGS) $(value GUEST_REGS) $(GUEST_LINK))' >$@.new; \
	cmp -s $@.new $@ && rm $@.new || mv $@.new $@

-include $(OBJ:.o=.d) $(GUEST_OBJ:.o=.d) $(RACE_OBJ:.o=.d) $(MUTANT_OBJ:.o=.d) $(PLAIN_OBJ:.o=.d)

# ---- Packages: look first, call apt-get only for what is missing -----------------------------------------

PKG      := gcc make libc6-dev linux-libc-dev libfdt-dev device-tree-compiler liburcu-dev libxxhash-dev pkg-config
PKG.test := libcriterion-dev xxhash
PKG.lint := clang clang-format clang-tidy cppcheck libclang-rt-14-dev mandoc

deps:
	@.ci/need $(PKG) $(filter clang,$(CC))
deps-test: | deps
	@.ci/need $(PKG.test)
deps-lint: | deps-test
	@.ci/need $(PKG.lint)
# Without it the check skips, and says so.
deps-count: | deps
	-@.ci/need valgrind

# ---- Run and test ----------------------------------------------------------------------------------------

# Any file of at least 1 MiB will do; these are on every Debian.
ifeq ($(origin INPUT),undefined)
INPUT := $(shell find -L /usr/bin/perl /usr/bin/bash /usr/lib/*/libc.so.6 -size +1048575c -print -quit 2>/dev/null)
endif
UNIT  := $(filter $(B)/tests/unit/%,$(TESTS))
# Once more with each other source of the host view, and with an audit (tests/run.sh).
MODAL := $(filter $(patsubst %,$(B)/tests/unit/%,coherence fork merge churn protect),$(UNIT))
MODES := $(foreach s,uffd-sigbus mprotect uffd-audit uffd-sigbus-audit,$(MODAL:=@$s))
# And as on a kernel without the newer parts of userfaultfd.
OLD   := $(filter $(patsubst %,$(B)/tests/unit/%,coherence fork fork_share merge churn host_churn ksm_churn view fail limits_vmas mm_uffd reclaim shadow_inject),$(UNIT))
MODES += $(OLD:=@uffd-old)

# Only what runs gets root, and only if this user may not do without; nothing is built as root.
AS_ROOT := tests/as-root

# The name goes through the environment: neither make nor the shell may see words, quotes or dollars in it.
run: export UMBRA_INPUT := $(value INPUT)
run: $(UMBRA) $(GUEST)
	@$(AS_ROOT) $(UMBRA) run configs/digest.dts --input "$$UMBRA_INPUT" --stats || \
		{ status=$$?; [ $$status != 125 ] || echo 'What this host lacks: $(UMBRA) doctor' >&2; exit $$status; }

bench: $(BENCH) $(GUEST)
	@$(AS_ROOT) $(BENCH) $(or $(ARGS),all) --out $(B)/bench

# Times drift, instructions do not: those of inner steps beside tests/bench/instructions.table.
check-instructions: $(BENCH) | deps-count
	@tests/check-instructions $(B) $(CC)
store-instructions: $(BENCH) | deps-count
	@tests/check-instructions $(B) $(CC) store

race: $(RACE)
	@$(RACE) selftest
	@$(RACE) all --jobs $$(nproc) $(ARGS)

# Every scenario, a minute in all.
stress: NO_KVM := $(if $(wildcard /dev/kvm),,--no-kvm)
stress: $(STRESS) $(GUEST)
	@$(if $(NO_KVM),echo 'no /dev/kvm here: $(NO_KVM), threads on the window take the place of vCPUs')
	@$(AS_ROOT) $(STRESS) all --seconds 60 $(NO_KVM) $(ARGS)

# For each rule of the library: which oracle notices that it is broken, and after how long.
stress-mutants: $(MUTANTS) $(MUTANT_TESTS) $(GUEST) $(RACE)
	@$(AS_ROOT) tests/stress-mutants $(B) $(ARGS)

test: all $(TESTS) $(SHIM)
	@$(AS_ROOT) tests/run.sh $(TESTS) $(MODES)

test-unit: all $(UNIT) $(SHIM)
	@$(AS_ROOT) tests/run.sh $(UNIT) $(MODES)

check-asan:
	@$(MAKE) PROFILE=asan test

check-tsan:
	@$(MAKE) PROFILE=tsan test-unit

check-clang: | deps-lint
	@$(MAKE) CC=clang B=build/clang test-unit

check-install: all | deps-test
	+@tests/check-install $(VERSION)

# As nobody, who may not use userfaultfd: tests skip, none fails or crashes. Without those of programs that need it.
check-unprivileged: all $(UNIT) $(SHIM)
	@tests/check-unprivileged $(filter-out %/stress %/bench,$(UNIT))

check-stress: all $(TESTS) $(SHIM)
	@$(AS_ROOT) tests/check-stress $(B)

# Fetches an emulator and kernels into build/qemu/cache, as any user; SHORT=1 is a minute of it.
# Tests only where a stage runs some.
check-qemu: all $(SHIM) $(if $(STAGES),$(if $(filter doctor uffd/% kvm/% unit/%,$(STAGES)),$(PLAIN)),$(PLAIN))
	@tests/check-qemu $(B)

# ---- Lint ------------------------------------------------------------------------------------------------

C_FILES := $(wildcard mmu/*/*.c hv/*.c guest/*.c tests/*.c tests/*/*.c tests/race/scenarios/*.c)
H_FILES := $(wildcard mmu/*/*.h hv/*.h guest/*.h tests/*.h tests/*/*.h)
TIDY    := $(C_FILES:%.c=$(B)/lint/%.tidy)
MAN     := $(wildcard docs/*.1 docs/man/*.1)

lint: lint-deps lint-requirements lint-races lint-free lint-format lint-headers lint-dts lint-man lint-cppcheck lint-tidy

lint-deps:
	@$(call say,DEPS,tests/deps.table)
	$(Q)tests/check-deps

# Every rule of the design names tests that exist.
lint-requirements: $(RACE)
	@$(call say,TESTS,docs/requirements.md)
	$(Q)tests/check-requirements $(RACE)

# docs/races.md and its pictures are what the scenarios say and do today.
lint-races: $(RACE)
	@$(call say,DOC,docs/races.md)
	$(Q)rm -rf $(B)/races && $(RACE) doc $(B)/races && diff -rq $(B)/races/races docs/races && \
		diff $(B)/races/races.md docs/races.md >/dev/null || { echo 'stale: run build/umbra-race doc docs'; exit 1; }

# What the explorer needs leaves no code in the library.
lint-free: | deps
	@$(call say,FREE,mmu/)
	$(Q)tests/check-free $(CC) $(CPPFLAGS) $(BASE) -O2

lint-format: | deps-lint
	@$(call say,FORMAT,$(words $(C_FILES) $(H_FILES)) files)
	$(Q)clang-format --dry-run -Werror $(C_FILES) $(H_FILES)

# Every header compiles by itself; the public ones also for users who write C++.
lint-headers: | deps-lint
	@$(call say,HEADERS,$(words $(H_FILES)) files)
	$(Q)for h in $(H_FILES); do \
		case $$h in *race/*|*explore*) x=-DUMBRA_EXPLORER;; *) x=;; esac; \
		echo "#include \"$$h\"" | $(CC) $(CPPFLAGS) $$x -std=gnu17 $(WARN) -fsyntax-only -xc - || exit; done
	$(Q)for h in $(PUBLIC); do printf 'extern "C" {\n#include "%s"\n}\n' $$h | \
		clang++ $(CPPFLAGS) -std=gnu++17 -Wall $(WERROR) -fsyntax-only -xc++ - || exit; done

lint-dts: | deps
	@$(call say,DTC,configs/)
	$(Q)for dts in $(wildcard configs/*.dts); do \
		said=$$(dtc -I dts -O dtb -o /dev/null $$dts 2>&1) && [ -z "$$said" ] || { echo "$$said"; exit 1; }; done

lint-man: | deps-lint
	@$(call say,MANDOC,$(MAN))
	$(Q)$(if $(MAN),mandoc -Tlint -Wwarning $(MAN))

lint-cppcheck: | deps-lint
	@mkdir -p $(B)/lint/cppcheck; $(call say,CPPCHECK,mmu hv guest tests)
	$(Q)cppcheck -q -j$$(nproc) --cppcheck-build-dir=$(B)/lint/cppcheck --error-exitcode=1 --std=c11 \
		--enable=warning,performance,portability --inline-suppr --suppressions-list=.cppcheck \
		$(filter -I% -D%,$(CPPFLAGS)) mmu hv guest tests

# Once per file, again when the file, a header of it or the checks change: the object knows its headers.
lint-tidy: $(TIDY)
$(B)/lint/tests/race/%.tidy: CPPFLAGS += -DUMBRA_EXPLORER
$(B)/lint/tests/race/%.tidy: $(B)/race/tests/race/%.o
$(filter-out $(B)/lint/tests/race/%,$(TIDY)): $(B)/lint/%.tidy: $(B)/%.o
$(TIDY): $(B)/lint/%.tidy: %.c $(wildcard .clang-tidy */.clang-tidy */*/.clang-tidy) | deps-lint
	@mkdir -p $(@D); $(call say,TIDY,$*.c)
	$(Q)clang-tidy --quiet $*.c -- $(if $(filter guest/%,$*),$(GUEST_FLAGS),$(CPPFLAGS) $(BASE)) >$@.log 2>/dev/null \
		|| { cat $@.log; exit 1; }
	@touch $@

# ---- Install ---------------------------------------------------------------------------------------------

D   := $(DESTDIR)
PUT := install -D -m 644

# As in the source tree, so that the links between them hold.
DOCS := README.md LICENSE $(wildcard docs/*.md docs/races/* docs/performance/*) guest/abi.h

install: all
	install -D -m 755 $(UMBRA) $(D)$(bindir)/umbra
	install -D -m 755 $(STRESS) $(D)$(bindir)/umbra-stress
	$(PUT) $(LIB) $(D)$(libdir)/libumbra.a
	install -D -m 755 $(SO) $(D)$(libdir)/libumbra.so.$(VERSION)
	ln -sf libumbra.so.$(VERSION) $(D)$(libdir)/libumbra.so.$(SOVERSION)
	ln -sf libumbra.so.$(SOVERSION) $(D)$(libdir)/libumbra.so
	@for h in $(PUBLIC); do $(PUT) $$h $(D)$(includedir)/umbra/$$h || exit; done
	@mkdir -p $(D)$(libdir)/pkgconfig
	printf '%s\n' 'prefix=$(PREFIX)' 'libdir=$${prefix}/lib' 'includedir=$${prefix}/include/umbra' '' \
		'Name: umbra' 'Description: A secondary MMU in user space' 'Version: $(VERSION)' \
		'Requires.private: liburcu-bp' 'Libs: -L$${libdir} -lumbra' 'Libs.private: -lpthread' \
		'Cflags: -I$${includedir}' >$(D)$(libdir)/pkgconfig/umbra.pc
	$(PUT) $(GUEST) $(D)$(datadir)/umbra/guest.elf
	@for c in $(wildcard configs/*.dts); do $(PUT) $$c $(D)$(datadir)/umbra/$$c || exit; done
	@for m in $(MAN); do $(PUT) $$m $(D)$(mandir)/man1/$${m##*/} || exit; done
	@for d in $(DOCS); do $(PUT) $$d $(D)$(docdir)/$$d || exit; done

uninstall:
	rm -f $(D)$(bindir)/umbra $(D)$(bindir)/umbra-stress $(D)$(libdir)/libumbra.a $(D)$(libdir)/libumbra.so* \
		$(D)$(libdir)/pkgconfig/umbra.pc $(patsubst %,$(D)$(mandir)/man1/%,$(notdir $(MAN)))
	rm -rf $(D)$(includedir)/umbra $(D)$(datadir)/umbra $(D)$(docdir)

clean:
	rm -rf build

help:
	@sed -n '3,/^$$/s/^# \{0,1\}//p' Makefile
	@printf '%s\n' \
	'  all            build/umbra, the guest, libumbra.a and .so, umbra-bench (installs missing packages)' \
	'  run            the digest of INPUT, computed by a guest' \
	'  test           every test; REQUIRE_KVM=1 where /dev/kvm must work; V=1 names each test' \
	'  test-unit      the tests that need no /dev/kvm' \
	'  check-asan     test with the address and undefined behaviour sanitizers' \
	'  check-tsan     test-unit with the thread sanitizer' \
	'  check-clang    test-unit built with clang' \
	'  check-install  install into a scratch directory and build a program against it' \
	'  check-unprivileged  test-unit as nobody: skips only' \
	'  check-stress   minutes of churn: exact counters, digests, seeds, deeper races' \
	'  check-qemu     on ordinary KVMs: two kernels under an emulator, nested and shadow paging; SHORT=1' \
	'  lint           includes, requirements, races.md, free switches, format, headers, .dts, man page, cppcheck, clang-tidy' \
	'  bench          every measurement, with charts in build/bench; ARGS="demand --quick" chooses' \
	'  check-instructions   instructions of inner steps beside tests/bench/instructions.table; store-instructions' \
	'  stress         a guest, devices and host threads on memory that changes: a minute; ARGS="--source mprotect"' \
	'  stress-mutants which oracle of the stress notices that a rule of the library is broken' \
	'  race           every scenario of the race explorer under every schedule, and its self-test' \
	'  install, uninstall, clean'
