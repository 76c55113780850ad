// Seeded random tensors and small matrix helpers for tests.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>

#include <cmath>

#include "base/philox.h"

namespace halftone {

/// [rows, columns] f32 with a bell-shaped distribution of unit variance (sum of four uniforms).
inline at::Tensor random_matrix(int64_t rows, int64_t columns, uint64_t seed) {
  PhiloxStream random(seed);
  at::Tensor matrix = at::empty({rows, columns}, at::kFloat);
  float* data = matrix.data_ptr<float>();
  for (int64_t i = 0; i < matrix.numel(); ++i) {
    float sum = 0;
    for (int part = 0; part < 4; ++part) sum += random.uniform() - 0.5f;
    data[i] = sum * std::sqrt(3.0f);
  }
  return matrix;
}

/// True when both have the same shape, dtype and bytes, or both are undefined.
inline bool same_bits(const at::Tensor& a, const at::Tensor& b) {
  if (a.defined() != b.defined()) return false;
  if (!a.defined()) return true;
  return a.scalar_type() == b.scalar_type() && a.sizes() == b.sizes() && a.equal(b);
}

}  // namespace halftone
