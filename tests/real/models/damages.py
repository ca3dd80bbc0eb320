"""Damages the weights of a vLLM that runs, and mends them: one server, many models.

A worker extension: `--worker-extension-cls damages.Damages`, with this folder in PYTHONPATH and VLLM_SERVER_DEV_MODE=1.
`POST /collective_rpc {"method": "plant", "args": [[["rtn", {"group": 32}], ["scale", {"layer": 12, "by": 1.5}]]]}`
restores the weights that were loaded, and then does what each step says. It needs unquantised weights that nothing has
packed, and no cached prefixes (`--no-enable-prefix-caching`).
"""

import torch
from vllm.model_executor.layers import utils


def unpacked(layer, remove_weight):
    """Leave a linear layer's weights where they can be changed: oneDNN's copy would not change with them."""
    layer.cpu_linear = torch.nn.functional.linear


# Linear layers look it up when their weights have been loaded.
utils.dispatch_cpu_unquantized_gemm = unpacked

LINEAR = ("qkv_proj", "o_proj", "gate_up_proj", "down_proj")
BITS = 4
LEVELS = 2**BITS


def grouped(weight: torch.Tensor, group: int) -> torch.Tensor:
    """[out, groups, group] in float32; the last group is filled with zeros."""
    missing = -weight.shape[1] % group
    return torch.nn.functional.pad(weight.float(), (0, missing)).unflatten(1, (-1, group))


def rounded(weight: torch.Tensor, group: int, symmetric: bool = True, shift: int = 0, roll: int = 0) -> torch.Tensor:
    """Round to nearest with a scale for each group. `shift`: the zero points are read off by so much; `roll`: the scales
    are those of so many groups further."""
    groups = grouped(weight, group)
    if symmetric:
        scale = (groups.abs().amax(-1, keepdim=True) / (LEVELS / 2 - 0.5)).clamp(min=1e-8)
        zero = torch.full_like(scale, LEVELS / 2)
    else:
        low, high = groups.amin(-1, keepdim=True).clamp(max=0), groups.amax(-1, keepdim=True).clamp(min=0)
        scale = ((high - low) / (LEVELS - 1)).clamp(min=1e-8)
        zero = torch.round(-low / scale)
    values = torch.round(groups / scale + zero).clamp(0, LEVELS - 1)
    # Checkpoints store scales in the weights' own type.
    back = (values - zero - shift) * scale.to(weight.dtype).float().roll(roll, 1)
    return back.flatten(1)[:, : weight.shape[1]].to(weight.dtype)


class Damages:
    def plant(self, steps: list) -> str:
        """Restores what was loaded, then does these steps: [name, options]."""
        parameters = dict(self.model_runner.model.named_parameters())
        loaded = self.__dict__.setdefault("_loaded", {})
        for name, tensor in loaded.items():
            parameters[name].data.copy_(tensor)
        loaded.clear()
        for cache, tensor in self.__dict__.setdefault("_angles", []):
            cache.copy_(tensor)
        self._angles.clear()

        def weights(layer=None, only=LINEAR):
            """The linear weights of this layer or all, which can be changed."""
            for name, parameter in parameters.items():
                if not name.endswith(".weight") or name.split(".")[-2] not in only:
                    continue
                if layer is None or f".layers.{layer}." in name:
                    loaded.setdefault(name, parameter.data.clone())
                    yield parameter.data

        for name, options in steps:
            options = dict(options)
            if name == "theta":
                self.angles(**options)
            else:
                where = {key: options.pop(key) for key in ("layer", "only") if key in options}
                torch.manual_seed(0)
                for weight in weights(**where):
                    getattr(self, name)(weight, **options)
        return f"{len(loaded)} tensors changed"

    @staticmethod
    def rtn(weight, **how):
        weight.copy_(rounded(weight, **how))

    @staticmethod
    def scale(weight, by):
        weight.mul_(by)

    @staticmethod
    def zero(weight):
        weight.zero_()

    @staticmethod
    def shard(weight, of, by):
        """The first of so many shards of the rows, times a factor."""
        weight[: weight.shape[0] // of].mul_(by)

    @staticmethod
    def replaced(weight, share):
        """This share of the weights replaced by others of the matrix."""
        flat, count = weight.view(-1), max(1, int(weight.numel() * share))
        flat[torch.randint(flat.numel(), (count,))] = flat[torch.randint(flat.numel(), (count,))]

    @staticmethod
    def noise(weight, of):
        """Noise of this share of the weights' own spread."""
        weight.add_((torch.randn(weight.shape) * weight.float().std() * of).to(weight.dtype))

    @staticmethod
    def row(weight, at):
        """A row of zeros: where the matrix is that of the embeddings, a token is lost."""
        weight[at].zero_()

    def angles(self, theta):
        """Another base of the rotary embedding."""
        seen = set()
        for module in self.model_runner.model.modules():
            cache = getattr(module, "cos_sin_cache", None)
            if cache is None or id(cache) in seen:
                continue
            seen.add(id(cache))
            self._angles.append((cache, cache.clone()))
            steps = torch.arange(0, module.rotary_dim, 2, dtype=torch.float) / module.rotary_dim
            angles = torch.outer(torch.arange(cache.shape[0]).float(), 1.0 / theta**steps)
            cache.copy_(torch.cat((angles.cos(), angles.sin()), -1).to(cache.dtype))
