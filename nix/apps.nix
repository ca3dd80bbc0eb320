# `nix run .#VERB -- …` is `awqdeploy VERB …`, with the vLLM that Nix has built.
{
  pkgs,
  awqdeploy,
  # Nothing where no vLLM is locked for this system: then nothing can be deployed from Nix.
  runtimes,
}:
let
  inherit (pkgs) lib;

  app = description: package: {
    type = "app";
    program = lib.getExe package;
    meta = { inherit description; };
  };

  verb =
    name:
    {
      description,
      options ? "",
      prelude ? "",
      runtimeInputs ? [ ],
      run ? "exec",
    }:
    app description (
      pkgs.writeShellApplication {
        name = "awqdeploy-${name}";
        inherit runtimeInputs;
        text = ''
          ${prelude}
          ${run} ${lib.getExe awqdeploy}${options} ${name} "$@"
        '';
      }
    );

  # What awqdeploy and its HTTP client read, and sudo would drop.
  kept = [
    "AWQDEPLOY_CONNECTIONS"
    "AWQDEPLOY_LIMIT_RATE"
    "AWQDEPLOY_PROFILES"
    "AWQDEPLOY_ROOT"
    "HF_ENDPOINT"
    "HF_HOME"
    "HF_HUB_CACHE"
    "HF_HUB_OFFLINE"
    "HF_TOKEN"
    "HF_TOKEN_PATH"
    "{all,http,https,no}_proxy"
    "{ALL,HTTP,HTTPS,NO}_PROXY"
  ];

  # Nix evaluates and builds as whoever calls it; only what changes the host is root's. systemctl, journalctl and sudo are
  # the host's own, so that these add nothing to the path. sudo is told names alone: a token on a command line could be
  # read by everybody.
  elevated = {
    prelude = ''
      elevate=(sudo)
      kept=
      for name in ${lib.concatStringsSep " " kept}; do
        [ -z "''${!name-}" ] || kept+=''${kept:+,}$name
      done
      [ -z "$kept" ] || elevate+=("--preserve-env=$kept")
      elevate+=(--)
      for argument in "$@"; do
        case $argument in
          --dry-run | --help | -h | --user) elevate=() ;;
          --) break ;;
        esac
      done
      [ "$(id -u)" != 0 ] || elevate=()
    '';
    run = "exec \"\${elevate[@]}\"";
  };
in
{
  default = app awqdeploy.meta.description awqdeploy;
}
// lib.mapAttrs verb (
  {
    lock = {
      description = "Lock a profile's model, and with --runtime its vLLM";
      # What asks the index. Any interpreter will do: it is asked for its tags and runs nothing.
      runtimeInputs = [
        pkgs.uv
        pkgs.python3
      ];
    };
    rehearse.description = "See a migration and its rollback here, without GPU, root or systemd";
    rollback = elevated // {
      description = "Return to a generation that is proven";
    };
    validate.description = "Validate what serves now: API, answers, speed";
  }
  // lib.optionalAttrs (runtimes != null) {
    deploy = elevated // {
      description = "Activate a profile, prove it, and roll back if that fails";
      options = " --runtimes ${runtimes}";
      # The variable keeps Nix's collector away until the deployment holds the environment itself; sudo drops it.
      prelude = elevated.prelude + "export AWQDEPLOY_RUNTIMES=${runtimes}";
    };
  }
)
