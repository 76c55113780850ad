// The formats that weights can be stored in, as a user names them, and which of the two quantised storages holds each.
//
//   mxfp4                        a micro format with its publisher's scale rule
//   mxfp4 truncation-free        ... with another
//   e2m1 group:32 e8m0           ELEMENT GRANULARITY SCALE: any formats of the tables (element_format.h,
//   nf4 group:64 f16 absmax      scale_grid.h, scale_format.h), with the scale rule that suits them or the one named
//
// One rule decides who holds a format: where QuantScheme expresses the same values (8-, 4-, 3- or 2-bit or ternary
// integers, one f16 scale a row or group), codes are kept under a QuantScheme, since integer kernels serve it;
// everything else is kept as the MatrixFormat itself. No values have two storages
// (docs/design/003-format-storages.md).
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "numerics/formats/quantized_matrix.h"
#include "numerics/quant_scheme.h"

namespace halftone {

/// Throws InvalidArgument showing the accepted forms, or naming the part that is unknown and its known values.
MatrixFormat parse_weight_format(std::string_view text);
/// What parse_weight_format reads back: the micro format's name where it is one with its publisher's rule, else
/// to_string's four words.
std::string weight_format_name(const MatrixFormat& format);
/// What a user can write, for help and errors.
std::string weight_format_forms();

/// The scheme that holds `format`'s codes and scales without changing a value, or nothing.
std::optional<QuantScheme> scheme_of(const MatrixFormat& format);

/// Throws InvalidArgument where `format` cannot hold weights by itself: elements or scales outside the tables (such as
/// codebooks of one's own, which codebook_spec.h names), or granularities of activations.
void require_weight_format(const MatrixFormat& format);

}  // namespace halftone
