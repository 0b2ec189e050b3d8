# Sourced by the other scripts: makes the virtual environment .venv and installs pointseg into it, once.
#
#   make_env EXTRAS [--cuda]
#
# torch is installed first and by exact version (scripts/constraints.txt). Without --cuda the CPU build of that version
# is taken if pip can find one, so that a machine with no NVIDIA GPU does not fetch gigabytes of CUDA; else, and with
# --cuda, the registry's standard build.

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
VENV="$ROOT/.venv"

make_env() {
    local extras="$1" flavour="${2:-cpu}" stamp="$VENV/.pointseg-$1" wanted
    wanted="$(cat "$ROOT/pyproject.toml" "$ROOT/scripts/constraints.txt" | cksum) $flavour"
    if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; then
        echo "environment: $VENV is up to date"
        return
    fi
    local python
    python="$(find_python)" || return 1
    [ -x "$VENV/bin/python" ] || { echo "environment: making $VENV"; "$python" -m venv "$VENV"; }
    install_torch "$flavour"
    echo "environment: installing pointseg${extras:+[$extras]}"
    "$VENV/bin/pip" install --quiet --disable-pip-version-check --constraint "$ROOT/scripts/constraints.txt" \
        --editable "$ROOT${extras:+[$extras]}"
    echo "$wanted" >"$stamp"
}

find_python() {
    local candidate
    for candidate in python3 python3.13 python3.12 python3.11 python; do
        if "$candidate" -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    echo "Python 3.11 or newer with its venv module is needed, and none was found on PATH" >&2
    return 1
}

install_torch() {
    local pin
    pin="$(grep '^torch==' "$ROOT/scripts/constraints.txt")"
    local pip=("$VENV/bin/pip" install --quiet --disable-pip-version-check)
    if [ "$1" != "--cuda" ]; then
        echo "environment: installing $pin, CPU build"
        "${pip[@]}" "$pin+cpu" 2>/dev/null && return
        echo "environment: pip finds no CPU build of $pin; installing the standard build"
    else
        echo "environment: installing $pin, CUDA build"
    fi
    "${pip[@]}" "$pin"
}
