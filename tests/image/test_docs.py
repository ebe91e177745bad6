"""docs/install/container.md: its commands, run by podman on a network of their own, where its ports are free."""

import os
import shutil
import subprocess

import pytest
from conftest import IMAGE, ROOT, VERSION, objects
from pages import commands

PAGE = ROOT / "docs/install/container.md"
ORIGIN = "127.0.0.1:9100"
"""There: the S3 server that is built in."""
PROJECT = ("Cargo.lock", "Cargo.toml", "Dockerfile", "LICENSE", "Makefile", ".ci", ".dockerignore", "conf", "src")
WHOLE = os.environ.get("BUILT_IMAGE")

if missing := [name for name in ("unshare", "nsenter", "ip", "curl", "make") if not shutil.which(name)]:
    pytest.skip(f"{', '.join(missing)} not installed", allow_module_level=True)


class Shell:
    """Runs command lines in a checkout, on a network with loopback alone, with the podman of the tests."""

    def __init__(self, podman, stages, folder):
        self.checkout = folder / "hotset"
        self.checkout.mkdir()
        for name in PROJECT:
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
            copy(ROOT / name, self.checkout / name)
        wrapper = folder / "bin/podman"
        wrapper.parent.mkdir()
        contexts = " ".join(f"--build-context={name}={path}" for name, path in stages.items())
        wrapper.write_text(
            f"""#!/bin/sh
[ "$1" != build ] || {{ shift; set -- build {contexts} "$@"; }}
exec {shutil.which("podman")} {" ".join(podman.store)} "$@"
"""
        )
        wrapper.chmod(0o755)
        self.env = podman.env | {"PATH": f"{wrapper.parent}:{os.environ['PATH']}"}
        up = ["sh", "-c", "ip link set lo up && echo up && exec sleep infinity"]
        self.network = subprocess.Popen(["unshare", "--net", *up], stdout=subprocess.PIPE)
        assert self.network.stdout.readline() == b"up\n"
        self.inside = ["nsenter", f"--net=/proc/{self.network.pid}/ns/net"]
        self.origin: subprocess.Popen | None = None

    def start_origin(self, program, folder) -> None:
        env = {"HOTSET_LISTEN__0__ADDRESS": ORIGIN, "HOTSET_ADMIN__ADDRESS": "127.0.0.1:9101"}
        with (folder / "origin.log").open("wb") as log:
            command = [*self.inside, program, "serve", "--embedded", objects(folder / "objects")]
            self.origin = subprocess.Popen(command, env=env, stdout=log, stderr=log)
        self.run("until curl --silent --fail http://127.0.0.1:9101/readyz; do sleep 0.1; done")

    def run(self, text: str) -> str:
        """What it prints; podman complains of the systemd that is not there on standard error."""
        command = ["timeout", "100", *self.inside, "sh", "-ec", text]
        done = subprocess.run(command, cwd=self.checkout, env=self.env, capture_output=True, text=True)
        assert done.returncode == 0, (text, done.stdout, done.stderr)
        return done.stdout + done.stderr

    def stop(self) -> None:
        try:
            self.run("podman rm --all --force --time 0; podman volume rm --all --force")
        finally:
            for process in filter(None, (self.origin, self.network)):
                process.kill()
                process.wait()


@pytest.fixture
def shell(podman, image, stages, program, tmp_path):
    made = Shell(podman, stages, tmp_path)
    try:
        made.start_origin(program, tmp_path)
        yield made
    finally:
        made.stop()


def test_the_commands_of_the_page_work(shell):
    ran: dict[str, str] = {}
    for command in commands(PAGE):
        text = command.replace("https://s3.eu-central-1.amazonaws.com", f"http://{ORIGIN}")
        text = text.replace("my-bucket/my-key", "samples/hello.txt")
        if WHOLE and text.startswith(("make ", "podman build ")):
            text = f"podman tag {IMAGE} hotset:{VERSION}; mkdir -p symbols"
        if text.startswith("gdb ") and (WHOLE or not shutil.which("gdb")):
            continue
        ran[command] = shell.run(text)

    def output(start: str) -> str:
        """Of the last command that starts so."""
        return [text for command, text in ran.items() if command.startswith(start)][-1]

    assert output(f"podman run --rm hotset:{VERSION} --version").startswith(f"hotset {VERSION}\n")
    answered = output("curl --silent --fail --output /dev/null --dump-header").lower()
    assert "cache-status: hotset; hit" in answered
    assert output("podman run --rm --env-file hotset.env").startswith("the configuration is right\n")
    assert "cache.memory" in output("podman run --rm --memory 256m")
    assert output("podman inspect --format '{{.State.ExitCode}}'").startswith("0\n")
    if not WHOLE:
        assert (shell.checkout / "sbom/sbom.cdx.json").exists()
        assert not shutil.which("gdb") or "main in section .text" in output("gdb ")
