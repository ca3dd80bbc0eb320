# As much of NixOS as the examples touch: what it would build, unless an assertion fails. Units are written as
# nixos/lib/systemd-lib.nix (generateUnits) and systemd-unit-options.nix write them.
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

  # One service as a unit: where it lies, and what starts it.
  unitOf =
    name: service:
    let
      known = [
        "after"
        "description"
        "overrideStrategy"
        "path"
        "restartIfChanged"
        "script"
        "serviceConfig"
        "wantedBy"
        "wants"
      ];
      strange = removeAttrs service known;
      value = one: if one == true then "true" else toString one;
      words =
        key: values: lib.optionalString (values != [ ]) "${key}=${lib.concatStringsSep " " values}\n";
      # NixOS adds these to each path. Here they are the host's.
      path = lib.concatMapStringsSep ":" (one: "${one}/bin") (service.path or [ ]);
      script = pkgs.writeShellScriptBin "${name}-start" "set -e\n\n${service.script}";
      text =
        "[Unit]\n"
        + lib.optionalString (service ? description) "Description=${service.description}\n"
        + words "After" (service.after or [ ])
        + words "Wants" (service.wants or [ ])
        + lib.optionalString (!(service.restartIfChanged or true)) "X-RestartIfChanged=false\n"
        + "[Service]\nEnvironment=\"PATH=${
          lib.optionalString (path != "") "${path}:"
        }/usr/bin:/usr/sbin\"\n"
        + lib.optionalString (service ? script) "ExecStart=${lib.getExe script}\n"
        + lib.concatStrings (
          lib.mapAttrsToList (key: one: "${key}=${value one}\n") (service.serviceConfig or { })
        );
      file =
        if service.overrideStrategy or "asDropinIfExists" == "asDropin" then
          "${name}.service.d/overrides.conf"
        else
          "${name}.service";
    in
    if strange != { } then
      throw "the stand-in for NixOS knows nothing of ${lib.concatStringsSep ", " (lib.attrNames strange)}"
    else
      ''
        mkdir -p $(dirname ${file})
        [ ! -e ${file} ] || { echo "the unit ${file} is there twice" >&2; exit 1; }
        cat > ${file} <<'END'
        ${text}END
      ''
      + lib.concatMapStrings (target: ''
        mkdir -p ${target}.wants
        ln -s ../${name}.service ${target}.wants/${name}.service
      '') (service.wantedBy or [ ]);
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
    warnings = list;
  };
  config.system.build.toplevel =
    if failed == [ ] then
      pkgs.runCommand "nixos-system"
        {
          unitPackages = config.systemd.packages;
          programs = config.environment.systemPackages;
        }
        (
          ''
            mkdir -p $out/etc/systemd/system
            for program in $programs; do echo $program >> $out/programs; done
            cd $out/etc/systemd/system
            # `ln` fails where two packages have a unit of one name, as NixOS' does.
            for package in $unitPackages; do ln -s $package/lib/systemd/system/* .; done
          ''
          + lib.concatStrings (lib.mapAttrsToList unitOf config.systemd.services)
        )
    else
      throw "Failed assertions: ${lib.concatMapStrings (one: "- ${one.message}\n") failed}";
}
