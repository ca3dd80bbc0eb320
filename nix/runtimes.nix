# vLLM for profiles: of each that they name, what Nix builds from its lock; by the digest of the lock, where
# `awqdeploy --runtimes` looks.
{
  pkgs,
  # The folder that has the locks in `runtimes/`.
  directory,
  # The profiles, as they say.
  profiles,
}:
let
  inherit (pkgs) lib;
  # One that somebody installed by hand is nobody's to build.
  wanted = lib.filter (
    profile: profile ? runtime.vllm && profile.runtime.python or null == null
  ) (lib.attrValues profiles);
  nameOf =
    profile:
    "vllm-${profile.runtime.vllm}${lib.optionalString (profile.runtime.device or "cuda" == "cpu") "-cpu"}";
  lockOf = name: directory + "/runtimes/${name}.toml";
  # What is not locked is left out: whoever would deploy it is told so.
  environments = map (name: pkgs.callPackage ./runtime { lock = lockOf name; }) (
    lib.filter (name: builtins.pathExists (lockOf name)) (lib.unique (map nameOf wanted))
  );
in
{
  inherit lockOf nameOf;
  package = pkgs.runCommand "awqdeploy-runtimes" { } (
    "mkdir $out\n" + lib.concatMapStrings (one: "ln -s ${one} $out/${one.digest}\n") environments
  );
}
