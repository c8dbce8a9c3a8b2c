#!/usr/bin/env bash
# Three commands: make a pool, add tokens, run a pilot. Then a look at what came of it.
# Usage: run.sh [FOLDER]   (works in FOLDER, or in a new temporary one; `picas` from PATH, or $PICAS)
set -euo pipefail

work=${1:-$(mktemp -d)}
picas() { command ${PICAS:-picas} "$@"; }

mkdir -p "$work"
cd "$work"
export PICAS_POOL=$PWD/picas.db

echo "1. Make a pool: a file that holds tokens. A token describes one piece of work."
picas init

echo "2. Add 20 tokens: for each number from 1 to 20 a command that prints its square."
picas add --range 1-20 -- 'echo "the square of" {i} "is $(( {i} * {i} ))"'

echo "3. Run a pilot. It takes tokens from the pool and runs them until none is left."
picas run

echo "How the pool stands now:"
picas status
echo "What one of the tokens wrote:"
picas logs "$(picas ls done --where 'i=12' -o id)"
picas wait --fail
