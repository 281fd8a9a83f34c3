# SPDX-License-Identifier: Apache-2.0
#
#   make            build/teca and its man page          make check   everything there is to test
#   make install    PREFIX=/usr/local, DESTDIR           make demo    a first container
#
# A folder of src/ is a room; its objects are found by wildcard. BUILD= moves all output, so that
# two builds of one tree do not meet. `make help` lists the targets.

BUILD  ?= build
STATIC ?= 1
PREFIX ?= /usr/local
MAKEFLAGS += --no-builtin-rules
.DELETE_ON_ERROR:
.DEFAULT_GOAL := all

# ---- tools and flags ---------------------------------------------------------------------------

CROSS_COMPILE ?=
ifeq ($(origin CC),default)
CC := $(CROSS_COMPILE)gcc
endif
ifeq ($(origin AR),default)
AR := $(CROSS_COMPILE)ar
endif
STRIP      ?= $(CROSS_COMPILE)strip
PKG_CONFIG ?= pkg-config
INSTALL    ?= install

CFLAGS ?= -O2 -g
HARDEN ?= -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2 -fstack-protector-strong
WARN   := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wconversion \
          -Wno-sign-conversion -Wvla -Wswitch-enum
ifeq ($(CI),true)
WERROR ?= 1
endif
ifeq ($(WERROR),1)
WARN += -Werror
endif

# Static and not position-independent. Measured here (glibc 2.36, 3000 alternating starts of a
# trivial program, twice): static-pie makes the same system calls but relocates itself, 33 page
# faults instead of 30, +11 to +17 us of about 650, and 45 KiB more on disk. teca starts itself for
# every container, so the cheaper one is the default; PIE=1 builds static-pie for whoever wants
# randomised addresses more.
PIE ?= 0
ifeq ($(STATIC),1)
LINK_MODE  := $(if $(filter 1,$(PIE)),-static-pie,-static -no-pie)
CODE_MODE  := $(if $(filter 1,$(PIE)),-fPIE,-fno-pie)
PC_STATIC  := --static
# Debian calls the static archive of yajl libyajl_s.a; its .pc file does not know.
YAJL_STATIC ?= -lyajl_s
LIB_NAMES   = $(patsubst -lyajl,$(YAJL_STATIC),$(1))
else
LINK_MODE  := -pie
CODE_MODE  := -fPIE -fno-plt
LIB_NAMES   = $(1)
endif
LINK_FLAGS := -Wl,--gc-sections -Wl,-z,relro -Wl,-z,now -Wl,-z,noexecstack

# The program begins before the C library, see src/container/entry.c.
ENTRY := -Wl,-e,teca_start

# Asked only when something is compiled: `make clean` works on a machine without the libraries.
LIBRARIES    := libseccomp libcap yajl libmnl libzstd liblzma liblz4 zlib libmd
LIB_CFLAGS   = $(eval LIB_CFLAGS := $$(shell $(PKG_CONFIG) --cflags $(LIBRARIES)))$(LIB_CFLAGS)
LIB_STATIC   = $(eval LIB_STATIC := $$(call LIB_NAMES,$$(shell $(PKG_CONFIG) $(PC_STATIC) --libs $(LIBRARIES))))$(LIB_STATIC)
LIB_SHARED   = $(eval LIB_SHARED := $$(shell $(PKG_CONFIG) --libs $(LIBRARIES)))$(LIB_SHARED)

# EXTRA_* are for the builds below (sanitizers, fuzzers, arm64) and for the curious.
ALL_CPPFLAGS = -D_GNU_SOURCE -Isrc $(LIB_CFLAGS) $(CPPFLAGS) $(EXTRA_CPPFLAGS)
ALL_CFLAGS   = -std=gnu17 $(CFLAGS) $(HARDEN) -ffunction-sections -fdata-sections $(CODE_MODE) \
               $(WARN) $(EXTRA_CFLAGS)
ALL_LDFLAGS  = $(CFLAGS) $(LINK_FLAGS) $(LDFLAGS) $(EXTRA_LDFLAGS)

