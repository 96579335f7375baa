#!/usr/bin/env bash
# Makes what `make demo` and `make up` run. The arguments are cargo's command. Packages and, unless MQ=redis, Apache Kafka's files
# are fetched while cargo compiles. Says what is happening and how far it is: on a terminal by cargo's own bar, elsewhere by a line now
# and then.
set -euo pipefail
cd "$(dirname "$0")/.."

# Seconds between two lines where there is no terminal.
readonly PACE=15
readonly TARGET=${CARGO_TARGET_DIR:-target}
readonly PROGRAM=$TARGET/play/stack
readonly LOG=$TARGET/play/fetched.log

if [ "${MQ:-}" = redis ]; then
    readonly FETCHED=Packages DURATION="less than 4 minutes"
else
    readonly FETCHED="Packages and Apache Kafka" DURATION="about 4 minutes"
fi

step() { printf '\n[%s of 3] %s\n' "$1" "$2"; }

# Maven's own store is enough: `stack kafka` copies from there, within seconds, and says why if it cannot.
fetch_kafka() {
    [ "${MQ:-}" != redis ] && [ "${KAFKA:-}" != embedded ] && [ -z "${KAFKA_HOME:-}" ] || return 0
    ! compgen -G "${STACK_KAFKA_CACHE:-${STACK_HOME:-.stack}/kafka-*}/kafka_2.13-*.jar" >/dev/null || return 0
    ! command -v mvn >/dev/null || mvn -q -B -f stack/kafka/pom.xml dependency:resolve </dev/null || true
}

fetch() { ./stack/install.sh && fetch_kafka; }

# Cargo draws its bar over and over, each time before a carriage return, and not at all during a long step. Other lines end
# as usual.
pace() {
    local drawn='' more code line bar='' last=0
    while true; do
        code=0
        IFS= read -r -t "$PACE" -d $'\r' more || code=$?
        drawn+=$more
        # Above 128 the time is over, and `drawn` the beginning of something.
        if ((code <= 128)); then
            while IFS= read -r line; do
                case $line in
                # Filled up with blanks.
                *Building\ \[*) bar=${line#*] } bar=${bar%"${bar##*[! ]}"} ;;
                *Compiling* | '') ;;
                *) printf '%s\n' "$line" ;;
                esac
            done <<<"$drawn"
            drawn=''
        fi
        if [ -n "$bar" ] && ((SECONDS - last >= PACE)); then
            last=$SECONDS
            printf '  %3d s  crates compiled: %s\n' "$SECONDS" "$bar"
        fi
        ((code == 0 || code > 128)) || break
    done
}

compile() {
    if [ -t 2 ]; then
        "$@"
    else
        CARGO_TERM_COLOR=never CARGO_TERM_PROGRESS_WHEN=always CARGO_TERM_PROGRESS_WIDTH=100 "$@" 2>&1 | pace >&2
    fi
}

step 1 "$FETCHED: fetched in the background while step 2 runs"
./stack/install.sh --compilers
mkdir -p "$(dirname "$LOG")"
fetch >"$LOG" 2>&1 &
fetching=$!
# The background does not hear Ctrl-C, and packages must not be left half installed.
finish() {
    if kill -0 "$fetching" 2>/dev/null; then
        echo "$FETCHED are still being fetched: waiting for that to end (see $LOG)" >&2
        wait "$fetching" || true
    fi
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

step 2 "Compile: $DURATION in a fresh clone on two cores, later a second"
compile "$@"

if kill -0 "$fetching" 2>/dev/null; then
    step 3 "$FETCHED: still being fetched (see $LOG)"
else
    step 3 "$FETCHED"
fi
if ! wait "$fetching"; then
    cat "$LOG" >&2
    exit 1
fi
# Where Apache Kafka cannot be had, `up` says why and goes on with the stand-in, and `demo` says why and fails.
if [ "${MQ:-}" != redis ] && [ "${KAFKA:-}" != embedded ]; then
    "$PROGRAM" kafka || true
fi
printf '\nPrepared in %d s.\n' "$SECONDS"
