# The packages and builders of nixpkgs that the flake uses, made of the host's programs.
{ lib, host }:
let
  system = "x86_64-linux";

  # Attributes that Nix needs to see but the builder does not.
  apart = [
    "cargoLock"
    "inputsFrom"
    "meta"
    "packages"
    "passthru"
  ];
  mkDerivation =
    attributes:
    derivation (
      removeAttrs attributes apart
      // {
        name = attributes.name or "${attributes.pname}-${attributes.version}";
        inherit system;
        builder = "/bin/bash";
        args = [ ./builder.sh ];
        PATH = host.path;
      }
    )
    // attributes.passthru or { }
    // {
      meta = attributes.meta or { };
      version = attributes.version or "";
    };
  runCommand =
    name: attributes: buildCommand:
    mkDerivation (attributes // { inherit name buildCommand; });

  # A program that the host already has on its path (or that only evaluation asks for).
  hostProgram = name: runCommand "host-${name}" { meta.mainProgram = name; } "mkdir -p $out/bin";

  # /crates is a sandbox path: the folder in which `cargo fetch` keeps the packed crates.
  vendor =
    lockFile:
    let
      crates = lib.filter (crate: crate ? checksum) (lib.importTOML lockFile).package;
      line = crate: "${crate.checksum} ${crate.name}-${crate.version}\n";
    in
    runCommand "vendored-crates" { list = lib.concatStringsSep "" (map line crates); } ''
      mkdir $out
      while read -r checksum crate; do
        echo "$checksum  /crates/$crate.crate" | sha256sum --check --quiet
        tar xzf /crates/$crate.crate -C $out
        printf '{"files":{},"package":"%s"}' $checksum > $out/$crate/.cargo-checksum.json
      done < <(printf %s "$list")
    '';
  # Quick to build: a test wants to see the flake work, not the program run fast.
  cargo = lockFile: {
    CARGO_PROFILE_RELEASE_OPT_LEVEL = "0";
    CARGO_PROFILE_RELEASE_LTO = "off";
    CARGO_PROFILE_RELEASE_CODEGEN_UNITS = "16";
    toolchain = host.rustc;
    crates = vendor lockFile;
    configurePhase = ''
      mkdir .cargo
      printf '[source.crates-io]\nreplace-with = "vendored"\n[source.vendored]\ndirectory = "%s"\n' $crates > .cargo/config.toml
      export RUSTFLAGS="--remap-path-prefix=$crates=/crates --remap-path-prefix=$PWD=/build"
    '';
    buildPhase = "cargo build --release --offline --locked -j $NIX_BUILD_CORES";
  };
  # All that the program depends on, compiled apart: an edit to the program does not compile it again.
  dependencies =
    lockFile:
    let
      manifest = dirOf lockFile + "/Cargo.toml";
      listed = lib.importTOML manifest;
      named =
        kind: folder: map (target: target.path or "${folder}/${target.name}.rs") (listed.${kind} or [ ]);
      targets = named "bench" "benches" ++ named "example" "examples" ++ named "test" "tests";
    in
    mkDerivation (
      cargo lockFile
      // {
        name = "dependencies";
        src = runCommand "manifest" { inherit targets; } ''
          mkdir -p $out/src
          cp ${manifest} $out/Cargo.toml
          cp ${lockFile} $out/Cargo.lock
          : > $out/src/lib.rs
          for target in src/main.rs $targets; do
            mkdir -p $out/$(dirname $target)
            echo 'fn main() {}' > $out/$target
          done
        '';
        installPhase = "mv target $out";
      }
    );
  buildRustPackage =
    attributes:
    let
      inherit (attributes.cargoLock) lockFile;
    in
    mkDerivation (
      cargo lockFile
      // {
        compiled = dependencies lockFile;
        preBuild = "cp -r --preserve=mode,timestamps $compiled target; chmod -R u+w target";
        installPhase = "install -D -t $out/bin target/release/${attributes.pname}";
      }
      // attributes
    );

  installShellFiles = runCommand "install-shell-files" { hook = ./install-shell-files.sh; } ''
    mkdir -p $out/nix-support
    cp $hook $out/nix-support/setup-hook
  '';
  # The wheels that the tests make are in /wheels; all others come from the index of this machine.
  fetchurl =
    {
      url,
      sha256,
      name,
    }:
    derivation {
      inherit name system;
      builder = "builtin:fetchurl";
      url =
        if builtins.elem name host.wheels then
          "file:///wheels/${name}"
        else
          builtins.replaceStrings [ "mirror://pypi/" ] [ host.mirror ] url;
      outputHashMode = "flat";
      outputHashAlgo = "sha256";
      outputHash = sha256;
      preferLocalBuild = true;
    };

  interpreter =
    path:
    runCommand "host-python" { passthru.interpreter = path; } ''
      mkdir -p $out/bin
      ln -s ${path} $out/bin/python3
    '';

  # The unpacked Nix brings one that runs anywhere.
  patchelf = runCommand "host-patchelf" { } ''
    mkdir -p $out/bin
    ln -s ${host.tool}/root/usr/bin/patchelf $out/bin/patchelf
  '';

  writeShellApplication =
    {
      name,
      text,
      runtimeInputs ? [ ],
    }:
    runCommand name
      {
        meta.mainProgram = name;
        script = ''
          #!/bin/bash
          set -o errexit -o nounset -o pipefail
          export PATH="${lib.makeBinPath runtimeInputs}:$PATH"
          ${text}
        '';
      }
      ''
        mkdir -p $out/bin
        printf %s "$script" > $out/bin/$name
        bash -n $out/bin/$name
        chmod +x $out/bin/$name
      '';

  # A script that sets up nothing: `writeShellApplication` adds strictness and a path.
  writeShellScriptBin =
    name: script:
    runCommand name
      {
        meta.mainProgram = name;
        script = "#!/bin/bash\n${script}";
      }
      ''
        mkdir -p $out/bin
        printf %s "$script" > $out/bin/$name
        chmod +x $out/bin/$name
      '';

  # There is no NixOS to boot: the machine of a test is evaluated, and its script compiled.
  runNixOSTest =
    test:
    let
      read = test {
        inherit lib;
        pkgs = packages;
      };
      machine = lib.evalModules {
        specialArgs.pkgs = packages;
        modules = [
          read.nodes.machine
          ./nixos.nix
        ];
      };
    in
    runCommand "vm-evaluated"
      {
        machine = machine.config.system.build.toplevel;
        script = read.testScript;
      }
      ''
        printf %s "$script" > script.py
        /usr/bin/python3.11 -m py_compile script.py
        touch $out
      '';

  packages = {
    inherit
      fetchurl
      installShellFiles
      lib
      patchelf
      runCommand
      writeShellApplication
      writeShellScriptBin
      ;
    testers = { inherit runNixOSTest; };
    python3 = interpreter "/usr/bin/python3.11";
    runtimeShell = "/bin/bash";
    # Written by Python, which reads what it wrote once more.
    formats.toml = _: {
      generate =
        name: value:
        runCommand name
          {
            json = builtins.toJSON value;
            script = ./toml.py;
          }
          ''
            /usr/bin/python3.11 $script "$json" > $out
          '';
    };
    pkgs = packages;
    callPackage =
      file: overrides:
      let
        function = import file;
      in
      function (builtins.intersectAttrs (builtins.functionArgs function) packages // overrides);
    mkShell = attributes: runCommand "shell" attributes "touch $out";
    rustPlatform = { inherit buildRustPackage; };
    stdenv = {
      buildPlatform.canExecute = platform: platform.system == system;
      hostPlatform = { inherit system; };
      # The host's own loader, in another place than programs of wheels ask for: they must be patched.
      cc = hostProgram "cc" // {
        bintools.dynamicLinker = "${runCommand "host-loader" { }
          "cp -L --no-preserve=mode /lib64/ld-linux-x86-64.so.2 $out; chmod +x $out"
        }";
        cc.lib = hostProgram "libstdc++";
      };
    };
  }
  // builtins.mapAttrs (_name: interpreter) host.pythons
  // lib.genAttrs [ "clippy" "jq" "kmod" "nvidia-modprobe" "rustfmt" "uv" ] hostProgram;
in
packages
