# `make` lists the targets. Everything runs without Docker; the work is done by the tool in stack/.
.DEFAULT_GOAL := help
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-print-directory
# Compilers are installed before they are used.
.NOTPARALLEL:

# Two builds of the same three programs (docs/adr/0029). Cargo decides what is up to date. Always all three are selected, and
# never `cargo run -p stack`: its dependencies would have other features, and many crates would be compiled twice.
PROGRAMS := -p orders -p bonus -p stack
TARGET := $(or $(CARGO_TARGET_DIR),target)
PARTS := kafka redis postgres orders bonus
# Of a stack that was made with BROKERS=3 or REPLICAS=1.
FURTHER_PARTS := kafka-2 kafka-3 postgres-2 postgres-address
# The message queue: Kafka, or with MQ=redis Redis Streams. Then librdkafka is not compiled, and neither Java nor Kafka is fetched.
MQ ?=
export MQ
# SECURE=1: TLS on every link, logins, tokens, least-privileged roles.
SECURE ?=
export SECURE
# `down`, `status` and the like take the tool as `up` or `demo` made it last.
MADE := $(TARGET)/play/mq
postgres-failover down wipe status logs story $(foreach part,$(PARTS) $(FURTHER_PARTS),$(part)-down $(part)-up $(part)-freeze $(part)-thaw): \
	MQ := $(or $(MQ),$(shell cat "$(MADE)" 2>/dev/null))
# `up` on a stack that was made with Redis: a stack keeps its queue until it is wiped.
up: MQ := $(or $(MQ),$(shell grep -o '"mq": *"redis"' "$${STACK_HOME:-.stack}/up/state.json" 2>/dev/null | grep -o redis))
KAFKA_FEATURES := --features orders/kafka --features bonus/kafka --features stack/kafka
# To try: compiled quickly, librdkafka's C code too.
PLAY_BUILD = env CFLAGS="$${CFLAGS:-} -O1 -g0" CXXFLAGS="$${CXXFLAGS:-} -O0 -g0" cargo build --profile play --no-default-features $(if $(filter redis,$(MQ)),,$(KAFKA_FEATURES)) --target-dir "$(TARGET)" $(PROGRAMS)
PLAY := "$(TARGET)/play/stack"
# To measure, to put under load: as it is shipped. With MQ=redis `make chaos` needs no Kafka either.
RELEASE := "$(TARGET)/release/stack"
chaos: RELEASE_FEATURES := $(if $(filter redis,$(MQ)),--no-default-features --features orders/jemalloc)
HEAD = @printf '\n=== %s ===\n'

.PHONY: help deps tools prepared tool build release up postgres-failover down wipe status logs demo story chaos recovery overload bench example hot-paths screenshots fuzz fuzz-bytes deny sbom test compose-test fmt lint
.PHONY: $(foreach part,$(PARTS) $(FURTHER_PARTS),$(part)-down $(part)-up $(part)-freeze $(part)-thaw)

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-17s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))
	@echo
	@echo "  for each of $(PARTS):"
	@echo "  X-down        kill it (SIGKILL)        X-freeze    stop it in its tracks (SIGSTOP)"
	@echo "  X-up          start it again           X-thaw      let it go on"
	@echo "  and with BROKERS=3 or REPLICAS=1 for each of $(FURTHER_PARTS)"
	@echo
	@echo "  MQ=redis        Redis Streams instead of Kafka: make up, demo, story and chaos need neither Java nor Kafka"
	@echo "  SECURE=1        every link encrypted, logins and tokens asked for: make up, demo and chaos"
	@echo "  KAFKA=embedded  a stand-in instead of Apache Kafka     KAFKA_HOME=…  an installed Apache Kafka"

deps: tools tool ## get what this machine lacks: programs (as root on Debian; elsewhere it names them), Apache Kafka
	@./stack/install.sh --tests
	@if [ "$(KAFKA)" != embedded ]; then $(PLAY) kafka; fi

tools:
	@./stack/install.sh

# The tool alone, for what needs no service.
tool:
	@$(PLAY_BUILD) --quiet --bin stack

prepared:
	@./stack/prepare.sh $(PLAY_BUILD)
	@echo "$(MQ)" >"$(MADE)"

build: ## build the services and the tool, optimised
	@cargo build --release $(RELEASE_FEATURES) --target-dir "$(TARGET)" $(PROGRAMS)

# Where Apache Kafka cannot be had, the tool says why.
release: tools build
	@if [ "$(KAFKA)" != embedded ] && [ -z "$(RELEASE_FEATURES)" ]; then $(RELEASE) kafka || true; fi

up: prepared ## start Postgres, Redis, Kafka and both services, and print their addresses (MQ=redis, SECURE=1, REPLICAS=1 BROKERS=3)
	@$(PLAY) up

postgres-failover: tool ## with REPLICAS=1: kill the primary and promote its standby, behind the same address
	@$(PLAY) postgres-failover

down: tool ## stop everything; the data stay
	@$(PLAY) down

wipe: tool ## stop everything and remove the data
	@$(PLAY) down --wipe

status: tool ## show what runs where
	@$(PLAY) status

logs: tool ## show the logs as they grow (NAME=orders for one of them)
	@$(PLAY) logs $(NAME) --follow

demo: prepared ## play the story: Kafka dies and nobody notices (MQ=redis: Redis; SECURE=1; KEEP=1 leaves everything running)
	@$(PLAY) demo

story: prepared ## play the workflow of an order by curl, every answer shown (MQ=redis, ORDERS_URL=… BONUS_URL=… for running services)
	@$(PLAY) story