# The static program is linked with musl where Debian has musl-gcc for the target: src/base/libc.c
# says why and what that takes. Its objects are apart, for the tests want glibc's.
LIBC ?= $(if $(filter 1,$(STATIC)),$(if $(CROSS_COMPILE)$(filter -fsanitize%,$(CFLAGS)),glibc,$(if $(shell command -v musl-gcc),musl,glibc)),glibc)
MUSL_CC  ?= musl-gcc
MULTIARCH = $(eval MULTIARCH := $$(shell $(CC) -print-multiarch))$(MULTIARCH)
# By name, for with -L the linker would find glibc's libc.a there as well.
LIB_MUSL = $(patsubst -l%,$(shell $(PKG_CONFIG) --variable=libdir libseccomp)/lib%.a,$(LIB_STATIC))
# Behind musl's own headers: the kernel's, and those of the libraries.
MUSL_CPPFLAGS = -idirafter /usr/include -idirafter /usr/include/$(MULTIARCH)

# `make V=1` prints the commands.
Q   := $(if $(V),,@)
say  = $(if $(V),,@printf '  %-5s %s\n' '$(1)' '$(2)')

# ---- rooms -------------------------------------------------------------------------------------

RANK0 := base
RANK1 := spec plan vmm mux share boot
RANK2 := namespaces cgroups rootfs net security
RANK3 := container
RANK4 := guest
ROOMS := $(RANK0) $(RANK1) $(RANK2) $(RANK3) $(RANK4)

# A room may have inner rooms, a folder each (scripts/check-layers knows their ranks).
objects     = $(patsubst %.c,$(BUILD)/obj/%.o,$(wildcard $(1)/*.c $(1)/*/*.c))
archives    = $(foreach room,$(1),$(BUILD)/lib/lib$(room).a)
LIB_OBJECTS := $(foreach room,$(ROOMS),$(call objects,src/$(room)))
CMD_OBJECTS := $(call objects,cmd)
PROGRAM_CC  := $(if $(filter musl,$(LIBC)),$(MUSL_CC),$(CC))
PROGRAM_DIR := $(BUILD)/$(if $(filter musl,$(LIBC)),musl,obj)
PROGRAM     := $(patsubst $(BUILD)/obj/%,$(PROGRAM_DIR)/%,$(CMD_OBJECTS) $(LIB_OBJECTS))
VERSION_IN  := $(shell grep -lE 'TECA_(VERSION|COMMIT|LIBEXECDIR)' cmd/*.c src/*/*.c 2>/dev/null)
VERSIONED   := $(foreach dir,obj musl,$(patsubst %.c,$(BUILD)/$(dir)/%.o,$(VERSION_IN)))

# The rooms that the unit tests of a room are linked with: itself and the lower ranks, so that the
# linker proves the layering too.
$(foreach room,$(RANK0),$(eval BELOW_$(room) :=))
$(foreach room,$(RANK1),$(eval BELOW_$(room) := $(RANK0)))
$(foreach room,$(RANK2),$(eval BELOW_$(room) := $(RANK1) $(RANK0)))
$(foreach room,$(RANK3),$(eval BELOW_$(room) := $(RANK2) $(RANK1) $(RANK0)))
$(foreach room,$(RANK4),$(eval BELOW_$(room) := $(RANK3) $(RANK2) $(RANK1) $(RANK0)))
BELOW_cmd := $(RANK4) $(RANK3) $(RANK2) $(RANK1) $(RANK0)
UNIT_ROOMS := $(ROOMS) cmd

# ---- the program -------------------------------------------------------------------------------

