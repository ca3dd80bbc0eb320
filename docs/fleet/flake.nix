{
  description = "A fleet of GPU hosts that awqdeploy serves on, for nixos-rebuild, deploy-rs and colmena";

  inputs = {
    # Name the repository or the clone.
    awqdeploy.url = "git+file:///opt/awqdeploy";
    nixpkgs.follows = "awqdeploy/nixpkgs";
    deploy-rs.url = "github:serokell/deploy-rs";
    deploy-rs.inputs.nixpkgs.follows = "nixpkgs";
  };

  outputs =
    {
      self,
      awqdeploy,
      deploy-rs,
      nixpkgs,
    }:
    let
      system = "x86_64-linux";
      gpu1 = {
        imports = [
          awqdeploy.nixosModules.default
          ./gpu1.nix
        ];
      };
    in
    {
      # nixos-rebuild switch --flake .#gpu1 --target-host root@gpu1.example.org
      nixosConfigurations.gpu1 = nixpkgs.lib.nixosSystem {
        inherit system;
        modules = [ gpu1 ];
      };

      # deploy .#gpu1
      deploy.nodes.gpu1 = {
        hostname = "gpu1.example.org";
        # Fetching a model, starting vLLM and validating it is part of the activation: seconds.
        activationTimeout = 7200;
        profiles.system = {
          user = "root";
          path = deploy-rs.lib.${system}.activate.nixos self.nixosConfigurations.gpu1;
        };
      };

      # colmena apply --on gpu1
      colmena = {
        meta.nixpkgs = nixpkgs.legacyPackages.${system};
        gpu1 = gpu1 // {
          deployment.targetHost = "gpu1.example.org";
        };
      };
    };
}
