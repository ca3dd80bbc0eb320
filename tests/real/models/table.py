"""Print the table of damages of docs/validation.md: what `awqdeploy validate` says of a small real model, sound and damaged.

    serve PARTS PARTS/smollm2/smollm2-bf16 8871 --worker-extension-cls damages.Damages &
    python3 table.py AWQDEPLOY http://127.0.0.1:8871 FOLDER [NAME...]

Each report lies in FOLDER afterwards; one that is there is not made again. With names only those lines are made, without
the questions a line takes half of the time: QUESTIONS=no.
"""

import json
import math
import os
import pathlib
import statistics
import subprocess
import sys
import urllib.request

SOUND = ["rtn", {"group": 32}]
MIDDLE = {"layer": 12}
# What is changed in the model of 16 bits. The first is what the others are compared with, as another quantisation.
LINES = {
    "16 bits": [],
    "4 bits, groups of 32": [SOUND],
    "4 bits, groups of 32, with zero points": [["rtn", {"group": 32, "symmetric": False}]],
    "4 bits, groups of 64": [["rtn", {"group": 64}]],
    "4 bits, groups of 64, with zero points": [["rtn", {"group": 64, "symmetric": False}]],
    "the end token's row lost": [SOUND, ["row", {"only": ["embed_tokens"], "at": 2}]],
    "a layer's MLP zeroed": [SOUND, ["zero", {**MIDDLE, "only": ["down_proj"]}]],
    "a layer × 1.5": [SOUND, ["scale", {**MIDDLE, "by": 1.5}]],
    "one shard of a gate_up × 1.5": [SOUND, ["shard", {**MIDDLE, "only": ["gate_up_proj"], "of": 4, "by": 1.5}]],
    "1 % of the weights replaced": [SOUND, ["replaced", {"share": 0.01}]],
    "0.1 % of the weights replaced": [SOUND, ["replaced", {"share": 0.001}]],
    "RoPE's θ halved": [SOUND, ["theta", {"theta": 50_000}]],
    "RoPE's θ a tenth": [SOUND, ["theta", {"theta": 10_000}]],
    "noise of 10 %": [SOUND, ["noise", {"of": 0.1}]],
    "scales of the next group, one layer": [["rtn", {"group": 32}], ["rtn", {**MIDDLE, "group": 32, "roll": 1}]],
    "zero points off by one, one layer": [
        ["rtn", {"group": 32, "symmetric": False}],
        ["rtn", {**MIDDLE, "group": 32, "symmetric": False, "shift": 1}],
    ],
}
FIRST, SAME = list(LINES)[:2]
SAME_LIMIT = 0.005


def plant(url: str, steps: list) -> None:
    body = json.dumps({"method": "plant", "args": [steps]}).encode()
    request = urllib.request.Request(f"{url}/collective_rpc", body, {"Content-Type": "application/json"})
    urllib.request.urlopen(request, timeout=300).read()


def validate(program: str, url: str, reference: pathlib.Path | None) -> dict:
    command = [program, "validate", "--url", url, "--min-decode-tokens-per-second", "0.1", "--json", "--progress", "none"]
    if reference is None or os.environ.get("QUESTIONS") != "no":
        command += ["--min-known-answers", "0.01"]
    if reference:
        command += ["--reference", str(reference)]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=False).stdout)


def tokens(report: dict) -> list:
    """Of each text: [[own, likely...]...], each (token, logarithm)."""
    pair = lambda text: (int(text.split(":")[0]), -int(text.split(":")[1]) / 10_000)  # noqa: E731
    texts = report["quality"]["expectations"]["texts"]
    return [[[pair(one) for one in token.split(" ")] for token in text["tokens"].split(";")] for text in texts]


def divergences(ours: dict, theirs: dict) -> list:
    """As src/domain/validation/quality/expectations.rs has it."""
    each = []
    for text, other in zip(tokens(ours), tokens(theirs)):
        for (own, *mine), (_, *likely) in zip(text, other):
            known = dict([own, *mine])
            known.update(dict(mine))
            named = sum(math.exp(logarithm) for _, logarithm in mine)
            most = min(mine[-1][1], math.log(max(1 - named, 1e-9)))
            total = left = right = 0.0
            for token, logarithm in likely:
                ourselves = known.get(token, most)
                total += math.exp(logarithm) * (logarithm - ourselves)
                left, right = left + math.exp(logarithm), right + math.exp(ourselves)
            left, right = max(1 - left, 1e-9), max(1 - right, 1e-9)
            each.append(max(total + left * math.log(left / right), 0.0))
    return each


def with_error(each: list) -> tuple[float, float]:
    blocks = [statistics.fmean(each[at : at + 8]) for at in range(0, len(each) - 7, 8)]
    return statistics.fmean(each), statistics.stdev(blocks) / math.sqrt(len(blocks))


def row(name: str, report: dict, same: dict) -> str:
    divergence = (report.get("reference") or {}).get("divergence")
    from_first = "–" if not divergence else f"{divergence['mean']:.4f} ± {divergence['error']:.4f}"
    mean, error = with_error(divergences(report, same))
    verdict = "beyond" if mean - 2.3 * error > SAME_LIMIT else "within" if mean + 2.3 * error <= SAME_LIMIT else "open"
    answers = report["quality"]["answers"]
    right = sum(answer["right"] for answer in answers)
    cut = sum(answer["finish_reason"] != "stop" for answer in answers)
    questions = [f"{right}", f"{cut}"] if answers else ["–", "–"]
    why = "; ".join(report["failures"] + report["doubts"]) or "–"
    flips = "–" if not divergence else f"{100 * divergence['flips']:.1f} %"
    cells = [name, from_first, flips, f"{mean:.4f} ± {error:.4f}", verdict, *questions, report["verdict"], why]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    program, url, folder, *names = sys.argv[1:]
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    file = lambda name: folder / f"{list(LINES).index(name)}.json"  # noqa: E731
    reports = {}
    for name, steps in LINES.items():
        if names and name not in [FIRST, SAME, *names]:
            continue
        if not file(name).exists():
            plant(url, steps)
            report = validate(program, url, None if name == FIRST else file(FIRST))
            file(name).write_text(json.dumps(report))
            print(f"{name}: {report['verdict']}", file=sys.stderr, flush=True)
        reports[name] = json.loads(file(name).read_text())
    print("| the model | from 16 bits, nats a token | other first token | from the same 4 bits | limit 0.005 | right | cut | verdict | why |")
    print("|---|---:|---:|---:|---|---:|---:|---|---|")
    for name, report in reports.items():
        print(row(name, report, reports[SAME]))


if __name__ == "__main__":
    main()
