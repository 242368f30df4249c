"""BLIP as it is trained: loaded, checked, resized, partly frozen, with LoRA where asked for; and its plain weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional
from transformers import BlipForConditionalGeneration, BlipProcessor
from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil
from transformers.models.blip.modeling_blip import BlipAttention

from blipq.worker.engine import blip
from blipq.worker.engine.attention import by_matmul
from blipq.worker.engine.errors import NotACaptioner
from blipq.worker.engine.precision import DTYPES
from blipq.worker.engine.training.events import TrainingError
from blipq.worker.engine.training.plan import Plan

# peft's "all-linear" would hit the tied head; these are the projections, by their full names.
LORA_DECODER = r"text_decoder\..*\.(query|key|value)"
LORA_VISION = r"vision_model\..*\.(qkv|projection|fc1|fc2)"


class Attention(BlipAttention):  # type: ignore[misc]  # transformers is untyped here
    """The vision tower's attention, exact, as the device does it fastest.

    Forward and backward of a picture and a layer of BLIP-base, one Zen 5 core: the fused kernel 44 ms in fp32 and 52 in
    bf16, plain products 48 and 19. Elsewhere the fused kernel writes no 577 x 577 scores to memory.
    """

    def forward(self, hidden_states: torch.Tensor, **_: Any) -> tuple[torch.Tensor, None]:
        """`hidden_states`: (pictures, positions, width); the same shape comes back."""
        rows, positions, width = hidden_states.shape
        fused = self.qkv(hidden_states).view(rows, positions, 3, self.num_heads, self.head_dim)
        query, key, value = fused.permute(2, 0, 3, 1, 4)
        if by_matmul(query.device, query.dtype):
            weights = torch.softmax(torch.matmul(query * self.scale, key.transpose(-1, -2)), dim=-1)
            mixed = torch.matmul(self.dropout(weights), value)
        else:
            dropout = self.dropout.p if self.training else 0.0
            mixed = functional.scaled_dot_product_attention(query, key, value, dropout_p=dropout, scale=self.scale)
        return self.projection(mixed.transpose(1, 2).reshape(rows, positions, width)), None


@dataclass(frozen=True)
class Precision:
    """The arithmetic of the forward pass; weights, gradients and moments stay fp32."""

    name: str
    device: torch.device

    @property
    def dtype(self) -> torch.dtype:
        """The type of the products."""
        return DTYPES[self.name]

    def context(self) -> AbstractContextManager[Any]:
        """The autocast that a forward pass runs in."""
        return torch.autocast(self.device.type, self.dtype, enabled=self.name != "fp32")


class Network:
    """A BLIP captioner with what is needed to train it."""

    def __init__(self, checkpoint: blip.Checkpoint) -> None:
        self.model, self.tokenizer, pictures = checkpoint.model, checkpoint.tokenizer, checkpoint.preprocessing
        text = self.model.config.text_config
        self.bos, self.sep, self.pad = text.bos_token_id, text.sep_token_id, text.pad_token_id
        self.positions: int = text.max_position_embeddings
        self.resample = pictures.resample
        self.mean = torch.tensor(pictures.mean).view(1, 3, 1, 1) * 255
        self.std = torch.tensor(pictures.std).view(1, 3, 1, 1) * 255
        for layer in self.model.vision_model.encoder.layers:
            layer.self_attn.__class__ = Attention

    @classmethod
    def load(cls, folder: str | Path) -> Network:
        """Load a model folder in fp32, on the CPU.

        Raises TrainingError: no BLIP captioner, a broken one, or a tokenizer of another vocabulary.
        """
        try:
            checkpoint = blip.load(Path(folder))
        except NotACaptioner as error:
            raise TrainingError("usage", f"{error}; give the folder of a BLIP captioner") from None
        text, words = checkpoint.model.config.text_config, len(checkpoint.tokenizer)
        if words > text.vocab_size or max(text.bos_token_id, text.sep_token_id, text.pad_token_id) >= text.vocab_size:
            raise TrainingError(
                "usage",
                f"{folder} has a tokenizer of {words:,} words and a model of {text.vocab_size:,}: they do not belong "
                "together, give a folder whose config.json and tokenizer come from one model",
            )
        return cls(checkpoint)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of a picture, in pixels."""
        side = self.model.config.vision_config.image_size
        return side, side

    @property
    def large(self) -> bool:
        """Whether the vision tower is as wide as BLIP-large's."""
        return bool(self.model.config.vision_config.hidden_size >= 1024)

    def resize(self, side: int) -> None:
        """Take pictures of another size: the position embeddings are interpolated, bicubic.

        Raises TrainingError: the size is no multiple of the patch.
        """
        vision = self.model.config.vision_config
        if side == vision.image_size:
            return
        if side % vision.patch_size:
            near = max(1, round(side / vision.patch_size)) * vision.patch_size
            raise TrainingError("usage", f"image_size={side}: takes a multiple of {vision.patch_size}, such as {near}")
        embeddings = self.model.vision_model.embeddings
        old, new = vision.image_size // vision.patch_size, side // vision.patch_size
        table = embeddings.position_embedding.detach()
        grid = table[:, 1:].reshape(1, old, old, -1).permute(0, 3, 1, 2)
        grid = functional.interpolate(grid, size=(new, new), mode="bicubic", align_corners=False)
        rows = grid.permute(0, 2, 3, 1).reshape(1, new * new, -1)
        embeddings.position_embedding = torch.nn.Parameter(torch.cat([table[:, :1], rows], dim=1))
        embeddings.image_size, embeddings.num_patches, embeddings.num_positions = side, new * new, new * new + 1
        vision.image_size = side

    def processor(self) -> BlipProcessor:
        """The processor that belongs to the weights, for pictures of their size."""
        height, width = self.size
        pictures = BlipImageProcessorPil(
            size={"height": height, "width": width},
            resample=self.resample,
            image_mean=[round(value / 255, 9) for value in self.mean.flatten().tolist()],
            image_std=[round(value / 255, 9) for value in self.std.flatten().tolist()],
        )
        return BlipProcessor(pictures, self.tokenizer)

    def place(self, device: torch.device) -> None:
        """Move to the device."""
        self.model.to(device)
        self.mean, self.std = self.mean.to(device), self.std.to(device)

    def prepare(self, plan: Plan, device: torch.device) -> None:
        """Freeze, add LoRA and gradient checkpointing as a settled plan says, and move to the device.

        Raises TrainingError: LoRA is asked for and peft is not installed.
        """
        self.place(device)
        model = self.model
        model.vision_model.requires_grad_(plan.freeze != "vision")
        model.text_decoder.requires_grad_(plan.freeze != "decoder")
        if plan.lora:
            torch.manual_seed(plan.seed)  # the adapters start from random numbers
            _add_lora(model, plan)
        if plan.gradient_checkpointing:
            # The first name came with transformers 5.2x, where the second warns.
            enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
            enable({"use_reentrant": False})
        self.train()

    def train(self) -> None:
        """Training mode where something learns, so that a frozen tower's features are the same in every epoch."""
        self.model.eval()
        for tower in (self.model.vision_model, self.model.text_decoder):
            tower.train(any(weight.requires_grad for weight in tower.parameters()))

    def learning(self) -> dict[str, torch.nn.Parameter]:
        """The parameters that learn, by name; tied ones once."""
        return {name: weight for name, weight in self.model.named_parameters() if weight.requires_grad}

    def features(self, pixels: torch.Tensor) -> torch.Tensor:
        """Picture features (pictures, positions, width) of uint8 pixels (pictures, height, width, 3)."""
        values = (pixels.to(self.mean.device, non_blocking=True).permute(0, 3, 1, 2).float() - self.mean) / self.std
        learns = any(weight.requires_grad for weight in self.model.vision_model.parameters())
        with torch.set_grad_enabled(torch.is_grad_enabled() and learns):
            states: torch.Tensor = self.model.vision_model(values).last_hidden_state
        return states

    def logits(
        self, features: torch.Tensor, inputs: torch.Tensor, present: torch.Tensor, scored: torch.Tensor
    ) -> torch.Tensor:
        """Next-token scores (scored places, vocabulary) at the places that `scored` marks.

        `inputs` and `present` (the places that are no padding): (pairs, places). The head runs on scored places only:
        a padded or prompt place would cost 2 x 768 x 30,524 operations for nothing.
        """
        states = self.model.text_decoder.bert(
            input_ids=inputs,
            attention_mask=present,
            encoder_hidden_states=features,
            is_decoder=True,
            use_cache=False,
        ).last_hidden_state
        scores: torch.Tensor = self.model.text_decoder.cls(states[scored])
        return scores

    def generate(self, features: torch.Tensor, prompt: Sequence[int], max_new_tokens: int) -> list[str]:
        """Greedy captions of picture features, from the model's own first token: no reference is ever shown to it."""
        start = torch.tensor([[self.bos, *prompt]], device=features.device).repeat(len(features), 1)
        ids = self.model.text_decoder.generate(
            input_ids=start,
            attention_mask=torch.ones_like(start),
            encoder_hidden_states=features,
            eos_token_id=self.sep,
            pad_token_id=self.pad,
            max_new_tokens=max_new_tokens,
            do_sample=False,
            num_beams=1,
        )
        return [self.text(row) for row in ids[:, start.shape[1] :].tolist()]

    def text(self, tokens: Sequence[int]) -> str:
        """A caption of its tokens, without [SEP] and padding."""
        return " ".join(str(self.tokenizer.decode(tokens, skip_special_tokens=True)).split())

    def weights(self) -> dict[str, torch.Tensor]:
        """The weights as plain BLIP names them, LoRA merged in, tied ones once; the model itself is left as it is."""
        tied = set(self.model._tied_weights_keys)
        plain: dict[str, torch.Tensor] = {}
        for name, weight in self.model.state_dict().items():
            if name in tied or ".lora_" in name:
                continue
            module, _, leaf = name.rpartition(".")
            if module.endswith(".base_layer"):
                module = module.removesuffix(".base_layer")
                if leaf == "weight":
                    with torch.no_grad():
                        weight = weight + self.model.get_submodule(module).get_delta_weight("default")
            plain[f"{module}.{leaf}" if module else leaf] = weight
        return plain


@contextmanager
def inference(network: Network) -> Iterator[None]:
    """Evaluation mode without gradients, and back. Never across a yield: gradients are off in the whole thread."""
    network.model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        network.train()


def _add_lora(model: BlipForConditionalGeneration, plan: Plan) -> None:
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError:
        raise TrainingError("usage", "LoRA needs peft: pip install 'blipq[lora]', or leave --lora out") from None
    targets = {"vision": [LORA_DECODER], "decoder": [LORA_VISION], "none": [LORA_DECODER, LORA_VISION]}[plan.freeze]
    config = LoraConfig(
        r=plan.lora_r,
        lora_alpha=plan.lora_alpha,
        lora_dropout=plan.lora_dropout,
        target_modules="|".join(f"(?:{target})" for target in targets),
    )
    inject_adapter_in_model(config, model)
