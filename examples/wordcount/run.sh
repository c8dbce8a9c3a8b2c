#!/usr/bin/env bash
# Count the words of all text files in a folder, a token for each file, and add up the results.
# Usage: run.sh [FOLDER [TEXTS]]   (works in FOLDER, or in a new temporary one, on the files TEXTS/*.txt, or on those
# that come with this example; `picas` from PATH, or $PICAS)
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
work=${1:-$(mktemp -d)}
texts=$(cd "${2:-$here/texts}" && pwd)
picas() { command ${PICAS:-picas} "$@"; }

mkdir -p "$work"
cd "$work"
ln -sfn "$texts" texts
cp "$here/count.py" .
export PICAS_POOL=$PWD/wordcount.db

echo "1. Make a pool, and add a token for each text file of $texts"
picas init
ls texts/*.txt | picas add --each-line - --key line -- python3 count.py {line}

echo "2. The same again: tokens that are there already are not added twice, thanks to --key."
ls texts/*.txt | picas add --each-line - --key line -- python3 count.py {line}

echo "3. Run a pilot. Each command leaves its counts in the field 'output' of its token."
picas run

echo "4. Collect the counts from the tokens that are done."
picas ls done -o jsonl | python3 "$here/collect.py"

picas wait --fail
