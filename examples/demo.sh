#!/usr/bin/env bash
# Watch pilots work two pools of real tasks to the end: `make demo`. Everything it makes is in .demo/.
set -euo pipefail

examples=$(cd "$(dirname "$0")" && pwd)
demo=$(cd "$examples/.." && pwd)/.demo
picas() { command ${PICAS:-picas} "$@"; }

rm -rf "$demo"
mkdir "$demo"
exec 2>&1

names=(wordcount fractals)
if ! command -v "${CC:-cc}" >/dev/null; then
  echo "The fractals are left out: there is no C compiler (${CC:-cc}) here to build the program that draws them."
  names=(wordcount)
fi

code=0
for name in "${names[@]}"; do
  echo "=== $name ==="
  "$examples/$name/run.sh" "$demo/$name" || code=1
  echo
done

for name in "${names[@]}"; do
  echo "=== $name: picas status, and the first tokens of picas ls ==="
  picas --pool "$demo/$name/$name.db" status
  picas --pool "$demo/$name/$name.db" ls --limit 8 -o table
  echo
done

if [ "$code" -ne 0 ]; then
  echo "Something failed: \`picas --pool FILE ls error\` lists the tokens, \`picas --pool FILE explain ID\` says why."
  exit 1
fi
echo "Every token is done."
test ! -e "$demo/fractals/contact-sheet.png" || echo "The pictures are in $demo/fractals/contact-sheet.png"
name=${names[-1]}
echo "Look around: \`picas --pool .demo/$name/$name.db ls\`; then show, logs or explain with the id of a token."
