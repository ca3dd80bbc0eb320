# One locked vLLM as a Python environment: a derivation for each wheel, so that what did not change is fetched and unpacked
# once for all versions, and a farm of links over them. The wheels bring CUDA; the driver is the host's.
{
  lib,
  fetchurl,
  patchelf,
  pkgs,
  runCommand,
  runtimeShell,
  stdenv,
  zlib,
  # The lock's file.
  lock,
}:
let
  locked = import ./lock.nix { inherit lib; } lock;
  python =
    pkgs."python${lib.replaceStrings [ "." ] [ "" ] locked.python}"
      or (throw "${toString lock} is for Python ${locked.python}, which this nixpkgs does not have");

  unpacked =
    wheel:
    runCommand "wheel-${wheel.name}-${lib.replaceStrings [ "!" ] [ "-" ] wheel.version}"
      {
        nativeBuildInputs = [
          patchelf
          python
        ];
        src = fetchurl {
          inherit (wheel) url sha256;
          name = wheel.file;
        };
        # Byte code must not depend on the order of sets.
        PYTHONHASHSEED = "0";
      }
      ''
        python3 ${./unpack.py} "$src" ${toString wheel.size} "$out" ${stdenv.cc.bintools.dynamicLinker}
      '';

  # What wheels may ask their host for (PEP 600), beside glibc, which the interpreter brings: libstdc++, libgcc_s and libz.
  # Of all of these it was Python's own libz that numpy, Pillow and Triton found, if they were loaded late enough.
  # tests/nix/needed.py holds what each library of an environment asks for against this list.
  libraries = [
    stdenv.cc.cc.lib
    zlib
  ];

  # What a process of vLLM needs from outside of the wheels. The caches' places are the unit's.
  launcher = ''
    #!${runtimeShell}
    # The driver's libraries are the host's, and nothing else of it is on the path.
    export LD_LIBRARY_PATH="/run/opengl-driver/lib:${lib.makeLibraryPath libraries}''${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
    export TRITON_LIBCUDA_PATH=/run/opengl-driver/lib
    # Kernels are compiled while vLLM runs.
    export CC=${lib.getExe' stdenv.cc "cc"} CXX=${lib.getExe' stdenv.cc "c++"}
    export PATH="@out@/bin:${lib.makeBinPath [ stdenv.cc ]}:$PATH"
    cuda=@cuda@
    if [ -n "$cuda" ]; then export CUDA_HOME=$cuda; fi
    exec -a @out@/bin/python3 ${python.interpreter} "$@"
  '';
in
runCommand "vllm-${locked.vllm}-${locked.device}"
  {
    inherit launcher;
    passAsFile = [ "launcher" ];
    nativeBuildInputs = [ python ];
    wheels = map unpacked locked.wheel;
    passthru = { inherit (locked) digest device vllm; };
    meta.description = "vLLM ${locked.vllm} for ${locked.device}, of the wheels that are locked";
  }
  ''
    python3 ${./farm.py} "$out" ${python.interpreter} "$launcherPath" ${../../src/domain/lockfile/runtime/harmless.txt} $wheels
  ''
