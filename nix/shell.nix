# What one needs to work on awqdeploy: its build inputs, and what CI judges a change by.
{
  awqdeploy,
  clippy,
  jq,
  mkShell,
  rustfmt,
  uv,
}:
mkShell {
  inputsFrom = [ awqdeploy ];
  packages = [
    clippy
    jq
    rustfmt
    uv
  ];
}
