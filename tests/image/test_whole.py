"""An image that was built whole: `BUILT_IMAGE` names it as `podman pull` takes it, `BUILT_SYMBOLS` its hotset.debug."""

import json
import os
import re
import subprocess
import tomllib
import zlib
from pathlib import Path

import pytest
from conftest import ROOT

MOST_BYTES = 40_000_000
FEATURES = ("--no-default-features", "--features", "receivers")

pytestmark = pytest.mark.skipif("BUILT_IMAGE" not in os.environ, reason="BUILT_IMAGE names no image")


@pytest.fixture(scope="module")
def tree(podman, image):
    """Its file system."""
    yield Path(podman("image", "mount", image))
    podman("image", "unmount", image)


def test_it_is_small(podman, image):
    assert podman.inspect("image", image)["Size"] <= MOST_BYTES


def test_the_embedded_server_is_left_out(podman, image, tree):
    with pytest.raises(AssertionError, match="unexpected argument '--embedded'"):
        podman("run", "--rm", image, "serve", "--embedded", "/tmp")
    program = (tree / "usr/local/bin/hotset").read_bytes()
    # Its name stands in paths of panics.
    assert b"/hyper-" in program and b"/s3s-" not in program and b"/s3s-fs-" not in program


def test_the_inventory_lists_what_is_built(tree):
    inventory = json.loads((tree / "usr/share/doc/hotset/sbom.cdx.json").read_text())
    assert (inventory["bomFormat"], inventory["specVersion"]) == ("CycloneDX", "1.5")
    listed = {(one["name"], one["version"]) for one in inventory["components"]}
    locked = tomllib.loads((ROOT / "Cargo.lock").read_text())["package"]
    assert listed <= {(one["name"], one["version"]) for one in locked}
    asked = ["cargo", "tree", "--locked", *FEATURES, "--edges", "normal", "--prefix", "none", "--format", "{p}"]
    lines = subprocess.run(asked, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
    built = {(name, version) for name, version in (re.match(r"(\S+) v(\S+)", line).groups() for line in lines)}
    assert built - listed == {("hotset", inventory["metadata"]["component"]["version"])}


@pytest.mark.skipif("BUILT_SYMBOLS" not in os.environ, reason="BUILT_SYMBOLS names no file")
def test_the_symbols_are_those_of_the_program(tree, tmp_path):
    symbols, section = Path(os.environ["BUILT_SYMBOLS"]), tmp_path / "link"
    program = tree / "usr/local/bin/hotset"
    dump = ["objcopy", "--dump-section", f".gnu_debuglink={section}", program, tmp_path / "copy"]
    subprocess.run(dump, check=True)
    name, checksum = section.read_bytes().split(b"\0", 1)[0], section.read_bytes()[-4:]
    assert name == symbols.name.encode()
    assert int.from_bytes(checksum, "little") == zlib.crc32(symbols.read_bytes())
    sections = ["readelf", "--sections", "--wide", symbols]
    assert ".debug_line" in subprocess.run(sections, check=True, capture_output=True, text=True).stdout
