"""Whether a device that somebody names is there."""

from __future__ import annotations

import pytest
import torch
from tamiyo_models import devices


@pytest.mark.parametrize(
    ("device", "count", "seen"),
    [("cuda", 1, True), ("cuda:0", 1, True), ("cuda:1", 1, False), ("cuda:7", 8, True), ("cuda", 0, False)],
)
def test_a_gpu_is_seen_if_there_are_as_many(
    device: str, count: int, seen: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "_GPU_NODES", ("/",))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    assert devices.sees_gpu(device) is seen
