#!/usr/bin/env bash
# run.sh PARTS FOLDER [STARTS [EACH]] - validate starts of one real vLLM (CPU) beside seeded users, and judge all pairs.
#
# PARTS is what `tests/real/prepare` made. The reports lie in FOLDER; what is there is not measured again. It takes both
# processors for long: on a machine that others use, its figures say what they did.
#
#     cargo build --profile bench --locked --features benches --example beside-users
set -euo pipefail
HERE=$(cd "$(dirname "$0")" && pwd)
PARTS=$1 FOLDER=$2 STARTS=${3:-10} EACH=${4:-4}
PROGRAM=${PROGRAM:-$HERE/../../target/release/examples/beside-users}
MODEL=${MODEL:-$PARTS/models/qwen3next-tiny-gptq}
PORT=${PORT:-8877}
ADDRESS=127.0.0.1:$PORT
mkdir -p "$FOLDER"
SERVER= USERS=
end() {
  # vLLM ends its own processes; what is left after a while is ended with their session.
  [ -z "$USERS" ] || kill "$USERS" 2> /dev/null || true
  [ -n "$SERVER" ] || return 0
  kill "$SERVER" 2> /dev/null || true
  for _ in $(seq 30); do kill -0 "$SERVER" 2> /dev/null || break; sleep 1; done
  kill -KILL -- "-$SERVER" 2> /dev/null || true
  SERVER= USERS=
}
trap end EXIT
for start in $(seq "$STARTS"); do
  [ ! -e "$FOLDER/$start-$EACH.json" ] || continue
  setsid "$HERE/../../tests/real/models/serve" "$PARTS" "$MODEL" "$PORT" > "$FOLDER/$start.log" 2>&1 &
  SERVER=$!
  until curl -sf "http://$ADDRESS/health" > /dev/null; do
    kill -0 "$SERVER" || { tail -5 "$FOLDER/$start.log" >&2; exit 1; }
    sleep 1
  done
  "$PROGRAM" users "$ADDRESS" real "$start" &
  USERS=$!
  for number in $(seq "$EACH"); do
    [ -e "$FOLDER/$start-$number.json" ] || "$PROGRAM" measure "$ADDRESS" real "$start-$number" "$FOLDER"
  done
  end
done
"$PROGRAM" judge "$FOLDER"
