#!/usr/bin/env bash
# Installs what this machine lacks to build and run, and with --tests to test: as root on Debian and its like through
# apt-get, elsewhere it names what to install. Does nothing, quickly, where everything is there. Rust is needed before.
# With --compilers it installs only what cargo needs, so that cargo can begin while the rest is installed. Where it cannot
# install, it names everything that lacks all the same.
set -euo pipefail
cd "$(dirname "$0")/.."

have() { command -v "$1" >/dev/null 2>&1; }
have_postgres() { have initdb || compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null; }
java_version() { java -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p' | head -n 1; }
have_java() { have java && [ "$(java_version)" -ge 17 ] 2>/dev/null; }
# Redis as the message queue and `KAFKA=embedded` need neither Java nor Maven; an installed Kafka needs no Maven.
wants_kafka() { [ "${MQ:-}" != redis ] && [ "${KAFKA:-}" != embedded ]; }
# The stand-in for Apache Kafka is spoken to by librdkafka too.
wants_rdkafka() { [ "${MQ:-}" != redis ]; }
wants_maven() { wants_kafka && [ -z "${KAFKA_HOME:-}" ] && ! have kafka-server-start && ! have kafka-server-start.sh; }

packages=() compilers=() names=() lacking=no
need() { packages+=("$1"); names+=("  $2"); lacking=yes; }
need_to_compile() { compilers+=("$1"); need "$@"; }
# Without these something can be done all the same, such as using the embedded stand-in for Apache Kafka: they stop nobody here.
want() { packages+=("$1"); names+=("  $2"); }
have_postgres || need postgresql "PostgreSQL 15 or newer, with its server programs (initdb, postgres)"
have redis-server || need redis-server "Redis 6.2 or newer (redis-server), for MQ=redis 7 or newer"
have make || need_to_compile make "make"
have g++ || need_to_compile g++ "a C and C++ compiler"
have pkg-config || need_to_compile pkg-config "pkg-config"
# librdkafka's TLS and SASL. Its headers are found by pkg-config, which may just be missing: then both are installed.
if wants_rdkafka && ! pkg-config --exists openssl 2>/dev/null; then
    need_to_compile libssl-dev "OpenSSL's headers (libssl-dev)"
fi
have setpriv || need util-linux "setpriv (util-linux)"
# The control room's tests look at it in a browser.
if [ "${1:-}" = --tests ]; then
    have chromium || need chromium "Chromium"
    # Requests are made up from the OpenAPI documents by a program of the Python Package Index.
    python3 -c "import ensurepip, venv" 2>/dev/null || need python3-venv "Python 3.10 or newer, with venv"
    # The alert rules' tests.
    have promtool || need prometheus "promtool, of Prometheus"
    have chromedriver || need chromium-driver "chromedriver, of the same version as Chromium"
fi
have curl || want curl "curl, for make story"
if wants_kafka && ! have_java; then
    want default-jre-headless "Java 17 or newer, for Apache Kafka (or KAFKA=embedded, for the stand-in)"
fi
if wants_maven && ! have mvn; then
    want maven "Maven, which fetches Apache Kafka (or KAFKA_HOME=…, for an installed one)"
fi

if [ ${#packages[@]} -gt 0 ]; then
    if [ "$(id -u)" -ne 0 ] || ! have apt-get; then
        {
            echo "This machine lacks:"
            printf '%s\n' "${names[@]}"
            echo "Debian and its like: sudo apt-get install ${packages[*]}"
        } >&2
        [ "$lacking" = no ] || exit 1
        exit 0
    fi
    if [ "${1:-}" = --compilers ]; then
        packages=("${compilers[@]}")
    fi
fi
if [ ${#packages[@]} -gt 0 ]; then
    echo "deps: installing ${packages[*]}"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    # The packages of Postgres, Redis and Prometheus start a service each, which would take the usual ports: Debian asks this
    # file before. One that is there already is somebody's decision, and stays.
    policy=/usr/sbin/policy-rc.d
    if [ ! -e "$policy" ]; then
        trap 'rm -f "$policy"' EXIT
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod 755 "$policy"
    fi
    apt-get install -y -qq --no-install-recommends "${packages[@]}" </dev/null >/dev/null
fi
if ! have cargo; then
    echo "This machine lacks Rust: install it with rustup, which reads rust-version from Cargo.toml's workspace." >&2
    exit 1
fi
[ "${1:-}" = --compilers ] || echo "deps: everything is here"
