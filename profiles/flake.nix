{
  description = "What awqdeploy deploys on this host";

  # Name the repository or the clone that this came from.
  inputs.awqdeploy.url = "git+file:///opt/awqdeploy";

  outputs = { awqdeploy, ... }: awqdeploy.lib.deployment { profiles = ./.; };
}
