# NixOS: which profiles there are, which shall serve, and the units that awqdeploy renders for it. What serves is awqdeploy's
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

  # A set without what was not set.
  given =
    value:
    if builtins.isAttrs value then
      lib.filterAttrs (_: inner: inner != null && inner != { }) (lib.mapAttrs (_: given) value)
    else
      value;

  # Nothing outside of the store can be read while NixOS is evaluated; an assertion says so.
  files = lib.optionalAttrs ours (builtins.readDir cfg.directory);
  ours = builtins.isPath cfg.directory || inStore cfg.directory;
  written = lib.filterAttrs (name: kind: kind == "regular" && lib.hasSuffix ".toml" name) files;
  profiles =
    lib.mapAttrs' (name: _: {
      name = lib.removeSuffix ".toml" name;
      value = lib.importTOML (cfg.directory + "/${name}");
    }) written
    // lib.mapAttrs (_: given) cfg.profiles;
  names = lib.concatStringsSep ", " (lib.attrNames profiles);

  # What /etc/awqdeploy is: the directory, and the profiles that were written as options.
  toml = pkgs.formats.toml { };
  folder =
    if cfg.profiles == { } then
      cfg.directory
    else
      pkgs.runCommand "awqdeploy-profiles" { } (
        "cp -r --no-preserve=mode ${cfg.directory} $out\n"
        + lib.concatStrings (
          lib.mapAttrsToList (
            name: profile:
            "cp --remove-destination ${toml.generate "${name}.toml" (given profile)} $out/${name}.toml\n"
          ) cfg.profiles
        )
      );

  deployed = lib.filter (name: name != null) [
    cfg.active
    cfg.fallback
  ];
  service = profiles.${cfg.active}.service or "vllm";
  onGpu = lib.any (name: (profiles.${name}.runtime.device or "cuda") == "cuda") (
    lib.filter (name: profiles ? ${name}) deployed
  );

  # The same text as on every other distribution, for this host's facts. What does not fit is refused here.
  units =
    pkgs.runCommand "awqdeploy-units" { }
      "${lib.getExe cfg.package} --profiles ${folder} ${runtimesOption} units ${cfg.active} --facts ${cfg.facts} --output $out/lib/systemd/system";
  runtimesOption = lib.optionalString (cfg.runtimes != null) "--runtimes ${cfg.runtimes}";

  # A unit that the package has: NixOS adds what its [Install] section would have asked for, and a path.
  wanted = path: {
    overrideStrategy = "asDropin";
    wantedBy = [ "multi-user.target" ];
    # A switch must not restart what awqdeploy has proven; it is awqdeploy that replaces it.
    restartIfChanged = false;
    inherit path;
  };

  isWeights =
    name:
    lib.any (ending: lib.hasSuffix ending name) [
      ".bin"
      ".gguf"
      ".pt"
      ".pth"
      ".safetensors"
    ];
  inStore = path: path != null && lib.hasPrefix builtins.storeDir (toString path);
  driver = config.hardware.nvidia.package.version or null;
