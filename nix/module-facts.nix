# What must be true of the module, by name. The module alone is evaluated, with as much of NixOS as it touches: the whole of
# NixOS takes a minute, and would prove nothing more about it.
{
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
    environment.etc = mkOption {
      type = types.attrsOf types.anything;
      default = { };
    };
    environment.systemPackages = list;
    hardware = any { };
    networking.firewall.allowedTCPPorts = list;
    services.xserver.videoDrivers = list;
    systemd.packages = list;
    systemd.services = mkOption {
      type = types.attrsOf types.anything;
      default = { };
    };
    systemd.tmpfiles.settings = mkOption {
      type = types.attrsOf types.anything;
      default = { };
    };
    warnings = list;
  };
  # A host with a driver, as most are.
  driven.services.xserver.videoDrivers = [ "nvidia" ];
  evaluateOn =
    host: settings:
    lib.evalModules {
      class = "nixos";
      specialArgs = { inherit pkgs; };
      modules = [
        module
        # Twice, as where two inputs bring it.
        module
        nixos
        host
        { services.awqdeploy = settings; }
      ];
    };
  evaluate = settings: (evaluateOn driven settings).config;
  # The messages of the assertions that do not hold.
  complaintsOn =
    host: settings:
    map (a: a.message) (lib.filter (a: !a.assertion) (evaluateOn host settings).config.assertions);
  complaints = complaintsOn driven;
  complainsOf =
    word: found: lib.length found == 1 && builtins.match ".*${word}.*" (lib.last found) != null;
  fails = value: !(builtins.tryEval (builtins.deepSeq value null)).success;

  deployed = {
    enable = true;
    active = "awq";
    fallback = "gptq";
    directory = ../tests/nix/declared;
    inherit facts;
  };
  host = evaluate deployed;
  # The same with these options changed, at any depth.
  but = lib.recursiveUpdate deployed;
  profile = said: but { profiles.awq = said; };
  refuses = said: fails (evaluate (profile said)).services.awqdeploy.profiles;
  driver = version: {
    inherit (driven) services;
    hardware = {
      graphics.enable = true;
      nvidia.package = { inherit version; };
    };
  };
  activation = config: config.systemd.services.awqdeploy-activate.script;
  says = word: text: builtins.match ".*${word}.*" text != null;

  # Two services, each with a GPU pair of its own.
  instance = settings: removeAttrs (but settings) [ "enable" ];
  two = one: other: {
    enable = true;
    instances = {
      chat = instance (
        {
          gpus = [
            0
            1
          ];
          port = 8001;
        }
        // one
      );
      code = instance (
        {
          gpus = [
            2
            3
          ];
          port = 8002;
        }
        // other
      );
    };
  };
  side = evaluate (two { } { });

  claims = {
    "it is off by default" = !(evaluate { }).services.awqdeploy.enable;
    "off, it does nothing" = (evaluate { }).assertions == [ ] && (evaluate { }).systemd.services == { };
    "it is for NixOS alone" = fails (
      (lib.evalModules {
        class = "darwin";
        specialArgs = { inherit pkgs; };
        modules = [
          module
          nixos
        ];
      }).config.assertions
    );
    "the program is on the path" =
      map (one: one.meta.mainProgram) host.environment.systemPackages == [ "awqdeploy" ];
    "the profiles are in /etc" = host.environment.etc.awqdeploy.source == deployed.directory;
    "the state directory is made" = host.systemd.tmpfiles.settings.awqdeploy ? "/var/lib/awqdeploy";
    "a sound configuration is not complained about" =
      complaints deployed == [ ] && host.warnings == [ ];
    "without an active profile nothing is deployed" =
      complaints { enable = true; } == [ ] && (evaluate { enable = true; }).systemd.services == { };
    "the service, its recovery and its GPUs are started at boot" =
      lib.all (name: lib.elem "multi-user.target" host.systemd.services.${name}.wantedBy)
        [
          "vllm"
          "awqdeploy-recover-vllm"
          "awqdeploy-gpu-ready"
          "awqdeploy-activate"
        ];
    "the service is started by GPUs that are ready late" =
      lib.elem "awqdeploy-gpu-ready.service" host.systemd.services.vllm.wantedBy;
    "what makes GPUs ready has its programs" =
      lib.elem pkgs.nvidia-modprobe host.systemd.services.awqdeploy-gpu-ready.path
      && lib.elem pkgs.kmod host.systemd.services.awqdeploy-gpu-ready.path;
    "a switch does not restart what serves" = !host.systemd.services.vllm.restartIfChanged;
    "a switch asks for what is declared" =
      says "apply awq --units [^ ]+ --fallback gptq" (activation host)
      && says "--runtimes [^ ]+-awqdeploy-runtimes " (activation host);
    "an estimate is accepted where that is said" =
      !says "--accept-estimate" (activation host)
      && says "--accept-estimate" (
        activation (
          evaluate (but {
            acceptEstimate = true;
          })
        )
      );
    "the firewall stays shut" = host.networking.firewall.allowedTCPPorts == [ ];
    "the firewall opens when asked" =
      let
        open = evaluate (but {
          openFirewall = true;
          profiles.awq.listen.host = "0.0.0.0";
        });
      in
      open.networking.firewall.allowedTCPPorts == [ 8000 ] && open.warnings == [ ];
    "a firewall that opens a loopback address is warned of" = complainsOf "listens on 127.0.0.1 alone" (
      (evaluate (but {
        openFirewall = true;
      })).warnings
    );

    "a profile in options goes before its file, key by key" =
      let
        changed = evaluate (profile {
          limits.max-model-len = 8192;
        });
      in
      complaints (profile {
        limits.max-model-len = 8192;
      }) == [ ]
      && changed.environment.etc.awqdeploy.source != deployed.directory;
    "a profile can be options alone" =
      complaints (but {
        active = "gptq";
        fallback = null;
        directory = ../tests/nix/declared;
        profiles.gptq = {
          service = "vllm";
          model = {
            repo = "owner/name";
            path = "/srv/models/mine";
            served-name = "mine";
          };
          runtime.vllm = "0.32.0";
        };
      }) == [ ];
    "a file that is no profile breaks nothing" = complainsOf "no profile `other`; there are awq, gptq" (
      complaints (but {
        fallback = "other";
      })
    );

    "an unknown profile is refused" = complainsOf "no profile `nope`" (
      complaints (but {
        active = "nope";
        fallback = null;
      })
    );
    "a fallback to itself is refused" = complainsOf "the active profile itself" (
      complaints (but {
        fallback = "awq";
      })
    );
    "a fallback alone is refused" = complainsOf "nothing would be deployed" (
      complaints (but {
        active = null;
      })
    );
    "profiles of different services are refused" = complainsOf "different services" (
      complaints (profile {
        service = "other";
      })
    );
    "a profile without what it needs is refused" =
      complainsOf "lacks `service`, `model.repo`, `model.served-name`, `runtime.vllm`"
        (
          complaints (but {
            profiles.mine.limits.max-model-len = 1024;
          })
        );
    "a model that is not locked is refused" = complainsOf "awqdeploy lock mine" (
      complaints (but {
        fallback = null;
        active = "mine";
        profiles.mine = {
          service = "vllm";
          model = {
            repo = "owner/name";
            served-name = "mine";
          };
          runtime.vllm = "0.32.0";
        };
      })
    );
    "a vLLM that is not locked is refused" = complainsOf "vllm-0.31.0 is not locked" (
      complaints (profile {
        runtime.vllm = "0.31.0";
      })
    );
    "a vLLM for the host's interpreter that is not locked is refused" =
      complainsOf "vllm-0.31.0 is not locked"
        (
          complaints (profile {
            runtime.vllm = "0.31.0";
            runtime.python = "system";
          })
        );
    "a vLLM that nothing could install is refused" =
      lib.length (
        complaints (but {
          runtimes = null;
        })
      ) == 2
      &&
        complaints (but {
          runtimes = null;
          fallback = null;
          profiles.awq.runtime.python = "/srv/vllm/bin/python";
        }) == [ ]
      && complainsOf "nothing on NixOS could install" (
        complaints (but {
          runtimes = null;
          fallback = null;
          profiles.awq.runtime.python = "system";
        })
      );
    "missing facts are refused" = complainsOf "awqdeploy facts" (
      complaints (but {
        facts = null;
      })
    );
    "facts outside of the store are refused" = complainsOf "beside your configuration" (
      complaints (but {
        facts = "/etc/facts.json";
      })
    );
    "profiles outside of the store are refused" = complainsOf "without quotes" (complaints {
      enable = true;
      directory = "/srv/profiles";
    });
    "weights in the store are refused" = complainsOf "do not belong" (
      complaints (profile {
        model.path = "${builtins.storeDir}/weights";
      })
    );
    "a secret in the store is refused" = complainsOf "every user of this host can read" (
      complaints (profile {
        secrets.api-key-file = "${builtins.storeDir}/key";
      })
    );
    "a host without an NVIDIA driver is refused" =
      complainsOf "none is configured" (complaintsOn { } deployed)
      && complainsOf "none is configured" (
        complaintsOn { services.xserver.videoDrivers = [ "amdgpu" ]; } deployed
      )
      && complaintsOn { hardware.nvidia.enabled = true; } deployed == [ ];
    "a driver without its libraries is refused" = complainsOf "run/opengl-driver" (
      complaintsOn (driven // { hardware.graphics.enable = false; }) deployed
    );
    "an old driver is refused" = complainsOf "580 or newer" (complaintsOn (driver "570.1") deployed);
    "a new driver is not" = complaintsOn (driver "580.65") deployed == [ ];

    "several services are deployed side by side" =
      complaints (two { } { }) == [ ]
      && lib.all (name: side.systemd.services ? ${name}) [
        "chat"
        "code"
        "awqdeploy-recover-chat"
        "awqdeploy-activate-chat"
        "awqdeploy-activate-code"
      ]
      &&
        side.systemd.services.awqdeploy-activate-code.after == [
          "network-online.target"
          "code.service"
        ];
    "each has a root, profiles and a command of its own" =
      says "--root /var/lib/awqdeploy/instances/chat " side.systemd.services.awqdeploy-activate-chat.script
      && side.systemd.tmpfiles.settings.awqdeploy ? "/var/lib/awqdeploy/instances/code"
      && side.environment.etc.awqdeploy-chat.source != side.environment.etc.awqdeploy-code.source
      &&
        map (one: one.meta.mainProgram) side.environment.systemPackages == [
          "awqdeploy"
          "awqdeploy-chat"
          "awqdeploy-code"
        ];
    "services on the same GPU are refused" =
      complainsOf "would use the GPUs 0, 1, and .* the GPUs 1, 2"
        (
          complaints (
            two { } {
              gpus = [
                1
                2
              ];
            }
          )
        );
    "a service that may use all GPUs is refused beside another" = complainsOf "all GPUs" (
      complaints (two { } { gpus = null; })
    );
    "GPUs named in two ways are refused" = complainsOf "in two ways" (
      complaints (two { } { gpus = [ "GPU-0123-45" ]; })
    );
    "services on the same port are refused" = complainsOf "both listen on port 8001" (
      complaints (two { } { port = 8001; })
    );
    "services of one name are refused" = complainsOf "both the service `chat`" (
      complaints (two { } { service = "chat"; })
    );
    "an instance beside the service itself is one more" = complainsOf "all GPUs" (
      complaints (deployed // { instances.chat = (two { } { }).instances.chat; })
    );

    "a misspelt option is refused" = fails (evaluate { actve = "awq"; }).services.awqdeploy.active;
    "a misspelt key of a profile is refused" = refuses { modle = { }; };
    "a misspelt inner key is refused" = refuses { limits.max-modl-len = 1; };
    "a misspelt option of an instance is refused" =
      fails
        (evaluate (two { gpu = 1; } { })).systemd.services;
    "a wrong type is refused" = refuses { limits.max-model-len = "8k"; };
    "a wrong choice is refused" = refuses { runtime.device = "tpu"; };
  };
in
{
  untrue = lib.attrNames (lib.filterAttrs (_claim: holds: !holds) claims);
  claims = lib.length (lib.attrNames claims);
  # What one host takes its vLLM from, and its units.
  inherit (host.services.awqdeploy) runtimes;
  units = lib.last host.systemd.packages;
  inherit (evaluateOn { } { }) options;
  unitsOfTwo = lib.last side.systemd.packages;
}
