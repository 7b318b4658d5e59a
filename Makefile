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
# a test: it stands in for a part of umbra in every test that calls one of its functions.

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
includedir := $(PREFIX)/include

# ---- What the compiler is told ---------------------------------------------------------------------------

CPPFLAGS += -I. -D_GNU_SOURCE -DUMBRA_VERSION='"$(VERSION)"' -DUMBRA_DATADIR='"$(datadir)/umbra"'
WARN     := -Wall -Wextra $(WERROR) -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla
BASE     := -std=gnu17 -g -fPIC -fno-semantic-interposition -pthread
LDLIBS   := -Wl,--as-needed -lfdt -lurcu-bp -lurcu-cds -lpthread

OPT.release := -O2
OPT.debug   := -O0 -g3 -DUMBRA_DEBUG
OPT.asan    := -O1 -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all \
	       -DUMBRA_DEBUG -DUMBRA_SANITIZED
OPT.tsan    := -O1 -fno-omit-frame-pointer -fsanitize=thread \
	       -DUMBRA_DEBUG -DUMBRA_SANITIZED -DUMBRA_PLAIN_TESTS
OPT         := $(or $(OPT.$(PROFILE)),$(error PROFILE=$(PROFILE): use release, debug, asan or tsan))
COMPILE      = $(CC) $(CPPFLAGS) $(BASE) $(OPT) $(WARN) $(CFLAGS)
LINK         = $(CC) $(BASE) $(OPT) $(CFLAGS) $(LDFLAGS)

# The guest runs without a C library, and at CPL 0 in an interpreter that knows no AVX.
GUEST_FLAGS := -I. -std=gnu17 -O2 -g -ffreestanding -fno-pic -fno-pie -mno-red-zone -mno-avx \
	       -fno-stack-protector -fno-asynchronous-unwind-tables -fcf-protection=none
GUEST_LD    := $(wildcard guest/*.ld)
GUEST_LINK  := -nostdlib -static -no-pie -Wl,-T,$(GUEST_LD) -Wl,--build-id=none -Wl,-z,noexecstack

# ---- What there is to build ------------------------------------------------------------------------------

objects = $(patsubst %,$(B)/%.o,$(basename $(wildcard $1)))

LIB_OBJ   := $(call objects,mmu/*/*.c)
HV_OBJ    := $(call objects,hv/*.c)
GUEST_OBJ := $(call objects,guest/*.c guest/*.S)
BENCH_OBJ := $(call objects,tests/bench/*.c)
FAKE_OBJ  := $(call objects,tests/unit/fake_*.c)
TEST_OBJ  := $(filter-out $(FAKE_OBJ),$(call objects,tests/unit/*.c tests/kvm/*.c))
AID_OBJ   := $(call objects,tests/*.c)
SHIM_OBJ  := $(call objects,tests/inject/*.c)
OBJ       := $(LIB_OBJ) $(HV_OBJ) $(BENCH_OBJ) $(FAKE_OBJ) $(TEST_OBJ) $(AID_OBJ) $(SHIM_OBJ)

PUBLIC := $(filter-out $(PRIVATE),$(wildcard mmu/*/*.h))

LIB   := $(B)/libumbra.a
SO    := $(B)/libumbra.so.$(VERSION)
UMBRA := $(B)/umbra
GUEST := $(B)/guest/guest.elf
BENCH := $(if $(BENCH_OBJ),$(B)/umbra-bench)
SHIM  := $(if $(SHIM_OBJ),$(B)/tests/libinject.so)
TESTS := $(TEST_OBJ:.o=)

# ---- How it looks on the terminal ------------------------------------------------------------------------

MAKEFLAGS += --no-print-directory -rR
ifeq ($(filter -j%,$(MAKEFLAGS)),)
MAKEFLAGS += -j$(shell nproc) -Otarget
endif
Q   := $(if $(V),,@)
say  = $(if $(V),:,printf '  %-7s %s\n' $1 $(or $2,$@))

.DELETE_ON_ERROR:
.SECONDARY:
.PHONY: all run test bench install uninstall clean help deps deps-test deps-lint FORCE

all: $(UMBRA) $(GUEST) $(LIB) $(SO) $(BENCH)

# ---- Compile and link ------------------------------------------------------------------------------------

$(TEST_OBJ) $(AID_OBJ) $(FAKE_OBJ): | deps-test
$(OBJ): $(B)/%.o: %.c $(B)/.flags | deps
	@mkdir -p $(@D); $(call say,CC,$<)
	$(Q)$(COMPILE) -MMD -MP -c -o $@ $<

