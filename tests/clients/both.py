"""One client twice: directly and through hotset."""

from dataclasses import dataclass

import pytest

from adapters import CLIENTS
from adapters.base import Client


def that_can(*operations: str):
    """The clients that can do all of it, as the parameter `client`."""
    names = [n for n, client in CLIENTS.items() if all(map(client.can, operations))]
    return pytest.mark.parametrize("client", names, indirect=True)


@dataclass
class Both:
    """One client, directly and through hotset, on the same bucket."""

    direct: Client
    through: Client
    only_through: bool = False

    def same(self, ask, expected):
        """What `ask` makes of the client is what is expected, three times."""
        if not self.only_through:
            assert ask(self.direct) == expected
        for _ in ("cold", "warm"):
            assert ask(self.through) == expected
