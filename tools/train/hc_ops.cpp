// Fused mHC stream operations for CPU training: X [N, 4, d] bf16, y [N, d] bf16, coefficients f32.
#include <torch/extension.h>
#include <vector>
using bf = at::BFloat16;
static inline float up(uint16_t v) { union { uint32_t u; float f; } x; x.u = uint32_t(v) << 16; return x.f; }
static inline uint16_t down(float f) { union { float f; uint32_t u; } x; x.f = f; return uint16_t((x.u + 0x7FFF + ((x.u >> 16) & 1)) >> 16); }
static const uint16_t *in(const torch::Tensor &t) { return reinterpret_cast<const uint16_t *>(t.data_ptr<bf>()); }
static uint16_t *out(torch::Tensor &t) { return reinterpret_cast<uint16_t *>(t.data_ptr<bf>()); }

// X'_j = post_j y + sum_i comb_ij X_i
torch::Tensor write_fwd(torch::Tensor X, torch::Tensor y, torch::Tensor post, torch::Tensor comb) {
  const int64_t N = X.size(0), d = X.size(2);
  auto O = torch::empty_like(X);
  auto *x = in(X), *yy = in(y); auto *o = out(O);
  const float *p = post.data_ptr<float>(), *c = comb.data_ptr<float>();
  for (int64_t n = 0; n < N; n++, x += 4 * d, o += 4 * d, yy += d, p += 4, c += 16)
    for (int64_t k = 0; k < d; k++) {
      const float a = up(x[k]), b = up(x[d + k]), e = up(x[2 * d + k]), f = up(x[3 * d + k]), v = up(yy[k]);
      for (int j = 0; j < 4; j++) o[j * d + k] = down(p[j] * v + c[j] * a + c[4 + j] * b + c[8 + j] * e + c[12 + j] * f);
    }
  return O;
}

std::vector<torch::Tensor> write_bwd(torch::Tensor G, torch::Tensor X, torch::Tensor y, torch::Tensor post, torch::Tensor comb) {
  const int64_t N = X.size(0), d = X.size(2);
  auto dX = torch::empty_like(X), dy = torch::empty_like(y), dp = torch::empty_like(post), dc = torch::empty_like(comb);
  auto *g = in(G), *x = in(X), *yy = in(y); auto *ox = out(dX), *oy = out(dy);
  const float *p = post.data_ptr<float>(), *c = comb.data_ptr<float>();
  float *op = dp.data_ptr<float>(), *oc = dc.data_ptr<float>();
  for (int64_t n = 0; n < N; n++, g += 4 * d, x += 4 * d, yy += d, ox += 4 * d, oy += d, p += 4, c += 16, op += 4, oc += 16) {
    float a[20][16] = {};
    for (int64_t k = 0; k < d; k += 16)
      for (int l = 0; l < 16; l++) {
        const int64_t q = k + l;
        const float g0 = up(g[q]), g1 = up(g[d + q]), g2 = up(g[2 * d + q]), g3 = up(g[3 * d + q]), v = up(yy[q]);
        oy[q] = down(p[0] * g0 + p[1] * g1 + p[2] * g2 + p[3] * g3);
        a[16][l] += v * g0; a[17][l] += v * g1; a[18][l] += v * g2; a[19][l] += v * g3;
        for (int i = 0; i < 4; i++) {
          const float w = up(x[i * d + q]);
          ox[i * d + q] = down(c[4 * i] * g0 + c[4 * i + 1] * g1 + c[4 * i + 2] * g2 + c[4 * i + 3] * g3);
          a[4 * i][l] += w * g0; a[4 * i + 1][l] += w * g1; a[4 * i + 2][l] += w * g2; a[4 * i + 3][l] += w * g3;
        }
      }
    for (int i = 0; i < 20; i++) {
      float s = 0;
      for (int l = 0; l < 16; l++) s += a[i][l];
      (i < 16 ? oc[i] : op[i - 16]) = s;
    }
  }
  return {dX, dy, dp, dc};
}

// u = sum_i pre_i X_i
torch::Tensor read_fwd(torch::Tensor X, torch::Tensor pre) {
  const int64_t N = X.size(0), d = X.size(2);
  auto U = torch::empty({N, d}, X.options());
  auto *x = in(X); auto *u = out(U); const float *p = pre.data_ptr<float>();
  for (int64_t n = 0; n < N; n++, x += 4 * d, u += d, p += 4)
    for (int64_t k = 0; k < d; k++) u[k] = down(p[0] * up(x[k]) + p[1] * up(x[d + k]) + p[2] * up(x[2 * d + k]) + p[3] * up(x[3 * d + k]));
  return U;
}

std::vector<torch::Tensor> read_bwd(torch::Tensor G, torch::Tensor X, torch::Tensor pre) {
  const int64_t N = X.size(0), d = X.size(2);
  auto dX = torch::empty_like(X), dp = torch::empty_like(pre);
  auto *x = in(X), *g = in(G); auto *o = out(dX); const float *p = pre.data_ptr<float>(); float *q = dp.data_ptr<float>();
  for (int64_t n = 0; n < N; n++, x += 4 * d, o += 4 * d, g += d, p += 4, q += 4) {
    float a[4][16] = {};
    for (int64_t k = 0; k < d; k += 16)
      for (int l = 0; l < 16; l++) {
        const float v = up(g[k + l]);
        for (int i = 0; i < 4; i++) { o[i * d + k + l] = down(p[i] * v); a[i][l] += v * up(x[i * d + k + l]); }
      }
    for (int i = 0; i < 4; i++) { float s = 0; for (int l = 0; l < 16; l++) s += a[i][l]; q[i] = s; }
  }
  return {dX, dp};
}

