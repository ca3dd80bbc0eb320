# vLLM for profiles: of each that they name, what Nix builds from its lock; by the digest of the lock, where
# `awqdeploy --runtimes` looks.
{
  pkgs,
  # The folder that has the locks in `runtimes/`.
  directory,
  # The profiles, as they say.
  profiles,
  # What is made of one that is not locked, by its name: nothing, unless it is a problem.
  unlocked ? _: [ ],
}:
let
  inherit (pkgs) lib;
  # One that somebody installed by hand, for an interpreter of theirs, is nobody's to build. `system` names none: it tells uv
  # which one to take.
  built =
    runtime:
    lib.elem (runtime.python or null) [
      null
      "system"
    ];
  wanted = lib.filterAttrs (_: profile: profile ? runtime && built profile.runtime) profiles;
  nameOf =
    profile: runtime:
    "vllm-${runtime.vllm or (throw "the profile ${profile} names no `vllm` in `[runtime]`")}${
      lib.optionalString (runtime.device or "cuda" == "cpu") "-cpu"
    }";
  lockOf = name: directory + "/runtimes/${name}.toml";
  environment =
    name:
    if builtins.pathExists (lockOf name) then
      [ (pkgs.callPackage ./runtime { lock = lockOf name; }) ]
    else
      unlocked name;
  environments = lib.concatMap environment (
    lib.unique (lib.mapAttrsToList (name: profile: nameOf name profile.runtime) wanted)
  );
in
{
  inherit
    built
    environments
    lockOf
    nameOf
    wanted
    ;
  package = pkgs.runCommand "awqdeploy-runtimes" { } (
    "mkdir $out\n" + lib.concatMapStrings (one: "ln -s ${one} $out/${one.digest}\n") environments
  );
}
