"""A policy of somebody's own, installed and uninstalled while the tests run."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_POLICY = '''\
from tamiyo_core import Decision


class CountingPolicy:
    """Waits, and counts how often."""

    name = "mine"
    version = "{version}"

    def __init__(self, config):
        pass

    def initial(self):
        return 0

    def decide(self, state, signals, context):
        if state == {fails_at}:
            raise RuntimeError("that many are too many")
        live = [seed for seed in signals.seeds if seed.is_live]
        reason = "wait number %d" % (state + 1)
        return state + 1, tuple(Decision(context.layout.wait, reason, 1.0, seed) for seed in (*live, None))

    def snapshot(self, state):
        return {{"count": state}}

    def restore(self, data):
        return data["count"]
'''


@contextmanager
def policy_installed(folder: Path, version: str = "1", *, fails_at: int = -1) -> Iterator[None]:
    """A distribution that offers the policy ``mine``, where Python finds it until the block ends.

    Args:
        folder: where it goes.
        version: of distribution and policy.
        fails_at: the policy raises an error once it has waited so often.
    """
    place = folder / f"mine-{version}"
    module = f"tamiyo_test_mine_{version}"
    info = place / f"{module}-{version}.dist-info"
    info.mkdir(parents=True, exist_ok=True)
    (place / f"{module}.py").write_text(_POLICY.format(version=version, fails_at=fails_at))
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: {version}\n")
    (info / "entry_points.txt").write_text(f"[tamiyo.policies]\nmine = {module}:CountingPolicy\n")
    sys.path.insert(0, str(place))
    try:
        yield
    finally:
        sys.path.remove(str(place))
        sys.modules.pop(module, None)
