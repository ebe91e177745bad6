"""Every client that is run through hotset, each behind the same few methods (`base`)."""

from adapters import mount, node, programs, python, tables

CLIENTS = {
    client.name: client
    for module in (python, tables, programs, node, mount)
    for client in module.CLIENTS
}
