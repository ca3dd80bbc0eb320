{
  description = "What awqdeploy deploys on this host";

  # Where awqdeploy is: its repository, or your clone of it. Remove the `#`.
  # inputs.awqdeploy.url = "git+file:///opt/awqdeploy";

  outputs =
    inputs:
    if inputs ? awqdeploy then
      inputs.awqdeploy.lib.deployment { profiles = ./.; }
    else
      (builtins.warn or builtins.trace)
        "this flake deploys nothing yet: name awqdeploy's repository, or your clone, as `inputs.awqdeploy.url` in its flake.nix"
        { };
}
