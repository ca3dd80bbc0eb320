# What the parts of tests/nix/check share: a real Nix, a stand-in for nixpkgs, and words.

work=${AWQDEPLOY_NIX_DIR:-$PWD/target/nix} # as large as 1 GB
# Tracked files only, as for anybody's `nix run`; continuous integration may have a shallow clone.
flake="git+file://$PWD?shallow=1"

say() { echo "nix: $*" >&2; }
die() { say "$@"; exit 1; }

# A Nix whose store, settings and caches are all below target/nix.
nix() { HOME=$work/home XDG_CACHE_HOME=$work/home/cache NIX_CONF_DIR=$work "$nix" --store "$work/store" "$@"; }
# What puts the stand-in in nixpkgs' place.
standin=(--override-input nixpkgs "path:$work/hostpkgs" --no-write-lock-file)
# The same for a flake that takes ours as its input, as the template does.
below=(--override-input awqdeploy "$flake" --override-input awqdeploy/nixpkgs "path:$work/hostpkgs" --no-write-lock-file)
# Nix reports each override as a change of the lock; only a failure is worth reading.
quietly() { "$@" 2>"$work/log" || { cat "$work/log" >&2; die "failed: $*"; }; }

# profiles_in FOLDER FILES...: a flake of profiles under version control, as docs/nix.md has it.
profiles_in() {
  local folder=$1
  shift
  rm -rf "$folder"
  mkdir -p "$folder"
  cp -r profiles/flake.nix "$@" "$folder/"
  located "$folder"
  git -C "$folder" init --quiet
  git -C "$folder" add .
}

# What a person does to the template's flake.nix, as docs/nix.md says it.
located() { (said=$(grep -m 1 '^sed -i .* flake.nix' docs/nix.md); cd "$1"; eval "$said"); }

prepare() {
  nix=$(tests/nix/get-nix "$work/tool")
  local toolchain python312
  toolchain=$(rustc --print sysroot)
  # Only the whole lock is for 3.12; evaluating it takes no interpreter.
  python312=$(command -v "${AWQDEPLOY_PYTHON312:-python3.12}" || echo /usr/bin/python3.12)
  mkdir -p "$work"/{home,crates,wheels}
  python3 tests/nix/make-wheel.py "$work/wheels"
  cat > "$work/nix.conf" <<CONF
experimental-features = nix-command flakes
build-users-group =
substituters =
builders =
flake-registry =
warn-dirty = false
sandbox = true
sandbox-fallback = false
sandbox-paths = /wheels=$work/wheels /bin /usr /lib /lib64 /etc/alternatives $toolchain /crates=$work/crates ${AWQDEPLOY_PYTHON312:+$(dirname "$(dirname "$python312")")}
CONF
  rm -rf "$work/hostpkgs"
  cp -r tests/nix/hostpkgs "$work/hostpkgs"
  cat > "$work/hostpkgs/host.nix" <<HOST
{
  path = "$toolchain/bin:/usr/bin:/bin";
  python = "/usr/bin/python3.11";
  rustc = "$(rustc --version)";
  mirror = "$(mirror)";
  pythons = {
    python311 = "/usr/bin/python3.11";
    python312 = "$python312";
  };
}
HOST
}

# Where the index that this machine is set up with keeps its files: what it says of one file whose path is locked.
mirror() {
  local path file=$work/mirror
  if [ ! -s "$file" ]; then
    path=$(sed -n 's|^url = "mirror://pypi/\(.*/idna-.*\)"|\1|p' tests/nix/profiles/runtimes/vllm-0.32.0-cpu.toml)
    PIP_FIND_LINKS='' python3 -m pip install --quiet --dry-run --no-deps --ignore-installed --report "$work/report.json" idna==3.10 >&2
    jq -r --arg path "$path" '.install[0].download_info.url | rtrimstr($path)' "$work/report.json" > "$file"
  fi
  cat "$file"
}

# strictly PYTHON: sets the arguments of Nix with which a sandbox has nothing of this machine, as with nixpkgs; what the
# stand-in makes of this machine is made before, with that Python.
strictly() {
  quietly nix build --no-link "path:$work/hostpkgs#closed" "path:$work/hostpkgs#$1"
  strict=(--option sandbox-paths "/wheels=$work/wheels")
}

# alone ENVIRONMENT COMMAND...: runs a program in a root where nothing of this machine is but the store, as on NixOS; the driver is
# driver.c's. glibc looks for its own libraries where it was built to; on NixOS that is in the store.
alone() {
  local glibc folder
  glibc=$(quietly nix eval --raw "path:$work/hostpkgs#glibc")
  driver
  folder=$(mktemp -d)
  unshare -m bash -c '
    root=$1 store=$2 glibc=$3 driver=$4
    shift 4
    mount --make-rprivate /
    mount -t tmpfs tmpfs "$root"
    mkdir -p "$root"/{nix,proc,dev,etc,tmp,run/opengl-driver/lib,lib/x86_64-linux-gnu}
    echo root:x:0:0:root:/tmp:/bin/sh > "$root/etc/passwd"
    mount --bind "$store/nix" "$root/nix"
    mount --rbind /proc "$root/proc"
    mount --rbind /dev "$root/dev"
    mount --bind "$store$glibc/lib" "$root/lib/x86_64-linux-gnu"
    mount --bind "$driver" "$root/run/opengl-driver/lib"
    exec env -i HOME=/tmp "$(command -v chroot)" "$root" "$@"' bash "$folder" "$work/store" "$glibc" "$work/driver" "$@"
  rmdir "$folder"
}

# Where the driver lies: see driver.c.
driver() {
  local library
  mkdir -p "$work/driver"
  for library in libcuda.so.1 libnvidia-ml.so.1; do
    gcc -shared -fPIC -Wl,-soname,$library -o "$work/driver/$library" tests/nix/driver.c
  done
}

# The packed crates, for the stand-in's builds.
with_crates() {
  cargo fetch --locked --quiet
  cp -u "${CARGO_HOME:-$HOME/.cargo}"/registry/cache/*/*.crate "$work/crates/"
}

# Runs a command that sees our store as /nix.
with_store() {
  mkdir -p /nix
  unshare -m bash -c 'mount --make-rprivate /; mount --bind "$1" /nix; shift; exec "$@"' bash "$work/store/nix" "$@"
}
