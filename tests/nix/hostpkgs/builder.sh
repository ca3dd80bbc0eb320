# How every derivation of the stand-in is built: the phases of nixpkgs' stdenv that the flake relies on.
set -eo pipefail
export HOME=$TMPDIR LC_ALL=C.UTF-8
cd "$TMPDIR"
for input in ${nativeBuildInputs:-}; do
  PATH=$input/bin:$PATH
  [ ! -e "$input/nix-support/setup-hook" ] || source "$input/nix-support/setup-hook"
done
if [ -n "${buildCommand:-}" ]; then
  eval "$buildCommand"
else
  cp -r --no-preserve=mode,ownership "$src" source
  cd source
  for phase in configurePhase preBuild buildPhase installPhase postInstall; do
    echo "== $phase"
    eval "${!phase:-}"
  done
fi
