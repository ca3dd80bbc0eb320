# The module on a whole NixOS in a virtual machine: a deployment, a candidate that is rolled back, a power cut, a reboot. In vLLM's
# place the program's embedded engine runs. It needs the real nixpkgs and KVM, and HAS NOT RUN YET: where this was written there
# is no nixpkgs. `tests/nix/check eval` evaluates it with the stand-in. `nix build .#checks.x86_64-linux.vm`.
{ awqdeploy, module }:
{ lib, pkgs, ... }:
let
  lock = ../nix/profiles/runtimes/vllm-0.32.0-cpu.toml;
  inherit (import ../../nix/runtime/lock.nix { inherit lib; } lock) digest;
  engine = pkgs.writeShellScriptBin "python" ''
    shift 2 # -m vllm.entrypoints.cli.main
    exec ${lib.getExe awqdeploy} engine "$@"
  '';
  runtimes = pkgs.runCommand "runtimes" { } "mkdir $out && ln -s ${engine} $out/${digest}";

  weights =
    name:
    pkgs.runCommand "model-${name}" { nativeBuildInputs = [ pkgs.python3 ]; } ''
      mkdir $out
      echo '{"architectures": ["LlamaForCausalLM"], "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128, "vocab_size": 256, "max_position_embeddings": 131072}' > $out/config.json
      python3 ${../nix/make-weights.py} $out/model.safetensors ${name}
    '';
  profiles = ../nix/profiles;
  names = [
    "gptq"
    "awq"
    "broken"
  ];
in
{
  name = "awqdeploy";

  nodes.machine = {
    imports = [ module ];
    virtualisation.memorySize = 2048;
    environment.systemPackages = [ pkgs.jq ];
    services.awqdeploy = {
      enable = true;
      directory = profiles;
      inherit runtimes;
    };
    systemd.tmpfiles.rules = map (name: "C /srv/models/${name} - - - - ${weights name}") names;
    # What `active` would declare, of the shipped profiles: what is deployed by hand here differs, as after a rollback.
    systemd.packages = [
      (pkgs.runCommand "units" { nativeBuildInputs = [ awqdeploy ]; } ''
        awqdeploy --profiles ${../../profiles} units awq --facts ${../fixtures/facts/four-16gb.json} --output $out/lib/systemd/system
      '')
    ];
    systemd.services = lib.genAttrs [ "vllm" "awqdeploy-recover-vllm" ] (_: {
      overrideStrategy = "asDropin";
      wantedBy = [ "multi-user.target" ];
    });
  };

  testScript = ''
    import json

    def awqdeploy(arguments, status=0):
        ended, said = machine.execute(f"awqdeploy --profiles /srv/profiles --runtimes ${runtimes} {arguments} --json")
        assert ended == status, f"{arguments}: {ended}, not {status}: {said}"
        return json.loads(said)

    def serves(profile):
        machine.wait_until_succeeds(f"awqdeploy status --json | jq -e '.serving == \"{profile}\"'")

    machine.wait_for_unit("multi-user.target")
    # The models are locked here, and a lock is written beside its profile.
    machine.succeed("cp -r --no-preserve=mode ${profiles} /srv/profiles")
    for profile in ["${lib.concatStringsSep ''", "'' names}"]:
        awqdeploy(f"lock {profile}")
    awqdeploy("deploy gptq --yes")
    serves("gptq")
    awqdeploy("deploy awq --yes")
    serves("awq")

    with subtest("a bad candidate goes back"):
        assert awqdeploy("deploy broken --yes", 6)["end"] == "rolled-back"
        serves("awq")

    with subtest("the collector leaves the way back"):
        machine.succeed("nix-collect-garbage -d")
        awqdeploy("rollback gptq --yes")
        serves("gptq")

    with subtest("a power cut in the middle of a deployment"):
        # Slow enough to be caught at it.
        machine.succeed("sed -i 's/LOAD_MS = .*/LOAD_MS = \"30000\"/' /srv/profiles/awq.toml")
        machine.execute("awqdeploy --profiles /srv/profiles --runtimes ${runtimes} deploy awq --yes >/dev/null 2>&1 &")
        machine.wait_until_succeeds("awqdeploy status --json | jq -e '.last_activation.step == \"start\"'")
        machine.crash()
        machine.wait_for_unit("multi-user.target")
        serves("gptq")

    with subtest("a reboot"):
        machine.shutdown()
        machine.wait_for_unit("multi-user.target")
        serves("gptq")
  '';
}
