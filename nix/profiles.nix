# The profiles of a folder by name, as they say. What else lies there and is TOML is no profile, and nobody's business.
{ lib }:
folder:
let
  isToml = file: kind: kind != "directory" && lib.hasSuffix ".toml" file && !lib.hasPrefix "." file;
in
lib.filterAttrs (_: content: content ? model && content ? runtime) (
  lib.mapAttrs' (file: _: {
    name = lib.removeSuffix ".toml" file;
    value = lib.importTOML (folder + "/${file}");
  }) (lib.filterAttrs isToml (builtins.readDir folder))
)