chaos: release ## random faults under load, then every promise checked (MQ=redis, SECURE=1, SEED=… DURATION=120 INTENSITY=3 FAILOVERS=1)
	@$(RELEASE) chaos

recovery: release ## measure recovery after outages of Kafka, and takeovers (TIMES=20)
	@$(RELEASE) recovery

overload: release ## measure what clients get beside ten times too many, and beside hostile ones (DURATION=60)
	@$(RELEASE) overload

bench: release ## measure, each figure beside a reference (ROW=3 ROUNDS=5)
	@$(RELEASE) bench

example: tools tool ## run another aggregate on the same engine (examples/stock) on servers of its own
	@if [ "$(KAFKA)" != embedded ]; then $(PLAY) kafka || true; fi
	@$(PLAY) exec -- cargo run --quiet --example stock

hot-paths: tools ## measure the pure part of a command: decide, fold, encode, decode
	@cargo bench -p orders --bench hot_paths

screenshots: deps build ## take the README's pictures of the control room anew
	@$(PLAY) exec -- cargo test -p orders --test control_room -- --ignored --exact screenshots

fuzz: release ## make up 20,000 requests from both OpenAPI documents, and check every answer (CASES=1200 an operation, SEED=1)
	@$(RELEASE) fuzz

# Cargo compiles a tool that is not there yet, which takes minutes. libFuzzer's instrumentation is an option of nightly compilers;
# RUSTC_BOOTSTRAP has the one that is here take it. It begins with fuzz/corpus; what reaches other code is kept in fuzz/found, and what
# breaks a promise in fuzz/artifacts.
fuzz-bytes: tools ## make up bytes: stored events, bodies, messages, entries of streams (SECONDS_EACH=60)
	@command -v cargo-fuzz >/dev/null || cargo install --locked cargo-fuzz@0.13.2
	@export RUSTC_BOOTSTRAP=1; for part in event body message entry; do \
		printf '\n=== %s ===\n' "$$part"; \
		mkdir -p "fuzz/found/$$part"; \
		cargo fuzz run --sanitizer none "$$part" "fuzz/found/$$part" "fuzz/corpus/$$part" -- \
			-max_total_time=$(or $(SECONDS_EACH),60) -max_len=4096 -timeout=5 -verbosity=0 -print_final_stats=1 || exit 1; \
	done

# Cargo compiles a tool that is not there yet, which takes minutes.
deny: ## check the dependencies: licences, sources, versions that are there twice; known weaknesses if their list can be fetched
	@command -v cargo-deny >/dev/null || cargo install --locked cargo-deny@0.20.2
	@cargo deny --log-level error check licenses bans sources
	@if cargo deny --log-level off fetch db; then cargo deny --log-level error check advisories; else \
		echo "The list of known weaknesses (RustSec) cannot be fetched from here, and was not looked into." >&2; fi

sbom: ## list what is in each service (CycloneDX), as target/sbom/orders.cdx.json and bonus.cdx.json
	@command -v cargo-cyclonedx >/dev/null || cargo install --locked cargo-cyclonedx@0.5.9
	@cargo cyclonedx --quiet --quiet --format json --spec-version 1.5
	@mkdir -p "$(TARGET)/sbom"
	@mv orders.cdx.json bonus/bonus.cdx.json "$(TARGET)/sbom/"
	@rm -f engine/engine.cdx.json kit/kit.cdx.json operations/operations.cdx.json stack/stack.cdx.json
	@ls "$(TARGET)"/sbom/*

fmt: ## format the code
	@cargo fmt --all

lint: ## check the format, and what clippy says
	@cargo fmt --all --check
	@cargo clippy --workspace --all-targets -- -D warnings

test: ## everything that is tested, on private servers
	@if [ "$(KAFKA)" = embedded ] || [ "$(MQ)" = redis ]; then echo "make test runs on Apache Kafka: unset KAFKA and MQ" >&2; exit 1; fi
	$(HEAD) "deps"
	@./stack/install.sh --tests
	$(HEAD) "format"
	@cargo fmt --all --check
	$(HEAD) "lint"
	@cargo clippy --workspace --all-targets -- -D warnings
	$(HEAD) "release build"
	@cargo build --release --target-dir "$(TARGET)" --workspace --bins
	$(HEAD) "Apache Kafka"
	@$(RELEASE) kafka
	$(HEAD) "tests"
	@$(RELEASE) exec -- cargo test --workspace
	$(HEAD) "fuzz"
	@CASES=20 $(RELEASE) fuzz
	$(HEAD) "overload"
	@DURATION=8 $(RELEASE) overload
	$(HEAD) "chaos"
	@SEED=$${SEED:-1} DURATION=$${DURATION:-90} $(RELEASE) chaos
	$(HEAD) "all passed"

# make ends with 2 whatever failed, and prints the tool's own code. Scripts that tell 1 from 3 call the tool:
# `target/play/stack compose-test`. Containers that come and go make Chromium abort requests.
compose-test: tool ## play an outage through docker compose (ends with 1: a step failed, 3: no engine); not beside `make test`
	@$(PLAY) compose-test

define part_targets
$(1)-down: tool
	@$$(PLAY) kill $(1)
$(1)-up: tool
	@$$(PLAY) start $(1)
$(1)-freeze: tool
	@$$(PLAY) freeze $(1)
$(1)-thaw: tool
	@$$(PLAY) thaw $(1)
endef
$(foreach part,$(PARTS) $(FURTHER_PARTS),$(eval $(call part_targets,$(part))))
