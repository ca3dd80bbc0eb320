{
  description = "awqdeploy: reproducible, verified, self-rolling-back deployments of vLLM on one host";

  # The only input: whoever follows another nixpkgs, or a test without one, has one thing to override.
  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-26.05";

  outputs =
    { self, nixpkgs }:
    let
      inherit (nixpkgs) lib;
      # vLLM's CUDA wheels, which awqdeploy installs, are released for this system.
      systems = [ "x86_64-linux" ];
      eachSystem = f: lib.genAttrs systems (system: f nixpkgs.legacyPackages.${system});
      ours = pkgs: self.packages.${pkgs.stdenv.hostPlatform.system};
    in
    {
      overlays.default = final: _previous: {
        awqdeploy = final.callPackage ./nix/package.nix { };
      };

      packages = eachSystem (pkgs: rec {
        awqdeploy = pkgs.callPackage ./nix/package.nix { };
        default = awqdeploy;
      });

      apps = eachSystem (pkgs: pkgs.callPackage ./nix/apps.nix { inherit (ours pkgs) awqdeploy; });

      nixosModules.default =
        { pkgs, ... }:
        {
          imports = [ ./nix/module.nix ];
          services.awqdeploy.package = lib.mkDefault (ours pkgs).awqdeploy;
        };

      checks = eachSystem (
        pkgs:
        pkgs.callPackage ./nix/checks.nix {
          inherit (ours pkgs) awqdeploy;
          module = self.nixosModules.default;
        }
      );

      devShells = eachSystem (pkgs: {
        default = pkgs.callPackage ./nix/shell.nix { inherit (ours pkgs) awqdeploy; };
      });

      # Older nixpkgs have no nixfmt-tree; they only lose `nix fmt`.
      formatter = lib.filterAttrs (_system: tool: tool != null) (
        eachSystem (pkgs: pkgs.nixfmt-tree or null)
      );
    };
}
