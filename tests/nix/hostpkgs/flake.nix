{
  description = "A stand-in for nixpkgs, for tests: what awqdeploy's flake uses of it, on the host's own compilers";

  # host.nix is written by ../check: it says where this machine's toolchain lies.
  outputs =
    { self }:
    let
      pkgs = self.legacyPackages.x86_64-linux;
    in
    {
      lib = import ./lib.nix // {
        nixosSystem =
          { modules, ... }:
          self.lib.evalModules {
            specialArgs = { inherit pkgs; };
            modules = modules ++ [ ./nixos.nix ];
          };
      };
      legacyPackages = self.lib.genAttrs [ "x86_64-linux" "aarch64-linux" ] (
        system:
        import ./packages.nix {
          lib = import ./lib.nix;
          host = import ./host.nix;
          inherit system;
        }
      );
    };
}
