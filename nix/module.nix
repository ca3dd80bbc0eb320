# NixOS: the program on the path, the profiles where it looks for them, a place for its state.
# It does not declare the service: which generation serves is awqdeploy's to decide, and to undo.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  cfg = config.services.awqdeploy;
  inStore = path: lib.hasPrefix "${builtins.storeDir}/" "${path}";
in
{
  options.services.awqdeploy = {
    enable = lib.mkEnableOption "awqdeploy, which deploys vLLM, proves it, and goes back by itself";

    package = lib.mkPackageOption pkgs "awqdeploy" { };

    profileDirectory = lib.mkOption {
      type = lib.types.path;
      default = "${cfg.package}/share/awqdeploy/profiles";
      defaultText = lib.literalExpression ''"''${config.services.awqdeploy.package}/share/awqdeploy/profiles"'';
      example = lib.literalExpression "./profiles";
      description = ''
        Folder of profiles and their locks, linked to {file}`/etc/awqdeploy`. Model weights do not
        belong into it: it becomes part of the Nix store.
      '';
    };
  };

  config = lib.mkIf cfg.enable {
    assertions = [
      {
        assertion = inStore cfg.profileDirectory;
        message = "services.awqdeploy.profileDirectory is `${cfg.profileDirectory}`, outside of the Nix store, so what is deployed could change without a rebuild; write it as a path, without quotes: `./profiles`";
      }
      {
        assertion = pkgs.stdenv.hostPlatform.system == "x86_64-linux";
        message = "services.awqdeploy.enable: the locked vLLM wheels are for x86_64-linux, and this host is ${pkgs.stdenv.hostPlatform.system}";
      }
    ];

    # To be dropped once the units are rendered when the system is built.
    warnings = [
      "services.awqdeploy: `awqdeploy deploy` writes its units to /etc/systemd/system, which NixOS keeps read-only; plan, lock, verify and rehearse work"
    ];

    environment.systemPackages = [ cfg.package ];
    environment.etc.awqdeploy.source = cfg.profileDirectory;

    # Generations, models and evidence outlive every system generation, so they are not in the store.
    systemd.tmpfiles.settings.awqdeploy."/var/lib/awqdeploy".d = {
      user = "root";
      group = "root";
      mode = "0755";
    };
  };
}
