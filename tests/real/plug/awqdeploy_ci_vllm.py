"""Makes vLLM's CPU build serve a quantised Qwen3-Next on any processor with AVX2. For tests only.

vLLM finds it as a plugin through PYTHONPATH and loads it in the API server, the engine and every worker. It mends what
the CPU build of 0.32.0 lacks; the installed runtime stays untouched, and awqdeploy knows nothing of it.
"""

import ctypes

ARCH_PRCTL, ARCH_REQ_XCOMP_PERM, XTILEDATA = 158, 0x1023, 18


def register():
    # Linux kills a process that uses AMX tiles without having asked; this build never asks. No AMX: harmless failure.
    ctypes.CDLL(None).syscall(ARCH_PRCTL, ARCH_REQ_XCOMP_PERM, XTILEDATA)

    import torch
    from vllm.model_executor.layers.fused_moe.experts.cpu_moe import CPUExpertsInt4
    from vllm.model_executor.layers.quantization.utils.quant_utils import kInt4Static, kInt4Static32

    # 0.32.0 keeps groups of 32 apart from other sizes, and forgot them here; the kernel handles them.
    CPUExpertsInt4._supports_quant_scheme = staticmethod(
        lambda weight, activation: weight in (kInt4Static, kInt4Static32) and activation is None
    )
    if not torch.cpu._is_amx_tile_supported():
        serve_int4_experts_without_amx(CPUExpertsInt4)
    if not torch.cpu._is_avx512_supported():
        serve_int4_linear_without_avx512()


def serve_int4_experts_without_amx(experts):
    """The 4-bit kernel for experts needs AMX. Without it, unpack the same weights at load, and use the vector kernel.

    Both halves are vLLM's own: the unpacking of its emulation backend, and the kernel of its unquantised experts.
    """
    import torch
    from vllm._custom_ops import cpu_fused_moe, cpu_prepack_moe_weight
    from vllm.model_executor.layers.fused_moe.oracle import int_wna16

    def process_weights(quant_config, w13, w2, w13_scale, w2_scale, *zeros_and_biases):
        # Our models are symmetric and without bias: there are no zero points to apply, but the caller wants some.
        unpacked = int_wna16._process_weights_emulation_gptq(w13, w2, w13_scale, w2_scale, None, None)
        w13, w2 = (cpu_prepack_moe_weight(weight.to(w13_scale.dtype), "vec") for weight in unpacked[:2])
        no_zeros = torch.zeros(1, dtype=torch.int32)
        return w13, w2, w13_scale, w2_scale, no_zeros, no_zeros, None, None, None, None

    def apply(self, output, hidden_states, w1, w2, topk_weights, topk_ids, activation, *rest, **named):
        cpu_fused_moe(output, hidden_states, w1, w2, None, None, topk_weights, topk_ids, activation.value, "vec")

    int_wna16._process_weights_cpu = process_weights
    experts.apply = apply
    experts._supports_current_device = staticmethod(lambda: True)


def serve_int4_linear_without_avx512():
    """The 4-bit kernel for linear layers needs AVX-512. Without it, unpack the same weights at load, and multiply."""
    import torch
    from vllm.model_executor.kernels.linear.mixed_precision.cpu import CPUWNA16LinearKernel
    from vllm.model_executor.layers.quantization.utils.quant_utils import unpack_quantized_values_into_int32

    def process_weights(self, layer):
        # By then packed along the input, whatever the format: [input / 8, output], with scales [groups, output].
        values = unpack_quantized_values_into_int32(getattr(layer, self.w_q_name), self.config.weight_type, 0)
        scales = getattr(layer, self.w_s_name)
        scales = scales.repeat_interleave(values.size(0) // scales.size(0), 0)
        weight = (values - self.config.weight_type.bias) * scales
        weight = weight.t().to(self.config.act_type).contiguous()
        setattr(layer, self.w_q_name, torch.nn.Parameter(weight, requires_grad=False))

    def apply_weights(self, layer, x, bias=None):
        return torch.nn.functional.linear(x, getattr(layer, self.w_q_name), bias)

    CPUWNA16LinearKernel._process_gptq_weights_w4a16 = process_weights
    CPUWNA16LinearKernel.apply_weights = apply_weights
