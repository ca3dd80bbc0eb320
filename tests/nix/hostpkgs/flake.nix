{
  description = "A stand-in for nixpkgs, for tests: what awqdeploy's flake uses of it, on the host's own compilers";

  # host.nix is written by ../check: it says where this machine's toolchain lies.
  outputs =
    { self }:
    {
      lib = import ./lib.nix;
      legacyPackages.x86_64-linux = import ./packages.nix {
        inherit (self) lib;
        host = import ./host.nix;
      };
    };
}
