# A small evaluator of NixOS-style modules: imports, typed options with defaults, mkIf, mkMerge, priorities, sets and
# submodules. It refuses what the real one refuses; what it does not know it does not accept.
lib:
let
  inherit (builtins)
    all
    attrNames
    concatLists
    concatMap
    elem
    filter
    foldl'
    head
    isAttrs
    isBool
    isFloat
    isFunction
    isInt
    isList
    isString
    length
    toJSON
    ;
  property =
    value:
    isAttrs value
    && elem (value._type or "") [
      "if"
      "merge"
      "override"
    ];

  # One value, or several that are the same.
  single =
    place: values:
    if all (value: value == head values) values then
      head values
    else
      throw "The option `${place}' has conflicting definition values.";
  type = description: check: {
    inherit check description;
    merge = single;
    getSubOptions = _: { };
  };
  # A description of several words, which nixpkgs puts into parentheses inside of another.
  wordy = kind: kind // { phrase = "(${kind.description})"; };
  number = value: isInt value || isFloat value;
  isDerivation = value: value.type or "" == "derivation";

  types = {
    anything = type "anything" (_: true);
    bool = type "boolean" isBool;
    # nixpkgs takes one definition of these, and not two that are the same.
    package = type "package" isDerivation // {
      merge =
        place: values:
        if length values == 1 then
          head values
        else
          throw "The option `${place}' is defined multiple times while it's expected to be unique.";
    };
    path = type "absolute path" (
      value: builtins.isPath value || isDerivation value || (isString value && lib.hasPrefix "/" value)
    );
    port = type "16 bit unsigned integer; between 0 and 65535 (both inclusive)" (
      value: isInt value && value >= 0 && value <= 65535
    );
    str = type "string" isString;
    ints = {
      between =
        least: most:
        type "integer between ${toString least} and ${toString most} (both inclusive)" (
          value: isInt value && value >= least && value <= most
        );
      positive = wordy (type "positive integer, meaning >0" (value: isInt value && value > 0));
      unsigned = wordy (type "unsigned integer, meaning >=0" (value: isInt value && value >= 0));
    };
    numbers.between =
      least: most:
      type
        "integer or floating point number between ${toString least} and ${toString most} (both inclusive)"
        (value: number value && value >= least && value <= most);
    enum =
      words:
      let
        shown = map toJSON words;
        description =
          if length words == 1 then
            "value ${head shown} (singular enum)"
          else
            "one of ${lib.concatStringsSep ", " shown}";
      in
      type description (value: elem value words);
    either =
      one: other:
      type "${one.description} or ${other.description}" (value: one.check value || other.check value);
    nullOr =
      inner:
      inner
      // {
        description = "null or ${inner.phrase or inner.description}";
        check = value: value == null || inner.check value;
        merge = place: values: if all (value: value == null) values then null else inner.merge place values;
      };
    listOf =
      inner:
      wordy (type "list of ${inner.description}" (value: isList value && all inner.check value))
      // {
        merge = _: concatLists;
      };
    attrsOf =
      inner:
      wordy (type "attribute set of ${inner.phrase or inner.description}" isAttrs)
      // {
        getSubOptions = prefix: inner.getSubOptions (prefix ++ [ "<name>" ]);
        merge =
          place: values:
          lib.genAttrs (lib.unique (concatMap attrNames values)) (
            name:
            define "${place}.${name}" inner (
              map (value: value.${name}) (filter (value: value ? ${name}) values)
            )
          );
      };
    submodule =
      module:
      let
        parts = arguments: collect ({ inherit lib; } // arguments) module;
        optionsOf = parts: foldl' lib.recursiveUpdate { } (map (part: part.options) parts);
      in
      wordy (type "submodule" isAttrs)
      // {
        getSubOptions =
          _:
          optionsOf (parts {
            name = "‹name›";
            config = throw "a description of options must not need what they are set to";
          });
        merge =
          place: definitions:
          let
            here = parts {
              name = lib.last (lib.splitString "." place);
              inherit config;
            };
            config = evaluateTree "${place}." (optionsOf here) (map (part: part.config) here ++ definitions);
          in
          config;
      };
  };

  # A module is a file, a function or a set; each becomes its options and its definitions.
  collect =
    arguments: module:
    let
      loaded = if builtins.isPath module then import module else module;
      value = if isFunction loaded then loaded arguments else loaded;
      explicit = value ? options || value ? config;
      apart = [
        "_class"
        "imports"
        "key"
      ];
      strange = filter (
        name:
        !elem name (
          apart
          ++ [
            "config"
            "options"
          ]
        )
      ) (attrNames value);
    in
    if explicit && strange != [ ] then
      throw "Module has an unsupported attribute `${head strange}'."
    else
      concatMap (collect arguments) (value.imports or [ ])
      ++ [
        {
          options = value.options or { };
          config = if explicit then value.config or { } else removeAttrs value apart;
          class = value._class or null;
          # What has no name of its own is another module each time.
          key = value.key or (if builtins.isPath module then toString module else null);
        }
      ];

  # Each module once, though several import it.
  once = foldl' (
    seen: part:
    if part.key != null && lib.any (other: other.key == part.key) seen then seen else seen ++ [ part ]
  ) [ ];

  # Pushes mkIf, mkMerge and priorities down to one name without looking at conditions, which may well depend on an
  # option below another name.
  under =
    name: definition:
    if !property definition then
      lib.optionals (definition ? ${name}) [ definition.${name} ]
    else if definition._type == "merge" then
      concatMap (under name) definition.contents
    else
      map (content: definition // { inherit content; }) (under name definition.content);
  namesOf =
    definition:
    if !property definition then
      attrNames definition
    else if definition._type == "merge" then
      concatMap namesOf definition.contents
    else
      namesOf definition.content;

  settle =
    priority: definition:
    if !property definition then
      [ { inherit priority definition; } ]
    else if definition._type == "merge" then
      concatMap (settle priority) definition.contents
    else if definition._type == "if" then
      lib.optionals definition.condition (settle priority definition.content)
    else
      settle definition.priority definition.content;

  define =
    place: kind: definitions:
    let
      settled = concatMap (settle 100) definitions;
      best = foldl' (least: one: if one.priority < least then one.priority else least) 10000 settled;
      values = map (one: one.definition) (filter (one: one.priority == best) settled);
      wrong = filter (value: !(kind.check value)) values;
    in
    if settled == [ ] then
      throw "The option `${place}' was accessed but has no value defined. Try setting the option."
    else if wrong != [ ] then
      throw "A definition for option `${place}' is not of type `${kind.description}'."
    else
      kind.merge place values;

  evaluateTree =
    place: options: definitions:
    let
      unknown = filter (name: !(options ? ${name})) (concatMap namesOf definitions);
    in
    if unknown != [ ] then
      throw "The option `${place}${head unknown}' does not exist."
    else
      builtins.mapAttrs (
        name: option:
        let
          here = concatMap (under name) definitions;
          set = concatMap (settle 100) here != [ ];
        in
        if option._type or "" == "option" then
          define "${place}${name}" option.type (
            if set || !(option ? default) then here else [ option.default ]
          )
        else
          evaluateTree "${place}${name}." option here
      ) options;

  override = priority: content: {
    _type = "override";
    inherit content priority;
  };
in
{
  inherit types;
  literalExpression = text: {
    _type = "literalExpression";
    inherit text;
  };
  literalMD = text: {
    _type = "literalMD";
    inherit text;
  };
  mkDefault = override 1000;
  mkEnableOption =
    what:
    lib.mkOption {
      type = types.bool;
      default = false;
      example = true;
      description = "Whether to enable ${what}.";
    };
  mkIf = condition: content: {
    _type = "if";
    inherit condition content;
  };
  mkMerge = contents: {
    _type = "merge";
    inherit contents;
  };
  mkOption = attributes: { _type = "option"; } // attributes;
  mkPackageOption =
    pkgs: name: _:
    lib.mkOption {
      type = types.package;
      default = pkgs.${name};
      defaultText = lib.literalExpression "pkgs.${name}";
      description = "The ${name} package to use.";
    };

  evalModules =
    {
      modules,
      specialArgs,
      class ? null,
    }:
    let
      found = once (concatMap (collect (specialArgs // { inherit lib config; })) modules);
      foreign = filter (part: part.class != null && part.class != class) found;
      collected =
        if foreign == [ ] || class == null then
          found
        else
          throw "A module of the class `${(head foreign).class}' cannot be imported where `${class}' is evaluated.";
      options = foldl' lib.recursiveUpdate { } (map (module: module.options) collected);
      config = evaluateTree "" options (map (module: module.config) collected);
    in
    {
      inherit config options;
    };
}
