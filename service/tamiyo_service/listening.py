"""Whether a service can listen where it is told to, asked before it starts: a server only logs a number."""

from __future__ import annotations

import errno
import socket
from typing import Any, Final

_REMEDIES: Final = {
    errno.EADDRINUSE: "something listens there already; stop it, or choose another port with --port"
    " or TAMIYO_PORT",
    errno.EACCES: "that takes more rights; choose a port from 1024 on with --port or TAMIYO_PORT",
    errno.EADDRNOTAVAIL: "this machine has no such address; choose another with --host or TAMIYO_HOST",
}


class ListenError(Exception):
    """Nothing can listen there; the message says why and what to do."""


def require_address(host: str, port: int) -> None:
    """Return if a server can listen on a port of a host.

    Args:
        host: a name or an address; empty: all of this machine.
        port: 0: one that is free.

    Raises:
        ListenError: if it cannot.
    """
    try:
        places = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, _, _, _, address in places:
            _bind(family, address, only=len(places) == 1)
    except OSError as error:
        reason = _REMEDIES.get(error.errno or 0) or f"{error.strerror}; see --host and TAMIYO_HOST"
        raise ListenError(f"cannot listen on {host or '*'} port {port}: {reason}") from error


def _bind(family: int, address: Any, *, only: bool) -> None:
    """Bind as servers do; the address is free again at once.

    Raises:
        OSError: if that does not work. That a machine lacks one of several kinds of addresses is no trouble.
    """
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        if only or error.errno in (errno.EADDRINUSE, errno.EACCES):
            raise
