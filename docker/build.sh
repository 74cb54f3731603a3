#!/usr/bin/env bash
# Build the images rvlab-worker and rvlab-notebook; see docker/build.sh --help.
set -euo pipefail
HERE="$(cd "$(dirname "$0")" && pwd)"
ROOT="$(dirname "$HERE")"

usage() {
  cat <<'TEXT'
docker/build.sh [OPTION ...] [worker] [notebook]      default: both

  --base IMAGE        base image; default: BASE of the Dockerfile
  --torch-index URL   package index of torch; default: the CPU builds. '' uses PyPI, on Linux with CUDA
  --wheelhouse DIR    download all packages into DIR with pip on this computer, and build from DIR only
  --prefix NAME       image name before -worker and -notebook; default: rvlab
  --tag TAG           default: rvlab's version

With a wheelhouse the build needs no network, and no index, proxy or password gets into an image. The
Python that downloads it ($PYTHON, default python3) must be 3.11, as in the base image.
DOCKER names another docker command, WHEELHOUSE_PORT the port on 127.0.0.1 (default 18620).
TEXT
}

DOCKER="${DOCKER:-docker}"
PYTHON="${PYTHON:-python3}"
PORT="${WHEELHOUSE_PORT:-18620}"
PREFIX=rvlab TAG="" WHEELHOUSE="" TARGETS=() ARGS=()
TORCH_INDEX="$(sed -n 's/^ARG TORCH_INDEX=//p' "$HERE/Dockerfile" | head -n 1)"
while (($#)); do
  case "$1" in
    --base) ARGS+=(--build-arg "BASE=$2"); shift ;;
    --torch-index) TORCH_INDEX="$2"; shift ;;
    --wheelhouse) WHEELHOUSE="$2"; shift ;;
    --prefix) PREFIX="$2"; shift ;;
    --tag) TAG="$2"; shift ;;
    worker | notebook) TARGETS+=("$1") ;;
    -h | --help) usage; exit 0 ;;
    *) echo "build.sh: unknown argument: $1" >&2; usage >&2; exit 2 ;;
  esac
  shift
done
((${#TARGETS[@]})) || TARGETS=(worker notebook)
VERSION="$(sed -n 's/^__version__ = "\(.*\)"/\1/p' "$ROOT/rvlab/version.py")"
COMMIT="$(git -C "$ROOT" rev-parse HEAD 2>/dev/null || true)"

fill() {
  local target extras wanted stamp
  wanted="hatchling>=1.21"
  for target in "${TARGETS[@]}"; do
    extras="$(sed -n "s/^ARG ${target^^}_EXTRAS=\"\(.*\)\"/\1/p" "$HERE/Dockerfile" | head -n 1)"
    # shellcheck disable=SC2086  # several extras
    wanted+=$'\n'"$("$PYTHON" "$HERE/requirements.py" "$ROOT/pyproject.toml" $extras)"
  done
  stamp="$( (echo "$wanted"; echo "$TORCH_INDEX"; cat "$ROOT/requirements.lock") | sha256sum)"
  if [ "$(cat "$WHEELHOUSE/.filled" 2>/dev/null)" != "$stamp" ]; then
    mkdir -p "$WHEELHOUSE"
    rm -f "$WHEELHOUSE"/*.whl "$WHEELHOUSE/.filled"
    echo "$wanted" > "$WHEELHOUSE/.wanted"
    # Build each package in an isolated environment: $PYTHON may lack setuptools and wheel.
    "$PYTHON" -m pip wheel -qq --use-pep517 --disable-pip-version-check --wheel-dir "$WHEELHOUSE" \
      --constraint "$ROOT/requirements.lock" --requirement "$WHEELHOUSE/.wanted" \
      ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"}
    echo "$stamp" > "$WHEELHOUSE/.filled"
  fi
}

SERVER=""
trap '[ -z "$SERVER" ] || kill "$SERVER" 2>/dev/null || true' EXIT
if [ -n "$WHEELHOUSE" ]; then
  "$PYTHON" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || {
    echo "build.sh: the wheels must be downloaded by Python 3.11; set PYTHON to its path." >&2
    exit 2
  }
  fill
  # Use a fixed port: the address is part of Docker's cache key of a layer.
  "$PYTHON" -m http.server --bind 127.0.0.1 --directory "$WHEELHOUSE" "$PORT" >/dev/null 2>&1 &
  SERVER=$!
  ARGS+=(--build-arg PIP_NO_INDEX=1 --build-arg "PIP_FIND_LINKS=http://127.0.0.1:$PORT/")
fi

for target in "${TARGETS[@]}"; do
  DOCKER_BUILDKIT=1 "$DOCKER" build --network host --file "$HERE/Dockerfile" --target "$target" \
    --build-arg "TORCH_INDEX=$TORCH_INDEX" ${ARGS[@]+"${ARGS[@]}"} \
    --label "org.opencontainers.image.version=$VERSION" \
    --label "org.opencontainers.image.revision=$COMMIT" \
    --tag "$PREFIX-$target:${TAG:-$VERSION}" "$ROOT"
  echo "$PREFIX-$target:${TAG:-$VERSION}"
done
