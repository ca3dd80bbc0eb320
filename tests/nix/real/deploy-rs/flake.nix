{
  description = "deploy-rs' own activation, of its tree beside this file, without the inputs that only its packages need";

  outputs =
    { self, nixpkgs }:
    let
      pkgs = nixpkgs.legacyPackages.x86_64-linux;
      inherit
        ((import ./tree/flake.nix).outputs {
          inherit self nixpkgs;
          utils.lib = {
            defaultSystems = [ ];
            eachSystem = _: _: { };
          };
        })
        overlays
        ;
      added = overlays.default (pkgs // added) pkgs;
    in
    {
      lib.x86_64-linux = added.deploy-rs.lib;
    };
}
