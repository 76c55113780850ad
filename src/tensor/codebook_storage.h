// Matrices under codebooks of one's own as storages: indices packed to their exact width, a table of f16 or f32 numbers
// that belongs to the matrix, and scales of any kind or none.
//
// Scalar codebooks of up to 16 entries run on the f32-activation GEMM, whose decoder looks 4-bit codes up in a
// register; without scales every row has a scale of 1 there. Larger ones, and vectors, run as f32 with the same values.
#pragma once

#include <optional>

#include "numerics/formats/codebook_spec.h"
#include "tensor/format_storage.h"

namespace halftone {

/// A storage without indices and scales: `table` [entries, D] f16 or f32, `scaling` as in CodebookSpec. Throws
/// InvalidArgument for another type or shape, and for entries that no codebook has (codebook.h).
CodebookStorage make_codebook_storage(at::Tensor table, const MatrixFormat& scaling, int64_t rows, int64_t columns);

/// `weight` [N, K] f32 under the codebook that `spec` brings, or one that k-means finds for this matrix: scales first
/// (largest magnitude of a block to 1, or as the rule says), then the table from the scaled numbers, rounded to its
/// type, then each vector's nearest entry. Equal keys give equal tables, whatever the number of threads. Throws as
/// quantize_to_format does; also InvalidArgument when D does not divide K, or for more entries than vectors.
Storage quantize_to_codebook(ExecContext& exec, const at::Tensor& weight, const CodebookSpec& spec,
                             const RandomKey& key = {}, const RoundingSource& source = RoundingSource());

/// "codebook 256x4 f16", "codebook 16 f16 group:64 f16 absmax".
std::string describe(const CodebookStorage& storage);
/// Throws InvalidArgument naming what contradicts the table: shapes, types, entries, a scale that is not positive and
/// finite, an index past the last entry.
void validate(const CodebookStorage& storage);
/// Indices, scales and table.
int64_t bytes_of(const CodebookStorage& storage);

std::optional<FormatOperands> kernel_operands(const CodebookStorage& storage);

}  // namespace halftone
