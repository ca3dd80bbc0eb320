#!/usr/bin/env bash
# run.sh: the whole story under a real systemd with a real GPU, as root. See README.md.
#
# Where PID 1 is systemd it is used. Elsewhere (a lent machine, a container with all rights) one is booted in an overlay: host.sh.
# Start it with `setsid bash run.sh < /dev/null &`: what ends with its caller takes PID 1 of the instance along.
# OUT fills: story.log, a file at-STEP for each step that is over, and what each left.
HERE=$(cd "$(dirname "$0")" && pwd)
G=${G:-$HERE}                              # the pieces: see README.md
T=${T:-/srv}                               # on a real disk, with 40 GB
O=${O:-$T/out}
PY=${PY:-$(command -v python3)}            # a Python with PyTorch and, where no site.tar.xz is, vLLM
BENCH=${BENCH:-$HERE/..}
KNOWN=${KNOWN:-$HERE/../../../src/domain/checkpoint/known}
AWQDEPLOY=${AWQDEPLOY:-$(command -v awqdeploy)}
SECONDS_IN_ALL=${SECONDS_IN_ALL:-1500}     # what does not fit into them is left out
STEPS=${STEPS:-by_hand offload too_fast kill_engine kill_worker power_cut kill_supervisor resident}
T0=$(date +%s)
export PY T
mkdir -p "$O" "$T/etc" "$T/share"
cd "$T" || exit 1
exec > "$O/story.log" 2>&1
S=$T/sd W=${W:-$G/with-systemd}
NATIVE=; [ "$(cat /proc/1/comm)" != systemd ] || NATIVE=1
. "$HERE/host.sh"

say() { echo; echo "=== $(date +%T) +$(($(date +%s) - T0)) s: $*"; }
left() { echo $((T0 + SECONDS_IN_ALL - $(date +%s))); }
stamp() { while IFS= read -r line; do printf '%(%T)T %s\n' -1 "$line"; done; }
# R COMMAND...: runs it where systemd is PID 1.
R() {
  if [ -n "$NATIVE" ]; then timeout 900 "$@"; return; fi
  timeout 900 "$W" run --state "$S" -- env -u LD_LIBRARY_PATH \
    PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/nvidia/bin "$@"
}
# The same network as the server's.
inside() { if [ -n "$NATIVE" ]; then "$PY" "$@"; else nsenter -t "$(cat "$S/pid")" -n "$PY" "$@"; fi; }
group() { if [ -n "$NATIVE" ]; then echo /sys/fs/cgroup; else echo "/sys/fs/cgroup/$(cat "$S/cgroup.id")"; fi; }

prepare() {
  say "vLLM, models, profiles"
  if [ ! -d "$T/vllm/site" ] && compgen -G "$G/site.tar.xz*" > /dev/null; then
    # The parts may come one after the other: the last one is followed by the file site.ready.
    while [ ! -e "$G/site.ready" ] && [ ! -e "$G/site.tar.xz" ]; do sleep 0.2; done
    mkdir -p "$T/vllm"
    cat "$G"/site.tar.xz* | xz -dc -T8 | tar -x -C "$T/vllm"
    cp -r "$BENCH/plug" "$T/vllm/plug"
    "$PY" -m compileall -q -j 16 "$T/vllm/site" > /dev/null 2>&1
  fi
  [ ! -d "$T/vllm/site" ] || export PYTHONPATH=$T/vllm/plug:$T/vllm/site
  "$PY" "$HERE/setup.py" "$BENCH" "$KNOWN" "$T/models" "$T/etc" ${TWO:+--two} ${FOUR:+--four}
  mkdir -p "$T/by-hand"
  chmod -R a+rX "$T/models" "$T/etc" "$T/share" "$T"/vllm 2> /dev/null
  touch "$O/at-prepared"
  # A machine whose RAM grows as it is used says too little of it.
  [ -z "${GROW-}" ] || "$PY" -c "bytearray($GROW << 30)" &
  if [ -n "$NATIVE" ]; then
    mkdir -p /etc/awqdeploy && cp -r "$T"/etc/. /etc/awqdeploy/
  else
    layer
    "$W" down --state "$S" 2> /dev/null
    time boot || { say "no boot"; exit 1; }
    R ldconfig
  fi
  R systemctl is-system-running
  R systemctl --version | head -1
  R systemctl --failed --no-legend
  R true
  echo "controllers in force: '$(cat "$(group)/cgroup.subtree_control")' (wanted: memory pids)"
  R awqdeploy --version
  nvidia-smi --query-gpu=name,memory.total,driver_version --format=csv,noheader
  R awqdeploy facts > "$O/facts.json" 2> "$O/facts.err"
  R awqdeploy doctor > "$O/doctor.txt" 2>&1
}

