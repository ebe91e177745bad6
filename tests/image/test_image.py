"""What is in the image, and what it says of itself."""

import re
import stat
import subprocess
from pathlib import Path

import pytest
from conftest import ROOT, VERSION


@pytest.fixture(scope="module")
def tree(podman, image):
    """Its file system."""
    yield Path(podman("image", "mount", image))
    podman("image", "unmount", image)


def test_it_holds_one_static_program_and_no_shell(tree):
    files = {str(path.relative_to(tree)) for path in tree.rglob("*") if not path.is_dir()}
    assert files == {
        "etc/hotset/hotset.yaml",
        "etc/ssl/certs/ca-certificates.crt",
        "usr/local/bin/hotset",
        "usr/share/doc/hotset/LICENSE",
        "usr/share/doc/hotset/sbom.cdx.json",
    }
    headers = subprocess.run(
        ["readelf", "--program-headers", "--sections", "--wide", tree / "usr/local/bin/hotset"],
        check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    assert "INTERP" not in headers, "it needs a loader"
    assert ".symtab" not in headers and ".debug_line" not in headers, "it is not stripped"


def test_nobody_may_change_it_and_any_user_of_group_0_may_write_to_its_folder(tree):
    for path in tree.rglob("*"):
        info = path.stat()
        if path == tree / "var/cache/hotset":
            assert (info.st_uid, info.st_gid, stat.S_IMODE(info.st_mode)) == (65532, 0, 0o775)
        elif "var" not in path.relative_to(tree).parts:
            assert info.st_uid == 0 and not info.st_mode & 0o022, path


def test_it_says_what_it_is_and_how_it_is_run(podman, image):
    found = podman.inspect("image", image)
    config, labels = found["Config"], found["Labels"]
    assert config["User"] == "65532:65532"
    assert config["Entrypoint"] == ["hotset"]
    assert config["Cmd"] == ["serve", "--config", "/etc/hotset/hotset.yaml"]
    assert config["StopSignal"] == "SIGTERM"
    assert set(config["ExposedPorts"]) == {"9000/tcp", "9001/tcp"}
    # `hotset` alone is what the chart's probes say.
    assert "PATH=/usr/local/bin" in config["Env"]
    assert found["Healthcheck"]["Test"] == ["CMD", "hotset", "health", "--config", "/etc/hotset/hotset.yaml"]
    assert {name.removeprefix("org.opencontainers.image."): text for name, text in labels.items()} == {
        "title": "hotset",
        "description": "A caching S3 endpoint",
        "licenses": "Apache-2.0",
        "version": VERSION,
        "revision": "0123abcd",
        "source": "https://example.com/hotset",
    } | {name: text for name, text in labels.items() if name.startswith("io.buildah")}


def test_the_dockerfile_knows_the_version_and_leaves_the_embedded_server_out():
    text = (ROOT / "Dockerfile").read_text()
    assert f"ARG VERSION={VERSION}\n" in text
    features = "--no-default-features --features receivers"
    assert f'ARG FEATURES="{features}"' in text
    # The inventory is of the same program.
    assert re.search(rf"cargo cyclonedx .*{features}", text)


def test_the_context_holds_all_that_is_copied_and_nothing_else_of_weight():
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    text = (ROOT / "Dockerfile").read_text()
    copied = re.findall(r"^COPY (?!--from)((?:\S+ )+)\S+$", text, re.MULTILINE)
    assert {name for names in copied for name in names.split()} == allowed
