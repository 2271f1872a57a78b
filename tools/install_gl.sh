#!/bin/sh
# Install the OpenGL libraries for headless rendering, as root or by sudo; else print the line.
set -eu
packages="libegl1 libgl1 libosmesa6"
missing=""
for package in $packages; do
    dpkg -s "$package" >/dev/null 2>&1 || missing="$missing $package"
done
[ -n "$missing" ] || exit 0
command -v apt-get >/dev/null 2>&1 || {
    echo "no apt-get here: install EGL or OSMesa for MuJoCo's headless rendering" >&2
    exit 0
}
if [ "$(id -u)" = 0 ]; then sudo=""
elif command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then sudo="sudo"
else
    echo "missing OpenGL libraries; run: sudo apt-get install -y$missing" >&2
    exit 1
fi
$sudo apt-get update -qq
# shellcheck disable=SC2086
$sudo apt-get install -y -qq $missing >/dev/null
