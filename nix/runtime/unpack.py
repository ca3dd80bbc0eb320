"""unpack.py WHEEL SIZE OUT LOADER: unpacks a wheel, with byte code, for one interpreter.

OUT gets `site` (what is imported), `bin` (scripts), `data` and `include`. LOADER is the dynamic loader that its programs
are to be started by. Every wheel's derivation depends on this file: an edit unpacks them all anew.
"""

import compileall
import os
import py_compile
import struct
import subprocess
import sys
import zipfile

PLACES = {"purelib": "site", "platlib": "site", "scripts": "bin", "data": "data", "headers": "include"}
INTERPRETER = 3  # PT_INTERP


def place(name: str) -> str:
    """Where a file of a wheel belongs, below OUT."""
    parts = name.split("/")
    if name.startswith("/") or ".." in parts or "\\" in name:
        sys.exit(f"`{name}` would be written outside of the wheel's folder")
    if not parts[0].endswith(".data"):
        return os.path.join("site", *parts)
    if len(parts) < 3 or parts[1] not in PLACES:
        sys.exit(f"`{name}` belongs to no place that the wheel format knows")
    return os.path.join(PLACES[parts[1]], *parts[2:])


def loader_of(path: str) -> str | None:
    """The loader that a program asks for; nothing for a library and for what is no 64-bit ELF file."""
    with open(path, "rb") as file:
        if file.read(5) != b"\x7fELF\x02":
            return None
        file.seek(32)
        (table,) = struct.unpack("<Q", file.read(8))
        file.seek(54)
        size, count = struct.unpack("<HH", file.read(4))
        for index in range(count):
            file.seek(table + index * size)
            header = file.read(56)
            if struct.unpack("<I", header[:4])[0] == INTERPRETER:
                offset, length = struct.unpack("<Q", header[8:16])[0], struct.unpack("<Q", header[32:40])[0]
                file.seek(offset)
                return file.read(length).rstrip(b"\0").decode()
    return None


def unpack(wheel: str, out: str, loader: str) -> None:
    with zipfile.ZipFile(wheel) as archive:
        for entry in archive.infolist():
            if entry.is_dir():
                continue
            path = os.path.join(out, place(entry.filename))
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with archive.open(entry) as source, open(path, "xb") as target:
                while block := source.read(1 << 20):
                    target.write(block)
            if (entry.external_attr >> 16) & 0o111:
                os.chmod(path, 0o755)
            # Built for a distribution that has its loader in /lib64, which NixOS does not.
            if loader_of(path) not in (None, loader):
                subprocess.run(["patchelf", "--set-interpreter", loader, path], check=True)


def main() -> None:
    wheel, size, out, loader = sys.argv[1:]
    if os.path.getsize(wheel) != int(size):
        sys.exit(f"{wheel} has {os.path.getsize(wheel)} bytes, and the lock says {size}: it was edited by hand")
    unpack(wheel, out, loader)
    site = os.path.join(out, "site")
    if os.path.isdir(site):
        # The store is read-only, and all its files have one time of change: without byte code, or with the kind that is
        # checked against that time, every start of vLLM would compile every module.
        mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
        # A package may ship files of another Python for its own ends; what cannot be compiled is left alone, as pip does.
        compileall.compile_dir(site, quiet=2, workers=1, stripdir=site, invalidation_mode=mode)


main()
