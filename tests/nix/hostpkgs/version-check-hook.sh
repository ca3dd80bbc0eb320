# nixpkgs' pkgs/by-name/ve/versionCheckHook/hook.sh, for a program that says its version to one argument.
versionCheckHook() {
  local program=$out/bin/$NIX_MAIN_PROGRAM said
  [ -x "$program" ] || { echo "versionCheckHook: $program was not found, or is not an executable" >&2; exit 2; }
  said=$(env --ignore-environment --chdir=/ "$program" "${versionCheckProgramArg:?}" 2>&1) || true
  [[ $said =~ $version ]] || { echo "Did not find version $version in: $said" >&2; exit 2; }
}
preInstallCheckHooks+=(versionCheckHook)
