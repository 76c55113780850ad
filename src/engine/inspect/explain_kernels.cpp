// Which entry of each kernel table serves a model, and why the ones before it do not; see inspect.h.
#include <fmt/format.h>

#include <map>

#include "base/json.h"
#include "engine/inspect/inspect.h"
#include "kernels/api/attention.h"
#include "kernels/api/elementwise.h"
#include "kernels/api/gemm.h"
#include "kernels/api/packed_gemm.h"
#include "models/language/language_model.h"
#include "tensor/ops.h"

namespace halftone::engine {
namespace {

/// As generate and chat run.
constexpr ProductPrecision kProducts = ProductPrecision::BFloat16;

/// Collects one row for each different problem, with the first site that has it and how many do.
class Explanation {
 public:
  Explanation(Isa isa, std::string phase) : isa_(isa), phase_(std::move(phase)) {}

  template <class Problem, class Args>
  void add(const char* operation, const std::string& site, kernels::KernelTable<Problem, Args> table,
           const Problem& problem) {
    const std::string key = to_string(problem);
    const auto [position, fresh] = rows_.try_emplace(std::string(operation) + key, order_.size());
    if (!fresh) {
      Json& layers = order_[position->second]["layers"];
      layers = layers.get<int64_t>() + 1;
      return;
    }
    Json rejected = Json::array();
    std::string chosen;
    for (const auto& entry : table) {
      const kernels::Rejection why = kernels::rejection(entry, problem, isa_);
      if (why.empty()) {
        chosen = entry.name;
        break;
      }
      rejected.push_back({{"kernel", entry.name}, {"why", why.text()}});
    }
    order_.push_back({{"phase", phase_},
                      {"operation", operation},
                      {"first_site", site},
                      {"layers", 1},
                      {"problem", key},
                      {"kernel", chosen},
                      {"rejected", rejected}});
  }

  Isa isa() const { return isa_; }
  void append_to(Json& list) const {
    for (const auto& row : order_) list.push_back(row);
  }

 private:
  Isa isa_;
  std::string phase_;
  std::map<std::string, size_t> rows_;
  std::vector<Json> order_;
};

void add_linear(Explanation& explanation, const nn::Linear& linear, int64_t tokens) {
  if (linear.activations() == nn::ActivationFormat::Float32) {
    kernels::GemmProblem problem = PreparedWeight(linear.weight()).problem();
    problem.m = tokens;
    return explanation.add("gemm", linear.site(), kernels::gemm_table(), problem);
  }
  kernels::PackedGemmProblem problem = packed_problem(linear.weight());
  problem.m = tokens;
  problem.activations = nn::scales_of(linear.activations());
  if (const auto bf16 = bf16_in_place_of(problem, kProducts, explanation.isa()))
    return explanation.add("packed_bf16", linear.site(), kernels::packed_bf16_table(), *bf16);
  explanation.add("packed_gemm", linear.site(), kernels::packed_gemm_table(), problem);
}

/// Whether the last entry of `table`, the double reference, serves `problem`.
template <class Problem, class Args>
bool falls_to_reference(kernels::KernelTable<Problem, Args> table, const Problem& problem, Isa isa) {
  return &kernels::select(table, problem, isa) == &table.back() && table.size() > 1;
}

bool is_slow(const nn::Linear& linear, Isa isa) {
  if (linear.activations() == nn::ActivationFormat::Float32)
    return falls_to_reference(kernels::gemm_table(), PreparedWeight(linear.weight()).problem(), isa);
  return falls_to_reference(kernels::packed_gemm_table(), packed_problem(linear.weight()), isa);
}

void add_block(Explanation& explanation, const nn::Decoder& decoder, size_t index, int64_t tokens, int64_t start) {
  const nn::DecoderConfig& config = decoder.config();
  const nn::LayerAttention& layer = config.layers[index];
  const std::string prefix = "blocks." + std::to_string(index);
  explanation.add("rms_norm", prefix + ".attn_norm", kernels::rms_norm_table(),
                  kernels::RmsNormProblem{.rows = tokens, .k = config.width});
  for (const auto* linear : decoder.blocks()[index].linears()) add_linear(explanation, *linear, tokens);
  explanation.add("rope", prefix + ".attn", kernels::rope_table(),
                  kernels::RopeProblem{.tokens = tokens,
                                       .heads = config.heads,
                                       .head_dim = config.head_dim,
                                       .rotary_dim = 2 * static_cast<int64_t>(layer.inverse_frequency.size()),
                                       .style = config.rope_style});
  explanation.add("attention", prefix + ".attn", kernels::attention_table(),
                  kernels::AttentionProblem{.tokens = tokens,
                                            .start = start,
                                            .heads = config.heads,
                                            .kv_heads = config.kv_heads,
                                            .head_dim = config.head_dim,
                                            .window = layer.window,
                                            .format = decoder.kv_format(),
                                            .bf16 = kProducts == ProductPrecision::BFloat16});
  explanation.add("gated", prefix + ".mlp", kernels::gated_table(),
                  kernels::GatedProblem{.rows = tokens, .k = config.ffn_width, .activation = config.activation});
}

}  // namespace

Json explain_kernels(const models::LanguageModel& model, Isa isa, int64_t prefill_tokens, int64_t context) {
  Json list = Json::array();
  for (const bool decode : {true, false}) {
    Explanation explanation(isa, decode ? "decode" : "prefill");
    const int64_t tokens = decode ? 1 : prefill_tokens, start = decode ? context : 0;
    for (size_t block = 0; block < model.decoder.blocks().size(); ++block)
      add_block(explanation, model.decoder, block, tokens, start);
    add_linear(explanation, model.decoder.lm_head(), 1);
    explanation.append_to(list);
  }
  return {{"isa", std::string(to_string(isa))}, {"kernels", list}};
}

std::string slow_layers(const models::LanguageModel& model, Isa isa) {
  std::map<std::string, bool> known;  // by storage and activations: is it slow?
  int64_t slow = 0;
  std::string example;
  for (const auto& block : model.decoder.blocks())
    for (const auto* linear : block.linears()) {
      const std::string key = fmt::format("{} [{}, {}] {}", describe(linear->weight()), linear->outputs(),
                                          linear->inputs(), nn::to_string(linear->activations()));
      const auto [position, fresh] = known.try_emplace(key, false);
      if (fresh) position->second = is_slow(*linear, isa);
      if (position->second && slow++ == 0) example = linear->site() + ", stored as " + describe(linear->weight());
    }
  if (slow == 0) return {};
  return fmt::format("{} layers ({}) are served by the slow reference kernel; 'halftone inspect --kernels' says why",
                     slow, example);
}

}  // namespace halftone::engine
