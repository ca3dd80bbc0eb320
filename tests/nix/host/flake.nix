# The systems that a host is switched to by tests/nix/activate.sh, which lays `profiles` and `facts.json` beside this.
{
  inputs.awqdeploy.url = "git+file:///opt/awqdeploy";

  outputs =
    { awqdeploy, ... }:
    let
      inherit (awqdeploy.inputs) nixpkgs;
      pkgs = nixpkgs.legacyPackages.x86_64-linux;
      program = awqdeploy.packages.x86_64-linux.awqdeploy;
      built = (awqdeploy.lib.deployment { profiles = ./profiles; }).packages.x86_64-linux;

      system =
        settings:
        (nixpkgs.lib.nixosSystem {
          system = "x86_64-linux";
          modules = [
            awqdeploy.nixosModules.default
            {
              services.awqdeploy = {
                enable = true;
                directory = ./profiles;
                facts = ./facts.json;
                fallback = "gptq";
              }
              // settings;
            }
          ];
        }).config.system.build.toplevel;

      # The same of another build, as after a bump of nixpkgs: other store paths, other bytes.
      again =
        name: of: change:
        pkgs.runCommand name { meta.mainProgram = "awqdeploy"; } ''
          cp -a ${of} $out
          chmod -R u+w $out
          ${change}
        '';
      environment = again "vllm-0.32.0-cpu" built.vllm-env "touch $out/bumped";
    in
    {
      packages.x86_64-linux = builtins.mapAttrs (_: system) {
        first.active = "awq";
        bump = {
          active = "awq";
          package = again "awqdeploy" program "echo >> $out/bin/awqdeploy";
          runtimes =
            pkgs.runCommand "runtimes" { }
              "mkdir $out; ln -s ${environment} $out/${built.vllm-env.digest}";
        };
        broken.active = "broken";
        late.active = "late";
      };
    };
}
