"""Make random secrets, each in a file of its own, where there is none yet.

    python3 docker/make_secrets.py FOLDER NAME...

The containers' users are none of this machine, so the files can be read by all; the folder keeps others out.
"""

from __future__ import annotations

import secrets
import sys
from pathlib import Path


def main(folder: Path, names: list[str]) -> None:
    """Make the secrets that are missing, and tell which."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name in names:
        file = folder / name
        if not file.exists():
            file.write_text(secrets.token_urlsafe(32), encoding="utf-8")
            file.chmod(0o644)
            sys.stdout.write(f"{file}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
