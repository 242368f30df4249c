"""What this host's torch can do, as one line of JSON: the part of `blipq doctor` that needs torch, run as a child."""

from __future__ import annotations

import json
import sys
from typing import Any


def report(asked: str) -> dict[str, Any]:
    """Device and precision that a worker would take here, their names and free memory."""
    import torch
    import transformers

    from blipq.worker.engine.precision import pick_device, pick_precision

    device = pick_device(asked)
    found: dict[str, Any] = {
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "device": str(device),
        "precision": pick_precision("auto", device),
        "threads": torch.get_num_threads(),
    }
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        found |= {"name": torch.cuda.get_device_name(device), "memory_free": free, "memory": total}
    return found


if __name__ == "__main__":
    print(json.dumps(report(sys.argv[1] if len(sys.argv) > 1 else "auto")))