in
{
  options.services.awqdeploy = {
    enable = lib.mkEnableOption "awqdeploy, which deploys vLLM, proves it, and goes back by itself";

    package = lib.mkPackageOption pkgs "awqdeploy" { };

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
        Profiles written here instead of as files of the directory. The keys are those of a profile's file.
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
      default = null;
      example = lib.literalExpression "inputs.awqdeploy.packages.x86_64-linux.runtimes";
      description = ''
        vLLM as Nix has built it from the locks: the `runtimes` of the directory's flake. `null` installs the same wheels by
        uv, which then must be on the host.
      '';
    };

    openFirewall = mkOption {
      type = types.bool;
      default = false;
      description = ''
        Whether to let other machines reach the active profile's port. vLLM has no access control here: put a proxy in
        front of it.
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
          {
            assertion = ours;
            message = "services.awqdeploy.directory is `${toString cfg.directory}`, outside of the Nix store, so what is deployed could change without a rebuild; write it as a path, without quotes: `./awqdeploy`";
          }
          {
            assertion = !lib.any isWeights (lib.attrNames files);
            message = "services.awqdeploy.directory has model weights in it, which would be copied into the Nix store; move them to /srv/models, and name that folder as `model.path`";
          }
        ]
        ++ lib.mapAttrsToList (name: profile: {
          assertion = !inStore (profile.model.path or null);
          message = "services.awqdeploy.profiles.${name}.model.path is in the Nix store, where 40 GB of weights do not belong; write it as a string: \"/srv/models/${name}\"";
        }) profiles;

        environment.systemPackages = [ cfg.package ];
        environment.etc.awqdeploy.source = folder;

        # Generations, models and evidence outlive every system generation, so they are not in the store.
        systemd.tmpfiles.settings.awqdeploy."/var/lib/awqdeploy".d = {
          user = "root";
          group = "root";
          mode = "0755";
        };
      }

      (lib.mkIf (cfg.active != null) {
        assertions =
          map (name: {
            assertion = profiles ? ${name};
            message = "services.awqdeploy: there is no profile `${name}`; there are ${names}";
          }) deployed
          ++ [
            {
              assertion = cfg.active != cfg.fallback;
              message = "services.awqdeploy.fallback is the active profile itself, `${cfg.active}`: name another, or leave it out";
            }
            {
              assertion = lib.all (name: (profiles.${name}.service or null) == service) (
                lib.filter (name: profiles ? ${name}) deployed
              );
              message = "services.awqdeploy: `${cfg.active}` and `${toString cfg.fallback}` are of different services, so that neither can replace the other: give both the same `service`";
            }
            {
              assertion = cfg.facts != null;
              message = "services.awqdeploy.facts is not set, and what fits is not known without: run `awqdeploy facts > facts.json` on the host, and name that file";
            }
            {
              assertion = !onGpu || (config.hardware.graphics.enable or true);
              message = "services.awqdeploy: `${cfg.active}` needs the NVIDIA driver's libraries in /run/opengl-driver: set `hardware.graphics.enable = true` and `services.xserver.videoDrivers = [ \"nvidia\" ]`";
            }
            {
              assertion = !onGpu || driver == null || !lib.versionOlder driver "580";
              message = "services.awqdeploy: vLLM's CUDA 13 wheels need an NVIDIA driver of 580 or newer, and `hardware.nvidia.package` is ${toString driver}";
            }
          ];

        systemd.packages = [ units ];
        systemd.services = {
          ${service} = wanted [ ];
          "awqdeploy-recover-${service}" = wanted [ ];
          awqdeploy-activate = {
            description = "Deploy what this system declares";
            wantedBy = [ "multi-user.target" ];
            wants = [ "network-online.target" ];
            # At boot what is proven serves first.
            after = [
              "network-online.target"
              "${service}.service"
            ];
            path = [ pkgs.jq ];
            # It reads its own store path's name: another declaration is another attempt, and a reboot is none.
            script = ''
              export AWQDEPLOY_PROFILES=${folder}
              deploy() { ${lib.getExe cfg.package} ${runtimesOption} deploy "$1" --yes; }
              attempted=/var/lib/awqdeploy/declared
              declared="${units} ${lib.concatStringsSep " " deployed}"
              if [ "$(cat $attempted 2>/dev/null)" = "$declared" ]; then
                ${lib.getExe cfg.package} status --json | jq -e '.current.profile == "${cfg.active}"' >/dev/null && exit 0
                echo "${cfg.active} was tried, and another profile serves: see awqdeploy why" >&2
                exit 6
              fi
              ${lib.optionalString (cfg.fallback != null) ''
                ${lib.getExe cfg.package} generations --json \
                  | jq -e 'any(.generations[]; .profile == "${cfg.fallback}" and .standing != "unproven")' >/dev/null \
                  || deploy ${cfg.fallback}
              ''}
              echo "$declared" > $attempted
              deploy ${cfg.active}
            '';
            serviceConfig = {
              Type = "oneshot";
              RemainAfterExit = true;
              # It may have to fetch the model first.
              TimeoutStartSec = "infinity";
            };
          };
        }
        // lib.optionalAttrs onGpu {
          awqdeploy-gpu-ready = wanted (
            lib.optional (config.hardware.nvidia.package.bin or null != null) config.hardware.nvidia.package.bin
          );
        };

        networking.firewall.allowedTCPPorts = lib.mkIf cfg.openFirewall [
          (profiles.${cfg.active}.listen.port or 8000)
        ];
      })
    ]
  );
}
