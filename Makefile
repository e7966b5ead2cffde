# The commands of this repository. `make help` lists them.
.DEFAULT_GOAL := help
.PHONY: help run test test-containerd test-vm bench fuzz install packages clean

TRIPLE := $(shell rustc -vV | sed -n 's/^host: //p')
PREFIX ?= /usr/local
RELEASE := target/$(TRIPLE)/release

help:            ## List the commands
	@sed -n 's/^\([a-z-]*\):[^#]*## /  make \1\t/p' $(MAKEFILE_LIST)

run:             ## Build skiff, start a cluster, show a workload answering; Ctrl-C removes all of it
	@[ "$$(id -u)" = 0 ] || { echo "skiff needs root to run containers: try sudo make run"; exit 1; }
	cargo build --release --package skiff
	@exec $(RELEASE)/skiff demo --data-dir .skiff

test:            ## All checks and tests; installs the Debian packages that the tests need
	@[ "$$(id -u)" = 0 ] || { echo "the tests run containers and need root: try sudo make test"; exit 1; }
	@scripts/packages
	@scripts/test

test-containerd: ## The end-to-end tests on Debian's containerd and runc (also part of make test)
	@[ "$$(id -u)" = 0 ] || { echo "the tests run containers and need root: try sudo make test-containerd"; exit 1; }
	@scripts/packages
	@scripts/test-containerd

test-vm:         ## The end-to-end tests on cgroup v2, in an emulated machine (amd64); takes about an hour
	@scripts/packages
	@scripts/test-vm

bench:           ## Measure skiff beside its peers (docs/benchmarks.md); takes about a quarter of an hour
	@[ "$$(id -u)" = 0 ] || { echo "the benchmarks run containers and need root: try sudo make bench"; exit 1; }
	@scripts/packages etcd-server runc crun skopeo
	cargo build --release --package skiff --package bench
	$(RELEASE)/bench
	cargo run --release --package store --example store_bench
	cargo run --release --package runtime --example runtime_bench

fuzz:            ## Fuzz every decoder for a minute (docs/fuzzing.md)
	@scripts/fuzz 60

install:         ## Build skiff and put it into /usr/local/bin (PREFIX chooses another place)
	cargo build --release --package skiff
	install -D $(RELEASE)/skiff $(DESTDIR)$(PREFIX)/bin/skiff

packages:        ## Install the Debian packages that the tests need
	@scripts/packages

clean:           ## Remove what was built, and the state of make run
	cargo clean
	rm -rf .skiff
