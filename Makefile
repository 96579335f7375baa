# `make` lists the targets. Everything runs without Docker; the work is done by the tool in stack/.
.DEFAULT_GOAL := help
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-print-directory

# Whatever is built is up to date: cargo decides, and is silent if there is nothing to do.
STACK_RUN = cargo run --quiet --release -p stack --
PARTS := kafka redis postgres orders bonus
# Of a stack that was made with BROKERS=3 or REPLICAS=1.
FURTHER_PARTS := kafka-2 kafka-3 postgres-2 postgres-address
HEAD = @printf '\n=== %s ===\n'

.PHONY: help deps tools build up postgres-failover down wipe status logs demo chaos recovery overload bench example hot-paths screenshots test compose-test fmt lint kafka-files
.PHONY: $(foreach part,$(PARTS) $(FURTHER_PARTS),$(part)-down $(part)-up $(part)-freeze $(part)-thaw)

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-17s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))
	@echo
	@echo "  for each of $(PARTS):"
	@echo "  X-down        kill it (SIGKILL)        X-freeze    stop it in its tracks (SIGSTOP)"
	@echo "  X-up          start it again           X-thaw      let it go on"
	@echo "  and with BROKERS=3 or REPLICAS=1 for each of $(FURTHER_PARTS)"
	@echo
	@echo "  KAFKA=embedded  a stand-in instead of Apache Kafka     KAFKA_HOME=…  an installed Apache Kafka"

deps: ## get what this machine lacks: programs (as root on Debian; elsewhere it names them), Apache Kafka
	@./stack/install.sh --tests
	@$(STACK_RUN) kafka

tools:
	@./stack/install.sh

build: ## build the services and the tool, optimised
	@cargo build --release -p orders -p bonus -p stack

# Where Apache Kafka cannot be had, `up` says why and goes on with the stand-in, and `demo` says why and fails.
kafka-files: build
	@if [ "$(KAFKA)" != embedded ]; then $(STACK_RUN) kafka || true; fi

up: tools build kafka-files ## start Postgres, Redis, Kafka and both services, and print their addresses (REPLICAS=1 BROKERS=3)
	@$(STACK_RUN) up

postgres-failover: ## with REPLICAS=1: kill the primary and promote its standby, behind the same address
	@$(STACK_RUN) postgres-failover

down: ## stop everything; the data stay
	@$(STACK_RUN) down

wipe: ## stop everything and remove the data
	@$(STACK_RUN) down --wipe

status: ## show what runs where
	@$(STACK_RUN) status

logs: ## show the logs as they grow (NAME=orders for one of them)
	@$(STACK_RUN) logs $(NAME) --follow

demo: tools build kafka-files ## play the story: Kafka dies and nobody notices (KEEP=1 leaves everything running)
	@$(STACK_RUN) demo

chaos: tools build kafka-files ## random faults under load, then every promise checked (SEED=… DURATION=120 INTENSITY=3 FAILOVERS=1)
	@$(STACK_RUN) chaos

recovery: tools build kafka-files ## measure recovery after outages of Kafka, and takeovers (TIMES=20)
	@$(STACK_RUN) recovery

overload: tools build kafka-files ## measure what ten times too many clients get (DURATION=60)
	@$(STACK_RUN) overload

bench: tools build kafka-files ## measure, each figure beside a reference (ROW=3 ROUNDS=5)
	@$(STACK_RUN) bench

example: tools kafka-files ## run another aggregate on the same engine (examples/stock) on servers of its own
	@$(STACK_RUN) exec -- cargo run --quiet --example stock

hot-paths: tools ## measure the pure part of a command: decide, fold, encode, decode
	@cargo bench -p orders --bench hot_paths

screenshots: deps build ## take the README's pictures of the control room anew
	@$(STACK_RUN) exec -- cargo test -p orders --test control_room -- --ignored --exact screenshots

fmt: ## format the code
	@cargo fmt --all

lint: ## check the format, and what clippy says
	@cargo fmt --all --check
	@cargo clippy --workspace --all-targets -- -D warnings

test: ## everything that is tested, on private servers
	@if [ "$(KAFKA)" = embedded ]; then echo "make test runs on Apache Kafka: unset KAFKA=embedded" >&2; exit 1; fi
	$(HEAD) "deps"
	@./stack/install.sh --tests
	$(HEAD) "format"
	@cargo fmt --all --check
	$(HEAD) "lint"
	@cargo clippy --workspace --all-targets -- -D warnings
	$(HEAD) "release build"
	@cargo build --release --workspace --bins
	$(HEAD) "Apache Kafka"
	@$(STACK_RUN) kafka
	$(HEAD) "tests"
	@$(STACK_RUN) exec -- cargo test --workspace
	$(HEAD) "overload"
	@DURATION=8 $(STACK_RUN) overload
	$(HEAD) "chaos"
	@SEED=$${SEED:-1} DURATION=$${DURATION:-90} $(STACK_RUN) chaos
	$(HEAD) "all passed"

# make ends with 2 whatever failed, and prints the tool's own code. Scripts that tell 1 from 3 call the tool:
# `cargo run --release -p stack -- compose-test`. Containers that come and go make Chromium abort requests.
compose-test: ## play an outage through docker compose (ends with 1: a step failed, 3: no engine); not beside `make test`
	@$(STACK_RUN) compose-test

define part_targets
$(1)-down:
	@$$(STACK_RUN) kill $(1)
$(1)-up:
	@$$(STACK_RUN) start $(1)
$(1)-freeze:
	@$$(STACK_RUN) freeze $(1)
$(1)-thaw:
	@$$(STACK_RUN) thaw $(1)
endef
$(foreach part,$(PARTS) $(FURTHER_PARTS),$(eval $(call part_targets,$(part))))
