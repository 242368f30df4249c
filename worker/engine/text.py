"""BLIP's text decoder, one column at a time: Hugging Face's weights, our way to run them."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from blipq.worker.engine import attention
from blipq.worker.engine.layers import Maker
from blipq.worker.engine.state import Shape, State


class Text:
    """Tokens to the next token's logits, over a `State`."""

    def __init__(self, model: Any, image_tokens: int, image_width: int, make: Maker) -> None:
        """`model` is a `BlipTextLMHeadModel` with its weights in fp32."""
        config = model.config
        heads: int = config.num_attention_heads
        self.shape = Shape(config.num_hidden_layers, heads, config.hidden_size // heads, image_tokens, image_width)
        self.vocabulary: int = config.vocab_size
        self.places: int = config.max_position_embeddings
        self.layers = [
            _Layer(layer, index, self.shape, config.hidden_act, make)
            for index, layer in enumerate(model.bert.encoder.layer)
        ]
        embeddings = model.bert.embeddings
        self.words = make.tensor(embeddings.word_embeddings.weight)
        self.positions = make.tensor(embeddings.position_embeddings.weight)
        self.norm = make.norm(embeddings.LayerNorm)
        head = model.cls.predictions
        self.transform = make.same(head.transform.dense, config.hidden_act)
        self.head_norm = make.norm(head.transform.LayerNorm)
        self.head = make.same(head.decoder)

    def prompt(self, state: State, tokens: Tensor) -> Tensor:
        """Run prompts (B, P), padded on the left, once a picture → logits (B, V) of what follows, in fp32."""
        batch, length = tokens.shape
        ahead = torch.ones(length, length, dtype=torch.bool, device=tokens.device).triu(1)
        bias = state.bias[:batch, :, :, :length].masked_fill(ahead, float("-inf"))
        # A row of padding sees nothing, which is 0 / 0: let it see itself; nobody sees it.
        bias.diagonal(dim1=2, dim2=3).fill_(0.0)
        positions = (torch.arange(length, device=tokens.device) - state.padding[:batch]).clamp_(min=0)
        return self._run(state, tokens, positions, slice(0, length), length, None if length == 1 else bias, 1)

    def step(self, state: State, rows: int, span: int) -> Tensor:
        """Run `state.tokens` of the first rows in `state.column` → logits (rows, V) in fp32.

        `span` is how many columns to attend over: column + 1, or all of them where shapes must not change (a graph).
        """
        whole = span == state.columns
        columns = state.column if whole else slice(span - 1, span)
        bias = state.bias[:rows, :, :, :span] if whole or state.padded else None
        positions = state.column - state.padding[:rows]
        return self._run(state, state.tokens[:rows], positions, columns, span, bias, state.beams)

    def _run(
        self,
        state: State,
        tokens: Tensor,
        positions: Tensor,
        columns: slice | Tensor,
        span: int,
        bias: Tensor | None,
        beams: int,
    ) -> Tensor:
        x = self.norm(F.embedding(tokens, self.words) + F.embedding(positions, self.positions))
        for layer in self.layers:
            x = layer(state, x, columns, span, bias, beams)
        logits: Tensor = self.head(self.head_norm(self.transform(x[:, -1])))
        return logits.float()


class _Layer:
    def __init__(self, layer: Any, index: int, shape: Shape, activation: str, make: Maker) -> None:
        self.index, self.shape = index, shape
        scale = shape.width**-0.5
        own, cross = layer.attention, layer.crossattention
        self.qkv = make.side_by_side(own.self.query, own.self.key, own.self.value, scaled=scale)
        self.out, self.norm1 = make.same(own.output.dense), make.norm(own.output.LayerNorm)
        self.query = make.side_by_side(cross.self.query, scaled=scale)
        by_head = (shape.heads, shape.width, -1)
        # Copied: a view into the checkpoint's file is not aligned, and MKL sums in another order then.
        self.key = make.tensor(cross.self.key.weight.detach().clone().view(by_head))
        self.value = make.tensor(cross.self.value.weight.view(by_head).transpose(1, 2))
        # The weights of a softmax add up to 1: the values' bias reaches the output as it is.
        out, norm = cross.output.dense, cross.output.LayerNorm
        reached = out.weight.detach().double() @ cross.self.value.bias.detach().double()
        self.image_out = make.linear(out.weight, (out.bias.detach() + reached).float())
        self.norm2 = make.norm(norm)
        self.up = make.same(layer.intermediate.dense, activation)
        self.down, self.norm3 = make.same(layer.output.dense), make.norm(layer.output.LayerNorm)

    def __call__(
        self, state: State, x: Tensor, columns: slice | Tensor, span: int, bias: Tensor | None, beams: int
    ) -> Tensor:
        rows, length, _ = x.shape
        heads, width = self.shape.heads, self.shape.width
        q, k, v = self.qkv(x).view(rows, length, 3, heads, width).permute(2, 0, 3, 1, 4)
        keys, values = state.kv[:, self.index, :rows]
        keys[:, :, columns], values[:, :, columns] = k, v
        context = attention.over_cache(q, keys[:, :, :span], values[:, :, :span], bias)
        x = self.norm1(self.out.plus(context.transpose(1, 2).reshape(rows, length, -1), x))

        # The rows of a picture (its beams, or its prompt) are queries to the same picture: read once for all of them.
        q = self.query(x).view(rows // beams, beams * length, -1)
        context = attention.over_images(q, self.key, self.value, state.seen[: rows // beams])
        x = self.norm2(self.image_out.plus(context.view(rows, length, -1), x))
        return self.norm3(self.down.plus(self.up(x), x))
