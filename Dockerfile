# The container image: one static binary, without a shell, as a user without rights. Each of
#
#   make image                                        by docker, podman or buildah, with version and revision
#   docker build --tag hotset .                       (buildah and podman need --format docker for HEALTHCHECK)
#   docker build --target debug --output symbols .    the symbols of that binary, for debuggers and profilers
#   docker build --target sbom --output sbom .        what is in it (CycloneDX)
#
# Every stage runs on the platform that is built for: linux/arm64 needs such a machine, or emulation. Unverified.

ARG RUST=1.95.0-slim-bookworm

FROM docker.io/library/rust:${RUST} AS tools
WORKDIR /hotset
COPY .ci/setup .ci/
RUN .ci/setup build
COPY Cargo.toml Cargo.lock ./
# In place of the program: what depends on the two files above alone is built, and kept, before the sources come.
RUN mkdir src && touch src/lib.rs && echo 'fn main() {}' > src/main.rs

FROM tools AS build
# All receivers of events, and not the embedded S3 server, which is for trials.
ARG FEATURES="--no-default-features --features receivers"
RUN cargo build --release --locked $FEATURES --bin hotset
COPY src src
# Older than what was built in their place, they would count as built.
RUN touch src/lib.rs src/main.rs \
    && cargo rustc --release --locked $FEATURES --bin hotset -- -C target-feature=+crt-static
WORKDIR /out
RUN objcopy --only-keep-debug --compress-debug-sections /hotset/target/release/hotset hotset.debug \
    && objcopy --strip-all --add-gnu-debuglink=hotset.debug /hotset/target/release/hotset hotset \
    && mkdir -p var/cache/hotset

FROM scratch AS debug
COPY --from=build /out/hotset.debug /

FROM tools AS inventory
RUN cargo install cargo-cyclonedx --version 0.5.9 --locked
RUN cargo cyclonedx --format json --spec-version 1.5 --no-default-features --features receivers \
        --describe binaries \
    && mkdir /out && mv hotset_bin.cdx.json /out/sbom.cdx.json

FROM scratch AS sbom
COPY --from=inventory /out/sbom.cdx.json /

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
# For disks. The group too may write: OpenShift runs it as any user, of group 0.
COPY --from=build --chown=65532:0 --chmod=0775 /out/var /var
COPY conf/container.yaml /etc/hotset/hotset.yaml
COPY LICENSE /usr/share/doc/hotset/
COPY --from=inventory /out/sbom.cdx.json /usr/share/doc/hotset/
COPY --from=build /out/hotset /usr/local/bin/
ENV PATH=/usr/local/bin
USER 65532:65532
EXPOSE 9000 9001
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s \
    CMD ["hotset", "health", "--config", "/etc/hotset/hotset.yaml"]
ENTRYPOINT ["hotset"]
CMD ["serve", "--config", "/etc/hotset/hotset.yaml"]
ARG VERSION=0.2.0
ARG REVISION=
ARG SOURCE=
LABEL org.opencontainers.image.title=hotset \
      org.opencontainers.image.description="A caching S3 endpoint" \
      org.opencontainers.image.licenses=Apache-2.0 \
      org.opencontainers.image.version=$VERSION \
      org.opencontainers.image.revision=$REVISION \
      org.opencontainers.image.source=$SOURCE