// Sinkhorn on comb logits L [N, 16] with its backward (saves nothing: recomputed)
static const int W = 16;
torch::Tensor sink_fwd(torch::Tensor L, int64_t iters, double eps_) {
  const int64_t N = L.size(0); const float eps = eps_;
  auto O = torch::empty_like(L); const float *s = L.data_ptr<float>(); float *o = O.data_ptr<float>();
  for (int64_t n = 0; n < N; n += W) {
    const int m = std::min<int64_t>(W, N - n);
    float c[16][W];
    for (int e = 0; e < 16; e++) for (int l = 0; l < W; l++) c[e][l] = s[(n + (l < m ? l : 0)) * 16 + e];
    for (int i = 0; i < 4; i++) for (int l = 0; l < W; l++) {
      float *r = &c[4 * i][l], mx = std::max(std::max(r[0], r[W]), std::max(r[2 * W], r[3 * W])), t = 0;
      for (int j = 0; j < 4; j++) { r[j * W] = expf(r[j * W] - mx); t += r[j * W]; }
      for (int j = 0; j < 4; j++) r[j * W] = r[j * W] / t + eps;
    }
    for (int it = 0; it < iters; it++) {
      if (it) for (int i = 0; i < 4; i++) for (int l = 0; l < W; l++) {
        const float t = 1.f / (c[4 * i][l] + c[4 * i + 1][l] + c[4 * i + 2][l] + c[4 * i + 3][l] + eps);
        for (int j = 0; j < 4; j++) c[4 * i + j][l] *= t;
      }
      for (int j = 0; j < 4; j++) for (int l = 0; l < W; l++) {
        const float t = 1.f / (c[j][l] + c[4 + j][l] + c[8 + j][l] + c[12 + j][l] + eps);
        for (int i = 0; i < 4; i++) c[4 * i + j][l] *= t;
      }
    }
    for (int l = 0; l < m; l++) for (int e = 0; e < 16; e++) o[(n + l) * 16 + e] = c[e][l];
  }
  return O;
}

torch::Tensor sink_bwd(torch::Tensor G, torch::Tensor L, int64_t iters, double eps_) {
  const int64_t N = L.size(0); const float eps = eps_;
  auto O = torch::empty_like(L); const float *s = L.data_ptr<float>(), *gp = G.data_ptr<float>(); float *o = O.data_ptr<float>();
  std::vector<float> buf((2 * iters + 1) * 20 * W);
  for (int64_t n = 0; n < N; n += W) {
    const int m = std::min<int64_t>(W, N - n);
    float c[16][W], g[16][W], sm[16][W];
    for (int e = 0; e < 16; e++) for (int l = 0; l < W; l++) { const int64_t q = (n + (l < m ? l : 0)) * 16 + e; c[e][l] = s[q]; g[e][l] = gp[q]; }
    for (int i = 0; i < 4; i++) for (int l = 0; l < W; l++) {
      float *r = &c[4 * i][l], mx = std::max(std::max(r[0], r[W]), std::max(r[2 * W], r[3 * W])), t = 0;
      for (int j = 0; j < 4; j++) { r[j * W] = expf(r[j * W] - mx); t += r[j * W]; }
      for (int j = 0; j < 4; j++) { sm[4 * i + j][l] = r[j * W] / t; r[j * W] = sm[4 * i + j][l] + eps; }
    }
    int k = 0;
    auto pass = [&](int step, int other) {       // normalise sums along `step`
      float *b = &buf[k++ * 20 * W];
      for (int j = 0; j < 4; j++) for (int l = 0; l < W; l++) {
        const int z = j * other;
        const float t = 1.f / (c[z][l] + c[z + step][l] + c[z + 2 * step][l] + c[z + 3 * step][l] + eps);
        b[(16 + j) * W + l] = t;
        for (int i = 0; i < 4; i++) { c[z + i * step][l] *= t; b[(z + i * step) * W + l] = c[z + i * step][l]; }
      }
    };
    for (int it = 0; it < iters; it++) { if (it) pass(1, 4); pass(4, 1); }
    auto back = [&](int step, int other) {
      float *b = &buf[--k * 20 * W];
      for (int j = 0; j < 4; j++) for (int l = 0; l < W; l++) {
        const int z = j * other; float dot = 0;
        for (int i = 0; i < 4; i++) dot += g[z + i * step][l] * b[(z + i * step) * W + l];
        for (int i = 0; i < 4; i++) g[z + i * step][l] = (g[z + i * step][l] - dot) * b[(16 + j) * W + l];
      }
    };
    for (int it = iters - 1; it >= 0; it--) { back(4, 1); if (it) back(1, 4); }
    for (int i = 0; i < 4; i++) for (int l = 0; l < W; l++) {
      float dot = 0;
      for (int j = 0; j < 4; j++) dot += g[4 * i + j][l] * sm[4 * i + j][l];
      for (int j = 0; j < 4; j++) g[4 * i + j][l] = sm[4 * i + j][l] * (g[4 * i + j][l] - dot);
    }
    for (int l = 0; l < m; l++) for (int e = 0; e < 16; e++) o[(n + l) * 16 + e] = g[e][l];
  }
  return O;
}

PYBIND11_MODULE(TORCH_EXTENSION_NAME, m) {
  m.def("write_fwd", &write_fwd); m.def("write_bwd", &write_bwd); m.def("read_fwd", &read_fwd);
  m.def("read_bwd", &read_bwd); m.def("sink_fwd", &sink_fwd); m.def("sink_bwd", &sink_bwd);
}
