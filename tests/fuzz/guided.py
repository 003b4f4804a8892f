"""One parser under atheris, which changes its inputs towards code that none has reached.

::

    python -m tests.fuzz.guided report 30 FOLDER

Only what is written in Python is watched: the wording of refusals, validators of several fields, the cutting
of batches. pydantic's own core is compiled, and sees what the mutations make of its inputs.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from random import Random

import atheris

with atheris.instrument_imports(
    include=["tamiyo_leyline", "tamiyo_service.api", "tamiyo_service.live.marks"]
):
    from tests.fuzz.mutations import mutated
    from tests.fuzz.parsers import SAMPLES, TARGETS


def mutate(data: bytes, most: int, seed: int) -> bytes:
    """Another input: mostly of the same document, now and then of its bytes."""
    random = Random(seed)
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        document = None
    if document is None or random.random() < 0.2:
        changed: bytes = atheris.Mutate(data, most)
        return changed
    return mutated(document, random)[:most]


def main(name: str, seconds: str, folder: str) -> None:
    """Fuzz until the time is over, or an input is found that breaks a rule; ends the process."""
    corpus = Path(folder) / name
    corpus.mkdir(parents=True, exist_ok=True)
    (corpus / "sample").write_bytes(json.dumps(SAMPLES[name]).encode())
    options = [
        f"-max_total_time={seconds}",
        f"-artifact_prefix={folder}/{name}-",
        "-seed=1",
        "-max_len=65536",
        "-timeout=10",
        "-rss_limit_mb=2048",
        "-print_final_stats=1",
    ]
    atheris.Setup([sys.argv[0], str(corpus), *options], TARGETS[name], custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])
