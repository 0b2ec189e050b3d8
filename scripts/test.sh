#!/usr/bin/env bash
# Makes the environment, then checks style, types and every test.
#
#   bash scripts/test.sh                     every test: a process for each core, then those that compute with threads
#   bash scripts/test.sh PYTEST_ARGUMENTS    one pytest with these arguments
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
cd "$ROOT"
make_env dev
echo "ruff check";           "$VENV/bin/ruff" check .
echo "ruff format --check";  "$VENV/bin/ruff" format --check .
echo "mypy";                 "$VENV/bin/mypy"
if [ $# -gt 0 ]; then
    echo "pytest";           "$VENV/bin/python" -m pytest "$@"
    exit
fi
# Processes that share the cores have one thread each: threads that wait for one another would wait for other processes.
echo "pytest -m 'not threads'"
OMP_NUM_THREADS=1 "$VENV/bin/python" -m pytest -m "not threads" --numprocesses auto --dist worksteal
echo "pytest -m threads";    "$VENV/bin/python" -m pytest -m threads
