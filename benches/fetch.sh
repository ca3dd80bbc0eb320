#!/usr/bin/env bash
# Downloads side by side over loopback: `awqdeploy fetch`, `curl -Z` without any check, and `hf download` with
# `hf cache verify`, all from the hub of the tests. Prints a table in Markdown.
#
#   benches/fetch.sh [GB] [ROUNDS]        default: 4 files of together 4 GB, 3 rounds
#   PROGRAMS="A B" benches/fetch.sh       these builds of awqdeploy, for comparison, instead of a new one
#   WORK=/dev/shm/fetch benches/fetch.sh  in memory: the programs beside each other, and no disk
#
# Needs curl, python3 with the package index, and four times the room below target/, or WORK.
set -euo pipefail
cd "$(dirname "$0")/.."
gigabytes=${1:-4} rounds=${2:-3}
work=${WORK:-$PWD/target/bench-fetch}
hf=$PWD/target/huggingface_hub/bin/hf
repo=bench/model

[ -n "${PROGRAMS-}" ] || cargo build --release --features benches --bin awqdeploy --example hub
read -r -a programs <<<"${PROGRAMS:-target/release/awqdeploy}"
[ -x "$hf" ] || { python3 -m venv target/huggingface_hub; target/huggingface_hub/bin/pip install -q huggingface_hub==2.4.0; }

rm -rf "$work"; mkdir -p "$work/model" "$work/profiles"
printf '{"architectures":["Qwen3NextForCausalLM"]}' >"$work/model/config.json"
for n in 1 2 3 4; do head -c "$((gigabytes * 250000000))" /dev/urandom >"$work/model/model-$n.safetensors"; done
cat >"$work/profiles/awq.toml" <<TOML
service = "vllm"
[model]
repo = "$repo"
served-name = "m"
[runtime]
vllm = "0.26.0"
TOML

coproc HUB { exec target/release/examples/hub 127.0.0.1:0 "$repo" "$work/model"; }
hub_input=${HUB[1]}
trap 'exec {hub_input}>&-; rm -rf "$work"' EXIT
read -r line <&"${HUB[0]}"
export HF_ENDPOINT=${line%% *}; HF_ENDPOINT=${HF_ENDPOINT#*=}
export HF_HOME=$work/hf HF_HUB_DISABLE_XET=1 HF_HUB_DISABLE_TELEMETRY=1
awqdeploy="${programs[0]} --root $work/root --progress none"
$awqdeploy --profiles "$work/profiles" lock awq >/dev/null
cp -r "$work/profiles" "$work/pieces"
$awqdeploy --profiles "$work/pieces" lock awq --fetch >/dev/null

# Wall seconds, CPU seconds and peak KB of a command and its children.
measured() {
  rm -rf "$work/root" "$work/hf" "$work/out"; mkdir "$work/out"; sync
  /usr/bin/env python3 - "$@" <<'PY'
import os, resource, subprocess, sys, time
began = time.monotonic()
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)
wall = time.monotonic() - began
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(f"{wall:.2f} {used.ru_utime + used.ru_stime:.2f} {used.ru_maxrss}")
PY
}
curl_all() {
  local arguments=()
  for n in 1 2 3 4; do arguments+=(-o "$work/out/$n" "$HF_ENDPOINT/$repo/resolve/main/model-$n.safetensors"); done
  measured curl -sSLZ --fail "${arguments[@]}"
}
# What ours does before a file gets its name: all of it is on the disk.
curl_synced() {
  local words=(curl -sSLZ --fail)
  for n in 1 2 3 4; do words+=(-o "$work/out/$n" "$HF_ENDPOINT/$repo/resolve/main/model-$n.safetensors"); done
  measured bash -c '"$@" && sync -f "$0"' "$work/out" "${words[@]}"
}
ours() { measured "$1" --root "$work/root" --progress none --profiles "$work/$2" fetch awq; }
hub_client() { measured bash -c "'$hf' download $repo --local-dir '$work/out' && '$hf' cache verify $repo --local-dir '$work/out'"; }

for round in $(seq "$rounds"); do
  for which in curl_all curl_synced hub_client; do echo "$which $($which)" >>"$work/results"; done
  for program in "${programs[@]}"; do
    for locked in profiles pieces; do echo "$program:$locked $(ours "$program" "$locked")" >>"$work/results"; done
  done
done
python3 - "$work/results" "$gigabytes" <<'PY'
import collections, statistics, sys
rows, gigabytes = collections.defaultdict(list), float(sys.argv[2])
for line in open(sys.argv[1]):
    name, *values = line.split()
    rows[name].append([float(value) for value in values])
names = {"curl_all": "`curl -Z`, nothing checked", "curl_synced": "`curl -Z` and `sync`, nothing checked",
         "hub_client": "`hf download` + `hf cache verify`", "target/release/awqdeploy:profiles": "`awqdeploy fetch`",
         "target/release/awqdeploy:pieces": "`awqdeploy fetch`, pieces locked"}
print("| | wall s (median, range) | GB/s | CPU s/GB | peak RSS MB | wall / curl |\n|---|---|---|---|---|---|")
base = statistics.median(row[0] for row in rows["curl_all"])
for name, values in rows.items():
    walls = [row[0] for row in values]
    wall, cpu = statistics.median(walls), statistics.median(row[1] for row in values)
    print(f"| {names.get(name, name)} | {wall:.1f} ({min(walls):.1f}–{max(walls):.1f}) | {gigabytes / wall:.2f} | {cpu / gigabytes:.2f} "
          f"| {max(row[2] for row in values) / 1000:.0f} | {wall / base:.2f} |")
PY
