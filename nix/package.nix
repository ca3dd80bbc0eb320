# The program, with what a person and a shell expect beside it.
{
  lib,
  installShellFiles,
  rustPlatform,
  stdenv,
  versionCheckHook,
}:
let
  cargo = lib.importTOML ../Cargo.toml;
  manifest = cargo.package;
  # Whether this machine can run what it builds.
  runs = stdenv.buildPlatform.canExecute stdenv.hostPlatform;
  # Cargo wants to see the root of every target that its manifest names, whether it is built or not.
  targets = lib.concatLists (
    lib.mapAttrsToList
      (kind: folder: map (target: target.path or "${folder}/${target.name}.rs") (cargo.${kind} or [ ]))
      {
        bench = "benches";
        example = "examples";
        test = "tests";
      }
  );
  # What the tests that need nothing else are made of.
  pure =
    map (line: "tests/" + lib.removePrefix "../" (builtins.head (builtins.match ".*\"(.*)\".*" line)))
      (
        lib.filter (lib.hasPrefix "#[path") (lib.splitString "\n" (builtins.readFile ../tests/pure/main.rs))
      );
in
rustPlatform.buildRustPackage {
  pname = manifest.name;
  inherit (manifest) version;

  # What the build reads and nothing else: models, target/ and the documents never reach the store,
  # and an edit to them rebuilds nothing.
  src = lib.fileset.toSource {
    root = ../.;
    fileset = lib.fileset.unions (
      [
        ../Cargo.lock
        ../Cargo.toml
        (lib.fileset.difference ../profiles ../profiles/flake.nix)
        ../src
        ../tests/fixtures/facts
        ../tests/fixtures/locks
      ]
      ++ map (path: ../. + "/${path}") (targets ++ pure)
    );
  };

  cargoLock.lockFile = ../Cargo.lock;

  # The others want a whole checkout, and part of them a real systemd: `.ci/run` is where they run.
  cargoTestFlags = [
    "--test"
    "pure"
  ];

  nativeBuildInputs = [ installShellFiles ];
  nativeInstallCheckInputs = [ versionCheckHook ];
  versionCheckProgramArg = "--version";
  doInstallCheck = runs;

  postInstall = ''
    mkdir -p $out/share/awqdeploy
    cp -r profiles $out/share/awqdeploy/profiles
  ''
  + lib.optionalString runs ''
    installShellCompletion --cmd awqdeploy \
      --bash <($out/bin/awqdeploy completions bash) \
      --fish <($out/bin/awqdeploy completions fish) \
      --zsh <($out/bin/awqdeploy completions zsh)
    $out/bin/awqdeploy man > awqdeploy.1
    installManPage awqdeploy.1
  '';

  meta = {
    inherit (manifest) description;
    license = with lib.licenses; [
      mit
      asl20
    ];
    mainProgram = "awqdeploy";
    maintainers = [ { name = "The awqdeploy authors"; } ];
    platforms = [
      "x86_64-linux"
      "aarch64-linux"
    ];
  }
  # The manifest is the one place that knows where this is published.
  // lib.optionalAttrs (manifest ? repository) {
    homepage = manifest.repository;
    changelog = "${manifest.repository}/blob/v${manifest.version}/CHANGELOG.md";
  };
}
