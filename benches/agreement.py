#!/usr/bin/env python3
"""What awqdeploy measures of a real server beside `vllm bench serve`: the same server, as many requests of as many
tokens, in turn, several rounds. They agree where our median lies within the range of its rounds. What the file of results
holds of earlier rounds counts too.

    benches/agreement.py --vllm VENV/bin/vllm --awqdeploy target/release/awqdeploy --url http://127.0.0.1:8000 \\
        --model NAME --tokenizer FOLDER --rounds 8 --results FILE
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import tempfile

MEASURES = ["ttft", "tpot", "itl", "e2el"]


def ours(options):
    """By number of streams: medians in milliseconds, and what was asked for."""
    command = [options.awqdeploy, "validate", "--url", options.url, "--model", options.model, "--json", "--progress", "none"]
    answer = subprocess.run(command, stdout=subprocess.PIPE, check=False)
    report = json.loads(answer.stdout)
    if report["throughput"] is None:
        raise SystemExit(f"nothing was measured: {report['failures']}")
    levels = {1: report["throughput"]}
    levels |= {level["max_concurrency"]: level for level in report["sweep"]["streams"]}
    return {
        streams: {
            "requests": len(level["samples"]),
            "prompt": round(statistics.median(sample["prompt_tokens"] for sample in level["samples"])),
            "tokens": level["samples"][0]["tokens"],
            "medians": {measure: level[f"{measure}_ms"]["median"] for measure in MEASURES},
        }
        for streams, level in sorted(levels.items())
    }


def theirs(options, streams, like):
    with tempfile.TemporaryDirectory() as folder:
        result = pathlib.Path(folder) / "result.json"
        subprocess.run(
            [options.vllm, "bench", "serve", "--backend", "openai", "--base-url", options.url]
            + ["--model", options.model, "--tokenizer", options.tokenizer, "--dataset-name", "random", "--ignore-eos"]
            + ["--random-input-len", str(like["prompt"]), "--random-output-len", str(like["tokens"])]
            + ["--num-prompts", str(like["requests"]), "--max-concurrency", str(streams), "--num-warmups", str(streams)]
            + ["--percentile-metrics", "ttft,tpot,itl,e2el", "--save-result", "--result-filename", str(result)]
            + ["--temperature", "0", "--seed", str(options.seed), "--disable-tqdm"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=True,
        )
        options.seed += 1  # no prompt twice: it would come from the prefix cache
        found = json.loads(result.read_text())
    return {measure: found[f"median_{measure}_ms"] for measure in MEASURES}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ["vllm", "awqdeploy", "url", "model", "tokenizer", "results"]:
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 4])
    options = parser.parse_args()
    results = pathlib.Path(options.results)
    rounds = [json.loads(line) for line in results.read_text().splitlines()] if results.exists() else []
    options.seed = 1 + len(rounds)
    for number in range(options.rounds):
        measured = ours(options)
        for streams in options.streams:
            rounds.append((streams, measured[streams], theirs(options, streams, measured[streams])))
            with results.open("a") as file:
                print(json.dumps(rounds[-1]), file=file)
        print(f"round {number + 1} of {options.rounds}", flush=True)
    print("| streams | | awqdeploy: median (range) | vllm bench serve: median (range) | ours / theirs | within its range |")
    print("|---:|---|---|---|---:|---|")
    for streams in options.streams:
        for measure in MEASURES:
            a = [our["medians"][measure] for of, our, _ in rounds if of == streams]
            b = [their[measure] for of, _, their in rounds if of == streams]
            middle = statistics.median(a)
            inside = "yes" if min(b) <= middle <= max(b) else "no"
            shown = [f"{statistics.median(each):.2f} ({min(each):.2f}–{max(each):.2f})" for each in (a, b)]
            ratio = middle / statistics.median(b)
            print(f"| {streams} | {measure.upper()} ms | {shown[0]} | {shown[1]} | {ratio:.3f} | {inside} |")
    print("the server's requests:", {of: (our["requests"], our["prompt"], our["tokens"]) for of, our, _ in rounds})


if __name__ == "__main__":
    main()
