# The flake on nixpkgs' own files, as far as they are there. Nothing is built: there is no cache to build from. Each DIR is one of
#   a checkout of nixpkgs                      all outputs, the template, the examples of docs/fleet
#   nix-community/nixpkgs.lib                  the same on nixpkgs' own library, with the stand-in's packages and NixOS
#   ekala-project/corepkgs and .../nix-lib, and auxolotl/core for mkShell and formats
#                                              all outputs, the template and the examples on packages of nixpkgs, with the
#                                              stand-in's NixOS; needs nixpkgs.lib too
#   serokell/deploy-rs                         the examples with its own activation, where there are packages
# docs/nix.md says what came of it, with which trees, and when.

# real_on NAME: everything, with $trees in nixpkgs' place.
real_on() {
  local name=$1 begun=$SECONDS place
  place=(--override-input nixpkgs "path:$trees" --no-write-lock-file)
  standin=("${place[@]}")
  below=(--override-input awqdeploy "$flake" --override-input awqdeploy/nixpkgs "path:$trees" --no-write-lock-file)

  quietly nix flake show "${place[@]}" --all-systems --json "$flake" > "$work/outputs.json"
  # A machine to boot, and a formatter, are what not each tree has.
  diff <(promised_outputs | grep -v '[.]vm$') <(outputs | grep -v -e '[.]vm$' -e '^formatter') || die "on $name the outputs (>) are not those promised (<)"
  quietly nix flake check "${place[@]}" --no-build --all-systems "$flake"
  wheels
  templates
  say "$name: \`flake show\`, \`flake check --no-build\` of all systems, every wheel and the template: $((SECONDS - begun)) s"
}

# A wheel arrives by the url that nixpkgs makes of ours.
real_url() {
  local url
  url=$(quietly nix eval "${standin[@]}" --raw "$flake#vllm-env.wheels" --apply 'wheels: let url = (builtins.head wheels).src.resolvedUrl or ""; in url')
  [ -n "$url" ] || { say "NOT RUN: this fetchurl does not say what it asks for"; return; }
  curl --silent --show-error --fail --head --output /dev/null "$url" || die "no wheel arrives from what nixpkgs makes of its url: $url"
  say "a wheel arrives from where nixpkgs' fetchurl looks"
}

# The examples are activated by deploy-rs' own code, if it is there.
own_activation() {
  [ -n "$deploys" ] || { say "NOT RUN: deploy-rs' own activation"; return 0; }
  deploy_rs=$work/real-deploy-rs
  rm -rf "$deploy_rs"
  cp -r tests/nix/real/deploy-rs "$deploy_rs"
  cp -r "$deploys" "$deploy_rs/tree"
}

# Sorts the trees that were named by what is in them.
sort_trees() {
  local folder
  for folder in "$@"; do
    folder=$(realpath "$folder")
    if [ -e "$folder/nixos/release.nix" ] && [ -e "$folder/lib/fileset" ]; then whole+=("$folder")
    elif [ -e "$folder/pins.nix" ] && [ -e "$folder/stdenv/impure.nix" ]; then core=$folder
    elif [ -e "$folder/customisation.nix" ]; then core_library=$folder
    elif [ -e "$folder/pkgs/pkgs-lib/formats.nix" ]; then aux=$folder
    elif [ -e "$folder/lib/fileset" ]; then library=$folder
    elif [ -e "$folder/interface.json" ] && grep -q deploy-rs "$folder/flake.nix"; then deploys=$folder
    else die "$folder is no tree that tests/nix/real.sh knows"; fi
  done
}

real() {
  local whole=() library='' core='' core_library='' aux='' deploys='' deploy_rs='' folder trees=$work/real
  sort_trees "$@"
  for folder in "${whole[@]}"; do
    trees=$folder
    real_on "$folder"
    real_url
    own_activation
    examples
  done
  trees=$work/real
  if [ -n "$library" ]; then
    rm -rf "$trees"
    cp -r "$work/hostpkgs" "$trees"
    rm "$trees/lib.nix" "$trees/modules.nix"
    cp -r "$library/lib" "$trees/lib"
    echo 'import ./lib' > "$trees/lib.nix"
    real_on "nixpkgs' library"
    examples
  fi
  if [ -n "$library" ] && [ -n "$core" ] && [ -n "$core_library" ] && [ -n "$aux" ]; then
    rm -rf "$trees"
    mkdir -p "$trees/aux/pkgs/build-support"
    cp tests/nix/real/flake.nix "$trees/"
    cp -r "$library/lib" "$trees/lib"
    cp -r "$core" "$trees/core"
    cp -r "$core_library" "$trees/core/library"
    # It would fetch it.
    echo '{ lib = ./library; }' > "$trees/core/pins.nix"
    cp -r "$aux/pkgs/pkgs-lib" "$trees/aux/pkgs/"
    cp -r "$aux/pkgs/build-support/mkshell" "$trees/aux/pkgs/build-support/"
    cp tests/nix/hostpkgs/nixos.nix "$trees/"
    real_on "nixpkgs' packages"
    real_url
    own_activation
    examples
  fi
  [ ${#whole[@]} -gt 0 ] || say "NOT RUN: a checkout of nixpkgs, and so NixOS' own modules: name its folder to \`tests/nix/check real\`"
  [ -n "$library" ] || [ ${#whole[@]} -gt 0 ] || say "NOT RUN: nixpkgs' library; tests/nix/real.sh says what else can be named"
  [ -n "$core" ] || [ ${#whole[@]} -gt 0 ] || say "NOT RUN: packages of nixpkgs; tests/nix/real.sh says what else can be named"
}
