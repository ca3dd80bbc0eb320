#!/usr/bin/env bash
# Rehearses every fault, and prints what was found of each as a table in Markdown: benches/faults.sh [PROGRAM]
# It takes some ten seconds a fault. Needs jq.
set -euo pipefail
PROGRAM=${1:-target/debug/awqdeploy}
echo "| planted: the engine, or the model, … | found | served in the end |"
echo "|---|---|---|"
"$PROGRAM" rehearse --list-faults | while read -r fault about; do
  told=$("$PROGRAM" rehearse --fault "$fault" --json --progress none < /dev/null) || true
  found=$(jq -r '.acts[-1] | .why // .message // .end | gsub("\\|"; "/") | gsub("\n"; " ") | gsub("/[^ `]*/awqdeploy-rehearsal-[^/]*/"; "…/") | .[0:160]' <<< "$told")
  echo "| \`$fault\`: $about | $found | $(jq -r .serving <<< "$told") |"
done
