#!/usr/bin/env bash
# Watch pilots work two pools of real tasks to the end: `make demo`. Everything it makes is in .demo/.
set -euo pipefail

examples=$(cd "$(dirname "$0")" && pwd)
demo=$(cd "$examples/.." && pwd)/.demo
picas() { command ${PICAS:-picas} "$@"; }

rm -rf "$demo"
mkdir "$demo"
exec 2>&1

code=0
for name in wordcount fractals; do
  echo "=== $name ==="
  "$examples/$name/run.sh" "$demo/$name" || code=1
  echo
done

for name in wordcount fractals; do
  echo "=== $name: picas status, and the first tokens of picas ls ==="
  picas --pool "$demo/$name/$name.db" status
  picas --pool "$demo/$name/$name.db" ls --limit 8 -o table
  echo
done

if [ "$code" -ne 0 ]; then
  echo "Something failed: \`picas --pool FILE ls error\` lists the tokens, \`picas --pool FILE explain ID\` says why."
  exit 1
fi
echo "Every token is done. The pictures are in $demo/fractals/contact-sheet.png"
echo "Look around: \`picas --pool .demo/fractals/fractals.db ls\`; then show, logs or explain with the id of a token."
