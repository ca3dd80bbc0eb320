# The module's options as Markdown: docs/nixos-options.md. nixpkgs' own generator builds a manual; this is one page.
{ lib, options }:
let
  shown =
    value:
    if value._type or "" == "literalMD" then
      value.text
    else if value._type or "" == "literalExpression" then
      "`${value.text}`"
    else
      "`${lib.generators.toPretty { multiline = false; } value}`";
  entry =
    place: option:
    lib.concatStringsSep "\n" (
      [
        "## `${lib.concatStringsSep "." place}`"
        ""
        (lib.removeSuffix "\n" option.description)
        ""
        "- Type: ${option.type.description}"
      ]
      ++
        lib.optional (option ? defaultText || option.default or null != null)
          "- Default: ${shown (option.defaultText or option.default)}"
      ++ lib.optional (option ? example) "- Example: ${shown option.example}"
      ++ [ "" ]
    );
  common = lib.filter (name: name != "service") (lib.attrNames options.services.awqdeploy);
  walk =
    place: options:
    lib.concatMap (
      name:
      let
        option = options.${name};
        here = place ++ [ name ];
        below = place ++ [
          "${name}.<name>"
        ];
        # What an instance has in common with the service beside it is told once.
        inner = removeAttrs (option.type.getSubOptions here) (lib.optionals (name == "instances") common);
      in
      if option._type or "" != "option" then
        walk here option
      else
        [ (entry here option) ] ++ walk below (removeAttrs inner [ "_module" ])
    ) (lib.attrNames options);
in
''
  # Options of the NixOS module

  Made from nix/module.nix by `AWQDEPLOY_UPDATE_DOCS=1 tests/nix/check eval`. How to use it: [Nix](nix.md).

  ${lib.concatStringsSep "\n" (walk [ "services" "awqdeploy" ] options.services.awqdeploy)}''
