# What `nix flake check` proves. None of it needs a GPU, systemd or a network.
{
  lib,
  awqdeploy,
  jq,
  module,
  pkgs,
  runCommand,
}:
let
  # The module alone, with as much of NixOS as it touches: evaluating the whole of NixOS takes a
  # minute and would prove nothing more about it.
  evaluate =
    settings:
    (lib.evalModules {
      specialArgs = { inherit pkgs; };
      modules = [
        module
        {
          options = lib.genAttrs [ "assertions" "environment" "systemd" "warnings" ] (
            _: lib.mkOption { type = lib.types.anything; }
          );
        }
        { services.awqdeploy = settings; }
      ];
    }).config;

  # The messages of the assertions that do not hold.
  complaints =
    settings: map (a: a.message) (lib.filter (a: !a.assertion) (evaluate settings).assertions);

  fails = value: !(builtins.tryEval (builtins.deepSeq value null)).success;

  enabled = evaluate { enable = true; };

  moduleFacts = {
    "it is off by default" = !(evaluate { }).services.awqdeploy.enable;
    "the program is on the path" = enabled.environment.systemPackages == [ awqdeploy ];
    "the shipped profiles are in /etc" =
      enabled.environment.etc.awqdeploy.source == "${awqdeploy}/share/awqdeploy/profiles";
    "own profiles replace them" =
      (evaluate {
        enable = true;
        profileDirectory = ../profiles;
      }).environment.etc.awqdeploy.source == ../profiles;
    "the state directory is made" = enabled.systemd.tmpfiles.settings.awqdeploy ? "/var/lib/awqdeploy";
    "a sound configuration is not complained about" = complaints { enable = true; } == [ ];
    "profiles outside of the store are refused" =
      lib.length (complaints {
        enable = true;
        profileDirectory = "/srv/profiles";
      }) == 1;
    "a wrong type is refused" = fails (evaluate { enable = "yes"; }).services.awqdeploy.enable;
    "an unknown option is refused" =
      fails
        (evaluate {
          profiles = ./.;
        }).services.awqdeploy;
  };
  untrue = lib.attrNames (lib.filterAttrs (_fact: holds: !holds) moduleFacts);
in
{
  package = runCommand "awqdeploy-package" { } ''
    for file in \
      share/man/man1/awqdeploy.1* \
      share/bash-completion/completions/awqdeploy.bash \
      share/fish/vendor_completions.d/awqdeploy.fish \
      share/zsh/site-functions/_awqdeploy \
      share/awqdeploy/profiles/awq.toml
    do
      test -s ${awqdeploy}/$file || { echo "missing or empty: $file" >&2; exit 1; }
    done
    test "$(${lib.getExe awqdeploy} --version)" = "awqdeploy ${awqdeploy.version}"
    touch $out
  '';

  # The installed profiles, through the whole flow: a migration that works, and one that goes back.
  rehearsal =
    runCommand "awqdeploy-rehearsal"
      {
        nativeBuildInputs = [
          awqdeploy
          jq
        ];
      }
      ''
        export AWQDEPLOY_PROFILES=${awqdeploy}/share/awqdeploy/profiles
        mkdir $out
        awqdeploy rehearse --json > $out/migration.json
        jq -e '.serving == "awq" and all(.acts[]; .end == "committed")' $out/migration.json
        awqdeploy rehearse --fault slow --json > $out/rollback.json
        jq -e '.serving == "gptq" and .acts[-1].exit_code == 6' $out/rollback.json
      '';

  module =
    assert lib.assertMsg (
      untrue == [ ]
    ) "not true of nix/module.nix: ${lib.concatStringsSep "; " untrue}";
    runCommand "awqdeploy-module" { } "touch $out";
}
