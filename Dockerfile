# Both services from one file: `docker build --target orders .` and `docker build --target bonus .`.
# `docker compose up --build` builds both; they share the stage `build`. With `--build-arg CARGO_OPTIONS=--no-default-features` they are
# without Kafka, and librdkafka is not compiled.

# What the dependencies are built from: every manifest, the lock file, and an empty program in place of each target, wherever
# cargo finds one by itself. No list of members or targets is kept here. tests/image.rs has cargo accept the result.
FROM debian:bookworm-slim AS manifests
WORKDIR /build
COPY . .
RUN find . -type f ! -name Cargo.toml ! -name Cargo.lock ! -name build.rs ! -path '*/src/lib.rs' ! -path '*/src/main.rs' \
      ! -path '*/src/bin/*' ! -path '*/benches/*' ! -path '*/examples/*' -delete \
 && find . -type d -empty -delete \
 && find . -name '*.rs' | while read -r file; do echo 'pub fn main() {}' >"$file"; done


FROM rust:1.95-slim-bookworm AS build
# What rdkafka-sys needs to compile librdkafka with its own ./configure and make (docs/adr/0010): a C and a C++ compiler,
# make, pkg-config, zlib, OpenSSL. Neither cmake nor Python nor Perl. The authorities are for the images.
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates g++ libssl-dev make pkg-config zlib1g-dev \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /build
# Of both builds below.
ARG CARGO_OPTIONS=""
# For a small image. Unwinding stays: supervision needs it, so never set panic = "abort".
ENV CARGO_PROFILE_RELEASE_STRIP=symbols

# The dependencies, in a layer of their own that only a changed manifest, target's name or lock file makes anew.
COPY --from=manifests /build ./
RUN cargo build --release --locked -p orders -p bonus $CARGO_OPTIONS

COPY . .
# Cargo goes by file times, and these may be older than the empty programs that were just built.
RUN find . -path ./target -prune -o -name '*.rs' -exec touch {} + \
 && cargo build --release --locked -p orders -p bonus $CARGO_OPTIONS


# All that an image has besides its program: the libraries that it is linked with and their loader, the authorities that the public
# trusts (for every link that names none of its own), and a name for its user.
FROM build AS root
RUN mkdir -p /image/etc/ssl/certs \
 && ldd target/release/orders target/release/bonus | awk '$2 == "=>" { print $3 } $1 ~ "/ld-linux" { print $1 }' | sort -u \
  | while read -r library; do cp --parents --dereference "$library" /image; done \
 && cp /etc/ssl/certs/ca-certificates.crt /image/etc/ssl/certs/ \
 && echo 'app:x:10001:10001::/nonexistent:/nonexistent' >/image/etc/passwd \
 && echo 'app:x:10001:' >/image/etc/group \
 && echo 'hosts: files dns' >/image/etc/nsswitch.conf


# No shell, no package manager, no other program.
FROM scratch AS runtime
COPY --from=root /image /
ENV PATH=/usr/local/bin
# By number, so that Kubernetes' runAsNonRoot can see that it is not root.
USER 10001:10001


FROM runtime AS orders
COPY --from=build /build/target/release/orders /usr/local/bin/orders
ENV ORDERS_HTTP_ADDR=0.0.0.0:3001
EXPOSE 3001
# Healthy means ready, as at GET /readyz: Postgres answers. Kafka or Redis being away does not make it unhealthy.
HEALTHCHECK --interval=5s --timeout=3s --start-period=20s --retries=3 \
    CMD ["orders", "ready"]
ENTRYPOINT ["orders"]


FROM runtime AS bonus
COPY --from=build /build/target/release/bonus /usr/local/bin/bonus
ENV BONUS_HTTP_ADDR=0.0.0.0:3003
EXPOSE 3003
# As above: Postgres answers and the consumer runs, with or without Kafka.
HEALTHCHECK --interval=5s --timeout=3s --start-period=20s --retries=3 \
    CMD ["bonus", "ready"]
ENTRYPOINT ["bonus"]
