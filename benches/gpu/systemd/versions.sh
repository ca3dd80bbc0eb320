#!/usr/bin/env bash
# versions.sh: another vLLM, on GPU number GPU and outside of systemd. VERSION; SITE: what goes on the PYTHONPATH for it.
HERE=$(cd "$(dirname "$0")" && pwd)
T=${T:-/srv} PY=${PY:-$(command -v python3)} GPU=${GPU:-1} VERSION=${VERSION:-0.33.0}
O=${O:-$T/out/vllm-$VERSION} BENCH=${BENCH:-$HERE/..}
mkdir -p "$O"
exec > "$O/versions.log" 2>&1
[ -z "${SITE-}" ] || export PYTHONPATH=$SITE
ulimit -n "$(ulimit -Hn)"
sed "s/\"GPU\"/\"$GPU\"/g" "$HERE/versions.toml" > "$O/plan.toml"
"$PY" -c 'import torch, triton, vllm; print(vllm.__version__, torch.__version__, triton.__version__, torch.cuda.get_device_name(0))'
"$PY" -u "$BENCH/drive.py" "$O/plan.toml" --models "$T/models" --out "$O" --awqdeploy "$AWQDEPLOY" --seconds "${SECONDS_IN_ALL:-900}"
rm -rf "$O/caches"
touch "$T/out/at-versions"
