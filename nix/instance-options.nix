# The options of one service: those of `services.awqdeploy` itself, and of each of its `instances`.
{
  lib,
  # vLLM for this service's profiles, as `runtimes` has it unless it is set.
  runtimes,
}:
let
  inherit (lib) mkOption types;
in
{
  directory = mkOption {
    type = types.path;
    default = ../profiles;
    defaultText = lib.literalMD "the profiles that come with awqdeploy";
    example = lib.literalExpression "./awqdeploy";
    description = ''
      Folder with profiles, their `locks/` and `runtimes/`, as `nix flake init` lays it out. It becomes
      `/etc/awqdeploy`, and part of the Nix store: model weights do not belong into it.
    '';
  };

  profiles = mkOption {
    type = types.attrsOf (types.submodule ./profile-options.nix);
    default = { };
    description = ''
      Profiles, or parts of them, written here. The keys are those of a profile's file. Where the directory has a file of
      that name, what is written here goes before what it says, key by key.
    '';
  };

  active = mkOption {
    type = types.nullOr types.str;
    default = null;
    example = "awq";
    description = ''
      Profile that shall serve. A switch deploys it: fetches, plans, starts and validates it. If it does not pass, what
      served before serves again, and the switch fails. `null` leaves deploying to you.
    '';
  };

  fallback = mkOption {
    type = types.nullOr types.str;
    default = null;
    example = "gptq";
    description = ''
      Profile to return to. Unless a generation of it is proven already, it is deployed before the active one.
    '';
  };

  acceptEstimate = mkOption {
    type = types.bool;
    default = false;
    description = ''
      Whether to go on with a model that is not modelled: its memory is then estimated from file sizes, and nobody knows
      whether it fits. Otherwise it is refused.
    '';
  };

  facts = mkOption {
    type = types.nullOr types.path;
    default = null;
    example = lib.literalExpression "./facts.json";
    description = ''
      What `awqdeploy facts` printed on the host. The units are rendered for it when the system is built, and a system
      whose active profile does not fit the host is not built.
    '';
  };

  runtimes = mkOption {
    type = types.nullOr types.path;
    default = runtimes;
    defaultText = lib.literalMD "vLLM for all profiles of `directory` and `profiles`, built from the locks in `directory`";
    description = ''
      vLLM as Nix has built it. `null` builds none: then each deployed profile must name the interpreter of a vLLM that is
      on the host, as `runtime.python`. (uv, which installs the wheels elsewhere, has no Python to install them for on
      NixOS.)
    '';
  };

  openFirewall = mkOption {
    type = types.bool;
    default = false;
    description = ''
      Whether to let other machines reach the port of the active profile, which must listen on an address that they can
      reach. vLLM has no access control here: put a proxy in front of it.
    '';
  };

  service = mkOption {
    type = types.nullOr types.str;
    default = null;
    example = "chat";
    description = ''
      Name of the systemd unit, in place of what the deployed profiles say.
    '';
  };

  port = mkOption {
    type = types.nullOr types.port;
    default = null;
    example = 8001;
    description = ''
      Port of the API, in place of what the deployed profiles say.
    '';
  };

  gpus = mkOption {
    type = types.nullOr (types.listOf (types.either types.ints.unsigned types.str));
    default = null;
    example = [
      0
      1
    ];
    description = ''
      GPUs that the deployed profiles may use, all by number (in the order of `nvidia-smi`) or all by UUID: what
      `CUDA_VISIBLE_DEVICES` in their `vllm.environment` says otherwise. `null` leaves it to them; those that say nothing
      may use all.
    '';
  };
}
