# What a folder of profiles deploys: the vLLM of each profile, and the programs that deploy it.
{
  pkgs,
  awqdeploy,
  # The folder.
  profiles,
}:
let
  inherit (pkgs) lib;
  vllm = import ./runtimes.nix {
    inherit pkgs;
    directory = profiles;
    profiles = import ./profiles.nix { inherit lib; } profiles;
    unlocked =
      name:
      throw "${name} is not locked: there is no runtimes/${name}.toml beside the profiles, or git does not know it (`git add`)";
  };
  # The newest: what a person wants to look into.
  newest = lib.last (lib.sort (one: other: lib.versionOlder one.vllm other.vllm) vllm.environments);
  runtimes = vllm.package;
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
  }
  // lib.optionalAttrs (locked && vllm.wanted != { }) { vllm-env = newest; };
  apps = import ./apps.nix {
    inherit awqdeploy pkgs;
    runtimes = if locked then runtimes else null;
  };
}
