# A small evaluator of NixOS-style modules: imports, typed options with defaults, mkIf and priorities.
# It refuses what the real one refuses; what it does not know (submodules, merged lists) it does not accept.
lib:
let
  inherit (builtins)
    concatMap
    elem
    filter
    head
    isAttrs
    isFunction
    ;
  property =
    value:
    isAttrs value
    && elem (value._type or "") [
      "if"
      "override"
    ];

  type = name: check: { inherit name check; };
  types = {
    anything = type "anything" (_: true);
    bool = type "boolean" builtins.isBool;
    package = type "package" (value: value.type or "" == "derivation");
    path = type "absolute path" (
      value: builtins.isPath value || (builtins.isString value && lib.hasPrefix "/" value)
    );
  };

  # A module is a file, a function or a set; each becomes its options and its definitions.
  collect =
    arguments: module:
    let
      loaded = if builtins.isPath module then import module else module;
      value = if isFunction loaded then loaded arguments else loaded;
      explicit = value ? options || value ? config;
    in
    concatMap (collect arguments) (value.imports or [ ])
    ++ [
      {
        options = value.options or { };
        config = if explicit then value.config or { } else removeAttrs value [ "imports" ];
      }
    ];

  # Pushes mkIf and priorities down to one name without looking at the condition, which may well
  # depend on an option below another name.
  under =
    name: definition:
    if property definition then
      map (content: definition // { inherit content; }) (under name definition.content)
    else
      lib.optionals (definition ? ${name}) [ definition.${name} ];
  namesOf =
    definition:
    if property definition then namesOf definition.content else builtins.attrNames definition;

  settle =
    priority: definition:
    if !property definition then
      [ { inherit priority definition; } ]
    else if definition._type == "if" then
      lib.optionals definition.condition (settle priority definition.content)
    else
      settle definition.priority definition.content;

  evaluateOption =
    place: option: definitions:
    let
      settled = concatMap (settle 100) definitions;
      best = builtins.foldl' (
        least: one: if one.priority < least then one.priority else least
      ) 10000 settled;
      values = map (one: one.definition) (filter (one: one.priority == best) settled);
      wrong = filter (value: !(option.type.check value)) values;
    in
    if settled == [ ] then
      option.default or (throw "The option `${place}' was accessed but has no value defined.")
    else if wrong != [ ] then
      throw "A definition for option `${place}' is not of type `${option.type.name}'."
    else if builtins.length values > 1 then
      throw "The option `${place}' has several definitions, which this evaluator does not merge."
    else
      head values;

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
        in
        if option._type or "" == "option" then
          evaluateOption "${place}${name}" option here
        else
          evaluateTree "${place}${name}." option here
      ) options;
in
{
  inherit types;
  literalExpression = text: {
    _type = "literalExpression";
    inherit text;
  };
  mkDefault = content: {
    _type = "override";
    priority = 1000;
    inherit content;
  };
  mkEnableOption =
    what:
    lib.mkOption {
      type = types.bool;
      default = false;
      description = "Whether to enable ${what}.";
    };
  mkIf = condition: content: {
    _type = "if";
    inherit condition content;
  };
  mkOption = attributes: { _type = "option"; } // attributes;
  mkPackageOption =
    pkgs: name: _:
    lib.mkOption {
      type = types.package;
      default = pkgs.${name};
    };

  evalModules =
    { modules, specialArgs }:
    let
      collected = concatMap (collect (specialArgs // { inherit lib config; })) modules;
      options = builtins.foldl' lib.recursiveUpdate { } (map (module: module.options) collected);
      config = evaluateTree "" options (map (module: module.config) collected);
    in
    {
      inherit config options;
    };
}
