# make run                                   hotset over an embedded S3 with sample objects
# make run ORIGIN=https://... [CONFIG=FILE]   hotset over a real S3; keys come from AWS_* or the file
# make run CONFIG=FILE                        hotset as the file says
# make image [ENGINE=docker] [TAG=..]        the container image, by docker, podman or buildah
# make check                                  format, clippy, unit and integration tests without the long ones: after each change
# make generate                               what is made of the code: schema, reference pages, the chart's files
# make book                                   docs/ as a book of HTML, in target/book/html
# make fuzz [FUZZ=any_event] [SECONDS=60]      fuzz targets, each for so long
# make test-aws BUCKET=.. [ENDPOINTS='KIND=..'] [REPORT=..]   what only S3 itself can confirm, in your account; writes below one prefix
# make test | make bench | make lint | make soak | make deb
# cargo bench --bench hit_ratio               hit ratios on recorded traces; make bench runs the load scenarios
# cargo bench --bench verify                  what verifying a signature costs
# cargo bench --bench growth                  how costs grow with objects, prefixes, purges and lists
# target/venv/bin/python benches/staleness.py   how stale readers see writes past hotset, by each road of events
# target/venv/bin/python benches/columns.py     columns of a cold Parquet file by pyarrow and polars, against direct

SHELL := /bin/bash
CARGO ?= cargo
TARGET := $(or $(CARGO_TARGET_DIR),target)
EMBEDDED := --config conf/embedded.yaml --embedded $(TARGET)/embedded/data
# Tests are built once, with every receiver of events in; the default build is what lint checks.
TESTED := --locked --features receivers
# Arguments of the scenario runner: `--help` lists them.
BENCH ?= --install

