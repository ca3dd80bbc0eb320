# What `nix flake check` proves. None of it needs a GPU, systemd or a network.
{
  awqdeploy,
  module,
  pkgs,
  vllm,
}:
let
  inherit (pkgs) jq lib runCommand;
  facts = ../tests/fixtures/facts/four-16gb.json;
  moduleFacts = import ./module-facts.nix {
    inherit
      facts
      lib
      module
      pkgs
      ;
  };
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

  # The installed profiles, through the whole flow: a migration that works, and one that rolls back.
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

  # Nix and the program know a lock by one name, or the program would not take what Nix has built from it.
  lock =
    runCommand "awqdeploy-lock"
      {
        nativeBuildInputs = [ awqdeploy ];
      }
      ''
        export AWQDEPLOY_PROFILES=${awqdeploy}/share/awqdeploy/profiles
        # Any store path stands for what was built: only its name is looked at.
        mkdir built empty
        ln -s ${awqdeploy} built/${vllm.digest}
        awqdeploy --runtimes "$PWD/built" plan awq --facts ${facts} --json > $out
        if awqdeploy --runtimes "$PWD/empty" plan awq --facts ${facts}; then exit 1; fi
      '';

  module =
    let
      inherit (moduleFacts)
        runtimes
        untrue
        units
        unitsOfTwo
        ;
      unit = "lib/systemd/system";
    in
    assert lib.assertMsg (
      untrue == [ ]
    ) "not true of nix/module.nix: ${lib.concatStringsSep "; " untrue}";
    runCommand "awqdeploy-module"
      {
        passthru.optionsDoc = import ./options-doc.nix {
          inherit lib;
          inherit (moduleFacts) options;
        };
        nativeBuildInputs = [
          awqdeploy
          jq
        ];
      }
      ''
        # The units are those that the program would install itself.
        awqdeploy --profiles ${../tests/nix/declared} --runtimes ${runtimes} units awq --facts ${facts} --json \
          | jq -r '.units[] | select(.name == "vllm.service") | .text' | head -c -1 > vllm.service
        diff vllm.service ${units}/${unit}/vllm.service
        test -s ${units}/${unit}/awqdeploy-recover-vllm.service
        test -s ${units}/${unit}/awqdeploy-gpu-ready.service
        # Each of two services has its own, and both the one that makes GPUs ready.
        grep -q -- '--root /var/lib/awqdeploy/instances/chat ' ${unitsOfTwo}/${unit}/chat.service
        grep -q -- '--port 8002' ${unitsOfTwo}/${unit}/code.service
        test -s ${unitsOfTwo}/${unit}/awqdeploy-gpu-ready.service
        touch $out
      '';
}
// lib.optionalAttrs (pkgs ? testers) {
  vm = pkgs.testers.runNixOSTest (import ../tests/vm { inherit awqdeploy module; });
}
