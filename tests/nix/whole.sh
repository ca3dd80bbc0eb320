# The real vLLM of the shipped lock, or of the one lock below FOLDER/runtimes, such as tests/nix/second, built from its wheels where
# nothing of this machine is: 4 GB to fetch, once; what it takes stands in docs/nix.md. With AWQDEPLOY_COMPARE uv installs the same
# lock for comparison: as much again to fetch.

whole() {
  local folder=${1-} lock=profiles/runtimes/vllm-0.26.0.toml from=("${standin[@]}" "$flake#vllm-env")
  if [ -n "$folder" ]; then
    lock=$(echo "$folder"/runtimes/*.toml)
    [ -f "$lock" ] || die "$folder/runtimes must have one lock"
    profiles_in "$work/other" "$folder"/*
    from=("${below[@]}" "git+file://$work/other#vllm-env")
  fi
  [ -x "${AWQDEPLOY_PYTHON312-}" ] || die "AWQDEPLOY_PYTHON312 must name a Python 3.12: the lock's byte code is for it"
  local begun=$SECONDS out
  strictly python312
  quietly nix build "${strict[@]}" --print-out-paths --out-link "$work/whole-$(basename "$lock" .toml)" "${from[@]}" > "$work/whole.path"
  out=$(cat "$work/whole.path")
  say "$out: built in $((SECONDS - begun)) s"
  nix path-info --recursive --json "$out" | jq -r '[.[].narSize] | "closure: \(length) store paths, \(add / 1073741824 * 100 | floor / 100) GiB"' >&2
  say "$(find "$work/store$out" -type l | wc -l) links"
  needed "$out" tests/nix/optional.txt
  # It imports: the farm, the launcher, and the libraries that find each other. Each alone: what one loads, another finds.
  for module in numpy PIL.Image triton torch; do
    alone "$out/bin/python" -c "import $module"
  done
  alone "$out/bin/python" -c 'import torch, vllm; print("torch", torch.__version__, "vllm", vllm.__version__)'
  # What is known of vLLM's flags, and the shipped profiles, are of the shipped lock.
  [ -n "$folder" ] || answers "$out"
  [ -z "${AWQDEPLOY_COMPARE-}" ] || same_files "$lock" "$out" "$AWQDEPLOY_PYTHON312"
}

# vLLM for CUDA says nothing on a host without a driver, not even its version: here a stand-in for the driver lies where the driver
# lies on NixOS, and where docs/nix.md puts it elsewhere.
answers() {
  local out=$1 asked=$work/asked said
  driver
  # It logs to the same place.
  said=$(with_driver "$out/bin/vllm" --version 2> "$work/log" | tail -n 1) || { cat "$work/log" >&2; die "vllm --version fails"; }
  [ "$said" = 0.26.0 ] || die "vllm --version says $said"

  # Its own parser and configuration, on the plan for a single GPU of 16 GB with the configuration that was published.
  rm -rf "$asked"
  mkdir -p "$asked/profiles" "$asked/checkpoint"
  jq 'del(._provenance)' src/domain/checkpoint/known/qwen3-next-80b-awq.json > "$asked/checkpoint/config.json"
  sed "s|^vllm = .*|&\npython = \"$out/bin/python\"|" profiles/awq.toml > "$asked/profiles/awq.toml"
  with_driver cargo run --quiet --locked -- --profiles "$asked/profiles" plan awq --facts tests/fixtures/facts/one-16gb.json \
    --checkpoint "$asked/checkpoint" --headers-only --ask-engine --json > "$work/document.json" || { cat "$work/document.json" >&2; die "vLLM was not asked"; }
  jq -e '.refusal == null and (.engine | length > 5 and all(.agrees))' "$work/document.json" > /dev/null || { cat "$work/document.json" >&2; die "vLLM says otherwise than the plan"; }
  # Our tables of its flags and variables are its own.
  with_driver "$out/bin/python" tests/real/parsers.py > "$work/known" 2> "$work/log" || { cat "$work/log" >&2; die "vLLM's parser says nothing"; }
  AWQDEPLOY_KNOWN=$work/known cargo test --quiet --locked --test real -- --ignored build_for_gpus >&2
  say "vllm $said agrees with the plan of awq in $(jq '.engine | length' "$work/document.json") points"
}

# with_store, with the stand-in for the driver in /run/opengl-driver/lib.
with_driver() {
  with_store bash -c 'mount -t tmpfs tmpfs /run && mkdir -p /run/opengl-driver && ln -s "$1" /run/opengl-driver/lib && shift && exec "$@"' bash "$work/driver" "$@"
}
