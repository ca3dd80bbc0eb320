# One service of a host: what its options say, and what NixOS is told for it.
{
  config,
  lib,
  pkgs,
  package,
  # The instance's name; null for the options of `services.awqdeploy` itself.
  name,
  # Its options.
  cfg,
}:
let
  at = "services.awqdeploy" + lib.optionalString (name != null) ".instances.${name}";
  suffix = lib.optionalString (name != null) "-${name}";
  root = "/var/lib/awqdeploy" + lib.optionalString (name != null) "/instances/${name}";

  # A set without what was not set.
  given =
    value:
    if builtins.isAttrs value then
      lib.filterAttrs (_: inner: inner != null && inner != { }) (lib.mapAttrs (_: given) value)
    else
      value;
  inStore = path: path != null && lib.hasPrefix builtins.storeDir (toString path);
  isOurs = path: builtins.isPath path || inStore path;

  # Nothing outside of the store can be read while NixOS is evaluated; an assertion says so.
  files = lib.optionalAttrs (isOurs cfg.directory) (builtins.readDir cfg.directory);
  written = lib.optionalAttrs (isOurs cfg.directory) (
    import ./profiles.nix { inherit lib; } cfg.directory
  );

  deployed = lib.filter (profile: profile != null) [
    cfg.active
    cfg.fallback
  ];
  # What is said of the service as a whole goes before what its profiles say.
  ofService = given {
    inherit (cfg) service;
    listen.port = cfg.port;
    vllm.environment.CUDA_VISIBLE_DEVICES =
      if cfg.gpus == null then null else lib.concatMapStringsSep "," toString cfg.gpus;
  };
  options = lib.mapAttrs (_: given) cfg.profiles;
  profiles = lib.mapAttrs (
    profile: said:
    lib.recursiveUpdate (lib.recursiveUpdate (written.${profile} or { }) said) (
      lib.optionalAttrs (lib.elem profile deployed) ofService
    )
  ) (written // options);
  # Whose text is another than their file's.
  changed = lib.filter (
    profile: options ? ${profile} || (ofService != { } && lib.elem profile deployed)
  ) (lib.attrNames profiles);

  # What /etc/awqdeploy is.
  toml = pkgs.formats.toml { };
  folder =
    if changed == [ ] then
      cfg.directory
    else
      pkgs.runCommand "awqdeploy-profiles" { } (
        "cp -r --no-preserve=mode ${cfg.directory} $out\n"
        + lib.concatMapStrings (
          profile:
          "cp --remove-destination ${
            toml.generate "${profile}.toml" profiles.${profile}
          } $out/${profile}.toml\n"
        ) changed
      );

  found = lib.filter (profile: profiles ? ${profile}) deployed;
  there = map (profile: profiles.${profile}) found;
  active = profiles.${cfg.active} or { };
  service = active.service or "vllm";
  isOnGpu = profile: profile.runtime.device or "cuda" == "cuda";
  onGpu = lib.any isOnGpu there;
  address = {
    host = active.listen.host or "127.0.0.1";
    port = active.listen.port or 8000;
  };

  # The GPUs that the service may use: null for all, as for whatever cannot be told here.
  gpusOf =
    profile:
    let
      listed = profile.parallelism.gpus or null;
      said =
        if listed == null then
          profile.vllm.environment.CUDA_VISIBLE_DEVICES or null
        else
          lib.concatMapStringsSep "," toString listed;
      words = lib.splitString "," (lib.replaceStrings [ " " ] [ "" ] said);
      isOne = word: builtins.match "[0-9]+|GPU-[0-9a-f-]+" word != null;
    in
    if said != null && lib.all isOne words then words else null;
  gpus =
    let
      each = map gpusOf (lib.filter isOnGpu there);
    in
    if lib.any (one: one == null) each then null else lib.unique (lib.concatLists each);

  vllm = import ./runtimes.nix {
    inherit pkgs;
    inherit (cfg) directory;
    inherit profiles;
  };
  runtimesOption = lib.optionals (cfg.runtimes != null) [
    "--runtimes"
    "${cfg.runtimes}"
  ];
  estimateOption = lib.optional cfg.acceptEstimate "--accept-estimate";
  shape = "${cfg.directory}/shapes/${cfg.active}";
  # The same text as on every other distribution, for this host's facts. What does not fit is refused here.
  render = [
    (lib.getExe package)
    "--root"
    root
    "--profiles"
    "${folder}"
  ]
  ++ runtimesOption
  ++ [
    "units"
    cfg.active
    "--facts"
    "${cfg.facts}"
  ]
  ++ estimateOption
  ++ lib.optionals (builtins.pathExists shape) [
    "--checkpoint"
    shape
    "--headers-only"
  ];

  # What a person runs: it knows where this service is kept, and what Nix has built for it.
  program = pkgs.runCommand "awqdeploy${suffix}" { meta.mainProgram = "awqdeploy${suffix}"; } ''
    mkdir -p $out/bin
    ${lib.optionalString (name == null) "ln -s ${package}/share $out/share"}
    cat > $out/bin/awqdeploy${suffix} <<'END'
    #!${pkgs.runtimeShell}
    ${lib.optionalString (name != null) ''
      export AWQDEPLOY_ROOT=''${AWQDEPLOY_ROOT-${root}}
      export AWQDEPLOY_PROFILES=''${AWQDEPLOY_PROFILES-/etc/awqdeploy${suffix}}
    ''}
    ${lib.optionalString (
      cfg.runtimes != null
    ) "export AWQDEPLOY_RUNTIMES=\${AWQDEPLOY_RUNTIMES-${cfg.runtimes}}"}
    exec ${lib.getExe package} "$@"
    END
    chmod +x $out/bin/awqdeploy${suffix}
  '';

  nvidia = config.hardware.nvidia or { };
  hasDriver =
    nvidia.enabled or false || lib.elem "nvidia" (config.services.xserver.videoDrivers or [ ]);
  driver = nvidia.package.version or null;

  isWeights =
    file:
    lib.any (ending: lib.hasSuffix ending file) [
      ".bin"
      ".gguf"
      ".pt"
      ".pth"
      ".safetensors"
    ];
  isName = profile: builtins.match "[A-Za-z0-9_][A-Za-z0-9._-]*" profile != null;
  missing =
    profile:
    lib.filter (key: lib.attrByPath key null profile == null) [
      [ "service" ]
      [
        "model"
        "repo"
      ]
      [
        "model"
        "served-name"
      ]
      [
        "runtime"
        "vllm"
      ]
    ];
  isLocal = host: lib.hasPrefix "127." host || host == "::1";

  # Of what is written here, whether it is deployed or not.
  ofProfiles =
    lib.mapAttrsToList (profile: said: {
      assertion = !inStore (said.model.path or null);
      message = "${at}.profiles.${profile}.model.path is in the Nix store, where 40 GB of weights do not belong; write it as a string: \"/srv/models/${profile}\"";
    }) profiles
    ++ lib.concatLists (
      lib.mapAttrsToList (
        profile: said:
        lib.mapAttrsToList (key: file: {
          assertion = !inStore file;
          message = "${at}.profiles.${profile}.secrets.${key} is in the Nix store, which every user of this host can read; write the path on the host as a string: \"/etc/awqdeploy-secrets/${key}\"";
        }) (said.secrets or { })
      ) profiles
    )
    ++ lib.mapAttrsToList (profile: _: {
      assertion = missing profiles.${profile} == [ ];
      message = "${at}.profiles.${profile} lacks ${
        lib.concatMapStringsSep ", " (key: "`${lib.concatStringsSep "." key}`") (
          missing profiles.${profile}
        )
      }, which no file ${profile}.toml of the directory says either";
    }) options;

  # Of what a switch deploys: what could not come to a good end.
  ofDeployed =
    lib.concatMap (profile: [
      {
        assertion = isName profile;
        message = "${at}: `${profile}` is no name of a profile";
      }
      {
        assertion = profiles ? ${profile};
        message = "${at}: there is no profile `${profile}`; there are ${lib.concatStringsSep ", " (lib.attrNames profiles)}";
      }
      {
        assertion =
          !(profiles ? ${profile}) || builtins.pathExists (cfg.directory + "/locks/${profile}.toml");
        message = "${at}: the model of `${profile}` is not locked, so that nothing could be deployed: `awqdeploy lock ${profile}` where the profiles are, and `git add locks`";
      }
    ]) deployed
    ++ lib.concatMap (
      profile:
      let
        inherit (profiles.${profile}) runtime;
        lock = vllm.nameOf profile runtime;
      in
      lib.optionals (vllm.built runtime) [
        {
          assertion = builtins.pathExists (vllm.lockOf lock);
          message = "${at}: ${lock} is not locked: there is no runtimes/${lock}.toml in the directory, or git does not know it. `awqdeploy lock ${profile} --runtime` (or `nix run .#lock -- ${profile} --runtime`) makes it; then `git add runtimes`";
        }
        {
          assertion = cfg.runtimes != null;
          message = "${at}.runtimes is null, and nothing on NixOS could install ${lock}: leave it unset, or name the interpreter of a vLLM that is on the host as `runtime.python`";
        }
      ]
    ) found
    ++ [
      {
        assertion = cfg.active != cfg.fallback;
        message = "${at}.fallback is the active profile itself, `${cfg.active}`: name another, or leave it out";
      }
      {
        assertion = lib.all (profile: profile.service or null == service) there;
        message = "${at}: `${cfg.active}` and `${toString cfg.fallback}` are of different services, so that neither can replace the other: give both the same `service`";
      }
      {
        assertion = cfg.facts != null;
        message = "${at}.facts is not set, and what fits is not known without: run `awqdeploy facts > facts.json` on the host, and name that file";
      }
      {
        assertion = cfg.facts == null || isOurs cfg.facts;
        message = "${at}.facts is `${toString cfg.facts}`, outside of the Nix store, where nothing can be read while the system is built: copy it beside your configuration, and write it as a path, without quotes: `./facts.json`";
      }
      {
        assertion = !onGpu || hasDriver;
        message = "${at}: `${cfg.active}` needs an NVIDIA driver, and none is configured: set `services.xserver.videoDrivers = [ \"nvidia\" ]`, without an X server too";
      }
      {
        assertion = !onGpu || (config.hardware.graphics.enable or (config.hardware.opengl.enable or true));
        message = "${at}: `${cfg.active}` needs the NVIDIA driver's libraries in /run/opengl-driver: set `hardware.graphics.enable = true`";
      }
      {
        assertion = !onGpu || driver == null || !lib.versionOlder driver "580";
        message = "${at}: vLLM's CUDA 13 wheels need an NVIDIA driver of 580 or newer, and `hardware.nvidia.package` is ${toString driver}";
      }
    ];
