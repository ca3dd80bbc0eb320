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
        "this flake deploys nothing yet: in its flake.nix, take away the `#` before `inputs.awqdeploy.url`, and name awqdeploy's repository or your clone there"
        { };
}
