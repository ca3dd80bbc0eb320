# How every derivation of the stand-in is built: the phases of nixpkgs' stdenv (pkgs/stdenv/generic/setup.sh) that the flake
# relies on, in their order.
set -eo pipefail
export HOME=$TMPDIR LC_ALL=C.UTF-8
cd "$TMPDIR"
preInstallCheckHooks=()
for input in ${nativeBuildInputs:-}; do
  PATH=$input/bin:$PATH
  [ ! -e "$input/nix-support/setup-hook" ] || source "$input/nix-support/setup-hook"
done
if [ -n "${buildCommand:-}" ]; then
  eval "$buildCommand"
else
  cp -r --no-preserve=mode,ownership "$src" source
  cd source
  phases=(configurePhase preBuild buildPhase postBuild)
  [ -z "${doCheck:-}" ] || phases+=(checkPhase)
  phases+=(installPhase postInstall)
  for phase in "${phases[@]}"; do
    echo "== $phase"
    eval "${!phase:-}"
  done
  if [ -n "${doInstallCheck:-}" ]; then
    for hook in "${preInstallCheckHooks[@]}"; do $hook; done
  fi
fi
