#!/bin/sh
exec "${SANDBOX_PYTHON:?}" -I "$(dirname "$0")/_image.py" convert.sh "$@"
