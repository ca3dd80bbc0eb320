"""Ask a vLLM server and take the time: one stream, eight, long prompts, log-probabilities, sleep."""

import asyncio
import json
import random
import statistics
import time

import aiohttp

PROMPT = 128
LONG = 2048
ANSWER = 128
STREAMS = 8
# No request takes longer, even at 1 token/s.
PATIENCE = aiohttp.ClientTimeout(total=180)


class Client:
    """Prompts are random ids, so that nothing is in a cache, and routing spreads over the experts as it does for text."""

    def __init__(self, url: str, model: str, vocabulary: int) -> None:
        self.url, self.model, self.vocabulary = url, model, vocabulary
        self.random = random.Random(7)

    def ids(self, count: int) -> list[int]:
        return [self.random.randrange(1, self.vocabulary - 16) for _ in range(count)]

    async def stream(self, session: aiohttp.ClientSession, prompt: int, answer: int) -> dict:
        """One streamed answer of exactly `answer` tokens; times in seconds from sending."""
        body = {
            "model": self.model,
            "prompt": self.ids(prompt),
            "max_tokens": answer,
            "min_tokens": answer,
            "ignore_eos": True,
            "temperature": 1.0,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        sent = time.perf_counter()
        first = last = None
        tokens = 0
        async with session.post(f"{self.url}/v1/completions", json=body) as response:
            if response.status != 200:
                raise RuntimeError(f"status {response.status}: {(await response.text())[:300]}")
            async for line in response.content:
                if not line.startswith(b"data: {"):
                    continue
                chunk = json.loads(line[6:])
                if any(choice["text"] or choice["finish_reason"] for choice in chunk["choices"]):
                    last = time.perf_counter()
                    first = first or last
                if chunk.get("usage"):
                    tokens = chunk["usage"]["completion_tokens"]
        decode = (tokens - 1) / (last - first) if tokens > 1 and last > first else None
        return {"ttft": first - sent, "total": last - sent, "tokens": tokens, "decode": decode}

    async def many(self, session: aiohttp.ClientSession, streams: int, prompt: int, answer: int) -> list[dict]:
        return await asyncio.gather(*[self.stream(session, prompt, answer) for _ in range(streams)])

    async def once(self) -> float:
        """The decode rate of one stream, once."""
        async with aiohttp.ClientSession(timeout=PATIENCE) as session:
            return round((await self.stream(session, PROMPT, ANSWER))["decode"], 3)

    async def speed(self, repetitions: int, rounds: int, long: bool) -> dict:
        """Decode rate of one stream and, in so many rounds, of eight; time to the first token of short and long prompts."""
        result: dict = {"prompt_tokens": PROMPT, "answer_tokens": ANSWER}
        async with aiohttp.ClientSession(timeout=PATIENCE) as session:
            # What these compile on the way is no part of the measurement.
            warm = [await self.stream(session, PROMPT, 16) for _ in range(2)]
            result["first_request_s"] = round(warm[0]["total"], 3)
            single = [await self.stream(session, PROMPT, ANSWER) for _ in range(repetitions)]
            result["one"] = {
                "decode_tokens_per_second": summary([each["decode"] for each in single]),
                "ttft_s": summary([each["ttft"] for each in single]),
            }
            yield result
            if rounds:
                await self.eight(session, rounds, result)
                yield result
            if long:
                await self.stream(session, LONG, 2)
                answers = [await self.stream(session, LONG, 2) for _ in range(repetitions)]
                result["long"] = {"prompt_tokens": LONG, "ttft_s": summary([answer["ttft"] for answer in answers])}
                yield result

    async def eight(self, session: aiohttp.ClientSession, rounds: int, result: dict) -> None:
        await self.many(session, STREAMS, PROMPT, 8)
        totals, each, ttft = [], [], []
        for _ in range(rounds):
            began = time.perf_counter()
            answers = await self.many(session, STREAMS, PROMPT, ANSWER)
            took = time.perf_counter() - began
            totals.append(sum(answer["tokens"] for answer in answers) / took)
            each += [answer["decode"] for answer in answers]
            ttft += [answer["ttft"] for answer in answers]
        result["eight"] = {
            "total_tokens_per_second": summary(totals),
            "decode_tokens_per_second": summary(each),
            "ttft_s": summary(ttft),
        }

    async def logprobs(self) -> dict:
        """How likely the server finds a fixed prompt, and what it goes on with, greedily. Twice: the second shows its noise."""
        self.random = random.Random(11)
        prompt = self.ids(192)
        body = {"model": self.model, "prompt": prompt, "max_tokens": 64, "min_tokens": 64, "ignore_eos": True}
        body |= {"temperature": 0, "logprobs": 1, "prompt_logprobs": 1}
        answers = []
        async with aiohttp.ClientSession(timeout=PATIENCE) as session:
            for _ in range(2):
                async with session.post(f"{self.url}/v1/completions", json=body) as response:
                    document = await response.json()
                    if response.status != 200:
                        raise RuntimeError(f"status {response.status}: {str(document)[:300]}")
                choice = document["choices"][0]
                of_prompt = [(each or {}).get(str(token)) for token, each in zip(prompt, choice["prompt_logprobs"])]
                answers.append(
                    {
                        "prompt": [round(each["logprob"], 5) for each in of_prompt if each],
                        "text": choice["text"],
                        "answer": [round(value, 5) for value in choice["logprobs"]["token_logprobs"]],
                    }
                )
        return {"answers": answers}

    async def sleep(self, memory, result: dict) -> None:
        """To sleep and awake again; `memory` tells the GPU's bytes in use by the server. What was seen is in `result`."""
        result["awake_bytes"] = memory()
        before = await self.logprobs()
        async with aiohttp.ClientSession(timeout=PATIENCE) as session:
            for act, path in (("sleep", "/sleep?level=1"), ("wake", "/wake_up")):
                began = time.perf_counter()
                async with session.post(self.url + path) as response:
                    result[f"{act}_status"] = response.status
                result[f"{act}_s"] = round(time.perf_counter() - began, 3)
                result[f"after_{act}_bytes"] = memory()
            first = await self.stream(session, PROMPT, 2)
            result["first_answer_s"] = round(first["total"], 3)
        after = await self.logprobs()
        result["same_text"] = before["answers"][0]["text"] == after["answers"][0]["text"]
        pairs = zip(before["answers"][0]["prompt"], after["answers"][0]["prompt"])
        result["largest_logprob_difference"] = max(abs(a - b) for a, b in pairs)


def summary(values: list[float]) -> dict:
    digits = {"median": statistics.median(values), "low": min(values), "high": max(values)}
    return {name: round(value, 4) for name, value in digits.items()} | {"n": len(values)}
