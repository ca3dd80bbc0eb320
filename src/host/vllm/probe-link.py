"""How fast the GPUs read and copy, as one JSON line: a second's work each, and 512 MiB of their memory."""

import json
import sys

try:
    import torch
except ImportError as error:
    sys.exit(f"there is no torch: {error}")
if not torch.cuda.is_available():
    sys.exit("torch sees no GPU")

SIZE = 256 << 20
ROUNDS = 8


def rate(work, size):
    """Bytes per second of the best of some rounds."""
    best = 0.0
    for _ in range(ROUNDS):
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        work()
        end.record()
        end.synchronize()
        best = max(best, size / (begin.elapsed_time(end) / 1000))
    return best


def view_of(pinned):
    """The same memory as the GPU sees it, by vLLM's own means for offloaded weights. None without vLLM."""
    try:
        from vllm.utils.torch_utils import get_accelerator_view_from_cpu_tensor as view
    except ImportError:
        try:
            from vllm.utils.torch_utils import get_cuda_view_from_cpu_tensor as view
        except ImportError:
            return None
    return view(pinned)


found = []
# None is given back: PyTorch would hand it out again for another GPU, and its view would stay the first one's.
held = []
for index in range(torch.cuda.device_count()):
    torch.cuda.set_device(index)
    pinned = torch.ones(SIZE // 4, dtype=torch.float32, pin_memory=True)
    one, other = torch.empty_like(pinned, device="cuda"), torch.empty_like(pinned, device="cuda")
    held.append(pinned)
    view = view_of(pinned)
    if view is not None and view.device != one.device:
        sys.exit(f"what {one.device} was to read is seen by {view.device}")
    found.append(
        {
            "copy": rate(lambda: one.copy_(pinned, non_blocking=True), SIZE),
            "read": None if view is None else rate(lambda: view.sum(), SIZE),
            # Each byte is read once and written once.
            "memory": rate(lambda: other.copy_(one), 2 * SIZE),
        }
    )
print("awqdeploy-answer " + json.dumps(found), flush=True)