VERSION := $(shell cat VERSION)
# A tree without git (a tarball, a checkout inside another repository) says "unknown".
ifndef TECA_COMMIT
TECA_COMMIT := $(shell test -e .git && git describe --always --dirty --abbrev=12 --match 'v*' 2>/dev/null)
endif
COMMIT := $(or $(TECA_COMMIT),unknown)
LIBEXECDIR ?= $(PREFIX)/libexec
# Not when cross-compiling: nobody has the library for the other machine.
HELPER := $(if $(CROSS_COMPILE)$(filter aarch64%,$(CC)),,$(BUILD)/teca-systemd)
VERSION_FLAGS := -DTECA_LIBEXECDIR='"$(LIBEXECDIR)/teca"' -DTECA_VERSION='"$(VERSION)"' -DTECA_COMMIT='"$(COMMIT)"'

.PHONY: all
all: $(BUILD)/teca $(BUILD)/teca.8 $(HELPER)

$(BUILD)/teca: $(PROGRAM) $(BUILD)/stamp/link
	$(call say,LINK,$@)
	$(Q)$(PROGRAM_CC) $(ALL_LDFLAGS) $(ENTRY) $(LINK_MODE) -o $@ $(PROGRAM) $(if $(filter musl,$(LIBC)),$(LIB_MUSL),$(LIB_STATIC) -lm)

# The helper for systemd: libsystemd has no static library, so it is dynamic, with glibc.
$(BUILD)/teca-systemd: libexec/teca-systemd.c $(BUILD)/stamp/compile
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$(Q)$(CC) -D_GNU_SOURCE $(CPPFLAGS) -std=gnu17 $(CFLAGS) $(HARDEN) -fPIE $(WARN) $(LDFLAGS) -pie -Wl,-z,relro -Wl,-z,now -o $@ $< $(shell $(PKG_CONFIG) --cflags --libs libsystemd)

$(BUILD)/musl/%.o: %.c $(BUILD)/stamp/compile
	@mkdir -p $(@D)
	$(call say,MUSL,$<)
	$(Q)$(MUSL_CC) $(ALL_CPPFLAGS) $(OBJ_CPPFLAGS) $(MUSL_CPPFLAGS) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

$(BUILD)/obj/%.o: %.c $(BUILD)/stamp/compile
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(CC) $(ALL_CPPFLAGS) $(OBJ_CPPFLAGS) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

$(VERSIONED): OBJ_CPPFLAGS = $(VERSION_FLAGS)
$(VERSIONED): $(BUILD)/stamp/version
$(BUILD)/obj/tests/%.o: OBJ_CPPFLAGS = -Itests/unit

# A stamp changes only when its text does: a changed flag or commit rebuilds what depends on it.
$(BUILD)/stamp/compile: STAMP_TEXT = $(CC) $(MUSL_CC) $(ALL_CPPFLAGS) $(ALL_CFLAGS)
$(BUILD)/stamp/link:    STAMP_TEXT = $(PROGRAM_CC) $(ALL_LDFLAGS) $(ENTRY) $(LINK_MODE) $(LIB_STATIC) $(PROGRAM)
$(BUILD)/stamp/version: STAMP_TEXT = $(VERSION_FLAGS)
STAMPS := $(addprefix $(BUILD)/stamp/,compile link version $(addprefix objects-,$(ROOMS) cmd))
$(STAMPS): FORCE
	@mkdir -p $(@D)
	@printf '%s\n' '$(subst ','\'',$(STAMP_TEXT))' | cmp -s - $@ || printf '%s\n' '$(subst ','\'',$(STAMP_TEXT))' >$@

$(BUILD)/teca.8: docs/teca.8 VERSION
	@mkdir -p $(@D)
	$(call say,MAN,$@)
	$(Q)sed 's/@VERSION@/$(VERSION)/g' $< >$@

.PHONY: install uninstall size
install: all
	$(INSTALL) -D -m 0755 $(BUILD)/teca $(DESTDIR)$(PREFIX)/bin/teca
	ln -sf teca $(DESTDIR)$(PREFIX)/bin/teca-vm
	ln -sf teca $(DESTDIR)$(PREFIX)/bin/teca-emulated
	$(INSTALL) -D -m 0644 $(BUILD)/teca.8 $(DESTDIR)$(PREFIX)/share/man/man8/teca.8
	$(INSTALL) -D -m 0755 $(BUILD)/teca-systemd $(DESTDIR)$(LIBEXECDIR)/teca/teca-systemd

