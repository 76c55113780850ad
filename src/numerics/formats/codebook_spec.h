// Codebooks as a user asks for them, for weights:
//
//   kmeans:256x4                      256 entries of 4 numbers, found for each matrix by k-means: 2 bits a weight
//   kmeans:16 group:64 f16            16 numbers under a scale per 64 weights, GRANULARITY SCALE [RULE] as in
//                                     weight_format.h
//   kmeans:256x4:f32                  a table of f32 numbers in the place of f16
//   codebook:FILE row f16             the entries of a text file (read_codebook); without words after it, no scales
//
// A file's table is kept as f16 where that changes none of its numbers, else as f32. A table belongs to one matrix and
// is counted in its bytes, as VQ4DiT (arXiv:2408.17131) has it: one for each layer.
#pragma once

#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "numerics/formats.h"
#include "numerics/formats/codebook.h"
#include "numerics/formats/quantized_matrix.h"

namespace halftone {

struct CodebookSpec {
  std::optional<Codebook> given;  ///< of a file; else k-means finds one
  int64_t entries = 16;
  int dimension = 1;                         ///< numbers an entry: neighbours along a row
  ElementType table = ElementType::Float16;  ///< how the table's numbers are kept: Float16 or Float32
  MatrixFormat scaling;                      ///< layout, scale and rule; the element is replaced by the codebook
};

/// Whether `text` means a codebook of one's own: it begins with "kmeans:" or "codebook:".
bool names_codebook(std::string_view text);
/// Throws InvalidArgument showing the accepted forms or naming the part that is wrong, and what read_codebook throws.
CodebookSpec parse_codebook_spec(std::string_view text);
/// What a user can write, for help and errors.
std::string codebook_forms();

/// "GRANULARITY SCALE [RULE]" of weights, or "" for no scales. Throws InvalidArgument naming the part that is unknown.
MatrixFormat parse_scaling(std::string_view text);
/// Inverse of parse_scaling.
std::string scaling_words(const MatrixFormat& format);

/// A text file of one entry a line, its numbers separated by blanks or commas (what numpy.savetxt writes); '#' begins a
/// comment, empty lines are skipped. Throws IoError when the file cannot be read and InvalidArgument naming the line
/// that does not fit.
Codebook read_codebook(const std::filesystem::path& path);

/// Whether f16 holds every number exactly.
bool fits_f16(std::span<const float> values);

}  // namespace halftone
