// Data, cases and measurement; see bench_formats.h. Everything is coded by the reference quantiser of numerics/formats,
// which is exact and slow: seconds for the default size.
#include "engine/bench/bench_formats.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <exception>
#include <functional>
#include <map>

#include "base/error.h"
#include "base/philox.h"
#include "io/gguf/gguf.h"
#include "io/safetensors/safetensors.h"
#include "numerics/formats/element_array.h"
#include "numerics/formats/micro_block.h"
#include "numerics/half.h"

namespace halftone::engine {
namespace {

constexpr double kOutlierShare = 0.01;
constexpr float kOutlierSize = 40, kSinkSize = 10;

/// Uniform in (0, 1), never an end.
double open_uniform(PhiloxStream& random) { return (random() + 0.5) * 0x1p-32; }

/// Box and Muller's, in double: std::normal_distribution differs between standard libraries.
float normal(PhiloxStream& random) {
  const double radius = std::sqrt(-2 * std::log(open_uniform(random)));
  return static_cast<float>(radius * std::cos(2 * M_PI * open_uniform(random)));
}

/// Variance 1: scale 1 / sqrt(2).
float laplace(PhiloxStream& random) {
  const double u = open_uniform(random) - 0.5;
  return static_cast<float>(std::copysign(std::log1p(-2 * std::fabs(u)) / std::sqrt(2.0), -u));
}

FormatData draw(const char* name, int64_t rows, int64_t columns, uint64_t seed, uint64_t stream,
                float (*next)(PhiloxStream&)) {
  FormatData data{name, rows, columns, std::vector<float>(static_cast<size_t>(rows * columns))};
  PhiloxStream random(seed, stream);
  for (float& value : data.values) value = next(random);
  return data;
}

/// What a case is made of, in the words of MatrixFormat.
struct Choice {
  const char* layout;
  const char* scale;
  ScaleRule rule = ScaleRule::AbsMax;
};

std::vector<Choice> choices_for(const ElementFormat& element) {
  const std::string_view name = element.name;
  if (name == "f32" || element.kind == ElementKind::PowerOfTwo) return {};  // exact; a format of scales
  // A power of two as the only scale changes no digit: what a plain cast costs.
  if (name == "f16" || name == "bf16") return {{"tensor", "e8m0", ScaleRule::TruncationFree}};
  if (element.kind == ElementKind::Phase)  // the published form first
    return {{"tensor", "f16x2", ScaleRule::AbsMean},
            {"row", "f16x2", ScaleRule::AbsMean},
            {"row", "f16", ScaleRule::AbsMean},
            {"group:128", "f16", ScaleRule::AbsMean}};
  if (symmetric_limit(element) == 1 && element.kind != ElementKind::Integer && name != "nf4")
    return {{"row", "f16", ScaleRule::AbsMean}, {"group:128", "f16", ScaleRule::AbsMean}};
  if (name == "ternary") return {{"row", "f16", ScaleRule::AbsMean}, {"group:128", "f16", ScaleRule::AbsMean}};
  std::vector<Choice> choices;
  if (element.bits == 8) choices.push_back({"tensor", "f32"});
  if (element.bits == 8 || element.kind == ElementKind::Integer) choices.push_back({"row", "f16"});
  choices.push_back({"group:128", "f16"});
  if (element.bits < 8) choices.push_back({"group:32", "f16"});
  if (element.bits == 8) choices.push_back({"block:128x128", "f32"});
  if (name == "uint4") choices.push_back({"group:128", "int8_f16"}), choices.push_back({"group:32", "u4_f16"});
  return choices;
}

FormatResult measure(const FormatData& data, const FormatCase& item) {
  FormatResult result{data.name, item.name, item.format.element.name, 0, {}};
  const QuantizedMatrix matrix = quantize_matrix(item.format, data.values, data.rows, data.columns);
  std::vector<float> restored(data.values.size());
  dequantize_matrix(matrix, restored);
  const ElementFormat& element = item.format.element;
  const int64_t codes = element.codebook_size > 0 ? element.codebook_size : int64_t{1} << element.bits;
  ErrorAnalysis analysis(codes);
  const auto width = static_cast<size_t>(data.columns);
  for (size_t at = 0; at < data.values.size(); at += width)
    analysis.add_row(std::span(data.values).subspan(at, width), std::span<const float>(restored).subspan(at, width));
  analysis.add_codes(matrix.codes);
  analysis.add_clipped(count_saturated(matrix, data.values));
  result.bits_per_value = item.format.bits_per_element(data.rows, data.columns);
  result.error = analysis.report();
  return result;
}

/// Row i of `count` rows spread over `rows`.
int64_t spread(int64_t i, int64_t count, int64_t rows) { return i * rows / count; }

template <class Source>
std::vector<float> widen(const std::byte* bytes, int64_t count, float (*convert)(Source)) {
  std::vector<float> values(static_cast<size_t>(count));
  for (size_t i = 0; i < values.size(); ++i) {
    Source raw;
    std::memcpy(&raw, bytes + i * sizeof(Source), sizeof(Source));
    values[i] = convert(raw);
  }
  return values;
}

std::vector<float> widen_row(const TensorView& tensor, int64_t row, int64_t columns) {
  const std::byte* bytes = tensor.bytes.data() + row * columns * bits_of(tensor.type) / 8;
  switch (tensor.type) {
    case SafetensorsType::F32:
      return widen<float>(bytes, columns, [](float x) { return x; });
    case SafetensorsType::F16:
      return widen<uint16_t>(bytes, columns, [](uint16_t x) { return f16_to_f32(x); });
    case SafetensorsType::BF16:
      return widen<uint16_t>(bytes, columns, [](uint16_t x) { return bf16_to_f32(x); });
    default:
      throw Unsupported("tensor {} is {}; bench formats reads F32, F16 and BF16", tensor.name, to_string(tensor.type));
  }
}

FormatData gguf_data(const std::filesystem::path& path, const std::string& name, int64_t max_rows) {
  const GgufFile file = GgufFile::open(path);
  const GgufTensor& tensor = file.tensor(name);
  const int64_t rows = std::min(max_rows, tensor.rows()), columns = tensor.columns();
  FormatData data{name, rows, columns, std::vector<float>(static_cast<size_t>(rows * columns))};
  const auto row_bytes = tensor.bytes.size() / static_cast<size_t>(tensor.rows());
  for (int64_t i = 0; i < rows; ++i)
    decode_blocks(tensor.type, tensor.bytes.data() + static_cast<size_t>(spread(i, rows, tensor.rows())) * row_bytes,
                  columns, data.values.data() + i * columns);
  return data;
}

}  // namespace

std::vector<FormatData> synthetic_data(int64_t rows, int64_t columns, uint64_t seed) {
  if (rows < 1 || columns < 1) throw InvalidArgument("bench formats needs a matrix, not {} x {}", rows, columns);
  std::vector<FormatData> sets = {draw("normal", rows, columns, seed, 0, normal),
                                  draw("laplace", rows, columns, seed, 1, laplace),
                                  draw("outliers", rows, columns, seed, 2, normal)};
  PhiloxStream random(seed, 3);
  auto& outliers = sets.back();
  std::vector<bool> chosen(static_cast<size_t>(columns), false);
  const auto count = static_cast<int64_t>(std::ceil(kOutlierShare * static_cast<double>(columns)));
  for (int64_t left = count; left > 0;) {
    const auto channel = static_cast<size_t>(random() % static_cast<uint64_t>(columns));
    if (chosen[channel]) continue;
    chosen[channel] = true;
    --left;
    for (int64_t r = 0; r < rows; ++r)
      outliers.values[static_cast<size_t>(r * columns) + channel] *= kOutlierSize * (r == 0 ? kSinkSize : 1);
  }
  return sets;
}

FormatData tensor_data(const std::filesystem::path& model, const std::string& tensor, int64_t max_rows) {
  if (max_rows < 1) throw InvalidArgument("bench formats needs at least one row, not {}", max_rows);
  if (model.extension() == ".gguf") return gguf_data(model, tensor, max_rows);
  const SafetensorsModel file = SafetensorsModel::open(model);
  const TensorView& view = file.tensor(tensor);
  if (view.shape.empty() || view.elements() == 0)
    throw Unsupported("tensor {} of {} has no rows to code", tensor, model.string());
  const int64_t columns = view.shape.back(), all_rows = view.elements() / columns, rows = std::min(max_rows, all_rows);
  FormatData data{tensor, rows, columns, {}};
  for (int64_t i = 0; i < rows; ++i) {
    const auto row = widen_row(view, spread(i, rows, all_rows), columns);
    data.values.insert(data.values.end(), row.begin(), row.end());
  }
  return data;
}

std::vector<FormatCase> format_cases() {
  std::vector<FormatCase> cases;
  for (const ElementFormat& element : kElementFormats)
    for (const Choice& choice : choices_for(element)) {
      const MatrixFormat format{element, parse_scale_granularity(choice.layout), find_scale_format(choice.scale),
                                choice.rule};
      cases.push_back({to_string(format), format});
    }
  for (const MicroFormat& micro : kMicroFormats) {
    cases.push_back({micro.name, micro_matrix_format(micro.name)});
    const auto rule = ScaleRule::TruncationFree;
    cases.push_back({std::string(micro.name) + " truncation-free", micro_matrix_format(micro.name, rule)});
  }
  return cases;
}

std::vector<FormatResult> bench_formats(ExecContext& exec, const FormatData& data, const std::string& filter) {
  std::vector<FormatCase> cases;
  for (auto& item : format_cases()) {
    if (item.name.find(filter) == std::string::npos) continue;
    if (data.columns % item.format.element.dimension != 0) continue;
    cases.push_back(std::move(item));
  }
  std::vector<FormatResult> results(cases.size());
  std::vector<std::exception_ptr> failures(cases.size());
  exec.pool.parallel_for(static_cast<int64_t>(cases.size()), 1, [&](int64_t begin, int64_t end, int) {
    for (auto i = static_cast<size_t>(begin); i < static_cast<size_t>(end); ++i) try {
        results[i] = measure(data, cases[i]);
      } catch (...) {  // a body must not throw
        failures[i] = std::current_exception();
      }
  });
  for (const auto& failure : failures)
    if (failure) std::rethrow_exception(failure);
  std::stable_sort(results.begin(), results.end(), [](const FormatResult& a, const FormatResult& b) {
    return a.bits_per_value != b.bits_per_value ? a.bits_per_value < b.bits_per_value
                                                : a.error.sqnr_db > b.error.sqnr_db;
  });
  return results;
}

}  // namespace halftone::engine
