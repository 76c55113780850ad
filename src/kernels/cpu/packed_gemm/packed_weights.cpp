// See packed_weights.h.
#include "kernels/cpu/packed_gemm/packed_weights.h"

namespace halftone::kernels {
namespace {

constexpr int64_t kMaxK = 65536;  // 255 * 127 * K stays within int32

bool has_super_groups(const PackedGemmProblem& p) { return p.scales == ScaleLayout::SuperGroup; }
bool has_groups(const PackedGemmProblem& p) { return has_super_groups(p) || p.scales == ScaleLayout::Group; }

/// The rules of codes that index values, and of scales of one byte.
Rejection malformed_values(const PackedGemmProblem& p) {
  if (!p.listed) return p.scale_format != nullptr ? "scales of one byte go with listed codes" : "";
  if (p.weight != ElementType::Int4) return "listed codes are int4";
  if (p.scales != ScaleLayout::Row && p.scales != ScaleLayout::Group) return "listed codes need row or group scales";
  if (p.zero_points || p.minimums) return "listed codes have neither zero points nor minimums";
  if (p.scale_format == nullptr) return {};
  if (p.scales != ScaleLayout::Group) return "scales of one byte are of groups";
  const bool powers = p.scale_format->kind == ElementKind::PowerOfTwo;
  if (!powers && p.scale_format->name != std::string_view(kE4m3.name)) return "scales of one byte are e8m0 or e4m3";
  return powers && p.group < kUnitLength ? "e8m0 scales need groups of at least 32" : "";
}

}  // namespace

Rejection malformed(const PackedGemmProblem& p) {
  if (p.m < 1 || p.n < 1 || p.k < 1) return "sizes m, n and k must be at least 1";
  if (p.k > kMaxK) return "k must be at most 65536";
  if (bits_of(p.weight) > 8) return "weights must be int8, int4, int3, int2 or ternary";
  const bool super = p.scales == ScaleLayout::SuperGroup;
  const bool by_group = p.scales == ScaleLayout::Group || p.scales == ScaleLayout::TwoLevel || super;
  if (!by_group && p.scales != ScaleLayout::Row) return "weights need scales: row, group, two_level or super_group";
  if (super && p.group != kUnitLength && p.group != kUnitLength / 2) return "super_group needs groups of 16 or 32";
  if (const Rejection why = malformed_values(p); !why.empty()) return why;
  const bool halves = p.scale_format != nullptr && p.group == kUnitLength / 2;
  if (by_group && !super && !halves && (p.group < kUnitLength || p.group % kUnitLength != 0))
    return "group must be a multiple of 32";
  if (!by_group && p.group != 0) return "group must be 0 with row scales";
  if (p.scales == ScaleLayout::TwoLevel && p.weight == ElementType::Int8) return "two_level scales need fewer bits";
  if (p.weight == ElementType::Ternary && (p.zero_points || p.minimums || super || p.scales == ScaleLayout::TwoLevel))
    return "ternary weights have row or group scales, and neither zero points nor minimums";
  if (super && p.zero_points) return "super_group scales have no zero points";
  if (p.minimums && (p.zero_points || (!super && p.scales != ScaleLayout::Group)))
    return "minimums go with group or super_group scales and without zero points";
  if (p.minimums && p.group < kUnitLength) return "minimums need groups of at least 32";
  return {};
}

void require_pointer(const void* pointer, const char* name, const PackedGemmProblem& problem) {
  if (pointer == nullptr) throw InvalidArgument("packed product {}: {} is null; pass it", to_string(problem), name);
}

void require_weights(const PackedGemmProblem& p, const PackedWeightView& w) {
  require_pointer(w.codes, "w.codes", p);
  const bool bytes = p.scale_format != nullptr;
  if (has_groups(p) && !bytes) require_pointer(w.scales, "w.scales", p);
  if (!has_groups(p) || p.listed) require_pointer(w.row_scales, "w.row_scales", p);
  if (bytes || has_super_groups(p) || p.scales == ScaleLayout::TwoLevel)
    require_pointer(w.group_scales, "w.group_scales", p);
  if (p.minimums) require_pointer(w.mins, "w.mins", p);
  if (p.minimums && has_super_groups(p)) require_pointer(w.group_mins, "w.group_mins", p);
  if (p.zero_points) require_pointer(w.zeros, "w.zeros", p);
  if (!p.listed) return;
  require_pointer(w.values, "w.values", p);
  for (int i = 0; i < 16; ++i)
    if (w.values[i] < kLeastListed || w.values[i] > kMostListed)
      throw InvalidArgument("packed product {}: code {} stands for {}; values must lie in -16 .. 15", to_string(p), i,
                            w.values[i]);
}

PackedTask weight_task(const PackedGemmProblem& p, const PackedWeightView& w) {
  PackedTask t{};
  t.m = p.m, t.n = p.n, t.k = p.k;
  t.weight = p.weight;
  t.super = has_super_groups(p);
  t.grouped = has_groups(p);
  t.two_level = p.scales == ScaleLayout::TwoLevel;
  t.byte_scales = p.scale_format != nullptr;
  t.power_scales = t.byte_scales && p.scale_format->kind == ElementKind::PowerOfTwo;
  t.units = units_of(p.k);
  t.half_units = p.group > 0 && p.group < kUnitLength;
  t.group_units = t.half_units ? 1 : p.group > 0 ? p.group / kUnitLength : t.units;
  t.groups = p.group > 0 ? (p.k + p.group - 1) / p.group : 1;
  if (t.super) t.super_groups = (p.k + kSuperGroup - 1) / kSuperGroup, t.groups_per_super = kSuperGroup / p.group;
  t.codes = w.codes;
  t.unit_bytes = unit_bytes(p.weight);
  t.tile_bytes = tile_bytes(p.weight, t.units);
  t.values = p.listed ? w.values : nullptr;
  t.scales = w.scales;
  t.row_scales = w.row_scales;
  t.group_scales = w.group_scales;
  t.zeros = p.zero_points ? w.zeros : nullptr;
  t.mins = p.minimums ? w.mins : nullptr;
  t.group_mins = w.group_mins;
  t.zero = p.listed ? -kLeastListed : p.weight == ElementType::Int8 ? 128 : p.minimums ? 0 : symmetric_zero(p.weight);
  return t;
}

reference::PackedWeights reference_weights(const PackedGemmProblem& p, const PackedWeightView& w) {
  return {.n = p.n,
          .k = p.k,
          .type = p.weight,
          .group = p.group > 0 ? p.group : p.k,
          .codes = w.codes,
          .super = has_super_groups(p),
          .scales = has_groups(p) && p.scale_format == nullptr ? w.scales : nullptr,
          .row_scales = has_groups(p) && !p.listed ? nullptr : w.row_scales,
          .group_scales = p.scale_format != nullptr || has_super_groups(p) || p.scales == ScaleLayout::TwoLevel
                              ? w.group_scales
                              : nullptr,
          .zeros = p.zero_points ? w.zeros : nullptr,
          .mins = p.minimums ? w.mins : nullptr,
          .group_mins = w.group_mins,
          .values = p.listed ? w.values : nullptr,
          .scale_format = p.scale_format};
}

}  // namespace halftone::kernels
