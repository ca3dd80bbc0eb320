{
  description = "nixpkgs, as far as trees that came from it make one: see ../real.sh";

  # Each folder beside this file is one of them, and may not be there.
  outputs =
    { self }:
    {
      # There is no NixOS among these trees: its options are the stand-in's.
      lib = import ./lib // {
        nixosSystem =
          { modules, ... }:
          self.lib.evalModules {
            specialArgs.pkgs = self.legacyPackages.x86_64-linux;
            modules = modules ++ [ ./nixos.nix ];
          };
      };

      legacyPackages = self.lib.genAttrs [ "x86_64-linux" "aarch64-linux" ] (
        system:
        # Its tester is of a NixOS that it does not have.
        removeAttrs (import ./core/stdenv/impure.nix {
          localSystem = { inherit system; };
          overlays = [
            (final: _previous: {
              # It has no GHC, as some systems of nixpkgs: writeShellApplication then leaves shellcheck out.
              shellcheck-minimal.compiler.bootstrapAvailable = false;
              mkShell = final.callPackage ./aux/pkgs/build-support/mkshell { };
              formats = import ./aux/pkgs/pkgs-lib/formats.nix {
                inherit (final) lib;
                pkgs = final;
              };
            })
          ];
        }) [ "testers" ]
        # Packages are made with the library that they came with; a flake is given nixpkgs' own.
        // {
          inherit (self) lib;
        }
      );
    };
}
