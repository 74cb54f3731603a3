#!/usr/bin/env bash
# docker/base.sh [IMAGE [MIRROR]]: build a base image without a container registry: Debian
# bookworm with Python 3.11, by mmdebstrap (or debootstrap) as root. Default: rvlab-base:bookworm.
#
# If TLS uses a private certificate authority, the image trusts it as well: the bundle is read from
# $PIP_CERT or pip's `cert`. Nothing else of this computer is copied into the image.
set -euo pipefail
IMAGE="${1:-rvlab-base:bookworm}"
MIRROR="${2:-}"
DOCKER="${DOCKER:-docker}"
PYTHON="${PYTHON:-python3}"
PACKAGES=python3,python3-venv,ca-certificates
HOUSE=/etc/ssl/certs/house.crt

WORK="$(mktemp -d)"
trap 'rm -rf "$WORK"' EXIT
CERT="${PIP_CERT:-$("$PYTHON" -m pip config list 2>/dev/null | sed -n "s/^global.cert='\(.*\)'$/\1/p")}"
if command -v mmdebstrap >/dev/null; then
  mmdebstrap --quiet --variant=minbase --include="$PACKAGES" \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' \
    bookworm "$WORK/root" ${MIRROR:+"$MIRROR"}
elif command -v debootstrap >/dev/null; then
  debootstrap --variant=minbase --include="$PACKAGES" bookworm "$WORK/root" ${MIRROR:+"$MIRROR"} >&2
else
  echo "base.sh: needs mmdebstrap or debootstrap: apt-get install mmdebstrap" >&2
  exit 2
fi
rm -rf "$WORK"/root/var/lib/apt/lists/* "$WORK"/root/var/cache/apt/*
: > "$WORK/root/etc/resolv.conf"
: > "$WORK/root/etc/hostname"
if [ -f "$CERT" ]; then
  cp "$CERT" "$WORK/root$HOUSE"
  printf '[global]\ncert = %s\n' "$HOUSE" > "$WORK/root/etc/pip.conf"
fi
tar -C "$WORK/root" --exclude='./dev/*' -c . | "$DOCKER" import \
  --change 'CMD ["python3"]' --change 'LABEL org.opencontainers.image.title="rvlab base"' - "$IMAGE"
echo "$IMAGE"
