# `nix run .#VERB -- …` is `awqdeploy VERB …`, with the vLLM that Nix has built.
{
  lib,
  awqdeploy,
  runtimes,
  writeShellApplication,
}:
let
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
    }:
    app description (writeShellApplication {
      name = "awqdeploy-${name}";
      # systemctl and journalctl must be the host's own, so nothing is added to the path.
      text = ''
        ${prelude}
        exec "''${elevate[@]}" ${lib.getExe awqdeploy}${options} ${name} "$@"
      '';
    });

  # Nix evaluates and builds as whoever calls it; only what changes the host is root's.
  elevated = ''
    elevate=()
    case " $* " in
      *" --dry-run "* | *" --help "* | *" -h "*) ;;
      *) [ "$(id -u)" = 0 ] || elevate=(sudo --) ;;
    esac
  '';
  unelevated = "elevate=()";
in
{
  default = app awqdeploy.meta.description awqdeploy;
}
// lib.mapAttrs verb {
  deploy = {
    description = "Activate a profile, prove it, and go back if that fails";
    options = " --runtimes ${runtimes}";
    # The variable keeps Nix's collector away until the deployment holds the environment itself; sudo drops it.
    prelude = elevated + "export AWQDEPLOY_RUNTIMES=${runtimes}";
  };
  rehearse = {
    description = "See a migration and its rollback here, without GPU, root or systemd";
    prelude = unelevated;
  };
  rollback = {
    description = "Return to a generation that is proven";
    prelude = elevated;
  };
  validate = {
    description = "Validate what serves now: API, answers, speed";
    prelude = unelevated;
  };
}
