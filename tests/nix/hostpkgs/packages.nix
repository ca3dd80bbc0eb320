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
  buildRustPackage =
    attributes:
    mkDerivation (
      {
        # Quick to build: a test wants to see the flake work, not the program run fast.
        CARGO_PROFILE_RELEASE_OPT_LEVEL = "0";
        CARGO_PROFILE_RELEASE_LTO = "off";
        CARGO_PROFILE_RELEASE_CODEGEN_UNITS = "16";
        toolchain = host.rustc;
        crates = vendor attributes.cargoLock.lockFile;
        configurePhase = ''
          mkdir .cargo
          printf '[source.crates-io]\nreplace-with = "vendored"\n[source.vendored]\ndirectory = "%s"\n' $crates > .cargo/config.toml
          export RUSTFLAGS="--remap-path-prefix=$crates=/crates --remap-path-prefix=$PWD=/build"
        '';
        buildPhase = "cargo build --release --offline --locked -j $NIX_BUILD_CORES";
        installPhase = "install -D -t $out/bin target/release/${attributes.pname}";
      }
      // attributes
    );

  installShellFiles = runCommand "install-shell-files" { hook = ./install-shell-files.sh; } ''
    mkdir -p $out/nix-support
    cp $hook $out/nix-support/setup-hook
  '';
  writeShellApplication =
    {
      name,
      text,
      runtimeInputs,
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

  packages = {
    inherit
      installShellFiles
      lib
      runCommand
      writeShellApplication
      ;
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
    };
  }
  // lib.genAttrs [ "clippy" "jq" "rustfmt" "uv" ] hostProgram;
in
packages
