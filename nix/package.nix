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
      ]
      ++ map (path: ../. + "/${path}") targets
    );
  };

  cargoLock.lockFile = ../Cargo.lock;

  # The tests want a whole checkout, and part of them a real systemd: `.ci/run` is where they run.
  # What is built here is proven by the flake's checks.
  doCheck = false;

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