watching() {
  inside "$HERE/watch.py" "$O/watch.log" &
  WATCH=$!
  local unit
  unit=$(group)/system.slice/vllm.service
  (while sleep 2; do
    [ -e "$unit/memory.current" ] || continue
    echo "$(date +%T) current $(($(cat "$unit/memory.current") >> 20)) peak $(($(cat "$unit/memory.peak") >> 20)) MiB max $(cat "$unit/memory.max") $(awk '/^(anon|file|shmem|kernel) /{printf "%s %d ", $1, $2/1048576}' "$unit/memory.stat")"
  done >> "$O/mem.log" 2>&1) &
  MEMORY=$!
}

state() {
  R awqdeploy status
  R systemctl show vllm -p ActiveState,NRestarts,MemoryMax,MemoryCurrent,MemoryPeak,LimitNOFILE,TasksMax,Result,StatusText
  nvidia-smi --query-compute-apps=pid,used_memory --format=csv,noheader
}
# What the step NAME left behind.
keep() {
  R awqdeploy report --json > "$O/report-$1.json" 2> /dev/null
  R awqdeploy history --json > "$O/history.json" 2> /dev/null
  R awqdeploy why > "$O/why-$1.txt" 2>&1
  R journalctl --no-pager -o short-precise -u vllm 2> /dev/null | grep -v 'GET /v1/models\|GET /health' | tail -3000 > "$O/journal-$1.txt"
  touch "$O/at-$1"
}
deploy() {
  local began
  began=$(date +%s)
  R awqdeploy lock "$1"
  R awqdeploy --progress plain deploy "$1" --yes 2>&1 | stamp
  echo "deploy $1: status ${PIPESTATUS[0]} after $(($(date +%s) - began)) s"
}
# starting CLIENT: the unit that carries an activation out, once its candidate starts, as long as that process runs.
starting() {
  local unit=
  while kill -0 "$1" 2> /dev/null; do
    unit=$(R systemctl list-units --no-legend --plain 'awqdeploy-activation-*' | awk '{print $1; exit}')
    [ -z "$unit" ] || [ "$(R systemctl show -P ActiveState vllm)" != activating ] || break
    sleep 0.5
  done
  sleep 10
  echo "$unit"
}
# serves SECONDS: waits until a completion is answered.
serves() {
  local until=$(($(date +%s) + $1))
  while [ "$(date +%s)" -lt "$until" ]; do
    ! inside "$HERE/ask.py" 4 > /dev/null 2>&1 || return 0
    sleep 0.5
  done
  return 1
}

