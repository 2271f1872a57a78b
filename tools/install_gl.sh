#!/bin/sh
# Install the OpenGL libraries for headless rendering, as root or by sudo; else print the line.
set -eu
lacks() { # of these packages, those that are not installed
    for package in "$@"; do
        dpkg -s "$package" >/dev/null 2>&1 || printf ' %s' "$package"
    done
}
needed=$(lacks libegl1 libgl1)
software=$(lacks libosmesa6) # newer Mesa has none: EGL draws as well
[ -n "$needed$software" ] || exit 0
command -v apt-get >/dev/null 2>&1 || {
    echo "no apt-get here: install EGL or OSMesa for MuJoCo's headless rendering" >&2
    exit 0
}
if [ "$(id -u)" = 0 ]; then sudo=""
elif command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then sudo="sudo"
elif [ -z "$needed" ]; then exit 0
else
    echo "missing OpenGL libraries; run: sudo apt-get install -y$needed$software" >&2
    exit 1
fi
$sudo apt-get update -qq
# shellcheck disable=SC2086
[ -z "$needed" ] || $sudo apt-get install -y -qq $needed >/dev/null
# shellcheck disable=SC2086
[ -z "$software" ] || $sudo apt-get install -y -qq $software >/dev/null ||
    echo "no OSMesa ($software) to install here: MuJoCo draws with EGL" >&2
