# Reads a lock of wheels, and refuses one that cannot be right. One lock is for one platform and one Python, so that every
# wheel in it is wanted. awqdeploy reads the same file (src/domain/lockfile/runtime/mod.rs).
{ lib }:
file:
let
  inherit (builtins)
    any
    elemAt
    filter
    fromJSON
    hashString
    isString
    match
    sort
    split
    ;
  lock = lib.importTOML file;
  wrong = what: throw "${toString file}: ${what}; make it anew: `awqdeploy lock PROFILE --runtime`";
  minor = text: fromJSON (elemAt (match "[^.]*[.]([0-9]+)" text) 0);

  platform = match "x86_64-manylinux_2_([0-9]+)" lock.platform;
  glibc = fromJSON (elemAt platform 0);
  words = text: filter isString (split "[.]" text);
  number = pattern: text: map fromJSON (match pattern text);

  # Whether this Python and this platform can use a wheel with these tags (PEP 425, PEP 600).
  runs =
    python: abi:
    let
      version = match "(cp|py)3([0-9]*)" python;
      of = elemAt version 1;
    in
    if version == null then
      false
    else if elemAt version 0 == "cp" then
      (of == toString (minor lock.python) && (abi == "cp3${of}" || abi == "abi3" || abi == "none"))
      || (abi == "abi3" && of != "" && fromJSON of <= minor lock.python)
    else
      abi == "none" && (of == "" || fromJSON of <= minor lock.python);
  fits =
    system:
    system == "any"
    || builtins.elem system [
      "linux_x86_64"
      "manylinux1_x86_64"
      "manylinux2010_x86_64"
      "manylinux2014_x86_64"
    ]
    || (
      match "manylinux_2_([0-9]+)_x86_64" system != null
      && elemAt (number "manylinux_2_([0-9]+)_x86_64" system) 0 <= glibc
    );

  check =
    wheel:
    let
      tags = match "[^-]+-[^-]+(-[0-9][^-]*)?-([^-]+)-([^-]+)-([^-]+)[.]whl" wheel.file;
      usable =
        any fits (words (elemAt tags 3))
        && any (python: any (runs python) (words (elemAt tags 2))) (words (elemAt tags 1));
      place = match "mirror://pypi/(([A-Za-z0-9_-]+/)+[A-Za-z0-9._+%-]+[.]whl)" (wheel.url or "");
    in
    if tags == null then
      wrong "`${wheel.file}` is no wheel"
    else if !usable then
      wrong "`${wheel.file}` is not for Python ${lock.python} on ${lock.platform}"
    else if match "[0-9a-f]{64}" wheel.sha256 == null then
      wrong "the hash of `${wheel.name}` is not 64 hexadecimal digits"
    else if place == null then
      wrong "`${wheel.name}` has no `url` on a mirror"
    else
      # nixpkgs' mirror begins at the folder of source archives (pkgs/build-support/fetchurl/mirrors.nix), and wheels lie
      # beside it. A relative step names no host, and whoever asks resolves it before it asks (RFC 3986, 5.2.4).
      wheel // { url = "mirror://pypi/../${elemAt place 0}"; };

  wheels = sort (one: other: one.name < other.name) lock.wheel;
  names = map (wheel: wheel.name) wheels;
in
if lock.version != 1 then
  wrong "its format is ${toString lock.version}, and this reads 1"
else if platform == null then
  wrong "it is for `${lock.platform}`, and vLLM's wheels are for x86_64-manylinux"
else if lib.unique names != names then
  wrong "a package stands in it twice"
else
  lock
  // {
    wheel = map check wheels;
    # awqdeploy's own name of what is locked: by it the program knows that this was built from the lock that it reads.
    digest = hashString "sha256" (
      "awqdeploy runtime 1\npython ${lock.python}\nplatform ${lock.platform}\n"
      + lib.concatMapStrings (wheel: "${wheel.sha256} ${wheel.file}\n") wheels
    );
  }
