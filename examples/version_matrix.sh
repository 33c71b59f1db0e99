#!/usr/bin/env bash
# The trainer tests against the oldest and the newest supported transformers/peft/trl, each in its own
# virtual environment below .venvs/. Usage: examples/version_matrix.sh [oldest] [newest]; INSTALL=0 takes the
# environments as they are, TESTS names other tests.
set -euo pipefail
cd "$(dirname "$0")/.."
export PYTHONPATH="$PWD/src"
declare -A VERSIONS=(
  [oldest]="transformers==4.57.6 peft==0.18.0 trl==0.24.0 accelerate==1.10.1 datasets==4.7.0"
  [newest]="transformers<6 peft trl accelerate datasets"
)
[ $# -gt 0 ] || set -- oldest newest
for pair in "$@"; do
  bin=".venvs/$pair/bin"
  if [ "${INSTALL:-1}" = 1 ]; then
    python3 -m venv ".venvs/$pair"
    # shellcheck disable=SC2086
    "$bin/pip" install -q torch ${VERSIONS[$pair]} -e ".[trl]" pytest pytest-timeout
  fi
  echo "== $pair:" $("$bin/python" -c '
from importlib.metadata import version
print(*[f"{name} {version(name)}" for name in ("transformers", "peft", "trl", "accelerate", "datasets", "torch")])')
  # shellcheck disable=SC2086
  "$bin/python" -m pytest -q ${TESTS:-tests/training tests/test_exports.py} -p no:cacheprovider
done
