# The functions of nixpkgs' lib that the flake uses, under the same names and with the same meaning.
let
  inherit (builtins)
    attrNames
    concatMap
    filter
    listToAttrs
    pathExists
    readFile
    substring
    stringLength
    ;
  lib = {
    inherit (builtins)
      attrNames
      concatMap
      concatStringsSep
      filter
      length
      mapAttrs
      ;

    assertMsg = holds: message: holds || throw message;
    filterAttrs = keep: set: removeAttrs set (filter (name: !(keep name set.${name})) (attrNames set));
    genAttrs =
      names: value:
      listToAttrs (
        map (name: {
          inherit name;
          value = value name;
        }) names
      );
    hasPrefix = prefix: text: substring 0 (stringLength prefix) text == prefix;
    importTOML = file: fromTOML (readFile file);
    optionals = wanted: list: if wanted then list else [ ];
    optionalString = wanted: text: if wanted then text else "";
    recursiveUpdate =
      left: right:
      left
      // builtins.mapAttrs (
        name: value:
        if builtins.isAttrs value && builtins.isAttrs (left.${name} or null) then
          lib.recursiveUpdate left.${name} value
        else
          value
      ) right;

    getExe = package: "${package}/bin/${package.meta.mainProgram}";
    makeBinPath = packages: lib.concatStringsSep ":" (map (package: "${package}/bin") packages);
    licenses = {
      asl20.spdxId = "Apache-2.0";
      mit.spdxId = "MIT";
    };

    fileset = {
      unions = map (
        path: if pathExists path then toString path else throw "lib.fileset.unions: no ${toString path}"
      );
      toSource =
        { root, fileset }:
        builtins.path {
          name = "source";
          path = root;
          # A wanted file, what lies in a wanted folder, and the folders on the way there.
          filter =
            path: type:
            builtins.any (
              wanted:
              path == wanted
              || lib.hasPrefix "${wanted}/" path
              || (type == "directory" && lib.hasPrefix "${path}/" wanted)
            ) fileset;
        };
    };
  }
  // import ./modules.nix lib;
in
lib
