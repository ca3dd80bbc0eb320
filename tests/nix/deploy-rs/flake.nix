{
  description = "A stand-in for deploy-rs, for tests: what its activation is made of";

  outputs = _: {
    lib.x86_64-linux.activate.nixos = system: system.config.system.build.toplevel;
  };
}
