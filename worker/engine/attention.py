"""Attention without a stored probability matrix larger than a cache. Queries come scaled."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

SCORES_BYTES_A_THREAD = (
    2 << 20
)  # of the score scratch; larger falls out of the L2 cache: 2.8 → 5.5 ms an image and layer


def by_matmul(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether three batched products beat `scaled_dot_product_attention` over a picture's tokens.

    On a CPU with AVX-512 bf16 but no AMX they do: 2.8 against 7.5 ms an image and layer of BLIP-base on two Zen 5
    cores. In fp32 they do not (torch's flash kernel gives 163 GFLOP/s there, the products 69). Decided by capability
    and not by the clock, so that the same machine always gives the same captions.
    """
    return device.type == "cpu" and dtype == torch.bfloat16 and not torch.cpu._is_amx_tile_supported()


def over_picture(qkv: Tensor, *, matmul: bool) -> Tensor:
    """Attention of every token to every token. qkv (B, N, 3, H, D) → (B, N, H·D)."""
    batch, tokens, _, heads, width = qkv.shape
    if not matmul:
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        return F.scaled_dot_product_attention(q, k, v, scale=1.0).transpose(1, 2).reshape(batch, tokens, -1)
    context = qkv.new_empty(batch, tokens, heads, width)
    budget = SCORES_BYTES_A_THREAD * torch.get_num_threads()
    some = max(1, min(heads, budget // (tokens * tokens * qkv.element_size())))
    scratch = qkv.new_empty(some, tokens, tokens)
    for image in range(batch):
        q, k, v = qkv[image].permute(1, 2, 0, 3).contiguous()
        for head in range(0, heads, some):
            part = slice(head, min(head + some, heads))
            scores = torch.bmm(q[part], k[part].transpose(1, 2), out=scratch[: part.stop - head])
            torch.softmax(scores, -1, out=scores)
            context[image, :, part] = torch.bmm(scores, v[part]).transpose(0, 1)
    return context.view(batch, tokens, -1)


def over_cache(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None) -> Tensor:
    """Attention of few queries to many keys. q (B, H, Q, D), k and v (B, H, S, D), bias (B, 1, Q or 1, S) → as q.

    On a CPU plain products again: the fused kernel takes nine times as long for one query.
    """
    if q.device.type != "cpu":
        return F.scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=1.0)
    batch, heads, queries, width = q.shape
    flat = batch * heads
    scores = torch.bmm(q.reshape(flat, queries, width), k.reshape(flat, -1, width).transpose(1, 2))
    if bias is not None:
        scores.view(batch, heads, queries, -1).add_(bias)
    weights = torch.softmax(scores, -1)
    return torch.bmm(weights, v.reshape(flat, -1, width)).view(batch, heads, queries, width)


def over_images(q: Tensor, key: Tensor, value: Tensor, images: Tensor) -> Tensor:
    """Attention of a text's tokens to their picture, whose keys and values are never made.

    q (B, Q, H·D), key (H, D, W), value (H, W, D), images (B, N, W) → as q. Keys are images · key', so the scores are
    (q · key) · images', and the context is (weights · images) · value: a head's matrices move to the few queries. That
    spares 16.3 GFLOP a picture of BLIP-base, and 21 MB of keys and values read a step; a token costs 0.25 GFLOP more.
    The biases are the caller's: the keys' falls out of the softmax, the values' joins the output's.
    """
    batch, queries, width = q.shape
    heads, per_head, wide = key.shape
    asked = torch.bmm(q.view(-1, heads, per_head).transpose(0, 1), key).transpose(0, 1).reshape(batch, -1, wide)
    weights = torch.softmax(torch.bmm(asked, images.transpose(1, 2)), -1)
    found = torch.bmm(weights, images).view(-1, heads, wide).transpose(0, 1)
    return torch.bmm(found, value).transpose(0, 1).reshape(batch, queries, width)
