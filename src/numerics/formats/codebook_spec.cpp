// Words and files that name codebooks; see codebook_spec.h.
#include "numerics/formats/codebook_spec.h"

#include <algorithm>
#include <charconv>
#include <fstream>
#include <sstream>

#include "base/error.h"
#include "numerics/half.h"

namespace halftone {
namespace {

constexpr std::string_view kFound = "kmeans:", kGiven = "codebook:";

[[noreturn]] void throw_form(std::string_view text) {
  throw InvalidArgument("codebook '{}' is not one of {}", text, codebook_forms());
}

/// The number that `text` is, all of it.
template <class T>
std::optional<T> number_of(std::string_view text) {
  T value{};
  const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), value);
  return problem == std::errc() && end == text.data() + text.size() ? std::optional(value) : std::nullopt;
}

/// "256x4:f32", without the prefix.
void parse_found(std::string_view text, std::string_view whole, CodebookSpec& spec) {
  if (const size_t colon = text.find(':'); colon != std::string_view::npos) {
    const std::string_view type = text.substr(colon + 1);
    if (type != "f16" && type != "f32") throw_form(whole);
    spec.table = type == "f32" ? ElementType::Float32 : ElementType::Float16;
    text = text.substr(0, colon);
  }
  const size_t cross = text.find('x');
  const auto entries = number_of<int64_t>(text.substr(0, cross));
  const auto numbers = cross == std::string_view::npos ? std::optional(1) : number_of<int>(text.substr(cross + 1));
  if (!entries || !numbers) throw_form(whole);
  if (*entries < 2 || *entries > Codebook::kMaxEntries || *numbers < 1 || *numbers > Codebook::kMaxDimension)
    throw InvalidArgument("codebook '{}' has {} entries of {} numbers; 2 to {} of 1 to {} can be", whole, *entries,
                          *numbers, Codebook::kMaxEntries, Codebook::kMaxDimension);
  spec.entries = *entries;
  spec.dimension = *numbers;
}

/// The numbers of one line, appended to `values`.
void parse_line(std::string line, int64_t number, const std::string& file, std::vector<float>& values) {
  line.resize(std::min(line.find('#'), line.size()));
  std::replace(line.begin(), line.end(), ',', ' ');
  std::istringstream words(line);
  for (std::string word; words >> word;) {
    const std::string_view digits = word.starts_with('+') ? std::string_view(word).substr(1) : word;
    const auto value = number_of<float>(digits);
    if (!value) throw InvalidArgument("{}, line {}: '{}' is no number that f32 holds", file, number, word);
    values.push_back(*value);
  }
}

}  // namespace

bool names_codebook(std::string_view text) { return text.starts_with(kFound) || text.starts_with(kGiven); }

std::string codebook_forms() {
  return "kmeans:ENTRIES[xNUMBERS][:f32] [GRANULARITY SCALE [RULE]] | codebook:FILE [GRANULARITY SCALE [RULE]], as in "
         "'kmeans:256x4' or 'kmeans:16 group:64 f16'";
}

MatrixFormat parse_scaling(std::string_view text) {
  std::istringstream words{std::string(text)};
  std::string layout, scale, rule, rest;
  if (!(words >> layout)) return {.layout = {ScaleSharing::Tensor}, .scale = kNoScale};
  if (!(words >> scale) || (words >> rule && words >> rest))
    throw InvalidArgument("scales '{}' are not 'GRANULARITY SCALE [RULE]', as in 'group:64 f16 absmax'", text);
  MatrixFormat scaling{.layout = parse_scale_granularity(layout), .scale = find_scale_format(scale)};
  scaling.rule = rule.empty() ? default_scale_rule(kInt8, scaling.scale) : parse_scale_rule(rule);
  if (scaling.layout.sharing == ScaleSharing::Token || scaling.layout.sharing == ScaleSharing::TokenHead)
    throw InvalidArgument("granularity {} is one of activations; weights take tensor, row, channel, group:N, block:RxC",
                          layout);
  if (scaling.scale.parts > 1)
    throw InvalidArgument("{} scales are of complex codes; codebooks take {}", scale, scaling.scale.inner.name);
  return scaling;
}

std::string scaling_words(const MatrixFormat& format) {
  if (!format.scale.stored()) return {};
  return fmt::format("{} {} {}", to_string(format.layout), format.scale.name, to_string(format.rule));
}

CodebookSpec parse_codebook_spec(std::string_view text) {
  if (!names_codebook(text)) throw_form(text);
  const size_t space = std::min(text.find(' '), text.size());
  const std::string_view head = text.substr(0, space);
  CodebookSpec spec;
  spec.scaling = parse_scaling(text.substr(space));
  if (head.starts_with(kFound)) {
    if (spec.scaling.rule == ScaleRule::AbsMean)
      throw InvalidArgument(
          "rule absmean needs codes of magnitude 1, which k-means does not find; leave it out of '{}'", text);
    parse_found(head.substr(kFound.size()), text, spec);
    return spec;
  }
  spec.given = read_codebook(head.substr(kGiven.size()));
  const ElementFormat& format = spec.given->format();
  spec.entries = format.codebook_size;
  spec.dimension = format.dimension;
  spec.table = fits_f16(spec.given->values()) ? ElementType::Float16 : ElementType::Float32;
  return spec;
}

Codebook read_codebook(const std::filesystem::path& path) {
  std::ifstream file(path);
  if (!file || std::filesystem::is_directory(path))
    throw IoError("codebook file '{}' cannot be read; name a text file of one entry a line", path.string());
  std::vector<float> values;
  size_t dimension = 0;
  std::string line;
  for (int64_t number = 1; std::getline(file, line); ++number) {
    const size_t before = values.size();
    parse_line(line, number, path.string(), values);
    const size_t numbers = values.size() - before;
    if (numbers == 0) continue;
    if (dimension == 0) dimension = numbers;
    if (numbers != dimension)
      throw InvalidArgument("{}, line {} has {} numbers where the first entry has {}; every entry needs as many",
                            path.string(), number, numbers, dimension);
    if (values.size() > size_t{Codebook::kMaxEntries} * Codebook::kMaxDimension) break;  // Codebook says what is wrong
  }
  return Codebook(path.string(), std::move(values), static_cast<int>(std::max<size_t>(1, dimension)));
}

bool fits_f16(std::span<const float> values) {
  return std::all_of(values.begin(), values.end(), [](float value) { return f16_to_f32(f32_to_f16(value)) == value; });
}

}  // namespace halftone
