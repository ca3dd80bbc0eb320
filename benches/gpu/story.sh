#!/usr/bin/env bash
# story.sh AWQDEPLOY MODELS OUT VLLM...: a migration that succeeds and one that must go back, with no systemd.
# OUT/story/history.json has what each step took; OUT/story.log the events.
set -euo pipefail
HERE=$(cd "$(dirname "$0")" && pwd)
AWQDEPLOY=$1 MODELS=$2 OUT=$3
shift 3
STORY=${STORY:-$HERE/../../target/debug/examples/story}
mkdir -p "$OUT/story"
export AWQDEPLOY_ROOT=$OUT/story-root AWQDEPLOY_PROFILES=$OUT/story/profiles
python3 "$HERE/profiles.py" "$MODELS" "$AWQDEPLOY_PROFILES" "${STORY_DEVICE:-cuda}"
for profile in gptq awq awq-too-fast; do "$AWQDEPLOY" lock "$profile"; done
status=0
"$STORY" "$AWQDEPLOY_ROOT" "$AWQDEPLOY_PROFILES" "$AWQDEPLOY" gptq,awq,awq-too-fast "$@" || status=$?
"$AWQDEPLOY" history --json > "$OUT/story/history.json"
"$AWQDEPLOY" generations --json > "$OUT/story/generations.json"
tar -C "$AWQDEPLOY_ROOT" -cJf "$OUT/story/activations.tar.xz" activations
exit "$status"
