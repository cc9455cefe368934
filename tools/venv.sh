#!/bin/sh
# Make .venv with this project in it, editable, and everything to run and develop it at the versions of
# constraints.txt. Needs Python 3.11 or newer and a package index, nothing else.
# Usage: tools/venv.sh [EXTRA...]   (extras of pyproject.toml; default: test)
set -eu
cd "$(dirname "$0")/.."
venv=.venv
extras=$(echo "${*:-test}" | tr ' ' ',')

python=
for candidate in ${PYTHON:-python3.11 python3 python}; do
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        python=$candidate
        break
    fi
done
[ -n "$python" ] || { echo "Python 3.11 or newer is needed: install it, or name it with PYTHON=..." >&2; exit 1; }

if ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
    echo "making $venv with $("$python" --version)"
    # Debian's Python comes without ensurepip: use the pip of that Python.
    "$python" -m venv --clear "$venv" >/dev/null 2>&1 \
        || { "$python" -m venv --clear --without-pip "$venv" \
             && "$python" -m pip --python "$venv/bin/python" install --quiet pip; } \
        || { echo "This Python cannot make a virtual environment: install python3-venv (Debian, Ubuntu)" >&2; exit 1; }
fi

pip() { "$venv/bin/python" -m pip --disable-pip-version-check "$@"; }

# uv installs in seconds, pip in minutes. pip is the fallback if uv is not available or fails.
install() {
    if pip install --quiet --constraint constraints.txt uv 2>/dev/null; then
        . tools/index.sh
        VIRTUAL_ENV="$PWD/$venv" "$venv/bin/uv" pip install --quiet "$@" && return
        echo "uv failed; installing with pip (this takes longer)"
    fi
    pip install --quiet "$@"
}

echo "installing langfuse-integration[$extras] into $venv"
install --constraint constraints.txt --editable ".[$extras]"
