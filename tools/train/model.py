"""A compact, trainable DeepSeek-V4 architecture: window / CSA / HCA attention with a lightning
indexer, sqrt-softplus MoE with hash layers, and manifold-constrained hyper-connections (mHC).

Parameter names follow the official checkpoint, except that the routed experts of a layer are held as
three stacked tensors.  Rows of a batch may hold several documents: `doc` ids, and `pos` positions.
"""
import math
from types import SimpleNamespace

import torch
import torch.nn.functional as F
from torch import nn

NEG = -30000.0


# ---- low-precision round trips (straight-through in training) --------------------------------------
def _pow2_scale(amax, qmax):
    m, e = torch.frexp(amax * (1.0 / qmax))
    return torch.ldexp(torch.ones_like(amax), torch.where(m == 0.5, e - 1, e))


def round_e2m1(x):
    a = x.abs().clamp(max=6.0)
    r = torch.where(a < 2, torch.round(a * 2) / 2, torch.where(a < 4, torch.round(a), torch.round(a / 2) * 2))
    return torch.copysign(r, x)


def round_e4m3(x):
    return x.clamp(-448, 448).to(torch.float8_e4m3fn).float()


def fp4_scale(x):
    """x [..., groups, 32] -> power-of-two scale per group"""
    return _pow2_scale(x.abs().amax(-1, keepdim=True).clamp(min=6 * 2.0 ** -126), 6.0)


