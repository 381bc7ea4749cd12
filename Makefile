# handoverd: `make help` tells what there is. Works as root on a fresh Debian 12 with Rust and make.

SHELL := /bin/sh
.DEFAULT_GOAL := help

CARGO ?= cargo
# What the Rust code needs to be built (the lab's packages are named in tests/lab/install-deps).
BUILD_PACKAGES := gcc libc6-dev pkg-config libvirt-dev

.PHONY: help deps build demo test load check bench soak model install clean

help:
	@echo "make demo    move a service between two real guests under load, and report (root; KEEP=1 keeps the lab)"
	@echo "make test    everything: formatting, lints, unit, bus, DNS and lab tests (root)"
	@echo "make load    move a service 20 times between guests under load from four clients, in the lab (root; MOVES=n)"
	@echo "make check   the part of it that needs neither root nor a lab"
	@echo "make bench   measure staging, moving and idling in the lab (root)"
	@echo "make soak    random walks of simulated handovers (SEEDS=1000000, SEED=n)"
	@echo "make model   explore the state machine exhaustively, with every moment that passes too (CASE=name, WITHOUT=rule)"
	@echo "make build   the two programs, in target/debug"
	@echo "make deps    install the Debian packages that building, lab and tests need (root)"
	@echo "make install install the release build and its files (after cargo build --release; DESTDIR=)"
	@echo "make clean   remove what was built here (the lab's image cache stays)"

deps:
	@tests/lab/install-deps $(BUILD_PACKAGES)

build:
	$(CARGO) build --locked --bins

# The guest image is mostly downloads, the build mostly computing: both at once.
demo: deps
	@tests/lab/lab image & image=$$!; \
	$(CARGO) build --locked --bins; built=$$?; \
	wait $$image && [ $$built -eq 0 ] && exec tests/lab/demo

test: deps
	@CARGO="$(CARGO)" tests/everything

# What `make test` does with 4 moves. Its lab is its own, and goes.
MOVES ?= 20
load: deps
	@export LAB_NAME=$${LAB_NAME:-load} MOVES=$(MOVES); \
	$(CARGO) test --locked --test e2e -- --test-threads=1 --nocapture under_load; code=$$?; \
	tests/lab/lab down && exit $$code

check:
	@CARGO="$(CARGO)" tests/everything check

bench: deps
	@tests/bench/run

# Optimized, so that a million walks end within hours. The seed is printed, and with SEED= given again.
SEEDS ?= 1000000
SEED ?= $(shell date +%s)
soak:
	SEED=$(SEED) SEEDS=$(SEEDS) $(CARGO) test --locked --profile soak --test proof -- --nocapture walks

# Every state of the small configurations in tests/model, and what `make test` leaves out; CASE= and WITHOUT= choose one.
model:
	$(CARGO) test --locked --profile soak --test model -- --include-ignored --nocapture --test-threads=1

# Nothing is built, enabled or started here, and a configuration that is there stays.
RELEASE := $(or $(CARGO_TARGET_DIR),target)/release
INSTALL := install -D -m 644
install:
	install -D -m 755 $(RELEASE)/handoverd $(DESTDIR)/usr/bin/handoverd
	install -D -m 755 $(RELEASE)/handoverctl $(DESTDIR)/usr/bin/handoverctl
	$(INSTALL) systemd/handoverd.service $(DESTDIR)/usr/lib/systemd/system/handoverd.service
	$(INSTALL) systemd/handoverd-metrics.service $(DESTDIR)/usr/lib/systemd/system/handoverd-metrics.service
	$(INSTALL) systemd/handoverd-metrics.timer $(DESTDIR)/usr/lib/systemd/system/handoverd-metrics.timer
	$(INSTALL) systemd/handoverd.sysusers.conf $(DESTDIR)/usr/lib/sysusers.d/handoverd.conf
	$(INSTALL) systemd/handoverd.tmpfiles.conf $(DESTDIR)/usr/lib/tmpfiles.d/handoverd.conf
	$(INSTALL) packaging/dbus/org.handoverd1.conf $(DESTDIR)/usr/share/dbus-1/system.d/org.handoverd1.conf
	$(INSTALL) packaging/dbus/org.handoverd1.service $(DESTDIR)/usr/share/dbus-1/system-services/org.handoverd1.service
	$(INSTALL) packaging/dbus/org.handoverd1.xml $(DESTDIR)/usr/share/dbus-1/interfaces/org.handoverd1.xml
	$(INSTALL) packaging/polkit/org.handoverd1.policy $(DESTDIR)/usr/share/polkit-1/actions/org.handoverd1.policy
	$(INSTALL) packaging/polkit/50-handoverd.rules $(DESTDIR)/usr/share/polkit-1/rules.d/50-handoverd.rules
	test -e $(DESTDIR)/etc/handoverd/handoverd.toml || $(INSTALL) config/handoverd.toml $(DESTDIR)/etc/handoverd/handoverd.toml
	install -d $(DESTDIR)/usr/share/man/man1
	$(RELEASE)/handoverctl man --dir $(DESTDIR)/usr/share/man/man1

clean:
	$(CARGO) clean
