# What must be true of the module, by name. The module alone is evaluated, with as much of NixOS as it touches: the whole of
# NixOS takes a minute, and would prove nothing more about it.
{
  awqdeploy,
  facts,
  lib,
  module,
  pkgs,
}:
let
  inherit (lib) mkOption types;
  any =
    default:
    mkOption {
      type = types.anything;
      inherit default;
    };
  list = mkOption {
    type = types.listOf types.anything;
    default = [ ];
  };
  nixos.options = {
    assertions = list;
    environment.etc = mkOption { type = types.attrsOf types.anything; };
    environment.systemPackages = list;
    hardware = any { };
    networking.firewall.allowedTCPPorts = list;
    systemd.packages = list;
    systemd.services = mkOption {
      type = types.attrsOf types.anything;
      default = { };
    };
    systemd.tmpfiles.settings = mkOption { type = types.attrsOf types.anything; };
  };
  evaluateOn =
    host: settings:
    lib.evalModules {
      specialArgs = { inherit pkgs; };
      modules = [
        module
        nixos
        host
        { services.awqdeploy = settings; }
      ];
    };
  evaluate = settings: (evaluateOn { } settings).config;
  # The messages of the assertions that do not hold.
  complaintsOn =
    host: settings:
    map (a: a.message) (lib.filter (a: !a.assertion) (evaluateOn host settings).config.assertions);
  complaints = complaintsOn { };
  complainsOf =
    word: found: lib.length found == 1 && builtins.match ".*${word}.*" (lib.last found) != null;
  fails = value: !(builtins.tryEval (builtins.deepSeq value null)).success;

  deployed = {
    enable = true;
    active = "awq";
    fallback = "gptq";
    inherit facts;
  };
  host = evaluate deployed;
  own = {
    service = "vllm";
    model = {
      repo = "owner/name";
      path = "/srv/models/mine";
      served-name = "mine";
    };
    runtime.vllm = "0.26.0";
    limits.max-model-len = 4096;
  };
  refuses = profile: fails (evaluate { profiles.mine = profile; }).services.awqdeploy.profiles;
  driver = version: {
    hardware = {
      graphics.enable = true;
      nvidia.package = { inherit version; };
    };
  };

  claims = {
    "it is off by default" = !(evaluate { }).services.awqdeploy.enable;
    "off, it does nothing" = (evaluate { }).assertions == [ ] && (evaluate { }).systemd.services == { };
    "the program is on the path" = host.environment.systemPackages == [ awqdeploy ];
    "the profiles are in /etc" = host.environment.etc.awqdeploy.source == ../profiles;
    "the state directory is made" = host.systemd.tmpfiles.settings.awqdeploy ? "/var/lib/awqdeploy";
    "a sound configuration is not complained about" = complaints deployed == [ ];
    "without an active profile nothing is deployed" =
      complaints { enable = true; } == [ ] && (evaluate { enable = true; }).systemd.services == { };
    "the service, its recovery and its GPUs are started at boot" =
      lib.all (name: host.systemd.services.${name}.wantedBy == [ "multi-user.target" ])
        [
          "vllm"
          "awqdeploy-recover-vllm"
          "awqdeploy-gpu-ready"
          "awqdeploy-activate"
        ];
    "a switch does not restart what serves" = !host.systemd.services.vllm.restartIfChanged;
    "the firewall stays shut" = host.networking.firewall.allowedTCPPorts == [ ];
    "the firewall opens when asked" =
      (evaluate (deployed // { openFirewall = true; })).networking.firewall.allowedTCPPorts == [ 8000 ];
    "own profiles are options" =
      complaints (
        deployed
        // {
          active = "mine";
          profiles.mine = own;
        }
      ) == [ ];

    "an unknown profile is refused" = complainsOf "no profile `nope`" (
      complaints (
        deployed
        // {
          active = "nope";
          fallback = null;
        }
      )
    );
    "a fallback to itself is refused" = complainsOf "the active profile itself" (
      complaints (deployed // { fallback = "awq"; })
    );
    "profiles of different services are refused" = complainsOf "different services" (
      complaints (
        deployed
        // {
          active = "mine";
          profiles.mine = own // {
            service = "other";
          };
        }
      )
    );
    "missing facts are refused" = complainsOf "awqdeploy facts" (
      complaints (deployed // { facts = null; })
    );
    "profiles outside of the store are refused" = complainsOf "without quotes" (complaints {
      enable = true;
      directory = "/srv/profiles";
    });
    "weights in the store are refused" = complainsOf "do not belong" (
      complaints (
        deployed
        // {
          profiles.mine = lib.recursiveUpdate own { model.path = "${builtins.storeDir}/weights"; };
        }
      )
    );
    "a missing driver is refused" = complainsOf "run/opengl-driver" (
      complaintsOn { hardware.graphics.enable = false; } deployed
    );
    "an old driver is refused" = complainsOf "580 or newer" (complaintsOn (driver "570.1") deployed);
    "a new driver is not" = complaintsOn (driver "580.65") deployed == [ ];

    "a misspelt option is refused" = fails (evaluate { actve = "awq"; }).services.awqdeploy.active;
    "a misspelt key of a profile is refused" = refuses (own // { modle = { }; });
    "a misspelt inner key is refused" = refuses (lib.recursiveUpdate own { limits.max-modl-len = 1; });
    "a missing key is refused" = refuses (removeAttrs own [ "runtime" ]);
    "a wrong type is refused" = refuses (lib.recursiveUpdate own { limits.max-model-len = "8k"; });
    "a wrong choice is refused" = refuses (lib.recursiveUpdate own { runtime.device = "tpu"; });
  };
in
{
  untrue = lib.attrNames (lib.filterAttrs (_claim: holds: !holds) claims);
  claims = lib.length (lib.attrNames claims);
  units = lib.last host.systemd.packages;
  inherit (evaluateOn { } { }) options;
}
