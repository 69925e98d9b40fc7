#!/usr/bin/env bash
# Makes .venv in the root of the checkout and installs the tested requirements and beit_mm itself.
#   bash tools/setup_env.sh [digits] [tests]     BEIT_MM_PYTHON=python3.12 chooses the interpreter
# What is installed already is recognized by the hash of the requirements and skipped.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

recent='import sys; sys.exit(sys.version_info < (3, 11))'
for base in ${BEIT_MM_PYTHON:-python3 python3.11 python3.12 python3.13}; do
    "$base" -c "$recent" 2>/dev/null && break
done
if ! "$base" -c "$recent" 2>/dev/null; then
    echo "The pinned requirements need Python 3.11 or newer, which '${BEIT_MM_PYTHON:-python3}' is" \
        "not; name an interpreter: BEIT_MM_PYTHON=/path/to/python3.11" >&2
    exit 1
fi

identity=$("$base" -c 'import sys; print(sys.version, sys.base_prefix)')
if [ "$(cat .venv/python-identity 2>/dev/null)" != "$identity" ]; then
    echo "Creating .venv with $("$base" --version)"
    if ! "$base" -m venv --clear .venv; then
        echo "'$base -m venv' failed; on Debian and Ubuntu: apt-get install python3-venv" >&2
        exit 1
    fi
    echo "$identity" > .venv/python-identity
fi

hash=$(cat requirements.txt requirements/*.txt setup.py | .venv/bin/python -c \
    'import hashlib, sys; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest())')
missing=()
files=()
for name in requirements "$@"; do
    [ "$(cat ".venv/installed-$name" 2>/dev/null)" = "$hash" ] && continue
    missing+=("$name")
    [ "$name" = requirements ] && files+=(-r requirements.txt) || files+=(-r "requirements/$name.txt")
done
if [ ${#missing[@]} -gt 0 ]; then
    echo "Installing ${missing[*]} into .venv (about a minute)"
    export PIP_DISABLE_PIP_VERSION_CHECK=1
    .venv/bin/python -m pip install --quiet "${files[@]}"
    .venv/bin/python -m pip install --quiet --no-deps --editable .
    for name in "${missing[@]}"; do echo "$hash" > ".venv/installed-$name"; done
fi
