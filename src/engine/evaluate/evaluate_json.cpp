// Results as JSON; the field names are fixed, scripts rely on them. See evaluate.h.
#include "base/json.h"
#include "engine/evaluate/evaluate.h"

namespace halftone::engine {
namespace {

/// {"other": ..., "kl_divergence": ..., ...} added to `target`.
void add_other(const ComparedModel& other, int64_t tokens, Json& target) {
  target["other"] = to_json(other.evaluation);
  target["kl_divergence"] = other.distance.kl_divergence;
  target["kl_divergence_error"] = other.distance.kl_divergence_error;
  target["top1_agreement"] = other.distance.top1_agreement;
  target["tokens"] = tokens;
}

}  // namespace

Json to_json(const Evaluation& e) {
  Json storages = Json::array();
  for (const auto& share : e.storages)
    storages.push_back({{"format", share.format}, {"layers", share.layers}, {"bytes", share.bytes}});
  return {{"name", e.name},
          {"architecture", e.architecture},
          {"source", e.source_kind},
          {"parameters", e.parameters},
          {"weight_bytes", e.weight_bytes},
          {"bits_per_weight", e.bits_per_weight},
          {"kv_format", e.kv_format},
          {"kv_bytes_per_token", e.kv_bytes_per_token},
          {"perplexity", e.perplexity},
          {"perplexity_error", e.perplexity_error},
          {"prefill_tokens_per_second", e.prefill_tokens_per_second},
          {"decode_tokens_per_second", e.decode_tokens_per_second},
          {"tokens", e.tokens},
          {"storages", storages},
          {"provenance", e.provenance.empty() ? Json() : Json::parse(e.provenance)},
          {"window_nll", e.window_nll}};
}

Json to_json(const Comparison& comparison) {
  Json json = {{"reference", to_json(comparison.reference)}};
  if (comparison.others.size() == 1) {
    add_other(comparison.others[0], comparison.tokens, json);
    return json;
  }
  json["tokens"] = comparison.tokens;
  json["others"] = Json::array();
  for (const auto& other : comparison.others) {
    Json entry = Json::object();
    add_other(other, comparison.tokens, entry);
    json["others"].push_back(std::move(entry));
  }
  return json;
}

}  // namespace halftone::engine
