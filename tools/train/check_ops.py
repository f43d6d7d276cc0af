"""Check the hand-written backward passes against autograd, and the round trips against their tables.

  check_ops.py
"""
import torch

import hc_ops
import model as M


def close(name, a, b, tol):
    worst = max(((x - y).abs().max() / (y.abs().max() + 1e-9)).item() for x, y in zip(a, b))
    print(f"{name}: worst relative difference {worst:.1e}")
    assert worst < tol, name


def grads(f, inputs):
    for t in inputs:
        t.grad = None
    f().backward()
    return [t.grad.float().clone() for t in inputs]


def streams():
    n, d = 203, 256
    X, y = torch.randn(n, 4, d).bfloat16().requires_grad_(), torch.randn(n, d).bfloat16().requires_grad_()
    z, base, sc = torch.randn(n, 24).requires_grad_(), torch.randn(24).requires_grad_(), torch.tensor([1.0, 1.0, 2.0]).requires_grad_()
    g = torch.randn(n, 4, d)

    def run(mix, read, write):
        p, q, c = mix(z, base, sc, 4, 20, 1e-6)
        return (write(X, y + read(X, p), q, c).float() * g).sum()
    ins = (X, y, z, base, sc)
    close("hyper-connections", grads(lambda: run(hc_ops.mix, hc_ops.Read.apply, hc_ops.Write.apply), ins),
          grads(lambda: run(M.hc_mix, M.hc_read, M.hc_write), ins), 1e-2)


def experts():
    E, m, d, counts = 4, 8, 16, [3, 0, 5, 2]
    P = [torch.randn(*s).requires_grad_() for s in ((10, d), (E, m, d), (E, m, d), (E, d, m), (10,))]
    g = torch.randn(10, d)

    def plain():
        x, w1, w3, w2, wt = P
        out, p = [], 0
        for e, c in enumerate(counts):
            xe = x[p:p + c]
            h = wt[p:p + c, None] * torch.nn.functional.silu((xe @ w1[e].T).clamp(max=1.0)) * (xe @ w3[e].T).clamp(-1, 1)
            out.append(h @ w2[e].T)
            p += c
        return (torch.cat(out) * g).sum()
    close("experts", grads(lambda: (M.Experts.apply(*P, counts, 1.0) * g).sum(), P), grads(plain, P), 1e-5)


def formats():
    x = torch.tensor([0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5.0, 7.0, -0.75])
    assert M.round_e2m1(x).tolist() == [0, 1, 1, 2, 2, 4, 4, 6, -1]
    one = lambda a, q: M._pow2_scale(torch.tensor([a]), q).item()
    assert one(1.0, 448.0) == 2 ** -8 and one(3.0, 448.0) == 2 ** -7 and one(1e-4, 448.0) == 2 ** -22 and one(448.0, 448.0) == 1
    assert one(1.0, 6.0) == 2 ** -2 and one(6.1, 6.0) == 2
    h = M.hadamard(128)
    assert torch.allclose(h @ h.T, torch.eye(128), atol=1e-6) and abs(h[0, 0].item() - 0.08838834764831845) < 1e-8
    mix = torch.tensor([[(-1) ** i * 0.1 * (i + 1) for i in range(24)]])
    pre, post, comb = M.hc_mix(mix, 0.01 * torch.arange(24), torch.tensor([0.5, 1.0, 2.0]), 4, 20, 1e-6)
    want = torch.tensor([[.0417221, .4583955, .0417221, .4581594], [.1553350, .3447181, .1553350, .3446110],
                         [.3450220, .1549237, .3450219, .1550314], [.4579200, .0419616, .4579200, .0421973]])
    assert torch.allclose(comb[0], want, atol=1e-5) and abs(pre[0, 0].item() - .5124984) < 1e-6 and abs(post[0, 3].item() - .6503894) < 1e-6
    print("formats, Hadamard and Sinkhorn vectors: ok")


if __name__ == "__main__":
    torch.manual_seed(0)
    torch.set_num_threads(1)
    streams()
    experts()
    formats()
