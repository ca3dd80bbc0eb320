# NixOS: which profiles there are, which shall serve, and the units that awqdeploy renders for them. What serves is awqdeploy's
# to decide: a switch asks it to deploy, and what does not pass its validation is not left to serve.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  cfg = config.services.awqdeploy;
  inherit (lib) mkOption types;

  instanceOf =
    name: cfg:
    import ./instance.nix {
      inherit
        cfg
        config
        lib
        name
        pkgs
        ;
      inherit (config.services.awqdeploy) package;
    };
  optionsOf =
    name: cfg:
    import ./instance-options.nix {
      inherit lib;
      inherit (instanceOf name cfg) runtimes;
    };

  instances = [ (instanceOf null cfg) ] ++ lib.mapAttrsToList instanceOf cfg.instances;
  deployed = lib.filter (one: one.isDeployed) instances;
  # Each with those that come after it.
  pairs = lib.concatLists (
    lib.imap1 (place: one: map (other: { inherit one other; }) (lib.drop place deployed)) deployed
  );
  onGpu = lib.any (one: one.onGpu) deployed;

  # All in one package: NixOS takes a unit's name from one only, and they share the one that makes GPUs ready.
  units = pkgs.runCommand "awqdeploy-units" { } (
    "mkdir -p $out/lib/systemd/system\n" + lib.concatMapStrings (one: one.units) deployed
  );

  # A unit that the package has: NixOS adds what its [Install] section would have asked for, and a path.
  wanted = wantedBy: path: {
    overrideStrategy = "asDropin";
    inherit path wantedBy;
    # A switch must not restart what awqdeploy has proven; it is awqdeploy that replaces it.
    restartIfChanged = false;
  };
  boot = [ "multi-user.target" ];

  # Two of them that may run at the same time: each on GPUs of its own, which both name.
  isApart =
    { one, other }:
    one.gpus != null
    && other.gpus != null
    && one.onGpu
    && other.onGpu
    && lib.intersectLists one.gpus other.gpus == [ ];
  isUuid = gpu: lib.hasPrefix "GPU-" gpu;
  sameKind =
    { one, other }:
    lib.all isUuid (one.gpus ++ other.gpus) || !lib.any isUuid (one.gpus ++ other.gpus);
  isAny = host: host == "0.0.0.0" || host == "::";
  shown = gpus: if gpus == null then "all GPUs" else "the GPUs ${lib.concatStringsSep ", " gpus}";
  betweenTwo =
    { one, other }@pair:
    [
      {
        assertion = one.service != other.service;
        message = "${one.at} and ${other.at} are both the service `${one.service}`: give one of them another `service`";
      }
      {
        assertion =
          one.address.port != other.address.port
          || (one.address.host != other.address.host && !isAny one.address.host && !isAny other.address.host);
        message = "${one.at} and ${other.at} both listen on port ${toString one.address.port}: give one of them another `port`";
      }
      {
        assertion = !one.onGpu || !other.onGpu || isApart pair;
        message = "${one.at} would use ${shown one.gpus}, and ${other.at} ${shown other.gpus}: give each its own by `gpus`";
      }
      {
        assertion = !(isApart pair) || sameKind pair;
        message = "${one.at} and ${other.at} name their GPUs in two ways, so that nobody can tell whether they are the same: name all by number, or all by UUID";
      }
    ];
in
{
  # It may come with several inputs of one flake; and a Home Manager or nix-darwin that imports it is told so.
  _class = "nixos";
  key = "awqdeploy/nix/module.nix";

  options.services.awqdeploy = optionsOf null cfg // {
    enable = lib.mkEnableOption "awqdeploy, which deploys vLLM, proves it, and rolls back by itself";

    package = lib.mkPackageOption pkgs "awqdeploy" { };

    instances = mkOption {
      type = types.attrsOf (
        types.submodule (
          { name, config, ... }:
          {
            options = optionsOf name config // {
              service = mkOption {
                type = types.nullOr types.str;
                default = name;
                defaultText = lib.literalMD "the instance's name";
                description = "Name of the systemd unit, in place of what the deployed profiles say.";
              };
            };
          }
        )
      );
      default = { };
      description = ''
        Further services on this host, by name: each with profiles, a port and GPUs of its own. It has all options of
        `services.awqdeploy` but `enable` and `package`, is kept in `/var/lib/awqdeploy/instances/NAME`, and its command is
        `awqdeploy-NAME`. Those on GPUs of their own are deployed side by side.
      '';
    };
  };

  config = lib.mkIf cfg.enable (
    lib.mkMerge [
      {
        assertions = [
          {
            assertion = pkgs.stdenv.hostPlatform.system == "x86_64-linux";
            message = "services.awqdeploy: the locked vLLM wheels are for x86_64-linux, and this host is ${pkgs.stdenv.hostPlatform.system}";
          }
        ]
        ++ lib.concatMap (one: one.assertions) instances
        ++ lib.concatMap betweenTwo pairs;
        warnings = lib.concatMap (one: one.warnings) instances;

        environment.systemPackages = map (one: one.program) instances;
        environment.etc = lib.mkMerge (map (one: one.etc) instances);
        systemd.tmpfiles.settings.awqdeploy =
          lib.genAttrs (lib.concatMap (one: one.folders) instances)
            (_: {
              d = {
                user = "root";
                group = "root";
                mode = "0755";
              };
            });
        networking.firewall.allowedTCPPorts = lib.concatMap (one: one.ports) deployed;
      }

      (lib.mkIf (deployed != [ ]) {
        systemd.packages = [ units ];
        systemd.services = lib.mkMerge (
          lib.concatMap (one: [
            {
              ${one.service} = wanted (boot ++ lib.optional one.onGpu "awqdeploy-gpu-ready.service") [ ];
              "awqdeploy-recover-${one.service}" = wanted boot [ ];
            }
            (one.activation units (
              map (pair: pair.one.activationName) (
                lib.filter (pair: pair.other.at == one.at && !isApart pair) pairs
              )
            ))
          ]) deployed
          ++ [
            (lib.mkIf onGpu {
              awqdeploy-gpu-ready = wanted boot (
                [ pkgs.kmod ]
                ++ lib.optional (pkgs ? nvidia-modprobe) pkgs.nvidia-modprobe
                ++ lib.optional (
                  config.hardware.nvidia.package.bin or null != null
                ) config.hardware.nvidia.package.bin
              );
            })
          ]
        );
      })
    ]
  );
}
