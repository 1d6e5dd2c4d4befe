"""Accelerators as their makers describe them: what a plan takes where nothing was measured."""

from dataclasses import dataclass

from gym_vlmrm.errors import VLMRMError, did_you_mean

__all__ = ["CORES", "DEVICES", "DRAWING", "UTILISATION", "Device", "find_device"]

UTILISATION = 0.4
"""Share of the peak rate that an image tower is taken to reach: assumed, not measured (published training runs of
transformers report 0.3 to 0.6)."""
CORES = 16
"""Processor cores beside each accelerator: assumed, as large clouds rent them."""
DRAWING = 0.27e-3
"""Time of drawing a small frame by EGL on a data-centre GPU [s]: MuJoCo's issue 3444, one H200."""


@dataclass(frozen=True)
class Device:
    """One accelerator."""

    name: str
    peak: float
    """Dense matrix products in bfloat16 [FLOP/s]."""
    memory: float
    """[bytes]"""
    source: str


_NVIDIA = "NVIDIA's data sheet, dense"
DEVICES: dict[str, Device] = {
    device.name: device
    for device in (
        Device("h100", 989e12, 80e9, f"{_NVIDIA}, SXM"),
        Device("h200", 989e12, 141e9, f"{_NVIDIA}, SXM"),
        Device("a100", 312e12, 80e9, f"{_NVIDIA}, 80 GB"),
        Device("l40s", 362e12, 48e9, _NVIDIA),
        Device("l4", 121e12, 24e9, _NVIDIA),
        Device("rtx4090", 165e12, 24e9, "NVIDIA's Ada white paper, dense, float32 accumulation"),
        Device("mi300x", 1307e12, 192e9, "AMD's data sheet, dense"),
    )
}


def find_device(name: str) -> Device:
    """Return an accelerator by its name; raises VLMRMError for any other."""
    key = name.lower().replace("-", "").replace(" ", "")
    if key not in DEVICES:
        raise VLMRMError(f"no figures are known of the accelerator '{name}'{did_you_mean(key, DEVICES)}")
    return DEVICES[key]
