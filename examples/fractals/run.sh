#!/usr/bin/env bash
# Draw 27 fractals with a small C program, a token each, and put them on one contact sheet.
# Usage: run.sh [FOLDER]   (works in FOLDER, or in a new temporary one; `picas` from PATH, or $PICAS)
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
work=${1:-$(mktemp -d)}
picas() { command ${PICAS:-picas} "$@"; }

mkdir -p "$work"
cd "$work"
export PICAS_POOL=$PWD/fractals.db

echo "1. Build the program that draws one fractal."
${CC:-cc} -O2 -o fractal "$here/fractal.c" -lm

echo "2. Make a pool, and add a token for each of 3 x 3 x 3 combinations of its parameters."
picas init
picas add --sweep power=2,3,4 --sweep angle=20,80,140 --sweep distance=0.97,1.01,1.05

echo "3. Run a pilot. It works on tokens until none is left, and attaches to each the picture it made."
picas run --attach '*.ppm' -- "$PWD/fractal" {power} {angle} {distance} picture.ppm

echo "4. Collect the pictures from the pool."
picas pool export - | python3 "$here/collect.py" contact-sheet.png

picas wait --fail
echo "Look at $PWD/contact-sheet.png"
