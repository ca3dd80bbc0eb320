# What a folder of profiles deploys: the vLLM of each profile, and the programs that deploy it.
{
  pkgs,
  awqdeploy,
  # The folder.
  profiles,
}:
let
  inherit (pkgs) lib;
  toml = lib.filterAttrs (name: kind: kind != "directory" && lib.hasSuffix ".toml" name) (
    builtins.readDir profiles
  );
  wanted = lib.unique (
    map (
      name:
      let
        runtime = (lib.importTOML (profiles + "/${name}")).runtime or { };
        vllm = runtime.vllm or (throw "the profile ${name} names no `vllm` in `[runtime]`");
      in
      "vllm-${vllm}${lib.optionalString (runtime.device or "cuda" == "cpu") "-cpu"}"
    ) (lib.attrNames toml)
  );
  environment =
    name:
    let
      lock = profiles + "/runtimes/${name}.toml";
    in
    if builtins.pathExists lock then
      pkgs.callPackage ./runtime { inherit lock; }
    else
      throw "${name} is not locked: there is no runtimes/${name}.toml beside the profiles, or git does not know it (`git add`)";
  environments = map environment wanted;
  # The newest: what a person wants to look into.
  newest = lib.last (lib.sort (one: other: lib.versionOlder one.vllm other.vllm) environments);

  # By the lock's digest, where `awqdeploy --runtimes` looks.
  runtimes = pkgs.runCommand "awqdeploy-runtimes" { } (
    "mkdir $out\n" + lib.concatMapStrings (one: "ln -s ${one} $out/${one.digest}\n") environments
  );
  # The locks are for this system; elsewhere the program is all there is.
  locked = pkgs.stdenv.hostPlatform.system == "x86_64-linux";
in
{
  packages = {
    inherit awqdeploy;
    default = awqdeploy;
  }
  // lib.optionalAttrs locked {
    inherit runtimes;
    vllm-env = newest;
  };
  apps = import ./apps.nix {
    inherit awqdeploy pkgs;
    runtimes = if locked then runtimes else null;
  };
}
