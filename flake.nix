{
  description = "awqdeploy: reproducible, verified, self-rolling-back deployments of vLLM on one host";

  # The only input: whoever follows another nixpkgs, or a test without one, has one thing to override.
  # docs/nix.md says how to move it to the next release.
  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-26.05";

  outputs =
    { self, nixpkgs }:
    let
      inherit (nixpkgs) lib;
      # The program is for both; vLLM's wheels are locked for the first.
      systems = [
        "x86_64-linux"
        "aarch64-linux"
      ];
      pkgsOf = system: nixpkgs.legacyPackages.${system};
      eachSystem = f: lib.genAttrs systems (system: f (pkgsOf system));
      ours = pkgs: self.packages.${pkgs.stdenv.hostPlatform.system};

      # What a folder of profiles deploys, for each system: its packages, and its apps.
      # `callPackage` is for packages alone: it adds `override` to whatever set it returns.
      deployment =
        { profiles }:
        let
          deployed = eachSystem (
            pkgs:
            import ./nix/deployment.nix {
              awqdeploy = pkgs.callPackage ./nix/package.nix { };
              inherit pkgs profiles;
            }
          );
        in
        {
          packages = lib.mapAttrs (_system: one: one.packages) deployed;
          apps = lib.mapAttrs (_system: one: one.apps) deployed;
        };
    in
    deployment { profiles = ./profiles; }
    // {
      lib = { inherit deployment; };

      overlays.default = final: _previous: {
        awqdeploy = final.callPackage ./nix/package.nix { };
      };

      nixosModules.default =
        { pkgs, ... }:
        {
          _class = "nixos";
          key = "awqdeploy#nixosModules.default";
          imports = [ ./nix/module.nix ];
          services.awqdeploy.package = lib.mkDefault (ours pkgs).awqdeploy;
        };

      # `nix flake init -t` lays it out in /etc/awqdeploy: the profiles, which are a flake of their own then.
      templates.default = {
        path = ./profiles;
        description = "Profiles of awqdeploy for one host, deployed by `nix run .#deploy`";
      };

      checks.x86_64-linux = import ./nix/checks.nix {
        inherit (self.packages.x86_64-linux) awqdeploy;
        module = self.nixosModules.default;
        pkgs = pkgsOf "x86_64-linux";
        vllm = self.packages.x86_64-linux.vllm-env;
      };

      devShells = eachSystem (pkgs: {
        default = pkgs.callPackage ./nix/shell.nix { inherit (ours pkgs) awqdeploy; };
      });

      # Older nixpkgs have no nixfmt-tree; they only lose `nix fmt`.
      formatter = lib.filterAttrs (_system: tool: tool != null) (
        eachSystem (pkgs: pkgs.nixfmt-tree or null)
      );
    };
}
