"""Autograd wrappers of hc_ops.cpp (built on first use; bf16 streams, four of them)."""
import os

import torch
from torch.utils.cpp_extension import load

_dir = os.path.dirname(os.path.abspath(__file__))
C = load("fathom_hc_ops", [os.path.join(_dir, "hc_ops.cpp")], extra_cflags=["-O3", "-march=native", "-ffast-math"])


class Write(torch.autograd.Function):
    @staticmethod
    def forward(ctx, X, y, post, comb):
        X, y, post, comb = X.contiguous(), y.contiguous(), post.contiguous(), comb.contiguous()
        ctx.save_for_backward(X, y, post, comb)
        return C.write_fwd(X, y, post, comb)

    @staticmethod
    def backward(ctx, g):
        return tuple(C.write_bwd(g.contiguous(), *ctx.saved_tensors))


class Read(torch.autograd.Function):
    @staticmethod
    def forward(ctx, X, pre):
        X, pre = X.contiguous(), pre.contiguous()
        ctx.save_for_backward(X, pre)
        return C.read_fwd(X, pre)

    @staticmethod
    def backward(ctx, g):
        return tuple(C.read_bwd(g.contiguous(), *ctx.saved_tensors))


class Sink(torch.autograd.Function):
    @staticmethod
    def forward(ctx, L, iters, eps):
        L = L.contiguous()
        ctx.save_for_backward(L)
        ctx.k = (iters, eps)
        return C.sink_fwd(L, iters, eps)

    @staticmethod
    def backward(ctx, g):
        return C.sink_bwd(g.contiguous(), ctx.saved_tensors[0], *ctx.k), None, None


def mix(z, base, scale, m, iters, eps):
    pre = torch.sigmoid(z[:, :m] * scale[0] + base[:m]) + eps
    post = 2 * torch.sigmoid(z[:, m:2 * m] * scale[1] + base[m:2 * m])
    return pre, post, Sink.apply(z[:, 2 * m:] * scale[2] + base[2 * m:], iters, eps).view(-1, m, m)
