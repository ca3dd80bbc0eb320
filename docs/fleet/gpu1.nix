# One host. Its disks, its boot loader and its network belong here too.
{ config, ... }:
{
  nixpkgs.config.allowUnfree = true; # the driver
  hardware.graphics.enable = true;
  services.xserver.videoDrivers = [ "nvidia" ];
  hardware.nvidia.package = config.boot.kernelPackages.nvidiaPackages.production;
  hardware.nvidia.open = true;

  services.awqdeploy = {
    enable = true;
    # `nix flake init -t` laid it out; `awqdeploy lock awq` and `awqdeploy lock gptq` wrote its locks/.
    directory = ./profiles;
    # On the host: awqdeploy facts > gpu1-facts.json
    facts = ./gpu1-facts.json;
    active = "awq";
    fallback = "gptq";
  };
}
