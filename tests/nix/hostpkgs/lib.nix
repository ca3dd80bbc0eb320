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
  # Whether a wanted file lies below this folder.
  leads =
    fileset: folder:
    let
      inside = builtins.readDir folder;
    in
    builtins.any (
      name:
      fileset "${folder}/${name}"
      || (inside.${name} == "directory" && name != "target" && leads fileset "${folder}/${name}")
    ) (attrNames inside);

  lib = {
    inherit (builtins)
      attrNames
      concatMap
      concatStringsSep
      catAttrs
      filter
      length
      mapAttrs
      replaceStrings
      sort
      ;

    all = builtins.all;
    concatLists = builtins.concatLists;
    any = builtins.any;
    concatStrings = lib.concatStringsSep "";
    mapAttrs' = change: set: listToAttrs (map (name: change name set.${name}) (attrNames set));
    mapAttrsToList = value: set: map (name: value name set.${name}) (attrNames set);
    optional = wanted: one: if wanted then [ one ] else [ ];
    optionalAttrs = wanted: set: if wanted then set else { };
    removePrefix =
      prefix: text:
      if lib.hasPrefix prefix text then
        substring (stringLength prefix) (stringLength text) text
      else
        text;
    splitString =
      by: text:
      filter builtins.isString (builtins.split (builtins.replaceStrings [ "." ] [ "[.]" ] by) text);
    removeSuffix =
      suffix: text:
      if lib.hasSuffix suffix text then
        substring 0 (stringLength text - stringLength suffix) text
      else
        text;
    # On one line, as nixpkgs prints it.
    generators.toPretty =
      options: value:
      if builtins.isList value then
        "[ ${lib.concatMapStrings (one: "${lib.generators.toPretty options one} ") value}]"
      else if builtins.isAttrs value then
        if value == { } then
          "{ }"
        else
          "{ ${
            lib.concatStrings (
              lib.mapAttrsToList (name: one: "${name} = ${lib.generators.toPretty options one}; ") value
            )
          }}"
      else
        builtins.toJSON value;

    attrByPath =
      path: default: set:
      builtins.foldl' (
        found: name: if builtins.isAttrs found && found ? ${name} then found.${name} else default
      ) set path;
    attrValues = builtins.attrValues;
    concatMapStringsSep =
      separator: text: list:
      lib.concatStringsSep separator (map text list);
    drop =
      count: list:
      builtins.genList (index: builtins.elemAt list (index + count)) (builtins.length list - count);
    elem = builtins.elem;
    escapeShellArg =
      argument:
      if builtins.match "[[:alnum:],._+:@%/-]+" (toString argument) != null then
        toString argument
      else
        "'${builtins.replaceStrings [ "'" ] [ "'\\''" ] (toString argument)}'";
    escapeShellArgs = lib.concatMapStringsSep " " lib.escapeShellArg;
    imap1 =
      change: list:
      builtins.genList (index: change (index + 1) (builtins.elemAt list index)) (builtins.length list);
    intersectLists = one: filter (value: builtins.elem value one);
    isString = builtins.isString;
    concatMapStrings = text: list: lib.concatStringsSep "" (map text list);
    hasSuffix =
      suffix: text:
      stringLength text >= stringLength suffix
      && substring (stringLength text - stringLength suffix) (-1) text == suffix;
    last = list: builtins.elemAt list (builtins.length list - 1);
    unique = builtins.foldl' (seen: one: if builtins.elem one seen then seen else seen ++ [ one ]) [ ];
    versionOlder = one: other: builtins.compareVersions one other < 0;

    # lib/customisation.nix. Sets that come from `callPackage` are no mere sets.
    overrideDerivation = old: change: derivation (old.drvAttrs // change old);
    makeOverridable =
      function: arguments:
      let
        result = function arguments;
        again = change: lib.makeOverridable (arguments: change (function arguments)) arguments;
      in
      if builtins.isAttrs result then
        result
        // {
          override =
            changed:
            lib.makeOverridable function (
              arguments // (if builtins.isFunction changed then changed arguments else changed)
            );
          overrideDerivation = change: again (old: lib.overrideDerivation old change);
        }
      else
        result;
    callPackageWith =
      packages: file: explicit:
      let
        function = if builtins.isFunction file then file else import file;
        asked = builtins.functionArgs function;
        arguments = builtins.intersectAttrs asked packages // explicit;
        missing = filter (name: !(asked.${name} || arguments ? ${name})) (attrNames asked);
      in
      if missing == [ ] then
        lib.makeOverridable function arguments
      else
        abort "lib.customisation.callPackageWith: Function called without required argument \"${builtins.head missing}\"";

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

    getExe' = package: name: "${package}/bin/${name}";
    makeLibraryPath = packages: lib.concatStringsSep ":" (map (package: "${package}/lib") packages);
    getExe = package: "${package}/bin/${package.meta.mainProgram}";
    makeBinPath = packages: lib.concatStringsSep ":" (map (package: "${package}/bin") packages);
    licenses = {
      asl20.spdxId = "Apache-2.0";
      mit.spdxId = "MIT";
    };

    # A set of files is a test of paths.
    fileset =
      let
        wants =
          set:
          if builtins.isFunction set then
            set
          else if pathExists set then
            path: path == toString set || lib.hasPrefix "${toString set}/" path
          else
            throw "lib.fileset: no ${toString set}";
      in
      {
        unions = sets: path: builtins.any (set: wants set path) sets;
        difference =
          set: without: path:
          wants set path && !(wants without path);
        toSource =
          { root, fileset }:
          builtins.path {
            name = "source";
            path = root;
            # Folders on the way to a wanted file are not known beforehand; Nix keeps the empty ones.
            filter = path: type: wants fileset path || (type == "directory" && leads fileset path);
          };
      };
  }
  // import ./modules.nix lib;
in
lib
