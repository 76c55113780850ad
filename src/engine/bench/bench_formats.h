// What every number format costs: bits against error, on data drawn from a seed or a tensor of a model file.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "base/exec_context.h"
#include "base/json_fwd.h"
#include "engine/report/table.h"
#include "numerics/error_analysis.h"
#include "numerics/formats/quantized_matrix.h"

namespace halftone::engine {

/// A matrix to code: weights [N, K] or activations [T, K].
struct FormatData {
  std::string name;
  int64_t rows = 0;
  int64_t columns = 0;
  std::vector<float> values;  ///< [rows, columns]
};

/// Three matrices, the same on every machine for a seed: normal; Laplace, of variance 1 as well; and normal with 1 % of
/// its channels 40 times as large, in the first row 10 times larger still, as beside an attention sink.
/// Throws InvalidArgument for sizes below 1.
std::vector<FormatData> synthetic_data(int64_t rows, int64_t columns, uint64_t seed);

/// Up to `max_rows` rows, evenly spread, of a matrix of a .gguf file or a safetensors model (f32, f16 or bf16), as f32.
/// Throws IoError when file or tensor is missing, Unsupported for other types.
FormatData tensor_data(const std::filesystem::path& model, const std::string& tensor, int64_t max_rows);

/// A way to code a matrix.
struct FormatCase {
  std::string name;  ///< "mxfp4", "nvfp4", or as to_string: "int4 group:64 f16 absmax"
  MatrixFormat format;
};

/// Every element format under the granularities, scales and rules that go with it, and the micro formats by their
/// publisher's rule and by the one that never truncates.
std::vector<FormatCase> format_cases();

struct FormatResult {
  std::string data;
  std::string format;
  std::string element;
  double bits_per_value = 0;  ///< codes, scales and zero points
  ErrorReport error;
};

/// Codes `data` to nearest under every case whose name contains `filter` and that fits its shape; cases are spread over
/// the threads. Throws NumericError when the data holds a NaN or an infinity.
std::vector<FormatResult> bench_formats(ExecContext& exec, const FormatData& data, const std::string& filter);

/// By rising bits, then falling signal to noise.
Table format_table(const std::vector<FormatResult>& results);
/// Infinite figures become null.
Json to_json(const FormatResult& result);
/// A page with a plot of error against bits and a table for each data set; `results` of a set stand together and by
/// rising bits. Names stand where the error has halved since the last name. `facts`: a line each, below the title.
std::string format_page(const std::vector<FormatResult>& results, const std::vector<std::string>& facts);

}  // namespace halftone::engine
