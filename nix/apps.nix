# `nix run .#VERB -- …` is `awqdeploy VERB …`, with the tools that the verb calls.
{
  lib,
  awqdeploy,
  uv,
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
      tools ? [ ],
    }:
    app description (writeShellApplication {
      name = "awqdeploy-${name}";
      # systemctl and journalctl must be the host's own, so they are not among the tools.
      runtimeInputs = [ awqdeploy ] ++ tools;
      text = ''exec awqdeploy ${name} "$@"'';
    });
in
{
  default = app awqdeploy.meta.description awqdeploy;
}
// lib.mapAttrs verb {
  deploy = {
    description = "Activate a profile, prove it, and go back if that fails";
    # It installs vLLM from the locked hashes.
    tools = [ uv ];
  };
  rehearse.description = "See a migration and its rollback here, without GPU, root or systemd";
  rollback.description = "Return to a generation that is proven";
  validate.description = "Validate what serves now: API, answers, speed";
}
