# The real vLLM of the shipped lock, built from its wheels: 3.8 GB to fetch, once; what it takes stands in docs/nix.md.

whole() {
  [ -x "${AWQDEPLOY_PYTHON312-}" ] || die "AWQDEPLOY_PYTHON312 must name a Python 3.12: the lock's byte code is for it"
  local begun=$SECONDS out
  quietly nix build "${standin[@]}" --print-out-paths --out-link "$work/whole" "$flake#vllm-env" > "$work/whole.path"
  out=$(cat "$work/whole.path")
  say "$out: built in $((SECONDS - begun)) s"
  nix path-info --recursive --json "$out" | jq -r '[.[].narSize] | "closure: \(length) store paths, \(add / 1073741824 * 100 | floor / 100) GiB"' >&2
  say "$(find "$work/store$out" -type l | wc -l) links"
  # It imports: the farm, the launcher, and the libraries that find each other.
  with_store "$out/bin/python" -c 'import torch, vllm; print("torch", torch.__version__, "vllm", vllm.__version__)'
  [ -z "${AWQDEPLOY_COMPARE-}" ] || same_files profiles/runtimes/vllm-0.26.0.toml "$out" "$AWQDEPLOY_PYTHON312"
}
