"""Where a reward model runs, and in which arithmetic."""

import torch

from gym_vlmrm.errors import ModelError

__all__ = ["choose_device", "choose_precision"]

SMALL_TOWER = 20_000_000
"""Below this many parameters half precision saves nothing, on a CPU or a GPU: rendering is the cost."""


def choose_device(device: str) -> torch.device:
    """Return the device; ``auto`` takes CUDA, else Apple's MPS, else the CPU. CUDA devices come with their number.

    Raises:
        ModelError: no such device on this machine.
    """
    if device == "auto":
        kind = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
        return _numbered(torch.device(kind))
    try:
        chosen = torch.device(device)
    except RuntimeError:
        raise ModelError(f"device '{device}' is unknown; use auto, cpu, cuda or cuda:N") from None
    available = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}
    count = available.get(chosen.type, 0)
    if (chosen.index or 0) >= count:
        raise ModelError(
            f"device '{device}' asked for, but torch finds {count} {chosen.type.upper()} devices here; use device='cpu'"
        )
    return _numbered(chosen)


def _numbered(device: torch.device) -> torch.device:
    """Which CUDA device ``cuda`` is differs between threads; with its number it is one."""
    if device.type == "cuda" and device.index is None:
        return torch.device("cuda", torch.cuda.current_device())
    return device


def choose_precision(precision: str, device: torch.device, parameters: int) -> str:
    """Return ``fp32``, ``bf16``, ``fp16`` or ``int8``; ``auto`` takes the fastest float type of the device.

    Small towers stay in ``fp32`` everywhere, so that their rewards on a CPU and on a GPU are equal to rounding.

    Raises:
        ModelError: ``int8`` elsewhere than on a CPU.
    """
    if precision == "int8" and device.type != "cpu":
        raise ModelError(f"precision 'int8' runs on a CPU, not on {device}; use precision='auto'")
    if precision != "auto":
        return precision
    if parameters < SMALL_TOWER:
        return "fp32"
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    if device.type == "cpu" and _cpu_has_bf16():
        return "bf16"
    return "fp32"


def _cpu_has_bf16() -> bool:
    probe = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return bool(probe is not None and probe())
