#!/bin/sh
# The real peers that the tests talk to, from the system's package manager when that is allowed.
set -eu

packages="chromium ffmpeg fonts-dejavu-core fonts-noto-color-emoji fonts-noto-core gstreamer1.0-libav gstreamer1.0-plugins-bad \
gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-ugly gstreamer1.0-tools"
# The program inside of Playwright's wheel needs it, and nothing above brings it along.
packages="$packages libatomic1"
# Distributions of Node.js bring npm along or not, so each is asked for only when its command is missing.
command -v node >/dev/null 2>&1 || packages="$packages nodejs"
command -v npm >/dev/null 2>&1 || packages="$packages npm"
# A TURN server, and what the laboratory of NATs is made of.
packages="$packages coturn iproute2 nftables"
# What pip needs where Python comes from the system.
if ! python3 -c 'import ensurepip' >/dev/null 2>&1; then packages="$packages python3-venv"; fi

if ! command -v dpkg-query >/dev/null 2>&1; then
    echo "salam: no Debian package manager here; tests whose programs are missing are skipped (CI fails instead)"
    exit 0
fi
missing=""
for name in $packages; do
    dpkg-query -W -f '${Status}' "$name" 2>/dev/null | grep -q 'ok installed' || missing="$missing $name"
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" = 0 ]; then as_root=""
elif command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then as_root="sudo"
else
    echo "salam: not allowed to install system packages; tests that need them are skipped:$missing"
    exit 0
fi
echo "salam: installing system packages:$missing"
$as_root apt-get update -qq
$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
# The package starts a server of its own on the well-known ports. The tests start theirs on free ports, and nobody asked for another one.
case "$missing" in
*coturn*) if command -v systemctl >/dev/null 2>&1; then $as_root systemctl disable --quiet --now coturn 2>/dev/null || true; fi ;;
esac
