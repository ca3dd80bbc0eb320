#!/usr/bin/env bash
# questions.sh AWQDEPLOY PROFILES OUT PROFILE...: what awqdeploy itself finds out on a GPU host. It holds next to no VRAM.
set -uo pipefail
AWQDEPLOY=$1 PROFILES=$2 OUT=$3
shift 3
mkdir -p "$OUT/questions"
cd "$OUT/questions"
ask() { # NAME COMMAND...
    local began=$SECONDS name=$1
    shift
    "$@" > "$name.json" 2> "$name.err"
    echo "$name: status $? after $((SECONDS - began)) s: $(tail -n 1 "$name.err")"
    [ -s "$name.err" ] || rm "$name.err"
}
nvidia-smi topo -m > topology.txt 2>&1
ask facts "$AWQDEPLOY" facts
ask probe "$AWQDEPLOY" facts --probe "$(command -v python3)"
ask doctor "$AWQDEPLOY" doctor --json
for profile; do
    ask "word-$profile" "$AWQDEPLOY" plan "$PROFILES/$profile.toml" --profiles "$PROFILES" --ask-engine --json
done
