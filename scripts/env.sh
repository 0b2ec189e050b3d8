# Sourced by the other scripts: makes the virtual environment .venv and installs pointseg into it, once.
#
#   make_env EXTRAS [cpu | --cuda]
#
# torch is installed first and by exact version (scripts/constraints.txt). Without --cuda the CPU build of that version
# is taken if pip can find one, so that a machine with no NVIDIA GPU does not fetch gigabytes of CUDA; else, and with
# --cuda, the standard build. An environment keeps the build it has until the other one is asked for.

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
VENV="$ROOT/.venv"

make_env() {
    local extras="$1" flavour="${2:-}" stamp="$VENV/.pointseg-$1" wanted
    # Without a wish, the build of torch that is there stays.
    [ -n "$flavour" ] || flavour="$(cut -d' ' -f2 "$VENV/.torch" 2>/dev/null || true)"
    flavour="${flavour:-cpu}"
    wanted="$(cat "$ROOT/pyproject.toml" "$ROOT/scripts/constraints.txt" | cksum) $flavour"
    if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; then
        echo "environment: $VENV is up to date"
        return
    fi
    local python
    python="$(find_python)" || return 1
    [ -x "$VENV/bin/python" ] || { echo "environment: making $VENV"; "$python" -m venv "$VENV"; }
    # Where making it was cut short it has a python and no pip.
    [ -x "$VENV/bin/pip" ] || "$VENV/bin/python" -m ensurepip --default-pip >/dev/null || true
    # What was cut short later is taken for whole by ensurepip.
    [ -x "$VENV/bin/pip" ] || "$VENV/bin/python" -m pip install --quiet --force-reinstall pip 2>/dev/null || true
    [ -x "$VENV/bin/pip" ] || {
        echo "$VENV has no pip, and none can be put into it; delete this folder and run this again" >&2
        return 1
    }
    if [ "$(cat "$VENV/.torch" 2>/dev/null)" != "$(torch_wanted "$flavour")" ]; then
        install_torch "$flavour"
        torch_wanted "$flavour" >"$VENV/.torch"
    fi
    echo "environment: installing pointseg${extras:+[$extras]}"
    "$VENV/bin/pip" install --quiet --disable-pip-version-check --constraint "$ROOT/scripts/constraints.txt" \
        --editable "$ROOT${extras:+[$extras]}"
    echo "$wanted" >"$stamp"
}

torch_wanted() { echo "$(grep '^torch==' "$ROOT/scripts/constraints.txt") $1"; }

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
        # An extra index of CPU wheels would win over the standard build: +cpu ranks above the bare version.
        export PIP_EXTRA_INDEX_URL=""
        "$VENV/bin/pip" uninstall --quiet --yes torch 2>/dev/null || true
    fi
    "${pip[@]}" "$pin"
}
