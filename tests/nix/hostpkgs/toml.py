"""nixpkgs' formats.toml: a set of values as TOML."""

import json
import sys
import tomllib


def table(value: dict, place: list[str]) -> list[str]:
    lines = [f"[{'.'.join(place)}]"] if place else []
    lines += [f"{key} = {json.dumps(inner)}" for key, inner in value.items() if not isinstance(inner, dict)]
    for key, inner in value.items():
        if isinstance(inner, dict):
            lines += ["", *table(inner, [*place, key])]
    return lines


wanted = json.loads(sys.argv[1])
text = "\n".join(table(wanted, [])) + "\n"
assert tomllib.loads(text) == wanted
print(text, end="")
