"""Whether a service can listen is known before it starts."""

from __future__ import annotations

import socket

import pytest
from tamiyo_service.listening import ListenError, require_address


def test_a_port_that_is_free_stays_free() -> None:
    require_address("127.0.0.1", 0)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    for _ in range(2):
        require_address("127.0.0.1", port)
    require_address("localhost", port)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0.0.0.0"])
def test_a_port_that_is_taken_is_refused_with_a_remedy(host: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(
            ListenError, match=f"port {port}: something listens there already; .* TAMIYO_PORT"
        ):
            require_address(host, port)


@pytest.mark.parametrize("host", ["192.0.2.1", "nowhere.invalid"])
def test_an_address_of_no_machine_here_is_refused(host: str) -> None:
    with pytest.raises(ListenError, match=f"cannot listen on {host} port 0: .*TAMIYO_HOST"):
        require_address(host, 0)
