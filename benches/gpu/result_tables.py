"""Tables and plots of results: result_tables.py RESULTS... [--plots DIR]

Prints Markdown. Figures are medians, with the least and the most in parentheses. With `--plots`, which needs matplotlib, it draws
decode.svg and start.svg.
"""

import argparse
import json
import pathlib

GIB = 2**30
# The phases of a start, and the mark in vLLM's log at which each ends.
PHASES = [
    ("imports", "engine"),
    ("weights", "loaded"),
    ("compiling", "compiled"),
    ("profiling and warming up", "profiled"),
    ("graphs and API", "ready"),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", type=pathlib.Path, nargs="+")
    parser.add_argument("--plots", type=pathlib.Path)
    arguments = parser.parse_args()
    found: dict[str, dict] = {}
    for folder in arguments.results:
        for path in sorted(folder.glob("*.json")):
            name = path.stem if path.stem not in found else f"{path.stem} ({folder.name})"
            found[name] = json.loads(path.read_text())
    results = {name: result for name, result in found.items() if "steps" in result and "failed" not in result}
    measured = {name: result for name, result in results.items() if "one" in result["steps"].get("speed", {})}
    speed(measured)
    memory(measured)
    start(results)
    text(results)
    for name in found:
        if name.startswith("story"):
            story(found[name])
    if arguments.plots:
        draw(measured, arguments.plots)


def table(heads: list[str], rows: list[list[str]]) -> None:
    print("| " + " | ".join(heads) + " |\n|" + "---|" * len(heads))
    for row in rows:
        print("| " + " | ".join(row) + " |")
    print()


def shown(summary: dict, digits: int = 1) -> str:
    values = [f"{summary[name]:.{digits}f}" for name in ("median", "low", "high")]
    return f"{values[0]} ({values[1]}–{values[2]}, {summary['n']})"


def predicted(result: dict) -> float | None:
    """What the plan predicts. Of what is run otherwise than planned it says nothing."""
    settings = result["settings"]
    if "drop" in settings or "--enforce-eager" in settings.get("more-arguments", []):
        return None
    return result["plan"]["prediction"]["decode_tokens_per_second"]["expected"]


def speed(results: dict) -> None:
    rows = []
    for name, result in results.items():
        of = result["steps"]["speed"]
        validated = (result["steps"].get("validate", {}).get("document") or {}).get("throughput")
        rate = of["one"]["decode_tokens_per_second"]
        planned = predicted(result)
        row = [name, f"{planned:.1f}" if planned else "–", shown(rate)]
        row.append(f"{validated['decode_tokens_per_second']['median']:.1f}" if validated else "–")
        eight, long = of.get("eight"), of.get("long")
        row += [shown(eight["decode_tokens_per_second"]), shown(eight["total_tokens_per_second"], 0)] if eight else ["–", "–"]
        rows.append([*row, shown(of["one"]["ttft_s"], 2), shown(long["ttft_s"], 2) if long else "–"])
    heads = ["configuration", "planned", "one stream", "`validate`", "each of eight", "eight together"]
    table([*heads, "first token, 128 in, s", "2,048 in, s"], rows)


def logged(result: dict, before: str) -> float | None:
    """The number after these words in vLLM's log."""
    for line in result["log"]:
        if before in line:
            return float(line.split(before)[1].split()[0].replace(",", ""))
    return None


def memory(results: dict) -> None:
    rows = []
    for name, result in results.items():
        plan = result["plan"]["memory"]
        weights, offloaded = logged(result, "Model loading took "), logged(result, "Total CPU offloaded parameters: ") or 0.0
        planned = plan["shard"] / GIB
        difference = 100 * ((weights + offloaded) / planned - 1)
        peak = result["peak"]
        rows.append(
            [
                name,
                f"{plan['weights'] / GIB:.2f} / {weights:.2f}",
                f"{plan['offloaded'] / GIB:.2f} / {offloaded:.2f}",
                f"{difference:+.1f} %",
                f"{(plan['gpu'] + (plan.get('uncounted') or 0)) / GIB:.1f} / {peak['gpu_gib']:.1f}",
                f"{plan['ram'] / GIB:.1f} / {peak.get('cgroup_gib', float('nan')):.1f}",
            ]
        )
    heads = ["configuration", "weights in VRAM", "in RAM", "all weights", "VRAM of the process", "RAM of the control group"]
    print("GiB, planned / seen\n")
    table(heads, rows)


def ends(result: dict) -> list[float]:
    """When each phase ended. One that there was not took no time."""
    marks = {**result["phases_s"], "ready": result["startup_s"]}
    found: list[float] = []
    for _, mark in PHASES:
        found.append(marks.get(mark, found[-1] if found else 0.0))
    return found


def start(results: dict) -> None:
    rows = []
    for name, result in results.items():
        points = [0.0, *ends(result)]
        rows.append([name, *(f"{after - before:.0f}" for before, after in zip(points, points[1:])), f"{points[-1]:.0f}"])
    table(["configuration", *(f"{phase}, s" for phase, _ in PHASES), "in all, s"], rows)


def differences(one: dict, other: dict) -> tuple[float, float]:
    apart = [abs(a - b) for a, b in zip(one["prompt"], other["prompt"])]
    return max(apart), sum(apart) / len(apart)


def text(results: dict) -> None:
    """Each pair of one model, and each server with itself: how far log-probabilities are apart, and whether text is the same."""
    asked = {name: result["steps"]["logprobs"]["answers"] for name, result in results.items() if "logprobs" in result["steps"]}
    rows = []
    names = sorted(asked)
    for at, name in enumerate(names):
        for other in names[at:]:
            if results[name]["settings"]["model"] != results[other]["settings"]["model"]:
                continue
            one, two = asked[name][0], asked[other][1]
            largest, mean = differences(one, two)
            same = "the same" if one["text"] == two["text"] else "differs"
            rows.append([name, "itself" if other == name else other, f"{largest:.4f}", f"{mean:.5f}", same])
    table(["server", "beside", "largest difference", "mean difference", "64 tokens"], rows)


def story(history: dict) -> None:
    rows = []
    for activation in history["activations"]:
        phases = ", ".join(f"{phase['name']} {phase['seconds']:.1f}" for phase in activation["phases"])
        downtime = activation["downtime_seconds"]
        rows.append([str(activation["to"]), activation["end"], phases, f"{downtime:.1f}" if downtime else "–"])
    table(["generation", "ended", "phases, s", "nobody served, s"], rows)


def draw(results: dict, folder: pathlib.Path) -> None:
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams |= {"svg.hashsalt": "awqdeploy", "svg.fonttype": "none", "font.size": 9}
    from matplotlib import pyplot

    folder.mkdir(parents=True, exist_ok=True)
    rates = {name: result["steps"]["speed"]["one"]["decode_tokens_per_second"] for name, result in results.items()}
    names = sorted(results, key=lambda name: rates[name]["median"])
    about = {"Date": None}
    figure, axes = pyplot.subplots(figsize=(6.4, 0.3 * len(names) + 0.7), layout="constrained")
    for at, name in enumerate(names):
        rate, planned = rates[name], predicted(results[name])
        error = [[rate["median"] - rate["low"]], [rate["high"] - rate["median"]]]
        axes.barh(at, rate["median"], 0.6, xerr=error, color="#4878a8")
        if planned:
            axes.plot([planned] * 2, [at - 0.38, at + 0.38], color="black", linewidth=2)
        axes.text(max(rate["high"], planned or 0.0) + 3, at, f"{rate['median']:.1f}", va="center")
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.margins(x=0.12)
    axes.set_xlabel("decode, tokens/s of one stream (bar: measured, line: planned)")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(folder / "decode.svg", metadata=about)
    figure, axes = pyplot.subplots(figsize=(6.4, 0.3 * len(names) + 1.0), layout="constrained")
    colours = ["#8aa6c1", "#4878a8", "#d9a441", "#b5533c", "#777777"]
    for at, name in enumerate(names):
        points = [0.0, *ends(results[name])]
        for (phase, _), colour, before, after in zip(PHASES, colours, points, points[1:]):
            axes.barh(at, after - before, 0.6, left=before, color=colour, label=phase if at == 0 else None)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlabel("start, s")
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside upper center", ncols=5, frameon=False, fontsize=7)
    figure.savefig(folder / "start.svg", metadata=about)


if __name__ == "__main__":
    main()
