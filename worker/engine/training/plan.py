"""What a training run is asked to do: one frozen, validated value that travels as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

SCHEDULES = ("cosine", "linear", "constant", "cosine-epoch")
PRECISIONS = ("auto", "fp32", "bf16", "fp16")
FREEZES = ("auto", "vision", "decoder", "none")

# Fewer pictures than this cannot spare a validation set: a tenth of 19 is two pictures, whose loss is noise.
SPLIT_MINIMUM = 20
# Up to here the vision tower overfits before it helps, so it stays frozen and its features are kept on disk.
SMALL = 1_000
# At the most; early stop ends a run before. 100 photos at 5e-5 were best after 7 epochs, published runs after 1 to 16.
EPOCHS_SMALL, EPOCHS = 30, 6

# The well-known notebook's hyper-parameters; the loss stays the right one.
PRESETS: Mapping[str, Mapping[str, Any]] = {
    "notebook": {
        "epochs": 50,
        "lr": 5e-5,
        "batch_size": 2,
        "accumulation": 1,
        "weight_decay": 0.01,
        "schedule": "constant",
        "warmup": 0.0,
        "freeze": "none",
        "label_smoothing": 0.0,
    }
}


@dataclass(frozen=True)
class Plan:
    """One run. `None` and `auto` are chosen by `settled`, once the data has been counted.

    Raises ValueError at construction: one line, what is wrong and what to do.
    """

    base: str  # model folder: config, processor, safetensors
    data: str  # Hub dataset id (with @revision), folder, or .jsonl/.csv/.parquet file
    out: str  # folder of this run's checkpoints, and of its list of pairs
    image_column: str | None = None
    text_column: str | None = None
    split: str = "train"  # the data's own split to learn from
    validation: float | str = 0.1  # a share of the pictures, or the name of one of the data's splits
    prompt: str = ""  # precedes every caption, and is masked in the loss
    epochs: int | None = None
    patience: int | None = None  # epochs without a better validation before the run ends; 0: never ends early
    lr: float | None = None
    batch_size: int = 8  # pairs a forward pass, over all devices together
    accumulation: int = 1  # forward passes an optimizer step
    weight_decay: float = 0.05  # on tensors of two and more dimensions
    schedule: str = "cosine"
    warmup: float = 0.05  # share of all steps in which the learning rate rises to `lr`
    clip: float = 1.0  # norm that gradients are clipped to; 0: not clipped
    precision: str = "auto"
    freeze: str = "auto"
    lora: bool = False
    lora_r: int = 16
    lora_alpha: int = 32
    lora_dropout: float = 0.05
    gradient_checkpointing: bool = False
    image_size: int | None = None  # pixels a side; position embeddings are interpolated
    max_length: int = 40  # tokens of a caption, [DEC] and [SEP] counted
    label_smoothing: float = 0.1
    augment: bool = False
    seed: int = 0
    keep: int = 2  # newest checkpoints kept, beside the best
    prune: bool = True  # the run deletes the others; False: who lists them does, once newer ones are listed
    checkpoint_every: int | None = None  # steps; None: ten minutes, and each best epoch
    best: str | None = None  # folder of the best checkpoint that a resume knows of; None: beside the one it starts from
    checkpoint_prefix: str = "step-"  # the worker puts its fence here
    cache: str | None = None  # folder of cached picture features, shared by runs; None: inside `out`
    devices: tuple[str, ...] = ("auto",)  # several: data-parallel, one process each

    def __post_init__(self) -> None:
        object.__setattr__(self, "devices", tuple(self.devices))
        for name in ("base", "data", "out", "split"):
            _demand(bool(getattr(self, name)), name, getattr(self, name), "a non-empty text")
        for name, most in (("batch_size", 65_536), ("accumulation", 65_536), ("keep", 1_000), ("lora_r", 4_096)):
            value = getattr(self, name)
            _demand(_whole(value) and 1 <= value <= most, name, value, f"a whole number from 1 to {most}")
        _demand(_whole(self.lora_alpha) and self.lora_alpha >= 1, "lora_alpha", self.lora_alpha, "a whole number >= 1")
        _demand(_whole(self.seed) and 0 <= self.seed < 2**63, "seed", self.seed, "a whole number from 0")
        _demand(_whole(self.max_length) and self.max_length >= 3, "max_length", self.max_length, "3 tokens or more")
        for name, least in (("epochs", 1), ("patience", 0), ("checkpoint_every", 1), ("image_size", 16)):
            value = getattr(self, name)
            _demand(value is None or (_whole(value) and value >= least), name, value, f"a whole number >= {least}")
        _demand(
            self.image_size is None or self.image_size <= 1024, "image_size", self.image_size, "at most 1024 pixels"
        )
        _demand(self.lr is None or (_real(self.lr) and 0 < self.lr <= 1), "lr", self.lr, "a number over 0, at most 1")
        for name in ("weight_decay", "clip"):
            value = getattr(self, name)
            _demand(_real(value) and value >= 0, name, value, "a number >= 0")
        for name in ("warmup", "label_smoothing", "lora_dropout"):
            value = getattr(self, name)
            _demand(_real(value) and 0 <= value < 1, name, value, "a number from 0 to below 1")
        for name, known in (("schedule", SCHEDULES), ("precision", PRECISIONS), ("freeze", FREEZES)):
            _demand(getattr(self, name) in known, name, getattr(self, name), " or ".join(known))
        share = self.validation
        _demand(
            bool(share) if isinstance(share, str) else _real(share) and 0 <= share < 1,
            "validation",
            share,
            "a share of the pictures from 0 to below 1, or the name of a split",
        )
        _demand("/" not in self.checkpoint_prefix, "checkpoint_prefix", self.checkpoint_prefix, "no slash")
        _demand(len(self.devices) >= 1 and all(self.devices), "devices", self.devices, "one device or more")

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Plan:
        """Build a plan from decoded JSON; `preset` fills in what is not given.

        Raises ValueError for an unknown preset, an unknown name or a wrong value.
        """
        given = dict(values)
        preset = given.pop("preset", None)
        if preset is not None and preset not in PRESETS:
            raise ValueError(f"preset={preset}: takes {' or '.join(PRESETS)}")
        unknown = sorted(given.keys() - {field.name for field in fields(cls)})
        if unknown:
            raise ValueError(f"a training plan has no {', '.join(unknown)}: leave it out")
        missing = [name for name in ("base", "data", "out") if name not in given]
        if missing:
            raise ValueError(f"a training plan needs {', '.join(missing)}")
        return cls(**{**(PRESETS[preset] if preset else {}), **given})

    def to_json(self) -> dict[str, Any]:
        """The plan as JSON values; `from_json` takes them back."""
        return asdict(self)

    def settled(self, pictures: int, *, large: bool) -> Plan:
        """Choose what was left open, for so many training pictures; `large`: a vision tower 1024 wide or wider.

        Epochs that are named are run to the end, the best kept, unless a patience is named too.
        """
        small = pictures < SMALL
        freeze = self.freeze if self.freeze != "auto" else ("vision" if small or self.lora else "none")
        if self.lora:
            lr = 1e-4
        elif small:
            lr = 5e-5
        else:
            lr = 2e-6 if large else 1e-5
        patience = self.patience if self.patience is not None else (2 if self.epochs is None else 0)
        return replace(
            self,
            freeze=freeze,
            lr=self.lr if self.lr is not None else lr,
            epochs=self.epochs if self.epochs is not None else (EPOCHS_SMALL if small else EPOCHS),
            patience=patience,
        )


def _demand(holds: bool, name: str, value: object, takes: str) -> None:
    if not holds:
        raise ValueError(f"{name}={value}: takes {takes}")


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _real(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