by_hand() {
  say "a server that somebody set up by hand: GPTQ, all in VRAM"
  local environment="VLLM_HOST_IP=127.0.0.1 VLLM_USE_FLASHINFER_SAMPLER=0 VLLM_USE_DEEP_GEMM=0 NCCL_NVLS_ENABLE=0 \
TORCH_SYMM_MEM_DISABLE_MULTICAST=1 NVSHMEM_DISABLE_NVLS=1 HOME=$T/by-hand CUDA_CACHE_PATH=$T/by-hand/cuda VLLM_CACHE_ROOT=$T/by-hand/vllm \
TRITON_CACHE_DIR=$T/by-hand/triton TORCHINDUCTOR_CACHE_DIR=$T/by-hand/inductor ${PYTHONPATH:+PYTHONPATH=$PYTHONPATH}"
  printf '%s\n' '[Unit]' 'Description=our vLLM' '[Service]' "Environment=$environment" 'LimitNOFILE=65536' \
    "ExecStart=$PY -m vllm.entrypoints.cli.main serve $T/models/B --load-format dummy --host 127.0.0.1 --port 8090 --served-model-name bench --max-model-len 4096 --max-num-seqs 8 --max-num-batched-tokens 2048 --gpu-memory-utilization 0.33 --generation-config vllm --gdn-prefill-backend triton" \
    'Restart=on-failure' '[Install]' 'WantedBy=multi-user.target' > "$T/share/vllm.service"
  R cp "$T/share/vllm.service" /etc/systemd/system/vllm.service
  R systemctl daemon-reload
  R systemctl enable --now vllm
  local began
  began=$(date +%s)
  if ! serves 480; then
    R journalctl --no-pager -u vllm | tail -30
    say "the server by hand does not answer"
    R systemctl disable --now vllm
    R rm /etc/systemd/system/vllm.service
    R systemctl daemon-reload
    deploy gptq
    keep gptq
    return
  fi
  echo "by hand: answers after $(($(date +%s) - began)) s"
  say "adopt"
  R awqdeploy adopt vllm --profile old --vllm "${VLLM:-0.26.0}" --no-questions --dry-run > "$O/adopt-dry.txt" 2>&1
  R awqdeploy --progress plain adopt vllm --profile old --vllm "${VLLM:-0.26.0}" --no-questions 2>&1 | stamp
  local status=${PIPESTATUS[0]}
  echo "adopt: status $status"
  R cat /etc/awqdeploy/old.toml
  # So that the next start does not make every Triton kernel again. Nobody needs this; it takes two minutes off the measurement.
  R bash -c "mkdir -p -m 700 /var/cache/private && mkdir -p /var/cache/private/awqdeploy-vllm && cp -r $T/by-hand/triton /var/cache/private/awqdeploy-vllm/"
  keep adopted
  [ "$status" = 0 ] && return
  say "not adopted: its unit goes, and GPTQ is deployed"
  R systemctl disable --now vllm
  R rm /etc/systemd/system/vllm.service
  R systemctl daemon-reload
  deploy gptq
  keep gptq
}

offload() {
  say "AWQ on what a card of 16 GB has: about 32 GiB of experts in RAM"
  deploy awq-16gb
  state
  R cat /etc/systemd/system/vllm.service > "$O/vllm.service"
  R systemd-analyze security --no-pager vllm.service 2> /dev/null | tail -1
  keep offload
}

too_fast() {
  say "a candidate that misses its gate, and the rollback; the terminal of deploy is killed on the way"
  R awqdeploy lock awq-too-fast
  R awqdeploy --progress plain deploy awq-too-fast --yes 2>&1 | stamp &
  local client=$! pid
  starting "$client"
  pid=$(pgrep -f 'awqdeploy --progress plain deploy awq-too-fast' | tail -1)
  kill -9 "$pid" && echo "$(date +%T) deploy itself ($pid) is killed"
  wait $client
  R awqdeploy --progress plain follow 2>&1 | stamp
  echo "follow: status ${PIPESTATUS[0]}"
  state
  keep too_fast
}

# The process of this name in the unit's own group: a name that is searched for on the whole host finds others.
of_unit() {
  R bash -c "for p in \$(cat /sys/fs/cgroup\$(systemctl show -P ControlGroup $1)/cgroup.procs); do echo \$p \$(cat /proc/\$p/comm); done"
}