in
{
  inherit
    address
    at
    gpus
    onGpu
    program
    service
    ;
  isDeployed = cfg.active != null;
  # vLLM for all that could be deployed.
  runtimes = vllm.package;

  assertions = [
    {
      assertion = isOurs cfg.directory;
      message = "${at}.directory is `${toString cfg.directory}`, outside of the Nix store, so what is deployed could change without a rebuild; write it as a path, without quotes: `./awqdeploy`";
    }
    {
      assertion = !lib.any isWeights (lib.attrNames files);
      message = "${at}.directory has model weights in it, which would be copied into the Nix store; move them to /srv/models, and name that folder as `model.path`";
    }
    {
      assertion = name == null || isName name;
      message = "${at}: a name of letters, digits, `-`, `_` and `.`, please: it becomes the name of files and units";
    }
    {
      assertion = cfg.active != null || cfg.fallback == null;
      message = "${at}.fallback is set, and `active` is not: nothing would be deployed";
    }
  ]
  ++ ofProfiles
  ++ lib.optionals (cfg.active != null) ofDeployed;

  warnings =
    lib.optional (cfg.active != null && cfg.openFirewall && isLocal address.host)
      "${at}.openFirewall opens port ${toString address.port}, and `${cfg.active}` listens on ${address.host} alone: nobody can reach it from elsewhere. Set its `listen.host`, or let a proxy listen";

  # Made of these by the module, which has all units in one package: NixOS takes a unit's name from one only.
  units = "${lib.escapeShellArgs render} --output \"$PWD/${service}\"\ncp ${service}/* $out/lib/systemd/system/\n";

  etc."awqdeploy${suffix}".source = folder;

  # Generations, models and evidence outlive every system generation, so they are not in the store.
  folders = [ root ] ++ lib.optional (name != null) (dirOf root);

  # `before` are the activations that this one waits for.
  activation = units: before: {
    "awqdeploy-activate${suffix}" = {
      description = "Deploy what this system declares";
      wantedBy = [ "multi-user.target" ];
      wants = [ "network-online.target" ];
      # At boot what is proven serves first.
      after = [
        "network-online.target"
        "${service}.service"
      ]
      ++ before;
      # Its exit status is how the deployment ended: what failed is not tried again before something else is declared.
      script = "exec ${
        lib.escapeShellArgs (
          [
            (lib.getExe package)
            "--root"
            root
            "--profiles"
            "${folder}"
          ]
          ++ runtimesOption
          ++ [
            "apply"
            cfg.active
            "--units"
            "${units}/lib/systemd/system"
          ]
          ++ estimateOption
          ++ lib.optionals (cfg.fallback != null) [
            "--fallback"
            cfg.fallback
          ]
        )
      }";
      serviceConfig = {
        Type = "oneshot";
        RemainAfterExit = true;
        # It may have to fetch the model first.
        TimeoutStartSec = "infinity";
      };
    };
  };
  activationName = "awqdeploy-activate${suffix}.service";

  ports = lib.optional cfg.openFirewall address.port;
}
