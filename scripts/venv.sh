#!/bin/sh
# Usage: venv.sh PYTHON FOLDER run|test: a virtual environment with exactly the locked packages, and Salam itself, editable.
set -eu
python=$1 folder=$2 set=$3

if ! command -v "$python" >/dev/null 2>&1; then
    echo "salam: $python is not installed; Salam needs Python 3.11 or newer" >&2
    exit 1
fi
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    echo "salam: $python is $("$python" --version 2>&1); Salam needs Python 3.11 or newer (make PYTHON=python3.12 ...)" >&2
    exit 1
fi
if [ ! -x "$folder/bin/pip" ]; then
    if ! "$python" -m venv "$folder" >/dev/null 2>&1; then
        echo "salam: $python has no venv module; install it (Debian, Ubuntu: apt-get install python3-venv)" >&2
        exit 1
    fi
fi
count=$(grep -c '==' "requirements/$set.txt")
echo "salam: installing $count pinned Python packages and Salam itself into $folder/"
pip="$folder/bin/pip --quiet --disable-pip-version-check"
# Wheels only: nothing is compiled, so no compiler is needed, and the hashes make it the very files that were tested.
$pip install --require-hashes --only-binary :all: -r requirements/run.txt
if [ "$set" = test ]; then
    # One test tool exists as source only. It is pure Python, and is built with the setuptools that the line above has pinned.
    $pip install --require-hashes --only-binary :all: --no-binary forbiddenfruit --no-build-isolation -r requirements/test.txt
fi
$pip install --no-deps --no-build-isolation --editable .
