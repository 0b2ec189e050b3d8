#!/usr/bin/env bash
# Makes the environment, then checks style, types and every test.
#
#   bash scripts/test.sh [pytest arguments]
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
cd "$ROOT"
make_env dev
echo "ruff check";           "$VENV/bin/ruff" check .
echo "ruff format --check";  "$VENV/bin/ruff" format --check .
echo "mypy";                 "$VENV/bin/mypy"
echo "pytest";               "$VENV/bin/python" -m pytest "$@"
