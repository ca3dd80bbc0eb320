# Bad input, and what is said of it. Each case must fail, and name its cause.

# refused WORD COMMAND...: the command fails, and its last words contain WORD.
refused() {
  local word=$1 said=$work/refusal
  shift
  ! "$@" > "$said" 2>&1 || { cat "$said" >&2; die "not refused: $*"; }
  grep -q -- "$word" "$said" || { cat "$said" >&2; die "the refusal does not say \`$word\`: $*"; }
  say "refused: $(grep -h -m 1 -- "$word" "$said" | sed 's/^ *//; s/.*-source\///' | cut -c -110)"
}

# A folder of profiles as a flake, spoilt by a sed script on its lock.
spoilt() {
  local folder=$work/spoilt
  profiles_in "$folder" tests/nix/profiles/*
  sed -i "$1" "$folder/runtimes/vllm-0.32.0-cpu.toml"
}
built_from() { nix "$1" "${below[@]}" --no-link "git+file://$work/spoilt#vllm-env"; }
evaluated() { nix eval "${below[@]}" --raw "git+file://$work/spoilt#vllm-env.drvPath"; }

the_lock() {
  # A wheel whose content is not what was locked: Nix names both hashes.
  spoilt '/name = "idna"/,/url/s/^sha256 = "946d/sha256 = "0000/'
  refused 'hash mismatch' built_from build
  # A wheel that the index has no more.
  spoilt '/name = "idna"/,/url/{s/^sha256 = "946d/sha256 = "1111/;s|pypi/76/c6|pypi/00/00|}'
  refused 'unable to download' built_from build
  spoilt '/name = "idna"/,/url/s|^url = .*pypi/|&../|'
  refused 'has no `url` on a mirror' evaluated
  # The lock's own form is no url for fetchurl, whose mirror begins elsewhere: only the name is another, so that Nix asks anew.
  refused 'unable to download' nix build --no-link --impure --expr "
    let
      lock = builtins.fromTOML (builtins.readFile $PWD/tests/nix/profiles/runtimes/vllm-0.32.0-cpu.toml);
      idna = builtins.head (builtins.filter (wheel: wheel.name == \"idna\") lock.wheel);
    in
    (builtins.getFlake \"path:$work/hostpkgs\").legacyPackages.x86_64-linux.fetchurl {
      inherit (idna) url sha256;
      name = \"elsewhere.whl\";
    }"
  # Edits by hand.
  spoilt '/name = "idna"/,/url/s/^size = .*/size = 7/'
  refused 'edited by hand' built_from build
  spoilt '/name = "idna"/,/url/s/^sha256 = .*/sha256 = "946d"/'
  refused 'is not 64 hexadecimal digits' evaluated
  spoilt '/name = "idna"/,/url/s/^url = .*//'
  refused 'has no `url` on a mirror' evaluated
  spoilt 's/^name = "idna"/name = "ninja"/'
  refused 'stands in it twice' evaluated
  spoilt 's/^version = 1$/version = 2/'
  refused 'its format is 2' evaluated
  # Another platform, another Python.
  spoilt 's/x86_64-manylinux_2_31/aarch64-manylinux_2_31/'
  refused 'are for x86_64-manylinux' evaluated
  spoilt 's/x86_64-manylinux_2_31/x86_64-manylinux_2_5/; s/manylinux2014_x86_64[.]//'
  refused 'is not for Python 3.11 on x86_64-manylinux_2_5' evaluated
  spoilt 's/py3-none-manylinux2014/cp39-cp39-manylinux2014/'
  refused 'is not for Python 3.11' evaluated
  spoilt 's/^python = "3.11"/python = "3.99"/'
  refused 'does not have' evaluated
  # Locks that git does not know are not there for Nix.
  spoilt ''
  git -C "$work/spoilt" rm --quiet --cached runtimes/vllm-0.32.0-cpu.toml
  refused 'git add' evaluated
}

the_wheels() {
  local python=/usr/bin/python3.11 folder=$work/bad case
  for case in '../escape.py=wheel' '/absolute.py=wheel' 'a-1.data/elsewhere/x=wheel'; do
    rm -rf "$folder"
    mkdir -p "$folder"
    $python - "$folder/bad.whl" "${case%=*}" <<'PYTHON'
import sys, zipfile
with zipfile.ZipFile(sys.argv[1], "w") as archive:
    archive.writestr(sys.argv[2], "")
PYTHON
    refused "${case%=*}" $python nix/runtime/unpack.py "$folder/bad.whl" "$(stat -c %s "$folder/bad.whl")" "$folder/out" /loader
  done
  # Two wheels that bring one file with different content.
  rm -rf "$folder"
  mkdir -p "$folder"/{one,two}/site/pkg
  echo 1 > "$folder/one/site/pkg/same.py"
  echo 2 > "$folder/two/site/pkg/same.py"
  : > "$folder/launcher"
  refused 'two wheels bring `lib/python3.11/site-packages/pkg/same.py`' \
    $python nix/runtime/farm.py "$folder/env" $python "$folder/launcher" src/domain/lockfile/runtime/harmless.txt \
    "$folder/one" "$folder/two"
}

the_nix() {
  local plain=$work/plain
  # Without flakes Nix itself says what to enable.
  mkdir -p "$plain"
  grep -v experimental-features "$work/nix.conf" > "$plain/nix.conf"
  refused "extra-experimental-features nix-command" \
    env NIX_CONF_DIR="$plain" HOME="$work/home" XDG_CACHE_HOME="$work/home/cache" "$nix" --store "$work/store" run "$flake"
  # A store that cannot be written to.
  mkdir -p "$work/elsewhere"
  refused 'Read-only file system' unshare -m bash -c \
    'mount -t tmpfs -o ro tmpfs "$1"; shift; exec "$@"' bash "$work/elsewhere" \
    env NIX_CONF_DIR="$work" HOME="$work/home" "$nix" --store "$work/elsewhere" build --no-link "${standin[@]}" "$flake#runtimes"
}

refuse() {
  local begun=$SECONDS
  the_lock
  the_wheels
  [ "$(id -u)" != 0 ] || the_nix
  say "bad input is refused: $((SECONDS - begun)) s"
}
