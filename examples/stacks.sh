#!/usr/bin/env bash
# The real Axolotl and LLaMA-Factory on a tiny model, each in a virtual environment of its own below .venvs/:
# does the plan take effect? Usage: examples/stacks.sh [axolotl] [llama-factory]; INSTALL=0 takes the
# environments as they are. uv installs them, because pip tries one version of gradio after another. torchaudio
# has ended with 2.11, which loads beside torch 2.11 only.
set -euo pipefail
cd "$(dirname "$0")/.."
OUT=$(mktemp -d)
trap 'rm -rf "$OUT"' EXIT
export PYTHONPATH="$PWD/src"
declare -A PACKAGE=([axolotl]="axolotl==0.19.0" [llama-factory]="llamafactory==0.9.5 torch==2.11.0 torchaudio==2.11.0")
[ $# -gt 0 ] || set -- axolotl llama-factory
for stack in "$@"; do
  bin=".venvs/$stack/bin"
  if [ "${INSTALL:-1}" = 1 ]; then
    python3 -m venv ".venvs/$stack"
    "$bin/pip" install -q uv
    # shellcheck disable=SC2086
    "$bin/uv" pip install -q --python "$bin/python" ${PACKAGE[$stack]}
  fi
  "$bin/python" examples/try_stack.py prepare "$OUT"
  case "$stack" in
    axolotl)
      AXOLOTL_DO_NOT_TRACK=1 "$bin/python" -m axolotl.cli.train "$OUT/axolotl.yaml" ;;
    llama-factory)
      SECURETUNE_PLAN="$OUT/plan.json" "$bin/python" examples/llama_factory/launch.py "$OUT/llama_factory.yaml" ;;
  esac
  "$bin/python" examples/try_stack.py check "$OUT/${stack//-/_}"
done
