#!/usr/bin/env bash
# beside.sh: what is measured beside the story, on GPU number GPU and outside of systemd: pinned memory, A and B resident.
HERE=$(cd "$(dirname "$0")" && pwd)
T=${T:-/srv} O=${O:-$T/out/beside} PY=${PY:-$(command -v python3)} GPU=${GPU:-1}
BENCH=${BENCH:-$HERE/..}
mkdir -p "$O"
exec > "$O/beside.log" 2>&1
while [ ! -e "$T/out/at-prepared" ]; do sleep 0.3; done
export PYTHONPATH=$T/vllm/plug:$T/vllm/site
[ -d "$T/vllm/site" ] || unset PYTHONPATH
ulimit -n "$(ulimit -Hn)"
CUDA_VISIBLE_DEVICES=$GPU "$PY" "$HERE/pinned.py" "$O/pinned.json" > "$O/pinned.log" 2>&1 &
sed "s/\"GPU\"/\"$GPU\"/" "$HERE/beside.toml" > "$O/plan.toml"
"$PY" "$BENCH/drive.py" "$O/plan.toml" --models "$T/models" --out "$O" --awqdeploy "$AWQDEPLOY" --seconds "${SECONDS_IN_ALL:-900}"
rm -rf "$O/caches"
touch "$T/out/at-beside"
