"""What is in a unit file, and a service started as its units say where no systemd runs."""

import shlex
import subprocess
from collections import defaultdict
from pathlib import Path

from throwaway import Machine


def read(path: Path) -> dict[str, list[str]]:
    """The values of each setting, whatever its section; an empty one starts the list anew, as in systemd."""
    settings = defaultdict(list)
    for line in path.read_text().splitlines():
        if "=" in line and not line.startswith(("#", ";")):
            name, value = line.split("=", 1)
            settings[name] = [*settings[name], value] if value else []
    return settings


def variables(environment_file: Path) -> list[str]:
    lines = environment_file.read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


class Service:
    """hotset on a throwaway machine, by its units in a folder there: the sockets, the user, the environment."""

    def __init__(self, machine: Machine, folder: str):
        self.machine, self.folder = machine, folder
        self.process: subprocess.Popen | None = None

    def start(self) -> None:
        """The first connection starts the program."""
        service = read(self.machine.path(f"{self.folder}/hotset.service"))
        addresses = read(self.machine.path(f"{self.folder}/hotset.socket"))["ListenStream"]
        ((command,), (user,), (file,)) = (service[name] for name in ("ExecStart", "User", "EnvironmentFile"))
        cache = self.machine.path("/var/cache") / service["CacheDirectory"][0]
        if not cache.exists():
            self.machine.ok("install", "-d", "-m", "700", "-o", user, "-g", user, f"/var/cache/{cache.name}")
        self.process = self.machine.start(
            "hotset",
            [
                "systemd-socket-activate",
                *(f"--listen={address}" for address in addresses),
                "--setenv=HOME=/var/cache/hotset",
                *(
                    f"--setenv={variable}"
                    for variable in variables(self.machine.path(file.removeprefix("-")))
                ),
                *(
                    "/usr/bin/setpriv",
                    f"--reuid={user}",
                    f"--regid={user}",
                    "--clear-groups",
                    "--no-new-privs",
                ),
                *shlex.split(command),
            ],
        )

    def reload(self) -> None:
        (command,) = read(self.machine.path(f"{self.folder}/hotset.service"))["ExecReload"]
        self.machine.ok(*shlex.split(command.replace("$MAINPID", str(self.process.pid))))

    def stop(self) -> None:
        self.process.terminate()
        assert self.process.wait(40) == 0, self.machine.path("/srv/hotset.log").read_text()