uninstall:
	rm -f $(DESTDIR)$(PREFIX)/bin/teca $(DESTDIR)$(PREFIX)/bin/teca-vm $(DESTDIR)$(PREFIX)/bin/teca-emulated $(DESTDIR)$(PREFIX)/share/man/man8/teca.8 $(DESTDIR)$(LIBEXECDIR)/teca/teca-systemd

size: $(BUILD)/teca
	@$(STRIP) -o $(BUILD)/teca.stripped $(BUILD)/teca
	@printf 'teca %s, stripped: %s bytes\n' '$(VERSION)' "$$(stat -c %s $(BUILD)/teca.stripped)"

# ---- one room, its archive, its unit tests -----------------------------------------------------

# RESULTS, when set, is a directory that collects one file of results a suite (scripts/run-tests).
RUN_TESTS = scripts/run-tests $(if $(RESULTS),--results $(RESULTS)) $(if $(UNIT_WRAPPER),--wrapper '$(UNIT_WRAPPER)')
UNIT_SUITE ?= unit

# $(1) a room, $(2) its sources. Test programs are test_*.c; other files of the folder help them all.
define ROOM_RULES
.PHONY: obj-$(1) unit-$(1)
obj-$(1): $(call objects,$(2))

$(BUILD)/lib/lib$(1).a: $(filter-out %/cmd/main.o,$(call objects,$(2))) $(BUILD)/stamp/objects-$(1)
	@mkdir -p $$(@D)
	@rm -f $$@
	$$(call say,AR,$$@)
	$$(Q)$$(AR) rcs $$@ $(filter-out %/cmd/main.o,$(call objects,$(2)))
$(BUILD)/stamp/objects-$(1): STAMP_TEXT = $(call objects,$(2))