# killed NAME PID: SIGKILL of that process, and how the server comes back.
killed() {
  local lines at
  lines=$(wc -l < "$O/watch.log")
  if [ -z "$2" ]; then echo "no $1"; return; fi
  R kill -9 "$2"
  at=$(date +%s.%N)
  echo "$1 $2 killed at $(date +%T)"
  sleep 8
  of_unit vllm
  nvidia-smi --query-compute-apps=pid,used_memory --format=csv,noheader
  serves "$(($(left) < 300 ? $(left) : 300))" && echo "answers again $("$PY" -c "import time; print(round(time.time() - $at, 1))") s after the kill"
  tail -n +$((lines + 1)) "$O/watch.log" | while read -r when _ what; do "$PY" -c "print(round($when - $at, 1), 's after the kill:', '$what')"; done
  inside "$HERE/ask.py" 64
  state
}

kill_engine() {
  say "SIGKILL of the engine"
  inside "$HERE/ask.py" 64
  of_unit vllm | tee "$O/procs.txt"
  killed engine "$(awk '$2 ~ /^VLLM::EngineCor/ {print $1; exit}' "$O/procs.txt")"
  keep kill_engine
}

kill_supervisor() {
  say "SIGKILL of the supervisor, the unit's main process"
  killed supervisor "$(R systemctl show -P MainPID vllm)"
  keep kill_supervisor
}

kill_worker() {
  say "SIGKILL of the worker that carries a deployment out, while the candidate starts"
  R awqdeploy --progress plain deploy awq-too-fast --yes --retry 2>&1 | stamp &
  local client=$! unit pid
  unit=$(starting "$client")
  pid=$(R systemctl show -P MainPID "$unit")
  R kill -9 "$pid" && echo "$(date +%T) the worker ($unit, $pid) is killed"
  wait $client
  R awqdeploy --progress plain follow 2>&1 | stamp
  serves 300 && echo "$(date +%T) answers"
  state
  keep kill_worker
}

power_cut() {
  if [ -n "$NATIVE" ]; then say "no power cut: this systemd is the host's own"; return; fi
  say "a power cut while a candidate starts, and the boot after it"
  R awqdeploy --progress plain deploy awq-too-fast --yes --retry 2>&1 | stamp &
  local client=$! at
  starting "$client"
  "$W" cut --state "$S"
  at=$(date +%s)
  echo "power is cut at $(date +%T)"
  wait $client
  kill "$WATCH" "$MEMORY"
  boot 400 || { say "no boot after the cut"; exit 1; }
  R ldconfig
  watching
  R awqdeploy status
  serves 300 && echo "answers again $(($(date +%s) - at)) s after the cut"
  R awqdeploy status
  R awqdeploy history
  state
  keep power_cut
}

resident() {
  say "AWQ with all weights in VRAM"
  deploy awq
  state
  keep resident
}

two() {
  say "two GPUs, tensor parallel size 2"
  deploy awq-tp2
  state
  keep two
}

# Not run yet: no machine of four GPUs was lent since it is here. With FOUR=1.
four() {
  local profile
  for profile in gptq-tp4 awq-tp4 awq-tp4-too-fast awq-tp4-ram awq-tp4; do
    say "four GPUs, tensor parallel size 4: $profile"
    deploy "$profile"
    state
    keep "$profile"
  done
  of_unit vllm | tee "$O/procs.txt"
  say "SIGKILL of one rank"
  killed rank "$(awk '$2 ~ /^VLLM::Worker/ {print $1; exit}' "$O/procs.txt")"
  kill_engine
  say "SIGKILL of the API server"
  killed "API server" "$(of_unit vllm | awk '$2 == "python3" {print $1; exit}')"
  keep four
}

prepare
watching
touch "$O/at-boot"
for step in $STEPS; do
  if [ "$(left)" -lt "${LEAST:-150}" ]; then say "no time for $step"; continue; fi
  "$step"
done
R awqdeploy history
say "is MemoryMax= in force? 300 MB wanted, 100 MB allowed: oom-kill is right"
R systemd-run --wait --quiet -p MemoryMax=100M -p MemorySwapMax=0 --unit oomtest "$PY" -c 'bytearray(300 << 20)'
R systemctl show oomtest -p Result
kill "$WATCH" "$MEMORY"
[ -n "$NATIVE$KEEP" ] || "$W" down --state "$S"
say "done"
touch "$O/done"