VERSION := $(shell sed -n 's/^version = "\(.*\)"$$/\1/p' Cargo.toml)
ENGINE ?= $(firstword $(foreach engine,docker podman buildah,$(if $(shell command -v $(engine)),$(engine))))
MINUTES ?= 10
SECONDS ?= 60
FUZZ ?= $(basename $(notdir $(wildcard tests/fuzz/fuzz_targets/*.rs)))
PROFILE ?= try
TAG ?= hotset:$(VERSION)
# Where the sources are, for those who look at the image: https://..
SOURCE ?=

.PHONY: run check check-clippy check-tests generate memcheck image test test-aws soak deb bench lint book fuzz

# Without link-time optimisation, for a try: PROFILE=release builds what is released.
run:
	.ci/setup build
	$(CARGO) build --profile $(PROFILE) --locked
	$(if $(ORIGIN),HOTSET_ORIGIN__ENDPOINT='$(ORIGIN)') exec $(TARGET)/$(PROFILE)/hotset serve \
	  $(if $(CONFIG),--config '$(CONFIG)') $(if $(ORIGIN)$(CONFIG),,$(EMBEDDED))

# What `make check` leaves to `make test`: tests of every case, every byte and every moment, three quarters of the time.
LONG := conformance::reads_ conformance::on_disk crash:: disk_accidents:: many_purges:: full_memory:: memory_bound:: \
  slow_disk:: erase:: durability:: peers::chaos peers::faults model:: kafka:: fuzzing:: power_cut:: damage:: changed:: \
  chunked::check:: simulation:: metadata::key_index tiers::spill purge_epochs::
# Unit tests, and modules of tests/it, that take more than half of what is left.
LONG_UNIT := $(LONG) pool::tests::a_connection_that_ended tests::faults:: ends::r38 head::tests::r29_whatever in_time_stays_invisible \
  memory_sharing::large replicas::tests::r8_no_read glob::tests::random outage::an_origin r21_any_one_byte refused::any_message
LONG_INTEGRATION := $(LONG) disk:: peers:: smuggling:: negatives:: credentials:: regions:: small_reads:: private_files:: \
  coalescing:: connections:: endpoints:: hedging:: streamed:: by_hand:: origin_health:: conformance:: purge::r28_blocks \
  reload::no_request failover::no_key sizing:: client_limits::bodies read_ahead::random policy:: architecture::circles support_faults_test:: \
  lying_origin:: urgency::

# After each change: no packages, no servers, no other clients. Clippy has a folder of its own, so that it runs beside the tests.
check:
	$(CARGO) fmt --check
	+$(MAKE) --no-print-directory -j2 --output-sync=target check-clippy check-tests

check-clippy:
	$(CARGO) clippy $(TESTED) --all-targets --target-dir $(TARGET)/clippy -- -D warnings

check-tests:
	$(CARGO) test $(TESTED) --lib --test it --no-run
	$(CARGO) test $(TESTED) --lib -- --test-threads 8 $(addprefix --skip ,$(LONG_UNIT))
	$(CARGO) test $(TESTED) --test it -- --test-threads 8 $(addprefix --skip ,$(LONG_INTEGRATION))

# After a change of a configuration key, its doc comment, or a metric; tests fail until then.
generate:
	HOTSET_WRITE_SCHEMA=1 $(CARGO) test $(TESTED) --lib -- config::schema reference
	$(firstword $(wildcard $(TARGET)/chart/venv/bin/python) python3) helm/generate

# The unit tests of all unsafe code under valgrind. What the kernel writes by `io_uring` and Linux AIO it does not see: of
# those reads it says whether memory is ours, and not whether it was written.
VALGRIND = "valgrind", "--quiet", "--error-exitcode=9"

memcheck:
	$(CARGO) --config 'target."cfg(unix)".runner = [$(VALGRIND)]' \
	  test $(TESTED) --lib sys:: -- --skip sys::async_reads
	$(CARGO) --config 'target."cfg(unix)".runner = [$(VALGRIND), "--undef-value-errors=no"]' \
	  test $(TESTED) --lib sys::async_reads

image:
	$(or $(ENGINE),$(error install docker, podman or buildah)) build $(if $(filter-out docker,$(ENGINE)),--format docker) \
	  --tag '$(TAG)' --build-arg VERSION='$(VERSION)' --build-arg SOURCE='$(SOURCE)' \
	  --build-arg REVISION="$$(git rev-parse HEAD 2>/dev/null)" .

test:
	.ci/setup build
	.ci/setup clients
	.ci/setup chart
	.ci/setup router
	.ci/setup host
	.ci/setup image
	.ci/setup servers
	.ci/setup page
	$(CARGO) test $(TESTED)
	$(CARGO) test $(TESTED),shuttle --lib cache::tests::fence
	# Linked as in the image, and no slower: the flag is for the last step alone.
	$(CARGO) rustc $(TESTED) --bin hotset -- -C target-feature=+crt-static
	$(CARGO) build --locked --manifest-path tests/clients/rust/Cargo.toml --target-dir $(TARGET)/clients
	HOTSET=$(TARGET)/debug/hotset RUST_CLIENTS=$(TARGET)/clients/debug/rust-clients target/venv/bin/python -m pytest tests/clients
	NODE_PATH=target/page/node_modules HOTSET=$(TARGET)/debug/hotset node --test tests/page
	HOTSET=$(TARGET)/debug/hotset target/chart/venv/bin/python -m pytest tests/chart
	HOTSET=$(TARGET)/debug/hotset target/router/venv/bin/python -m pytest tests/router
	HOTSET=$(TARGET)/debug/hotset target/chart/venv/bin/python -m pytest tests/host
	HOTSET=$(TARGET)/debug/hotset target/chart/venv/bin/python -m pytest tests/image

# Asks S3 itself, with the keys that boto3 finds, and hotset in front of it. Writes below one prefix and removes that again. HOTSET
# is another binary, ENDPOINTS what docs/endpoints.md says.
test-aws:
	.ci/setup build
	.ci/setup aws
	$(if $(HOTSET),,$(CARGO) build --locked)
	BUCKET='$(or $(BUCKET),$(error name a bucket: make test-aws BUCKET=..))' ENDPOINT='$(ENDPOINT)' REGION='$(REGION)' \
	  REPORT='$(abspath $(or $(REPORT),$(TARGET)/aws-report.json))' HOTSET='$(or $(HOTSET),$(TARGET)/debug/hotset)' \
	  target/venv/bin/python -m pytest tests/aws $(foreach kind,$(ENDPOINTS),--endpoint '$(kind)')

# Mixed load in a memory limit for ten minutes, an hour of rolling updates under load, where `make test` has one, and
# 100,000 writes and reads through routers while replicas die.
soak:
	.ci/setup build
	$(CARGO) bench --locked --bench scenarios -- --minutes $(MINUTES) soak
	.ci/setup chart
	.ci/setup router
	.ci/setup host
	$(CARGO) build $(TESTED)
	HOTSET_ROLLS=80 HOTSET=$(TARGET)/debug/hotset target/chart/venv/bin/python -m pytest tests/host -k rolling
	PAIRS=100000 HOTSET=$(TARGET)/debug/hotset target/router/venv/bin/python -m pytest -s tests/router/test_pairs.py

# target/debian/hotset_*.deb, by cargo-deb, and its debug symbols, hotset-dbgsym_*.ddeb.
deb:
	.ci/setup build
	.ci/setup deb
	$(TARGET)/tools/bin/cargo-deb --locked --dbgsym

bench:
	.ci/setup build
	$(CARGO) bench --locked --bench scenarios -- $(BENCH)

lint:
	.ci/setup build
	.ci/setup lint
	target/lint/bin/typos
	PATH="$$PWD/target/lint/bin:$$PATH" cargo-deny --all-features check licenses bans sources
	PATH="$$PWD/target/lint/bin:$$PATH" cargo-shear
	$(CARGO) fmt --check
	$(CARGO) fmt --check --manifest-path tests/clients/rust/Cargo.toml
	$(CARGO) clippy --locked --all-targets -- -D warnings
	$(CARGO) clippy $(TESTED) --all-targets -- -D warnings
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --locked --no-deps

# The pages lie in the book as they do here, so that links between them and to other files lead somewhere.
book:
	.ci/setup build
	.ci/setup book
	rm -rf target/book
	mkdir -p target/book/src
	cp -r README.md CHANGELOG.md LICENSE .github conf docs helm tests target/book/src
	sed 's#](#](docs/#; s#docs/\.\./##' docs/SUMMARY.md > target/book/src/SUMMARY.md
	rm target/book/src/docs/SUMMARY.md
	mv target/book/src/docs/book.toml target/book
	target/tools/bin/mdbook build target/book
	find target/book/html -name '*.html' -exec sed -i 's#README\.html#index.html#g' {} +

# On stable Rust, since no sanitizer is used: only `src/cache/disk` has unsafe code, and what parses has none.
fuzz:
	.ci/setup build
	.ci/setup fuzz
	set -e; for target in $(FUZZ); do \
	  PATH="$$PWD/target/tools/bin:$$PATH" $(CARGO) fuzz run --dev --fuzz-dir tests/fuzz --sanitizer none $$target -- -max_total_time=$(SECONDS); done
