"""make-wheel.py FOLDER: makes the wheel that stands in for vLLM, and always the same bytes.

`vllm.entrypoints.cli.main` hands over to the program's embedded engine, so that everything around the engine is real: the
environment that Nix made, the launcher, systemd, the sandbox.
"""

import base64
import hashlib
import pathlib
import sys
import zipfile

FILES = {
    "vllm/__init__.py": "",
    "vllm/entrypoints/__init__.py": "",
    "vllm/entrypoints/cli/__init__.py": "",
    "vllm/entrypoints/cli/main.py": '''"""A stand-in for vLLM, for tests."""

import os
import sys

PROGRAM = "/var/lib/awqdeploy/current/awqdeploy"


def main():
    os.execv(PROGRAM, [PROGRAM, "engine", *sys.argv[1:]])


if __name__ == "__main__":
    main()
''',
    "vllm-0.32.0.data/data/share/vllm/marker": "data\n",
    "vllm-0.32.0.data/scripts/vllm-where": "#!python\nimport sys\nprint(sys.prefix)\n",
    "vllm-0.32.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: vllm\nVersion: 0.32.0\n",
    "vllm-0.32.0.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    "vllm-0.32.0.dist-info/entry_points.txt": "[console_scripts]\nvllm = vllm.entrypoints.cli.main:main\n",
}
RECORD = "vllm-0.32.0.dist-info/RECORD"


def digest(text: str) -> str:
    raw = hashlib.sha256(text.encode()).digest()
    return "sha256=" + base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def main() -> None:
    wheel = pathlib.Path(sys.argv[1], "vllm-0.32.0-py3-none-any.whl")
    record = [f"{name},{digest(text)},{len(text.encode())}" for name, text in FILES.items()] + [f"{RECORD},,"]
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_STORED) as archive:
        for name, text in [*FILES.items(), (RECORD, "\n".join(record) + "\n")]:
            entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            entry.create_system = 3
            entry.external_attr = (0o100755 if "/scripts/" in name else 0o100644) << 16
            archive.writestr(entry, text)


main()