def fp4_rt(x, group=32):
    s = x.shape
    y = x.float().reshape(*s[:-1], s[-1] // group, group)
    sc = fp4_scale(y)
    return (round_e2m1(y / sc) * sc).reshape(s)


def fp8_rt(x, group):
    """E4M3 round trip in groups along the last axis; the last group may be shorter"""
    s, n = x.shape, x.shape[-1]
    y = F.pad(x.float(), (0, -n % group)).reshape(*s[:-1], -1, group)
    sc = _pow2_scale(y.abs().amax(-1, keepdim=True).clamp(min=1e-4), 448.0)
    return (round_e4m3(y / sc) * sc).reshape(*s[:-1], -1)[..., :n]


def fp8_block_scale(w, b=128):
    o, i = w.shape
    y = F.pad(w.float(), (0, -i % b, 0, -o % b))
    y = y.reshape(y.shape[0] // b, b, y.shape[1] // b, b)
    return _pow2_scale(y.abs().amax((1, 3)).clamp(min=1e-4), 448.0)


def fp8_block_rt(w, b=128):
    sc = fp8_block_scale(w, b).repeat_interleave(b, 0)[: w.shape[0]].repeat_interleave(b, 1)[:, : w.shape[1]]
    return round_e4m3(w.float() / sc) * sc


def ste(x, f, *a):
    with torch.no_grad():
        d = f(x.float(), *a) - x.float()
    return x + d.to(x.dtype)


def hadamard(n):
    h = torch.ones(1, 1)
    while h.shape[0] < n:
        h = torch.cat([torch.cat([h, h], 1), torch.cat([h, -h], 1)], 0)
    return h / math.sqrt(n)


# ---- pieces -----------------------------------------------------------------------------------------
def rms(x, w=None, eps=1e-6):
    y = x.float()
    y = y * torch.rsqrt(y.square().mean(-1, keepdim=True) + eps)
    return (y if w is None else y * w).to(x.dtype)


def rope(x, cos, sin):
    """rotate interleaved pairs of the last 2*cos.shape[-1] dims"""
    r = cos.shape[-1] * 2
    n, t = x[..., :-r], x[..., -r:].float()
    a, b = t[..., 0::2], t[..., 1::2]
    y = torch.stack((a * cos - b * sin, a * sin + b * cos), -1).flatten(-2)
    return torch.cat((n, y.to(x.dtype)), -1)


def frequencies(cfg, compressed):
    r = cfg.qk_rope_head_dim
    i = torch.arange(0, r, 2, dtype=torch.float64) / r
    if not compressed:
        return (float(cfg.rope_theta) ** -i).float()
    base, sc = float(cfg.compress_rope_theta), cfg.rope_scaling
    f = base ** -i

    def dim(rot):
        return r * math.log(sc["original_max_position_embeddings"] / (rot * 2 * math.pi)) / (2 * math.log(base))
    lo, hi = max(math.floor(dim(sc["beta_fast"])), 0), min(math.ceil(dim(sc["beta_slow"])), r - 1)
    ramp = ((torch.arange(r // 2, dtype=torch.float64) - lo) / max(hi - lo, 1e-3)).clamp(0, 1)
    return (f * (1 - ramp) + f / sc["factor"] * ramp).float()


def sinkhorn(c, iters, eps):
    """c [4, 4, N] logits (row, column, token) -> doubly stochastic"""
    c = torch.softmax(c, 1) + eps
    c = c / (c.sum(0, keepdim=True) + eps)
    for _ in range(iters - 1):
        c = c / (c.sum(1, keepdim=True) + eps)
        c = c / (c.sum(0, keepdim=True) + eps)
    return c


def hc_mix(z, base, scale, m, iters, eps):
    """z [N, (2+m)m] -> pre [N, m], post [N, m], comb [N, m(row), m(col)]"""
    pre = torch.sigmoid(z[:, :m] * scale[0] + base[:m]) + eps
    post = 2 * torch.sigmoid(z[:, m:2 * m] * scale[1] + base[m:2 * m])
    c = (z[:, 2 * m:] * scale[2] + base[2 * m:]).t().reshape(m, m, -1)
    return pre, post, sinkhorn(c, iters, eps).reshape(m * m, -1).t().reshape(-1, m, m)


def hc_read(X, pre):
    return (pre[:, :, None] * X.float()).sum(1).to(X.dtype)


def hc_write(X, y, post, comb):
    """X'_j = post_j y + sum_i comb_ij X_i"""
    x = X.float()
    out = post[:, :, None] * y.float()[:, None]
    for i in range(x.shape[1]):
        out = out + comb[:, i, :, None] * x[:, i, None]
    return out.to(X.dtype)


class Experts(torch.autograd.Function):
    """y_a = w2[e] (weight_a * silu(min(g, lim)) * clamp(u)) for assignments a sorted by expert"""

    @staticmethod
    def forward(ctx, x, w1, w3, w2, wt, counts, lim):
        h = torch.empty(x.shape[0], w1.shape[1], dtype=x.dtype)
        gu = torch.empty(x.shape[0], 2 * w1.shape[1], dtype=x.dtype)
        y = torch.empty_like(x)
        w13 = torch.cat((w1, w3), 1)
        p = 0
        for e, n in enumerate(counts):
            if n:
                torch.mm(x[p:p + n], w13[e].t(), out=gu[p:p + n])
            p += n
        g, u = gu.float().chunk(2, -1)
        h = (wt[:, None] * F.silu(g.clamp(max=lim)) * u.clamp(-lim, lim)).to(x.dtype)
        p = 0
        for e, n in enumerate(counts):
            if n:
                torch.mm(h[p:p + n], w2[e].t(), out=y[p:p + n])
            p += n
        ctx.save_for_backward(x, w13, w2, wt, gu, h)
        ctx.counts, ctx.lim = counts, lim
        return y

    @staticmethod
    def backward(ctx, dy):
        x, w13, w2, wt, gu, h = ctx.saved_tensors
        lim, counts = ctx.lim, ctx.counts
        dy = dy.contiguous()
        dh, dw2 = torch.empty_like(h), torch.zeros_like(w2)
        p = 0
        for e, n in enumerate(counts):
            if n:
                torch.mm(dy[p:p + n], w2[e], out=dh[p:p + n])
                torch.mm(dy[p:p + n].t(), h[p:p + n], out=dw2[e])
            p += n
        g, u = gu.float().chunk(2, -1)
        gc, uc, d = g.clamp(max=lim), u.clamp(-lim, lim), dh.float()
        s = torch.sigmoid(gc)
        a = gc * s
        dwt = (d * a * uc).sum(-1)
        d = d * wt[:, None]
        dg = d * uc * (s + a * (1 - s)) * (g < lim)
        du = d * a * (u.abs() < lim)
        dgu = torch.cat((dg, du), -1).to(x.dtype)
        dx, dw13 = torch.empty_like(x), torch.zeros_like(w13)
        p = 0
        for e, n in enumerate(counts):
            if n:
                torch.mm(dgu[p:p + n], w13[e], out=dx[p:p + n])
                torch.mm(dgu[p:p + n].t(), x[p:p + n], out=dw13[e])
            p += n
        dw1, dw3 = dw13.chunk(2, 1)
        return dx, dw1, dw3, dw2, dwt, None, None


class Ctx:
    """what a forward pass needs besides the tokens"""

    def __init__(self, cfg, pos, doc, f_win, f_comp, dtype):
        B, T = pos.shape
        W = cfg.sliding_window
        self.B, self.T, self.dtype = B, T, dtype
        self.pos, self.doc = pos, doc
        self.trig = {}
        for k, f in ((0, f_win), (1, f_comp)):
            a = pos[..., None].float() * f
            self.trig[k] = (a.cos(), a.sin())
        # window bias [B, nb, W, 2W]: previous and current block of W rows
        nb = T // W
        t = torch.arange(T).view(nb, W)
        k = torch.cat((t - W, t), 1)
        ok = (k[:, None] <= t[:, :, None]) & (k[:, None] > t[:, :, None] - W) & (k[:, None] >= 0)
        kc = k.clamp(min=0)
        dk, pk = doc[:, kc], pos[:, kc]
        dq, pq = doc.view(B, nb, W), pos.view(B, nb, W)
        ok = ok & (dk[:, :, None] == dq[..., None]) & (pq[..., None] - pk[:, :, None] < W)
        self.win = torch.where(ok, 0.0, NEG).to(dtype)
        self.ratio = {}

    def first(self, r):
        """[B, S]: is the entry the first of its document?"""
        S = self.T // r
        d = self.doc[:, : S * r].view(self.B, S, r)
        first = torch.ones(self.B, S, dtype=torch.bool)
        first[:, 1:] = d[:, 1:, 0] != d[:, :-1, -1]
        return first

    def comp(self, r, lo, hi):
        """visibility bias [B, hi-lo, S] of the entries of a ratio for queries lo..hi"""
        k = (r, lo, hi)
        if k not in self.ratio:
            S = self.T // r
            d = self.doc[:, : S * r].view(self.B, S, r)
            e = torch.where(d.amin(-1) == d.amax(-1), d[..., 0], -1)
            vis = (torch.arange(1, S + 1) * r)[None] <= torch.arange(lo + 1, hi + 1)[:, None]
            ok = vis[None] & (e[:, None] == self.doc[:, lo:hi, None])
            b = torch.where(ok, 0.0, NEG).to(self.dtype)
            if hi - lo < self.T:
                return b
            self.ratio[k] = b
        return self.ratio[k]


def lin(x, w, act=False):
    if act:
        x = ste(x, fp8_rt, 128)
    return F.linear(x, w.to(x.dtype))


class Compressor(nn.Module):
    def __init__(self, d, dim, ratio, init):
        super().__init__()
        self.ratio, self.dim, self.co = ratio, dim, 2 if ratio == 4 else 1
        self.wkv = init(self.co * dim, d)
        self.wgate = init(self.co * dim, d, 0.3)
        self.ape = nn.Parameter(torch.zeros(ratio, self.co * dim))
        self.norm = nn.Parameter(torch.ones(dim))

    def forward(self, x, c):
        B, T, r, D = c.B, c.T, self.ratio, self.dim
        S = T // r
        x = x[:, : S * r]
        k = F.linear(x, self.wkv.to(x.dtype)).float().view(B, S, r, -1)
        g = F.linear(x, self.wgate.to(x.dtype)).float().view(B, S, r, -1) + self.ape
        if self.co == 2:
            first = c.first(r)
            kp = F.pad(k[:, :-1, :, :D], (0, 0, 0, 0, 1, 0))
            gp = F.pad(g[:, :-1, :, :D], (0, 0, 0, 0, 1, 0))
            gp = gp.masked_fill(first[:, :, None, None], NEG)
            k, g = torch.cat((kp, k[..., D:]), 2), torch.cat((gp, g[..., D:]), 2)
        e = (torch.softmax(g, 2) * k).sum(2).to(x.dtype)
        e = rms(e, self.norm)
        cos, sin = c.trig[1]
        return rope(e, cos[:, : S * r : r], sin[:, : S * r : r])


class Indexer(nn.Module):
    def __init__(self, cfg, init):
        super().__init__()
        self.H, self.D, self.k = cfg.index_n_heads, cfg.index_head_dim, cfg.index_topk
        self.wq_b = init(self.H * self.D, cfg.q_lora_rank)
        self.weights_proj = init(self.H, cfg.hidden_size)
        with torch.no_grad():
            self.weights_proj.mul_(0.1)
        self.compressor = Compressor(cfg.hidden_size, self.D, 4, init)
        self.register_buffer("had", hadamard(self.D), persistent=False)

    def keys(self, x, c, q):
        k = self.compressor(x, c)
        return ste(k @ self.had.to(k.dtype), fp4_rt) if q.idx else k

    def scores(self, x, qr, c, q, key, rows):
        """[B, R, S] raw scores of the queries `rows`"""
        x, qr, cos, sin = (t[:, rows] for t in (x, qr, *c.trig[1]))
        qi = lin(qr, q("wq_b", self.wq_b), q.act).view(c.B, -1, self.H, self.D)
        qi = rope(qi, cos[:, :, None], sin[:, :, None])
        if q.idx:
            qi = ste(qi @ self.had.to(qi.dtype), fp4_rt)
        w = F.linear(x, self.weights_proj.to(x.dtype)).float() * (self.D ** -0.5 * self.H ** -0.5)
        s = qi.reshape(c.B, -1, self.D) @ key.transpose(1, 2)
        s = F.relu(s).view(c.B, -1, self.H, key.shape[1])
        return torch.einsum("brhs,brh->brs", s.float(), w)


class Attention(nn.Module):
    def __init__(self, cfg, ratio, init):
        super().__init__()
        self.cfg, self.ratio = cfg, ratio
        d, H, D, ql = cfg.hidden_size, cfg.num_attention_heads, cfg.head_dim, cfg.q_lora_rank
        self.H, self.D, self.G = H, D, cfg.o_groups
        self.attn_sink = nn.Parameter(torch.zeros(H))
        self.wq_a, self.wq_b, self.wkv = init(ql, d), init(H * D, ql), init(D, d)
        self.q_norm, self.kv_norm = nn.Parameter(torch.ones(ql)), nn.Parameter(torch.ones(D))
        self.wo_a = init(self.G * cfg.o_lora_rank, H * D // self.G)
        self.wo_b = init(d, self.G * cfg.o_lora_rank, 0.5)
        if ratio:
            self.compressor = Compressor(d, D, ratio, init)
        if ratio == 4:
            self.indexer = Indexer(cfg, init)

    def forward(self, x, c, q, o):
        """q: quantisation policy; o: options (topk, indexer loss, no_comp) and collected extras"""
        B, T, H, D, W = c.B, c.T, self.H, self.D, self.cfg.sliding_window
        nb, r = T // W, self.ratio
        cos, sin = c.trig[1 if r else 0]
        xa = ste(x, fp8_rt, 128) if q.act else x
        qr = rms(lin(xa, q("wq_a", self.wq_a)), self.q_norm)
        qh = rms(lin(qr, q("wq_b", self.wq_b), q.act).view(B, T, H, D))
        qh = rope(qh, cos[:, :, None], sin[:, :, None]) * D ** -0.5
        kv = rope(rms(lin(xa, q("wkv", self.wkv)), self.kv_norm), cos, sin)
        kv = q.kv(kv)
        kb = kv.view(B, nb, W, D)
        kw = torch.cat((F.pad(kb[:, :-1], (0, 0, 0, 0, 1, 0)), kb), 2)
        ce = q.kv(self.compressor(x, c)) if r and not o.no_comp and T >= r else None
        key = self.indexer.keys(x, c, q) if ce is not None and r == 4 and o.topk and T // r > self.indexer.k else None
        n = o.chunk or T
        out = torch.cat([self.rows(i, min(i + n, T), x, qr, qh, kw, ce, key, c, q, o) for i in range(0, T, n)], 1)
        out = rope(out, cos[:, :, None], -sin[:, :, None])
        wa = q("wo_a", self.wo_a).to(x.dtype).view(self.G, -1, H * D // self.G)
        y = torch.matmul(out.reshape(B * T, self.G, -1).transpose(0, 1), wa.transpose(1, 2))
        y = y.transpose(0, 1).reshape(B, T, -1)
        return lin(y, q("wo_b", self.wo_b), q.act)

    def rows(self, lo, hi, x, qr, qh, kw, ce, key, c, q, o):
        """attention output [B, hi-lo, H, D] of queries lo..hi (multiples of the window)"""
        B, H, D, W, r = c.B, self.H, self.D, self.cfg.sliding_window, self.ratio
        n, qs, kw = hi - lo, qh[:, lo:hi], kw[:, lo // W : hi // W]
        lw = (qs.reshape(B, n // W, W * H, D) @ kw.transpose(2, 3)).view(B, n // W, W, H, 2 * W)
        parts = [(lw + c.win[:, lo // W : hi // W, :, None]).view(B, n, H, 2 * W)]
        if ce is not None:
            S = ce.shape[1]
            bias = c.comp(r, lo, hi)
            if key is not None:
                with torch.no_grad():
                    sc = self.indexer.scores(x, qr, c, q, key, slice(lo, hi)) + bias.float()
                    top = sc.topk(self.indexer.k, -1).indices
                    bias = torch.full_like(bias, NEG).scatter(2, top, bias.gather(2, top))
                    if o.stats is not None:
                        o.stats(self, lo, hi, qs, ce, c, top)
            lc = (qs.reshape(B, n * H, D) @ ce.transpose(1, 2)).view(B, n, H, S)
            parts.append(lc + bias[:, :, None])
        parts.append(self.attn_sink.to(qh.dtype).view(1, 1, H, 1).expand(B, n, H, 1))
        p = torch.softmax(torch.cat(parts, -1), -1, dtype=torch.float32).to(qh.dtype)
        if r == 4 and o.guide is not None and ce is not None:
            b, t, mask = o.guide
            mass = (p[b, t, : self.H // 2, :-1].float() * mask[:, None]).sum(-1)
            o.guide_loss.append(-(mass + 1e-4).log().mean())
        out = (p[..., : 2 * W].reshape(B, n // W, W * H, 2 * W) @ kw).view(B, n, H, D)
        if ce is not None:
            pc = p[..., 2 * W : 2 * W + S]
            out = out + (pc.reshape(B, n * H, S) @ ce).view(B, n, H, D)
            if r == 4 and o.idx_rows is not None:
                o.idx_loss.append(self.index_loss(x, qr, c, q, o, pc, bias))
        return out

    def index_loss(self, x, qr, c, q, o, pc, bias):
        """KL(head-mean attention over compressed entries || softmax of index scores), weighted by mass"""
        rows = o.idx_rows
        with torch.no_grad():
            t = pc[:, rows].float().mean(2)
            mass = t.sum(-1)
            t = t / (mass[..., None] + 1e-9)
        x, qr = x.detach(), qr.detach()
        s = self.indexer.scores(x, qr, c, q, self.indexer.keys(x, c, q), rows) + bias[:, rows].float()
        kl = (t * ((t + 1e-9).log() - torch.log_softmax(s, -1))).sum(-1)
        wt = mass * (mass > 1e-3)
        return (kl * wt).sum() / (wt.sum() + 1e-6)


class MoE(nn.Module):
    def __init__(self, cfg, layer, init, tid2eid):
        super().__init__()
        self.cfg, d, m, E = cfg, cfg.hidden_size, cfg.moe_intermediate_size, cfg.n_routed_experts
        self.gate = init(E, d)
        self.hash = layer < cfg.num_hash_layers
        if self.hash:
            self.register_buffer("tid2eid", tid2eid.clone())
        else:
            self.register_buffer("bias", torch.zeros(E))
        self.w1, self.w3 = init((E, m), d), init((E, m), d)
        self.w2 = init((E, d), m, 0.5)
        ms = m * cfg.n_shared_experts
        self.s1, self.s3, self.s2 = init(ms, d), init(ms, d), init(d, ms, 0.5)

    def forward(self, x, ids, q, o):
        cfg, lim, k = self.cfg, self.cfg.swiglu_limit, self.cfg.num_experts_per_tok
        sg = torch.sqrt(F.softplus(F.linear(x.float(), self.gate.float())))
        e = self.tid2eid[ids] if self.hash else (sg.detach() + self.bias).topk(k, -1).indices
        wt = sg.gather(1, e)
        wt = wt / wt.sum(-1, keepdim=True) * cfg.routed_scaling_factor
        flat = e.flatten()
        counts = torch.bincount(flat, minlength=cfg.n_routed_experts)
        if not self.hash and o.load is not None:
            o.load.append((self, counts))
        order = flat.argsort()
        inv = torch.empty_like(order)
        inv[order] = torch.arange(order.numel())
        dt = x.dtype
        xa = ste(x, fp8_rt, 128) if q.act else x
        w = [q(n, p).to(dt) for n, p in (("w1", self.w1), ("w3", self.w3), ("w2", self.w2))]
        if q.act:
            y = self.routed_act(xa, order // k, w, wt.flatten()[order], counts.tolist(), lim)
        else:
            y = Experts.apply(xa[order // k], *w, wt.flatten()[order], counts.tolist(), lim)
        y = y[inv].view(-1, k, x.shape[1]).float().sum(1)
        g, u = lin(xa, q("s1", self.s1)).float(), lin(xa, q("s3", self.s3)).float()
        h = (F.silu(g.clamp(max=lim)) * u.clamp(-lim, lim)).to(dt)
        return (y + lin(h, q("s2", self.s2), q.act).float()).to(dt)

    def routed_act(self, x, rows, w, wt, counts, lim):
        """slow path with the activation round trip before the down projection"""
        out, p = [], 0
        for i, n in enumerate(counts):
            if not n:
                continue
            xe, we = x[rows[p:p + n]], wt[p:p + n, None]
            g, u = F.linear(xe, w[0][i]).float(), F.linear(xe, w[1][i]).float()
            h = (we * F.silu(g.clamp(max=lim)) * u.clamp(-lim, lim)).to(x.dtype)
            out.append(F.linear(ste(h, fp8_rt, 128), w[2][i]))
            p += n
        return torch.cat(out)


class HC(nn.Module):
    def __init__(self, cfg, slot, gen):
        super().__init__()
        m, d = cfg.hc_mult, cfg.hidden_size
        self.cfg, self.m = cfg, m
        self.fn = nn.Parameter(torch.randn((2 + m) * m, m * d, generator=gen) * (m * d) ** -0.5)
        base = torch.zeros((2 + m) * m)
        base[:m] = -1.1                                # pre: sigmoid -> 0.25 each, their sum is one
        base[m:2 * m] = 0.0                            # post: 2 sigmoid -> 1
        base[2 * m:] = (torch.eye(m) * 5.0).flatten()  # streams carry
        base[:m] += torch.randn(m, generator=gen) * 0.3
        base[m:2 * m] += torch.randn(m, generator=gen) * 0.3
        self.base = nn.Parameter(base)
        self.scale = nn.Parameter(torch.tensor([0.1, 0.1, 0.1]))

    def forward(self, X, body):
        cfg, d = self.cfg, X.shape[-1]
        v = X.flatten(1)
        rho = torch.rsqrt(v.float().square().mean(-1, keepdim=True) + cfg.rms_norm_eps)
        z = F.linear(v.float(), self.fn) * rho
        MIX, READ, WRITE = FAST if FAST and X.dtype is torch.bfloat16 else (hc_mix, hc_read, hc_write)
        pre, post, comb = MIX(z, self.base, self.scale, self.m, cfg.hc_sinkhorn_iters, cfg.hc_eps)
        y = body(READ(X, pre))
        return WRITE(X, y, post, comb)


FAST = None
WEIGHT_RT = fp4_rt, fp8_block_rt


class Block(nn.Module):
    def __init__(self, cfg, i, init, gen, tid2eid):
        super().__init__()
        d = cfg.hidden_size
        self.attn_norm, self.ffn_norm = nn.Parameter(torch.ones(d)), nn.Parameter(torch.ones(d))
        self.hc_attn, self.hc_ffn = HC(cfg, 2 * i, gen), HC(cfg, 2 * i + 1, gen)
        self.attn, self.ffn = Attention(cfg, cfg.compress_ratios[i], init), MoE(cfg, i, init, tid2eid)

    def forward(self, X, ids, c, q, o):
        X = self.hc_attn(X, lambda u: self.attn(RMS(u, self.attn_norm).view(c.B, c.T, -1), c, q, o).flatten(0, 1))
        return self.hc_ffn(X, lambda u: self.ffn(RMS(u, self.ffn_norm), ids, q, o))


RMS = rms


def enable_compile():
    """training speed: fused stream operations in C++, inductor for norms and rotations"""
    global FAST, RMS, WEIGHT_RT, rope, rms
    import hc_ops
    FAST = hc_ops.mix, hc_ops.Read.apply, hc_ops.Write.apply
    torch._dynamo.config.recompile_limit = 64
    cc = lambda f: torch.compile(f, dynamic=True)
    WEIGHT_RT = torch.compile(fp4_rt, dynamic=False), torch.compile(fp8_block_rt, dynamic=False)
    RMS = cc(rms)
    rms, rope = RMS, cc(rope)


class Quant:
    """which round trips are simulated"""
    FP8 = ("wq_a", "wq_b", "wkv", "wo_a", "wo_b", "s1", "s2", "s3", "e_proj", "h_proj")

    def __init__(self, weights=False, kv=False, idx=False, act=False, rope_dim=16):
        self.weights, self.kvq, self.idx, self.act, self.r = weights, kv, idx, act, rope_dim

    def __call__(self, name, w):
        if not self.weights:
            return w
        return ste(w, WEIGHT_RT[0] if name in ("w1", "w2", "w3") else WEIGHT_RT[1])

    def kv(self, x):
        if not self.kvq:
            return x
        return torch.cat((ste(x[..., : -self.r], fp8_rt, 64), x[..., -self.r:]), -1)


def options(**k):
    o = SimpleNamespace(topk=False, no_comp=False, chunk=None, stats=None, tap=None, guide=None, guide_loss=None, idx_rows=None, idx_loss=[], load=None)
    o.__dict__.update(k)
    return o


class Model(nn.Module):
    def __init__(self, cfg, seed=1, tid2eid=None):
        super().__init__()
        self.cfg = cfg = SimpleNamespace(**cfg) if isinstance(cfg, dict) else cfg
        gen = torch.Generator().manual_seed(seed)

        def init(out, inp, gain=1.0):
            s = (*out, inp) if isinstance(out, tuple) else (out, inp)
            return nn.Parameter(torch.randn(*s, generator=gen) * (gain * inp ** -0.5))
        d, V, m = cfg.hidden_size, cfg.vocab_size, cfg.hc_mult
        if tid2eid is None:
            tid2eid = torch.zeros(V, cfg.num_experts_per_tok, dtype=torch.int64)
        self.embed = nn.Parameter(torch.randn(V, d, generator=gen) * 0.5)
        self.layers = nn.ModuleList(Block(cfg, i, init, gen, tid2eid) for i in range(cfg.num_hidden_layers))
        self.hc_head_fn = nn.Parameter(torch.randn(m, m * d, generator=gen) * (m * d) ** -0.5)
        self.hc_head_base, self.hc_head_scale = nn.Parameter(torch.full((m,), -1.1)), nn.Parameter(torch.tensor([0.1]))
        self.norm = nn.Parameter(torch.ones(d))
        self.head = nn.Parameter(torch.randn(V, d, generator=gen) * (0.5 * d ** -0.5))
        self.register_buffer("f_win", frequencies(cfg, False), persistent=False)
        self.register_buffer("f_comp", frequencies(cfg, True), persistent=False)

    def streams(self, ids, pos, doc, q, o, dtype):
        c = Ctx(self.cfg, pos, doc, self.f_win, self.f_comp, dtype)
        flat = ids.flatten()
        X = F.embedding(flat, self.embed).to(dtype)[:, None].expand(-1, self.cfg.hc_mult, -1).contiguous()
        for b in self.layers:
            X = b(X, flat, c, q, o)
            if o.tap is not None:
                o.tap.append(X)
        return X, c

    def hidden(self, X):
        v = X.flatten(1).float()
        rho = torch.rsqrt(v.square().mean(-1, keepdim=True) + self.cfg.rms_norm_eps)
        p = torch.sigmoid(F.linear(v, self.hc_head_fn) * rho * self.hc_head_scale + self.hc_head_base) + self.cfg.hc_eps
        return rms((p[:, :, None] * X.float()).sum(1).to(X.dtype), self.norm)

    def forward(self, ids, pos=None, doc=None, q=None, o=None, dtype=torch.float32, keep=None):
        """logits of all positions, or of the flat positions `keep`; T must be a multiple of the window"""
        B, T = ids.shape
        pos = torch.arange(T).expand(B, T) if pos is None else pos
        doc = torch.zeros_like(ids) if doc is None else doc
        X, _ = self.streams(ids, pos, doc, q or Quant(), o or options(), dtype)
        if keep is not None:
            X = X[keep]
        h = self.hidden(X)
        return F.linear(h, self.head.to(h.dtype)).float()
