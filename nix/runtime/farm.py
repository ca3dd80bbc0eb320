"""farm.py OUT PYTHON LAUNCHER HARMLESS UNPACKED...: one environment of links to the files of many unpacked wheels.

Links to files and not to folders: libraries find each other by `$ORIGIN/../…`, which must lead through the environment.
LAUNCHER becomes `bin/python3`, with @out@ and @cuda@ put in. HARMLESS lists, a name a line, what several wheels bring by
mistake and nothing imports; awqdeploy reads the same list where uv installs.
"""

import configparser
import filecmp
import os
import sys

def launcher(text: str, site: str, out: str) -> str:
    nvidia = os.path.join(site, "nvidia")
    cuda = [name for name in (os.listdir(nvidia) if os.path.isdir(nvidia) else []) if name.startswith("cu1")]
    if len(cuda) > 1:
        sys.exit(f"the wheels bring several CUDAs: {sorted(cuda)}")
    return text.replace("@out@", out).replace("@cuda@", os.path.join(nvidia, cuda[0]) if cuda else "")


class Farm:
    def __init__(self, out: str, harmless: set[str]) -> None:
        self.out = out
        self.harmless = harmless
        self.owners: dict[str, str] = {}

    def write(self, path: str, text: str) -> None:
        """An executable script. A wheel's own one wins over the one that its entry points ask for."""
        if path not in self.owners:
            with open(path, "x") as file:
                file.write(text)
            os.chmod(path, 0o755)
            self.owners[path] = path

    def link(self, source: str, path: str) -> None:
        owner = self.owners.setdefault(path, source)
        if owner is source:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            os.symlink(source, path)
        elif not filecmp.cmp(owner, source, shallow=False):
            name = os.path.relpath(path, self.out)
            if os.path.basename(name) not in self.harmless and "__pycache__" not in name:
                sys.exit(f"two wheels bring `{name}` with different content:\n  {owner}\n  {source}")

    def script(self, source: str, path: str) -> None:
        """`#!python` in a wheel stands for the environment's interpreter."""
        with open(source, "rb") as file:
            first, _, rest = file.read().partition(b"\n")
        if first.startswith(b"#!python"):
            self.write(path, f"#!{self.out}/bin/python3\n" + rest.decode())
        else:
            self.link(source, path)

    def add(self, unpacked: str, places: dict[str, str]) -> None:
        for place, target in places.items():
            top = os.path.join(unpacked, place)
            for folder, folders, files in os.walk(top):
                folders.sort()
                for name in sorted(files):
                    source = os.path.join(folder, name)
                    path = os.path.join(target, os.path.relpath(source, top))
                    self.script(source, path) if place == "bin" else self.link(source, path)
        site = os.path.join(unpacked, "site")
        for name in sorted(os.listdir(site) if os.path.isdir(site) else []):
            self.entry_points(os.path.join(site, name, "entry_points.txt"))

    def entry_points(self, file: str) -> None:
        if not os.path.dirname(file).endswith(".dist-info") or not os.path.exists(file):
            return
        parser = configparser.ConfigParser(delimiters=("=",), interpolation=None)
        parser.optionxform = str
        parser.read(file, encoding="utf-8")
        for name, target in parser["console_scripts"].items() if "console_scripts" in parser else []:
            module, _, function = target.split("[")[0].strip().partition(":")
            self.write(
                os.path.join(self.out, "bin", name),
                f"#!{self.out}/bin/python3\nimport sys\nfrom {module} import {function.split('.')[0]}\n"
                f"if __name__ == '__main__':\n    sys.exit({function}())\n",
            )


def main() -> None:
    out, python, template, harmless, *wheels = sys.argv[1:]
    version = "python{}.{}".format(*sys.version_info)
    site = os.path.join(out, "lib", version, "site-packages")
    os.makedirs(site)
    os.makedirs(os.path.join(out, "bin"))
    with open(harmless) as file:
        farm = Farm(out, set(file.read().split()))
    for unpacked in wheels:
        farm.add(unpacked, {"site": site, "bin": f"{out}/bin", "data": out, "include": f"{out}/include"})
    with open(template) as file:
        farm.write(f"{out}/bin/python3", launcher(file.read(), site, out))
    os.symlink("python3", f"{out}/bin/python")
    with open(f"{out}/pyvenv.cfg", "x") as file:
        file.write(f"home = {os.path.dirname(python)}\ninclude-system-site-packages = false\n")


main()