UNIT_$(1) := $(patsubst %.c,$(BUILD)/%,$(wildcard tests/unit/$(1)/test_*.c))
HELP_$(1) := $(patsubst %.c,$(BUILD)/obj/%.o,$(filter-out tests/unit/$(1)/test_%,$(wildcard tests/unit/$(1)/*.c)))
$$(UNIT_$(1)): $(BUILD)/%: $(BUILD)/obj/%.o $$(HELP_$(1)) $(call archives,$(1) $(BELOW_$(1)))
	@mkdir -p $$(@D)
	$$(call say,LINK,$$@)
	$$(Q)$$(CC) $$(ALL_LDFLAGS) $$(UNIT_LINK_MODE) -o $$@ $$< $$(HELP_$(1)) $(call archives,$(1) $(BELOW_$(1))) $$(LIB_SHARED) -lcmocka -lm
unit-$(1): $$(UNIT_$(1))
	@$$(RUN_TESTS) --suite $$(UNIT_SUITE)-$(1) $$(UNIT_$(1))
endef
# Dynamic, for Debian has no static cmocka.
UNIT_LINK_MODE := $(if $(filter -fno-pie,$(CODE_MODE)),-no-pie,-pie)
$(foreach room,$(ROOMS),$(eval $(call ROOM_RULES,$(room),src/$(room))))
$(eval $(call ROOM_RULES,cmd,cmd))
UNIT_PROGRAMS := $(foreach room,$(UNIT_ROOMS),$(UNIT_$(room)))

.PHONY: unit unit-programs unit-asan
unit-programs: $(UNIT_PROGRAMS)
unit: unit-programs
	@$(RUN_TESTS) --suite $(UNIT_SUITE) $(UNIT_PROGRAMS)

# The same tests under AddressSanitizer and UBSan; the first report ends the program.
SANITIZE := -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
unit-asan:
	@$(MAKE) --no-print-directory BUILD=$(BUILD)/asan STATIC=0 HARDEN= CFLAGS='-O1 -g $(SANITIZE)' \
	    UNIT_SUITE=unit-asan unit

# ---- arm64 -------------------------------------------------------------------------------------

# The whole tree and its unit tests for arm64, run by qemu. The libraries are unpacked, not installed:
# scripts/install-deps.sh says why.
SYSROOT  := $(CURDIR)/.sysroot/arm64
ARM64_LIB := $(SYSROOT)/usr/lib/aarch64-linux-gnu
ARM64_QEMU := qemu-aarch64-static -L /usr/aarch64-linux-gnu \
              -E LD_LIBRARY_PATH=$(ARM64_LIB):$(SYSROOT)/lib/aarch64-linux-gnu
ARM64_MAKE = PKG_CONFIG_LIBDIR=$(ARM64_LIB)/pkgconfig PKG_CONFIG_SYSROOT_DIR=$(SYSROOT) \
             $(MAKE) --no-print-directory BUILD=$(BUILD)/arm64 LIBC=glibc CC=aarch64-linux-gnu-gcc \
             AR=aarch64-linux-gnu-ar STRIP=aarch64-linux-gnu-strip \
             EXTRA_CPPFLAGS='-isystem $(SYSROOT)/usr/include' EXTRA_LDFLAGS='-L$(ARM64_LIB) \
             -Wl,-rpath-link,$(SYSROOT)/lib/aarch64-linux-gnu'

.PHONY: arm64
arm64:
	@$(ARM64_MAKE) UNIT_SUITE=arm64 UNIT_WRAPPER='$(ARM64_QEMU)' all unit
	@$(ARM64_QEMU) $(BUILD)/arm64/teca --version

# ---- fuzz --------------------------------------------------------------------------------------

# tests/fuzz/NAME.c is one libFuzzer target, linked with every room.
FUZZ_SECONDS ?= $(if $(filter true,$(CI)),60,20)
FUZZERS      := $(patsubst %.c,$(BUILD)/%,$(wildcard tests/fuzz/*.c))
# clang warns of a struct of the kernel's (KVM) that ends in an array and stands in front of its entries.
FUZZ_FLAGS   := -O1 -g -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all \
                -Wno-gnu-variable-sized-type-not-at-end

.PHONY: fuzz fuzz-programs
fuzz:
	@$(MAKE) --no-print-directory BUILD=$(BUILD)/fuzz CC=clang STATIC=0 HARDEN= \
	    CFLAGS='$(FUZZ_FLAGS)' fuzz-programs
	@FUZZ_SECONDS=$(FUZZ_SECONDS) $(RUN_TESTS) --suite fuzz --timeout $$(($(FUZZ_SECONDS) + 120)) --stream \
	    $(patsubst $(BUILD)/%,'scripts/run-fuzz $(BUILD)/fuzz/%',$(FUZZERS))

fuzz-programs: $(FUZZERS)
$(FUZZERS): $(BUILD)/%: $(BUILD)/obj/%.o $(LIB_OBJECTS)
	@mkdir -p $(@D)
	$(call say,LINK,$@)
	$(Q)$(CC) $(ALL_LDFLAGS) $(LINK_MODE) -fsanitize=fuzzer -o $@ $< $(LIB_OBJECTS) $(LIB_SHARED) -lm

# ---- the system suite, the benchmark, the demonstration ----------------------------------------

TECA := $(abspath $(BUILD)/teca)
export TECA

.PHONY: system bench-programs bench-start demo
system: all bench-programs $(BUILD)/tests/share-mount
	@BUILD=$(abspath $(BUILD)) $(RUN_TESTS) --suite system --timeout 1500 --stream tests/system/run

# The same suite in a machine of QEMU's: a selection for make check, or the whole, whose outcome is then recorded.
.PHONY: emulated system-emulated system-vm
emulated: all
	@BUILD=$(abspath $(BUILD)) $(RUN_TESTS) --suite emulated --timeout 900 --stream \
	    'tests/system/run --isolation emulated @tests/isolation-check.txt' scripts/make-isolation-modes
system-emulated: all
	@mkdir -p $(BUILD)/isolation
	-BUILD=$(abspath $(BUILD)) tests/system/run --isolation emulated --keep $(BUILD)/isolation/emulated.tsv $(PATTERN)
	scripts/make-isolation-modes --record emulated $(BUILD)/isolation/emulated.tsv
# ... on teca's own monitor, nested: PATTERN is a part of it.
system-vm: all
	-BUILD=$(abspath $(BUILD)) tests/vm/suite kvm-system $(PATTERN)
	scripts/make-isolation-modes --record vm $(BUILD)/vm/results/system.tsv

# The file server of src/share on /dev/fuse.
$(BUILD)/tests/share-mount: $(BUILD)/obj/tests/system/share_mount.o $(call archives,share base)
	@mkdir -p $(@D)
	$(call say,LINK,$@)
	$(Q)$(CC) $(ALL_LDFLAGS) $(LINK_MODE) -o $@ $^ $(LIB_STATIC) -lm

# Parts of the same suite in the test VM, and checks of the VM itself. The longest first: side by side.
VM_SUITES ?= v2 kvm systemd engines check v1 kvm-isolation systemd-v1 selinux
.PHONY: vm
vm: all bench-programs
	@BUILD=$(abspath $(BUILD)) $(RUN_TESTS) --suite vm --timeout 2400 --stream 'tests/vm/suites $(VM_SUITES)'

# Real engines with teca, and with Debian's crun beside it; docs/engines.md says what they do.
.PHONY: engines engines-vm engines-table
ENGINE_RESULTS = $(abspath $(BUILD))/engines.json
ENGINE_VM ?= podman-systemd docker-systemd podman-rootless-systemd containerd-systemd kubernetes-systemd buildah-systemd
ENGINE_VM_RESULTS = $(ENGINE_VM:%=$(abspath $(BUILD))/vm/results/%.json)
engines: all
	@$(RUN_TESTS) --suite engines --timeout 1800 --stream \
	    'tests/engines/run --results $(ENGINE_RESULTS)' 'scripts/make-engines-table --check $(ENGINE_RESULTS)'
engines-vm: all
	@BUILD=$(abspath $(BUILD)) $(RUN_TESTS) --suite engines-vm --timeout 7200 --stream \
	    'tests/vm/suites $(ENGINE_VM)' 'scripts/make-engines-table --check $(ENGINE_VM_RESULTS)'
engines-table:
	scripts/make-engines-table $(wildcard $(ENGINE_RESULTS) $(ENGINE_VM_RESULTS)) >$(BUILD)/engines.md
	mv $(BUILD)/engines.md docs/engines.md

# Neither stands on the C library (bench/rawsys.h): the payload makes one call, the floor only its own.
BENCH_RAW    := $(addprefix $(BUILD)/bench/,floor floor-times true)
BENCH_HOSTED := $(addprefix $(BUILD)/bench/,timer peak)
bench-programs: $(BENCH_RAW) $(BENCH_HOSTED)
$(BUILD)/bench/floor-times: bench/floor.c
$(filter-out %/floor-times,$(BENCH_RAW)) $(BENCH_HOSTED): $(BUILD)/bench/%: bench/%.c
$(BENCH_RAW): BENCH_MODE = -nostdlib -fno-stack-protector -fno-tree-loop-distribute-patterns
$(BUILD)/bench/floor-times: BENCH_MODE += -DRAW_TIMES
$(BENCH_RAW) $(BENCH_HOSTED): bench/rawsys.h Makefile
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$(Q)$(CC) -std=gnu17 -O2 -g $(WARN) -fno-pie -no-pie -static $(BENCH_MODE) -o $@ $(filter %.c,$^)

# A machine of the product's own, or QEMU's beside it, up to its agent's first word.
$(BUILD)/bench/hello: $(BUILD)/obj/bench/hello.o $(LIB_OBJECTS)
	@mkdir -p $(@D)
	$(call say,LINK,$@)
	$(Q)$(CC) $(ALL_LDFLAGS) $(LINK_MODE) -o $@ $^ $(LIB_STATIC) -lm

bench-start:
	@scripts/install-deps.sh build bench
	@$(MAKE) --no-print-directory all bench-programs
	@BUILD=$(abspath $(BUILD)) bench/bench-start $(BENCH_ARGS)

.PHONY: bench-vm
bench-vm:
	@scripts/install-deps.sh build vm demo
	@$(MAKE) --no-print-directory all $(BUILD)/bench/hello
	@BUILD=$(abspath $(BUILD)) bench/vm $(BENCH_ARGS)
	@BUILD=$(abspath $(BUILD)) bench/vm --nested $(BENCH_ARGS)

demo:
	@scripts/install-deps.sh build demo
	@$(MAKE) --no-print-directory all
	@examples/hello/run.sh

# ---- checks ------------------------------------------------------------------------------------

.PHONY: lint format docs conformance conformance-table check
lint: export LINT_FLAGS = $(strip $(ALL_CPPFLAGS) $(VERSION_FLAGS))
lint:
	@scripts/run-tests $(if $(RESULTS),--results $(RESULTS)) --suite lint --timeout 900 --stream \
	    scripts/check-layers scripts/check-format scripts/check-static; status=$$?; \
	    scripts/longest-functions; exit $$status

format:
	scripts/check-format --fix

docs: all
	@$(RUN_TESTS) --suite docs --stream 'scripts/check-docs $(BUILD)/teca.8 $(TECA)'

# Of the results that `make check` has left.
conformance:
	@$(RUN_TESTS) --suite conformance --stream 'scripts/make-conformance $(BUILD)/results'

conformance-table:
	@scripts/make-conformance --write $(BUILD)/results

check:
	@BUILD='$(BUILD)' MAKE='$(MAKE) --no-print-directory' scripts/check

# ---- the rest ----------------------------------------------------------------------------------

.PHONY: help clean distclean FORCE
help:
	@echo 'all (default)  build/teca, static, and its man page; STATIC=0 dynamic, PIE=1 static-pie'
	@echo 'install        and uninstall: PREFIX (/usr/local), DESTDIR'
	@echo 'size           of the stripped program'
	@echo 'demo           installs what the build needs, builds, runs a busybox container'
	@echo 'check          installs what the tests need, then: build lint unit unit-asan arm64 fuzz system emulated engines vm docs conformance'
	@echo 'unit           unit tests; unit-ROOM those of one room; unit-asan under ASan and UBSan'
	@echo 'obj-ROOM       compiles one room'
	@echo 'arm64          cross-builds everything and runs the unit tests under qemu'
	@echo 'fuzz           FUZZ_SECONDS (20, CI 60) for each target'
	@echo 'system         the real binary on real bundles; needs root'
	@echo 'emulated       a selection of it in a machine of QEMU; system-emulated: the whole, recorded'
	@echo 'vm             parts of it under cgroup v2, v1 and systemd in the test VM; VM_SUITES'
	@echo 'engines        podman, docker, containerd, buildah on teca and on crun; engines-table writes docs/engines.md'
	@echo 'engines-vm     the same under cgroup v2 and systemd in test VMs, half an hour; ENGINE_VM'
	@echo 'bench-start    a start against crun and against the floor; BENCH_ARGS=--help'
	@echo 'bench-vm       the machine monitor: first instruction, memory; nested, beside QEMU'
	@echo 'lint           layers, licences, clang-format, cppcheck, clang-tidy; format applies clang-format'
	@echo 'docs           man page, README, links'
	@echo 'conformance    compares docs/conformance.md with the results of the last make check;'
	@echo '               conformance-table writes it'
	@echo 'clean          removes BUILD; distclean also the arm64 libraries'
	@echo 'BUILD=dir V=1 WERROR=1 CI=true'

clean:
	rm -rf $(BUILD)

distclean: clean
	rm -rf .sysroot

FORCE:
# Objects are wanted for the next build too.
.SECONDARY:

-include $(shell test -d $(BUILD) && find $(wildcard $(BUILD)/obj $(BUILD)/musl) -name '*.d' 2>/dev/null)
