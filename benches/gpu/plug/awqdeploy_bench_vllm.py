"""A plugin of vLLM: random integers for the weights of a dummy model.

`--load-format dummy` fills floats and leaves integers as they were allocated: zeros, mostly. All experts of a model in 4 bit
are then the same, hidden states collapse, eight streams are routed to the same experts, and whatever depends on how many
different experts a step touches is measured too fast. With this on the PYTHONPATH they differ, and are the same in every
process, so that two servers can be asked for the same text.
"""

# Zero points too: with those of AWQ left at nought all weights would be positive.
PACKED = ("weight_packed", "qweight", "qzeros")


def register() -> None:
    import torch
    from vllm.model_executor.model_loader.dummy_loader import DummyModelLoader

    floats = DummyModelLoader.load_weights

    @torch.no_grad()
    def load_weights(self, model, model_config) -> None:
        floats(self, model, model_config)
        for seed, (name, parameter) in enumerate(model.named_parameters()):
            if name.endswith(PACKED):
                generator = torch.Generator(device=parameter.device)
                generator.manual_seed(seed)
                parameter.data.random_(-(2**31), 2**31 - 1, generator=generator)

    if floats.__module__ != __name__:
        DummyModelLoader.load_weights = load_weights
