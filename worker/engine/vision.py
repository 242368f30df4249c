"""BLIP's picture tower: Hugging Face's weights, our way to run them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from blipq.worker.engine import attention
from blipq.worker.engine.layers import Maker
from blipq.worker.engine.preprocessing import Preprocessing


class Vision:
    """uint8 pictures to image tokens."""

    def __init__(self, model: Any, preprocessing: Preprocessing, make: Maker) -> None:
        """`model` is a `BlipVisionModel` with its weights in fp32."""
        config = model.config
        self.patch: int = config.patch_size
        self.dtype = make.dtype
        matmul = attention.by_matmul(make.device, make.dtype)
        self.layers = [_Layer(layer, config, make, matmul) for layer in model.encoder.layers]
        self.norm = make.norm(model.post_layernorm)
        embeddings = model.embeddings
        conv = embeddings.patch_embedding
        self.project = make.linear(*_normalising(conv.weight, conv.bias, preprocessing))
        places = embeddings.position_embedding.detach()[0]
        self.first = make.tensor(embeddings.class_embedding.detach()[0] + places[:1])
        self.places = make.tensor(places[1:])
        self.shape: tuple[int, int] = tuple(places.shape)
        """Tokens a picture, and their width."""

    def __call__(self, pixels: Tensor) -> Tensor:
        """uint8 (B, H, W, 3) on the device → (B, N, width): a class token and one a patch."""
        batch, height, width, _ = pixels.shape
        rows, columns, side = height // self.patch, width // self.patch, self.patch
        grid = pixels.view(batch, rows, side, columns, side, 3).transpose(2, 3)
        patches = grid.reshape(batch, rows * columns, side * side * 3).to(self.dtype).sub_(128)
        x = torch.cat((self.first.expand(batch, 1, -1), self.project(patches).add_(self.places)), dim=1)
        for layer in self.layers:
            x = layer(x)
        return self.norm(x)


class _Layer:
    def __init__(self, layer: Any, config: Any, make: Maker, matmul: bool) -> None:
        self.heads: int = config.num_attention_heads
        self.matmul = matmul
        width: int = config.hidden_size
        scale = torch.ones(3 * width)
        scale[:width] = (width // self.heads) ** -0.5  # of the queries, here once instead of over every score
        qkv = layer.self_attn.qkv
        self.qkv = make.linear(qkv.weight.detach() * scale[:, None], qkv.bias.detach() * scale)
        self.out = make.same(layer.self_attn.projection)
        self.up = make.same(layer.mlp.fc1, config.hidden_act)
        self.down = make.same(layer.mlp.fc2)
        self.norm1, self.norm2 = make.norm(layer.layer_norm1), make.norm(layer.layer_norm2)

    def __call__(self, x: Tensor) -> Tensor:
        qkv = self.qkv(self.norm1(x)).view(*x.shape[:2], 3, self.heads, -1)
        x = self.out.plus(attention.over_picture(qkv, matmul=self.matmul), x)
        return self.down.plus(self.up(self.norm2(x)), x)


def _normalising(weight: Tensor, bias: Tensor, preprocessing: Preprocessing) -> tuple[Tensor, Tensor]:
    """Fold rescaling and normalisation into the patch projection.

    conv(w, (p / 255 - mean) / std) = w' · (p - 128) + b'. Bytes less 128 are exact in bf16, normalised pixels are not,
    and the picture is touched once. weight (out, 3, side, side) → (out, side · side · 3), the order of the bytes.
    """
    mean = torch.tensor(preprocessing.mean, dtype=torch.float64).view(3, 1, 1)
    std = torch.tensor(preprocessing.std, dtype=torch.float64).view(3, 1, 1)
    exact = weight.detach().double()
    offset = (exact * ((128 / 255 - mean) / std)).sum((1, 2, 3))
    folded = (exact / (255 * std)).permute(0, 2, 3, 1).flatten(1)
    return folded.float(), (bias.detach().double() + offset).float()
