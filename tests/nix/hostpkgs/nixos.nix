# As much of NixOS as the examples touch: what it would build, unless an assertion fails.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  inherit (lib) mkOption types;
  list = mkOption {
    type = types.listOf types.anything;
    default = [ ];
  };
  set = mkOption {
    type = types.attrsOf types.anything;
    default = { };
  };
  failed = lib.filter (one: !one.assertion) config.assertions;
in
{
  options = {
    assertions = list;
    boot.loader.systemd-boot.enable = mkOption {
      type = types.bool;
      default = false;
    };
    boot.kernelPackages = mkOption {
      type = types.anything;
      default.nvidiaPackages.production.version = "580.65";
    };
    deployment = set;
    environment.etc = set;
    environment.systemPackages = list;
    hardware = mkOption {
      type = types.anything;
      default = { };
    };
    networking.firewall.allowedTCPPorts = list;
    nixpkgs.config = set;
    services.xserver.videoDrivers = list;
    system.build = set;
    systemd.packages = list;
    systemd.services = set;
    systemd.tmpfiles.rules = list;
    systemd.tmpfiles.settings = set;
    virtualisation = set;
  };
  config.system.build.toplevel =
    if failed == [ ] then
      pkgs.runCommand "nixos-system" { units = config.systemd.packages; } "echo $units > $out"
    else
      throw "Failed assertions: ${lib.concatMapStrings (one: "- ${one.message}\n") failed}";
}
