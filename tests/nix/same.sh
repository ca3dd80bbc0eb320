# Nix and uv make the same files of one lock.

# same_files LOCK ENVIRONMENT PYTHON: what Nix has built against what uv installs, as src/host/runtimes/mod.rs lets it.
same_files() {
  local lock=$1 environment=$2 python=$3 uv said patchelf folder=$work/uv-env
  uv=$(command -v uv || ls "${AWQDEPLOY_REAL_DIR:-$PWD/target/real}/uv/bin/uv") || die "there is no uv: tests/real/prepare brings it"
  "$python" -c 'import sys, tomllib
for wheel in tomllib.load(sys.stdin.buffer)["wheel"]:
    print("{name}=={version} --hash=sha256:{sha256}".format(**wheel))' < "$lock" > "$work/requirements.txt"
  rm -rf "$folder"
  "$uv" venv --quiet --relocatable --python "$python" "$folder"
  "$uv" pip install --quiet --no-deps --require-hashes --no-build --python "$folder/bin/python" \
    --find-links "$work/wheels" --requirements "$work/requirements.txt"
  patchelf=$(quietly nix build --no-link --print-out-paths "path:$work/hostpkgs#patchelf")/bin/patchelf
  # Links of the store lead to /nix/store.
  said=$(with_store "$python" tests/nix/compare.py "$environment" "$folder" "$patchelf") || die "uv and Nix make different files of $lock"
  say "uv and Nix: $said"
  rm -rf "$folder"
}

# needed ENVIRONMENT OPTIONAL: see needed.py.
needed() {
  local glibc said
  glibc=$(quietly nix eval --raw "path:$work/hostpkgs#glibc")
  said=$(with_store python3 tests/nix/needed.py "$1" "$glibc" "$2") || die "the libraries of $1 want more than they get"
  say "$said"
}

same() {
  local begun=$SECONDS environment said lock=tests/nix/profiles/runtimes/vllm-0.32.0-cpu.toml
  profiles_in "$work/small" tests/nix/profiles/*
  strictly python311
  environment=$(quietly nix build "${below[@]}" "${strict[@]}" --no-link --print-out-paths "git+file://$work/small#vllm-env")
  same_files "$lock" "$environment" /usr/bin/python3.11
  # The same bits again: byte code included.
  quietly nix build "${below[@]}" "${strict[@]}" --no-link --rebuild "git+file://$work/small#vllm-env"
  for wheel in $(quietly nix eval "${below[@]}" --json "git+file://$work/small#vllm-env.wheels" --apply 'map (wheel: wheel.drvPath)' | jq -r '.[]'); do
    quietly nix build "${strict[@]}" --no-link --rebuild "$wheel^out"
  done
  needed "$environment" /dev/null
  alone "$environment/bin/python" -c 'import PIL.Image, PIL._imaging' || die "the libraries of a wheel do not find theirs"
  # A program of a wheel starts from vLLM, by the loader that it was given; a script and an entry point find their interpreter.
  said=$(alone "$environment/bin/python" -c 'import subprocess; subprocess.run(["ninja", "--version"])' 2>&1) || true
  [ "$said" = 1.13.0.git.kitware.jobserver-pipe-1 ] || die "the program of a wheel does not start: $said"
  [ "$(alone "$environment/bin/vllm-where")" = "$environment" ] || die "a wheel's script does not find its environment"
  [ "$(alone "$environment/bin/python" -c 'import idna, sys; print(sys.flags.no_site, idna.__file__)')" = "0 $environment/lib/python3.11/site-packages/idna/__init__.py" ] \
    || die "the environment does not import its own packages"
  say "the small environment is as it should be: $((SECONDS - begun)) s"
}
