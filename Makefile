# Each target is short on purpose; `make help` lists them.

CARGO   ?= cargo
TARGET  := $(or $(CARGO_TARGET_DIR),target)
PREFIX  ?= /usr/local
CONFIG  ?=
SECONDS ?= 60
HOST    := x86_64-unknown-linux-gnu
VERSUS  ?=

RINGMAIN  := $(TARGET)/release/ringmain
RINGBENCH := $(TARGET)/release/ringbench
# What the end-to-end tests start.
TEST_ENVIRONMENT = RINGMAIN_BIN=$(abspath $(RINGMAIN)) RINGBENCH_BIN=$(abspath $(RINGBENCH))

.PHONY: help demo run build test check bench guard versus fuzz asan soak install

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /  \1\t/p' $(MAKEFILE_LIST) | expand -t 12

build: ## release binaries of ringmain and ringbench
	tools/setup/install.sh build
	$(CARGO) build --release -p ringmain -p ringbench

demo: build ## run Ringmain before three demo servers, drive it, show latency and distribution
	$(RINGBENCH) demo --ringmain $(RINGMAIN) --config configs/demo.toml

run: build ## run in the foreground: make run CONFIG=FILE
	@test -n "$(CONFIG)" || { echo "say which configuration: make run CONFIG=FILE"; exit 2; }
	$(RINGMAIN) -f $(CONFIG) -db

test: check build ## formatting, lints and all tests, end to end included
	tools/setup/install.sh test
	$(TEST_ENVIRONMENT) $(CARGO) test --workspace

check: ## formatting, clippy and documentation without warnings
	tools/setup/install.sh build
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --quiet

bench: ## criterion micro benches
	$(CARGO) bench -p ringmain --bench micro

guard: ## instruction counts of micro benches under valgrind, compared with the stored ones
	tools/setup/install.sh build guard
	$(CARGO) bench -p ringmain --bench micro -- --guard $(abspath benches/micro/instructions.txt)

versus: build ## Ringmain beside HAProxy and nginx: make versus VERSUS=--quick
	tools/setup/install.sh versus
	$(RINGBENCH) versus --ringmain $(RINGMAIN) --output $(TARGET)/versus $(VERSUS)

fuzz: ## every fuzz target for SECONDS seconds (60)
	tools/setup/install.sh build fuzz
	command -v cargo-fuzz >/dev/null || $(CARGO) install --locked cargo-fuzz
	cd tools/fuzz && for target in $$(RUSTC_BOOTSTRAP=1 cargo fuzz list --fuzz-dir .); do \
		RUSTC_BOOTSTRAP=1 cargo fuzz run --fuzz-dir . $$target -- -max_total_time=$(SECONDS) || exit 1; done

asan: ## the ring's tests under AddressSanitizer
	LSAN_OPTIONS=suppressions=$(abspath tools/setup/leaks.supp) CARGO_TARGET_DIR=$(TARGET)/asan \
		RUSTC_BOOTSTRAP=1 RUSTFLAGS=-Zsanitizer=address \
		$(CARGO) test -p ringmain-engine --target $(HOST) --test 'ring_*'

soak: build ## the demo for SECONDS seconds (60); fails on any error
	$(RINGBENCH) demo --ringmain $(RINGMAIN) --config configs/demo.toml --duration $(SECONDS)s

install: build ## binaries and systemd unit below PREFIX (/usr/local), DESTDIR honoured
	install -D -m 755 $(RINGMAIN) $(DESTDIR)$(PREFIX)/sbin/ringmain
	install -D -m 755 $(RINGBENCH) $(DESTDIR)$(PREFIX)/bin/ringbench
	install -d $(DESTDIR)$(PREFIX)/lib/systemd/system
	sed 's|/usr/local/sbin|$(PREFIX)/sbin|g' configs/ringmain.service >$(DESTDIR)$(PREFIX)/lib/systemd/system/ringmain.service
