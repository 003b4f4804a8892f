#!/usr/bin/env bash
# Write the locks again, after pyproject.toml, constraints.txt or a list here has changed: make lock
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

lock() {
    local name=$1
    shift
    uv pip compile --quiet --generate-hashes --no-header --no-annotate --python-version 3.11 --python-platform linux \
        -c ../../constraints.txt --output-file "$name.txt" "$@" >/dev/null
}

lock core ../../pyproject.toml --extra service --extra postgres --extra otel
lock learned learned.in -c core.txt
lock trainer trainer.in -c learned.txt
lock build build.in
lock tools tools.in
# PyTorch's index has a build of its own for CPU and for each CUDA, so there is no one hash.
grep '^torch==' ../../constraints.txt >torch.txt