$(GUEST_OBJ): $(B)/.flags | deps
$(B)/guest/%.o: guest/%.c
	@mkdir -p $(@D); $(call say,GUEST,$<)
	$(Q)$(CC) $(GUEST_FLAGS) $(WARN) -MMD -MP -c -o $@ $<
$(B)/guest/%.o: guest/%.S
	@mkdir -p $(@D); $(call say,GUEST,$<)
	$(Q)$(CC) $(GUEST_FLAGS) -MMD -MP -c -o $@ $<

$(GUEST): $(GUEST_OBJ) $(GUEST_LD)
	@$(call say,LD)
	$(Q)$(CC) $(GUEST_FLAGS) $(GUEST_LINK) -o $@ $(GUEST_OBJ) -lfdt

$(LIB): $(LIB_OBJ)
$(B)/libhv.a: $(filter-out $(B)/hv/main.o,$(HV_OBJ))
$(B)/tests/libfake.a: $(FAKE_OBJ)
$(B)/tests/libaid.a: $(AID_OBJ)
$(B)/%.a:
	@mkdir -p $(@D); $(call say,AR)
	$(Q)rm -f $@ && $(AR) rcs $@ $^

$(UMBRA): $(B)/hv/main.o $(B)/libhv.a $(LIB)
$(BENCH): $(BENCH_OBJ) $(B)/libhv.a $(LIB)
$(TESTS): %: %.o $(B)/tests/libaid.a $(B)/tests/libfake.a $(B)/libhv.a $(LIB)
$(TESTS): LDLIBS += $(if $(filter tsan,$(PROFILE)),,-lcriterion)
$(UMBRA) $(BENCH) $(TESTS):
	@$(call say,LD)
	$(Q)$(LINK) -o $@ $^ $(LDLIBS)

# Preloaded into programs of any profile, so it must not need a sanitizer's runtime itself.
$(SHIM_OBJ): OPT := -O2
$(SHIM): $(SHIM_OBJ)
	@$(call say,LD)
	$(Q)$(CC) -shared -o $@ $^ -ldl

# The shared library shows what the public headers declare and nothing else.
$(B)/libumbra.map: $(LIB) $(wildcard mmu/*/*.h)
	@{ echo 'UMBRA_$(SOVERSION) { global:'; \
	   nm -g --defined-only $(LIB) | awk 'NF == 3 { print $$3 }' | sort -u >$@.symbols; \
	   cat $(PUBLIC) | grep -oE '[a-z_][a-z0-9_]*' | sort -u | comm -12 - $@.symbols | sed 's/$$/;/'; \
	   echo 'local: *; };'; } >$@
$(SO): $(LIB_OBJ) $(B)/libumbra.map
	@$(call say,LD)
	$(Q)$(LINK) -shared -Wl,-soname,libumbra.so.$(SOVERSION) -Wl,--version-script=$(B)/libumbra.map \
		-Wl,-Bsymbolic-functions -o $@ $(LIB_OBJ) $(LDLIBS)
	$(Q)ln -sf $(@F) $(B)/libumbra.so.$(SOVERSION)

# Rebuild everything when a flag or the compiler changes, nothing when they do not.
$(B)/.flags: FORCE
	@mkdir -p $(@D); echo '$(subst ','\'',$(COMPILE) $(LDFLAGS) $(GUEST_FLAGS) $(GUEST_LINK))' >$@.new; \
	cmp -s $@.new $@ && rm $@.new || mv $@.new $@

-include $(OBJ:.o=.d) $(GUEST_OBJ:.o=.d)

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

# ---- Run and test ----------------------------------------------------------------------------------------

# Any file of at least 1 MiB will do; these are on every Debian.
INPUT ?= $(shell find -L /usr/bin/perl /usr/bin/bash /lib/x86_64-linux-gnu/libc.so.6 -size +1048575c -print -quit 2>/dev/null)

run: all
	@$(UMBRA) run configs/digest.dts --input '$(INPUT)' --stats

bench: all
	@$(BENCH) $(ARGS)

UNIT := $(filter $(B)/tests/unit/%,$(TESTS))

test: all $(TESTS) $(SHIM)
	@tests/run.sh $(TESTS)
test-unit: all $(UNIT) $(SHIM)
	@tests/run.sh $(UNIT)
check-asan check-tsan: check-%:
	@$(MAKE) PROFILE=$* test-unit
check-clang: | deps-lint
	@$(MAKE) CC=clang B=build/clang test-unit

clean:
	rm -rf build
