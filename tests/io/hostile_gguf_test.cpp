// Hostile GGUF files, made one rule broken at a time from a small valid one, each with a name and words that its error
// must hold. Also harmless variations, which must open.
#include "hostile_gguf.h"

#include <functional>
#include <set>
#include <utility>

namespace halftone::test {
namespace {

constexpr uint32_t kU32 = 4, kI32 = 5, kF32 = 6, kBool = 7, kString = 8, kArray = 9, kU64 = 10;
constexpr uint64_t kHuge[] = {UINT64_MAX, uint64_t{1} << 63, uint64_t{1} << 61, uint64_t{1} << 32};

/// Collects cases that change the seed in one place.
class Cases {
 public:
  using Change = std::function<void(GgufSpec&)>;

  void fails(const std::string& name, const std::string& error, const Change& change) {
    add(name, false, error, change);
  }
  void opens(const std::string& name, const Change& change) { add(name, true, "", change); }
  void raw(const std::string& name, const std::string& error, std::string bytes) {
    cases_.push_back({name, std::move(bytes), false, error});
  }
  std::vector<HostileCase> take() { return std::move(cases_); }

 private:
  void add(const std::string& name, bool opens, const std::string& error, const Change& change) {
    GgufSpec spec = gguf_seed();
    change(spec);
    cases_.push_back({name, spec.bytes(), opens, error});
  }
  std::vector<HostileCase> cases_;
};

void add_header_cases(Cases& cases) {
  for (const char* magic : {"GGML", "FUGG", "gguf", "PK\x03\x04",
                            "\x7f"
                            "ELF"})
    cases.fails(std::string("magic_") + magic, "first four bytes", [=](GgufSpec& s) { s.magic = magic; });
  for (const uint32_t version : {0u, 1u, 4u, 0xffffffffu})
    cases.fails("version_" + std::to_string(version), "version", [=](GgufSpec& s) { s.version = version; });
  for (const uint32_t version : {0x02000000u, 0x03000000u})
    cases.fails("big_endian_" + std::to_string(version >> 24), "big-endian", [=](GgufSpec& s) { s.version = version; });
  for (const uint64_t count : kHuge) {
    cases.fails("tensor_count_" + std::to_string(count), "tensor count", [=](GgufSpec& s) { s.tensor_count = count; });
    cases.fails("entry_count_" + std::to_string(count), "metadata count", [=](GgufSpec& s) { s.entry_count = count; });
  }
  cases.fails("tensor_count_one_more", "tensor", [](GgufSpec& s) { s.tensor_count = s.tensors.size() + 1; });
  cases.fails("entry_count_one_more", "tensor name", [](GgufSpec& s) { s.entry_count = s.entries.size() + 1; });
  cases.fails("entry_count_one_less", "tensor", [](GgufSpec& s) { s.entry_count = s.entries.size() - 1; });
  cases.opens("version_2", [](GgufSpec& s) { s.version = 2; });
  cases.opens("no_tensors", [](GgufSpec& s) { s.tensors.clear(), s.data_bytes = 0; });
  cases.opens("no_entries", [](GgufSpec& s) { s.entries.clear(); });
  cases.opens("trailing_bytes", [](GgufSpec& s) { s.data_bytes += 100; });
}

void add_key_cases(Cases& cases) {
  const auto key = [](const std::string& text) {
    return [=](GgufSpec& s) { s.entries.push_back({text, kU32, packed<uint32_t>(1)}); };
  };
  cases.fails("key_empty", "metadata key", key(""));
  cases.fails("key_65536_bytes", "65535", key(std::string(65536, 'k')));
  cases.fails("key_nul", "control", key(std::string("a\0b", 3)));
  cases.fails("key_newline", "control", key("a\nb"));
  cases.fails("key_delete", "control", key("a\x7f"));
  cases.fails("key_twice", "appears twice", key("general.architecture"));
  cases.opens("key_65535_bytes", key(std::string(65535, 'k')));
  cases.opens("key_unknown", key("nobody.knows.this"));
  for (const uint64_t length : kHuge)
    cases.fails("key_length_" + std::to_string(length), "metadata key", [=](GgufSpec& s) {
      s.entries.clear();
      s.tensors.clear();
      s.entry_count = 1;
      s.entries.push_back({"", kU32, ""});
      s.magic += packed<uint32_t>(3) + packed<uint64_t>(0) + packed<uint64_t>(1) + packed<uint64_t>(length);
      s.data_bytes = 64;
    });
}

void add_value_cases(Cases& cases) {
  const auto value = [](uint32_t type, const std::string& payload) {
    return [=](GgufSpec& s) { s.entries.insert(s.entries.begin(), {"hostile", type, payload}); };
  };
  for (const uint32_t type : {13u, 255u, 0xffffffffu}) {
    cases.fails("value_type_" + std::to_string(type), "value type", value(type, packed<uint64_t>(0)));
    cases.fails("element_type_" + std::to_string(type), "value type", value(kArray, packed_array(type, 1, "12345678")));
  }
  for (uint32_t type = 0; type <= 12; ++type)
    for (const uint64_t count : kHuge)
      cases.fails("array_of_" + std::to_string(type) + "_count_" + std::to_string(count), "array length",
                  value(kArray, packed_array(type, count, "12345678")));
  for (const uint64_t length : kHuge) {
    cases.fails("string_length_" + std::to_string(length), "metadata string", value(kString, packed(length) + "abc"));
    cases.fails("string_in_array_length_" + std::to_string(length), "metadata string",
                value(kArray, packed_array(kString, 2, packed_string("fine") + packed(length) + "abc")));
    cases.fails("inner_array_count_" + std::to_string(length), "array length",
                value(kArray, packed_array(kArray, 1, packed_array(kU32, length, "1234"))));
  }
  cases.fails("bool_2", "bool", value(kBool, "\x02"));
  cases.fails("bool_255", "bool", value(kBool, "\xff"));
  cases.fails("bool_in_array_2", "bool", value(kArray, packed_array(kBool, 2, std::string("\x01\x02"))));
  std::string nested = packed_array(kU32, 1, "1234");
  for (int depth = 2; depth <= 4; ++depth) nested = packed_array(kArray, 1, nested);
  cases.opens("arrays_4_deep", value(kArray, nested));
  cases.fails("arrays_5_deep", "deep", value(kArray, packed_array(kArray, 1, nested)));
  std::string tower;
  for (int depth = 0; depth < 20000; ++depth) tower += packed_array(kArray, 1, "");
  cases.fails("arrays_20000_deep", "deep", value(kArray, tower));
  cases.opens("string_not_utf8", value(kString, packed_string("\xff\xfe\xc0")));
  cases.opens("string_with_nul", value(kString, packed_string(std::string("a\0b", 3))));
  cases.opens("f32_nan", value(kF32, packed<uint32_t>(0x7fc00000)));
  cases.opens("empty_array_of_arrays", value(kArray, packed_array(kArray, 0, "")));
  cases.opens("empty_strings", value(kArray, packed_array(kString, 3, std::string(24, '\0'))));
}

void add_alignment_and_split_cases(Cases& cases) {
  const auto entry = [](const std::string& key, uint32_t type, const std::string& payload) {
    return [=](GgufSpec& s) { s.entries.push_back({key, type, payload}); };
  };
  for (const uint32_t alignment : {0u, 3u, 33u, 96u, 1u << 21, 0x80000000u})
    cases.fails("alignment_" + std::to_string(alignment), "general.alignment",
                entry("general.alignment", kU32, packed(alignment)));
  cases.fails("alignment_2_to_40", "general.alignment", entry("general.alignment", kU64, packed(uint64_t{1} << 40)));
  cases.fails("alignment_negative", "general.alignment", entry("general.alignment", kI32, packed(int32_t{-32})));
  cases.fails("alignment_string", "general.alignment", entry("general.alignment", kString, packed_string("32")));
  cases.fails("alignment_float", "general.alignment", entry("general.alignment", kF32, packed(32.0f)));
  cases.fails("alignment_array", "general.alignment",
              entry("general.alignment", kArray, packed_array(kU32, 1, packed<uint32_t>(32))));
  cases.opens("alignment_64", [](GgufSpec& s) {
    s.alignment = 64;
    s.entries.push_back({"general.alignment", kU32, packed<uint32_t>(64)});
  });
  cases.opens("alignment_1", [](GgufSpec& s) {
    s.alignment = 1;
    s.entries.push_back({"general.alignment", kU32, packed<uint32_t>(1)});
  });
  cases.fails("split_part_in_memory", "one part of 2", entry("split.count", kU32, packed<uint32_t>(2)));
  cases.fails("split_count_string", "split.count", entry("split.count", kString, packed_string("2")));
  cases.fails("split_count_negative", "split.count", entry("split.count", kI32, packed(int32_t{-2})));
  cases.opens("split_count_1", entry("split.count", kU32, packed<uint32_t>(1)));
}

void add_tensor_shape_cases(Cases& cases) {
  const auto name = [](const std::string& text) { return [=](GgufSpec& s) { s.tensors[0].name = text; }; };
  cases.fails("tensor_name_empty", "tensor name", name(""));
  cases.fails("tensor_name_65_bytes", "tensor name", name(std::string(65, 'n')));
  cases.fails("tensor_name_nul", "control", name(std::string("a\0b", 3)));
  cases.fails("tensor_name_escape", "control", name("\x1b[31m"));
  cases.fails("tensor_name_twice", "appears twice", name("b.weight"));
  cases.opens("tensor_name_64_bytes", name(std::string(64, 'n')));
  for (const uint32_t rank : {0u, 5u, 0xffffffffu})
    cases.fails("rank_" + std::to_string(rank), "dimensions", [=](GgufSpec& s) { s.tensors[0].rank = rank; });
  const auto dims = [](std::vector<uint64_t> sizes) { return [=](GgufSpec& s) { s.tensors[0].dims = sizes; }; };
  for (size_t i = 0; i < 4; ++i)
    for (const uint64_t size : {uint64_t{0}, uint64_t{1} << 63, UINT64_MAX}) {
      std::vector<uint64_t> sizes(4, 1);
      sizes[i] = size;
      cases.fails("dim_" + std::to_string(i) + "_is_" + std::to_string(size), "dimension", dims(sizes));
    }
  constexpr uint64_t k32 = uint64_t{1} << 32, k16 = uint64_t{1} << 16;
  cases.fails("elements_overflow_2d", "2^63", dims({k32, k32}));
  cases.fails("elements_wrap_to_zero", "2^63", dims({k32, k32, 1, 1}));
  cases.fails("elements_wrap_to_small", "2^63", dims({(k32 << 1) + 1, (k32 << 1) - 1, 1, 1}));
  cases.fails("elements_overflow_4d", "2^63", dims({k16, k16, k16, k16}));
  cases.fails("bytes_overflow", "2^63", dims({uint64_t{1} << 62}));
  cases.fails("bytes_beyond_file", "needs", dims({uint64_t{1} << 40}));
  cases.fails("bytes_one_row_too_many", "overlap", dims({8, 3, 1, 1}));
  cases.opens("rank_4_of_ones", dims({1, 1, 1, 1}));
}

void add_tensor_type_cases(Cases& cases) {
  for (const uint32_t id : {4u,  5u,  9u,  15u, 16u, 17u, 18u, 19u, 20u, 21u, 22u,   23u,        29u,
                            31u, 32u, 33u, 34u, 35u, 36u, 37u, 38u, 40u, 41u, 1000u, 0xffffffffu})
    cases.fails("type_id_" + std::to_string(id), "tensor 'a.weight' has type id " + std::to_string(id),
                [=](GgufSpec& s) { s.tensors[0].type = id; });
  for (const uint32_t id : {2u, 3u, 6u, 7u, 8u, 10u, 11u, 12u, 13u, 14u, 39u})
    cases.fails("partial_blocks_of_type_" + std::to_string(id), "needs a multiple of", [=](GgufSpec& s) {
      s.tensors[0].type = id;
      s.tensors[0].dims = {16, 16};
    });
}

void add_offset_cases(Cases& cases) {
  const auto offset = [](size_t tensor, uint64_t at) { return [=](GgufSpec& s) { s.tensors[tensor].offset = at; }; };
  for (const uint64_t at : {1u, 16u, 31u}) cases.fails("offset_" + std::to_string(at), "alignment", offset(0, at));
  cases.fails("offset_last_multiple", "needs", offset(0, UINT64_MAX - 31));
  cases.fails("offset_2_to_63", "needs", offset(2, uint64_t{1} << 63));
  cases.fails("offset_wraps_with_size", "needs", offset(2, UINT64_MAX - 63));
  cases.fails("offset_at_end", "needs", offset(2, 256));
  cases.fails("offset_past_end", "needs", offset(2, 288));
  cases.fails("offset_one_step_too_far", "needs", offset(2, 224));
  cases.fails("overlap_same_start", "overlap", offset(1, 0));
  cases.fails("overlap_partial", "overlap", offset(2, 160));
  cases.fails("overlap_inside", "overlap", offset(2, 64));
  cases.opens("tensors_in_other_order", [](GgufSpec& s) { std::swap(s.tensors[0], s.tensors[2]); });
  cases.opens("gap_between_tensors", [](GgufSpec& s) {
    s.tensors[2].offset += 64;
    s.data_bytes += 64;
  });
}

void add_truncations(Cases& cases) {
  std::vector<size_t> ends;
  const std::string whole = gguf_seed().bytes(&ends);
  std::set<size_t> lengths = {0, whole.size() - 1, whole.size() - 64};
  for (const size_t end : ends) lengths.insert({end, end - 1});
  lengths.erase(whole.size());
  for (const size_t length : lengths) cases.raw("cut_at_" + std::to_string(length), "", whole.substr(0, length));
}

}  // namespace

std::string packed_string(const std::string& text) { return packed<uint64_t>(text.size()) + text; }

std::string packed_array(uint32_t type, uint64_t count, const std::string& elements) {
  return packed(type) + packed(count) + elements;
}

std::string GgufSpec::bytes(std::vector<size_t>* ends) const {
  std::string out;
  const auto put = [&](const std::string& field) {
    out += field;
    if (ends != nullptr) ends->push_back(out.size());
  };
  put(magic);
  put(packed(version));
  put(packed<uint64_t>(tensor_count.value_or(tensors.size())));
  put(packed<uint64_t>(entry_count.value_or(entries.size())));
  for (const GgufKeyValue& entry : entries) {
    put(packed_string(entry.key));
    put(packed(entry.type));
    put(entry.payload);
  }
  for (const GgufTensorSpec& tensor : tensors) {
    put(packed_string(tensor.name));
    put(packed(tensor.rank.value_or(static_cast<uint32_t>(tensor.dims.size()))));
    for (const uint64_t dim : tensor.dims) put(packed(dim));
    put(packed(tensor.type));
    put(packed(tensor.offset));
  }
  put(std::string((out.size() + alignment - 1) / alignment * alignment - out.size(), '\0'));
  put(std::string(data_bytes, '\x11'));
  return out;
}

GgufSpec gguf_seed() {
  GgufSpec spec;
  spec.entries = {
      {"general.architecture", kString, packed_string("llama")},
      {"u8", 0, packed<uint8_t>(200)},
      {"i8", 1, packed<int8_t>(-100)},
      {"u16", 2, packed<uint16_t>(60000)},
      {"i16", 3, packed<int16_t>(-30000)},
      {"u32", kU32, packed<uint32_t>(4000000000)},
      {"i32", kI32, packed<int32_t>(-2000000000)},
      {"f32", kF32, packed(1.5f)},
      {"bool", kBool, "\x01"},
      {"u64", kU64, packed(UINT64_MAX)},
      {"i64", 11, packed(INT64_MIN)},
      {"f64", 12, packed(0.1)},
      {"strings", kArray, packed_array(kString, 3, packed_string("a") + packed_string("") + packed_string("cd"))},
      {"ints", kArray, packed_array(kI32, 2, packed<int32_t>(-1) + packed<int32_t>(7))},
      {"bools", kArray, packed_array(kBool, 2, std::string("\x00\x01", 2))},
      {"floats", kArray, packed_array(kF32, 2, packed(0.5f) + packed(-2.0f))},
      {"nested", kArray, packed_array(kArray, 1, packed_array(0, 2, "ab"))},
      {"empty", kArray, packed_array(kString, 0, "")}};
  spec.tensors = {{"a.weight", {8, 2, 1, 1}, 0, 0}, {"b.weight", {64, 3}, 2, 64}, {"c.weight", {32}, 1, 192}};
  spec.data_bytes = 256;
  return spec;
}

static std::vector<HostileCase> gguf_cases() {
  Cases cases;
  add_header_cases(cases);
  add_key_cases(cases);
  add_value_cases(cases);
  add_alignment_and_split_cases(cases);
  add_tensor_shape_cases(cases);
  add_tensor_type_cases(cases);
  add_offset_cases(cases);
  add_truncations(cases);
  return cases.take();
}

TEST(HostileGguf, EveryCaseIsAnswered) {
  const std::vector<HostileCase> cases = gguf_cases();
  const auto cut = [](const HostileCase& hostile) { return hostile.name.starts_with("cut_at_"); };
  EXPECT_GE(cases.size() - static_cast<size_t>(std::count_if(cases.begin(), cases.end(), cut)), 120u);
  check_cases<GgufFile>(cases, "gguf");
}

TEST(HostileGguf, SeedOpens) {
  const std::string bytes = gguf_seed().bytes();
  check_case<GgufFile>({"seed", bytes, true});
}

TEST(HostileGguf, EveryBitOfTheHeaderFlipped) {
  const GgufSpec seed = gguf_seed();
  const std::string whole = seed.bytes();
  const size_t header_bytes = whole.size() - seed.data_bytes;
  const int refused = sweep_bit_flips<GgufFile>(whole, header_bytes);
  EXPECT_GT(refused, static_cast<int>(header_bytes));  // most bits are lengths, counts, types; some are free text
}

}  // namespace halftone::test
