# The tools of the project. Every target works from a fresh clone; `make help` lists them.
SHELL := /bin/sh
.DEFAULT_GOAL := help
export PATH := $(CURDIR)/node_modules/.bin:$(PATH)

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: setup
setup: node_modules/.package-lock.json ## Install the dependencies, if they are not up to date

node_modules/.package-lock.json: package-lock.json
	npm ci --no-audit --no-fund
	@touch $@

.PHONY: gen
gen: setup ## Generate code from proto/ into gen/ and clients/
	buf generate
	node scripts/write-descriptor-set.mjs
	@set -e; for generate in clients/*/generate.sh; do if [ -x "$$generate" ]; then "$$generate"; fi; done

.PHONY: build
build: setup ## Compile to build/ and bundle dist/mongoferry
	tsc
	node scripts/build.mjs

.PHONY: check
check: setup ## Format, lint, types, proto rules, generated code
	biome ci --error-on-warnings .
	node scripts/write-import-rules.mjs --check
	@! grep -rnE 'process\.exit\(' src || { echo 'src/ must not call process.exit: set process.exitCode'; exit 1; }
	tsc --noEmit
	buf lint
	scripts/check-gen.sh
	scripts/check-breaking.sh
	@echo 'check: all good'

.PHONY: test
test: build ## All tests but the long ones; fetches MongoDB servers at the first run
	@node scripts/run-tests.mjs

.PHONY: test-unit
test-unit: build ## The tests that need no servers
	@node scripts/run-tests.mjs --unit

.PHONY: test-long
test-long: build ## The long repeats: random workloads, many kills
	@node scripts/run-tests.mjs --long --jobs 1

.PHONY: sim
sim: build ## Simulated migrations, thousands a minute; SEED=1 COUNT=1000, COUNT=1 prints the steps
	@node build/test/sim/main.js

.PHONY: demo
demo: build ## A whole migration between two small clusters, before your eyes
	@node build/demo/main.js

.PHONY: demo-sharded
demo-sharded: build ## The same, to a sharded cluster behind a router that stands in for mongos
	@node build/demo/main.js --sharded

.PHONY: bench
bench: build ## Measure against the floors of this machine; ARGS='--quick', '--full --repeat 5'
	@node build/bench/main.js $(ARGS)

bench-%: build ## One row, as make bench-draining
	@node build/bench/main.js $(ARGS) $*

.PHONY: bench-docs
bench-docs: ## Put the last results into docs/performance.md, table and chart
	@node scripts/draw-bench.mjs
	@biome format --write docs/bench-results.json >/dev/null

.PHONY: docs
docs: build ## Put into README and quick start what their commands print in a run
	@MONGOFERRY_TEST_WRITE_DOCS=1 node scripts/run-tests.mjs docs/commands

.PHONY: clean
clean: ## Remove what was built
	rm -rf build dist
