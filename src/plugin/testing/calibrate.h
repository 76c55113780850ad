// Calibration of tests: what the engine collects for a pass, on a tiny decoder; and a whole compression run.
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/ops/amax.h>
#include <ATen/ops/maximum.h>
#include <ATen/ops/zeros.h>

#include <memory>
#include <string>
#include <vector>

#include "base/error.h"
#include "nn/testing/tiny_decoder.h"
#include "plugin/catalogue.h"
#include "plugin/compress_pass.h"

namespace halftone {

/// Collects the statistics of one block.
class StatisticsObserver final : public nn::Observer {
 public:
  StatisticsObserver(ExecContext& exec, int64_t block)
      : exec_(exec), block_(block), prefix_("blocks." + std::to_string(block) + ".") {}
  void linear_input(const std::string& site, const at::Tensor& x) override {
    if (site.rfind(prefix_, 0) != 0) return;
    auto& input = statistics.inputs[site];
    const at::Tensor absmax = x.abs().amax(0);
    if (!input.gram.defined()) input.gram = at::zeros({x.size(1), x.size(1)}, at::kDouble);
    accumulate_gram(exec_, x, input.gram);
    input.absmax = input.absmax.defined() ? at::maximum(input.absmax, absmax) : absmax;
    input.tokens += x.size(0);
  }
  void queries_and_keys(int64_t block, const at::Tensor&, const at::Tensor& k) override {
    if (block != block_) return;
    const at::Tensor absmax = k.abs().amax(0).view(-1);
    statistics.key_absmax = statistics.key_absmax.defined() ? at::maximum(statistics.key_absmax, absmax) : absmax;
  }
  BlockStatistics statistics;

 private:
  ExecContext& exec_;
  int64_t block_;
  std::string prefix_;
};

/// Calibration sequences of a tiny decoder.
inline std::vector<std::vector<int32_t>> tiny_calibration(int64_t sequences = 8, int64_t length = 32) {
  std::vector<std::vector<int32_t>> all;
  for (int64_t i = 0; i < sequences; ++i) all.push_back(nn::tiny_tokens(length, 100 + i));
  return all;
}

/// Statistics of `block` with f32 keys, as the model is now.
inline BlockStatistics tiny_statistics(ExecContext& exec, const nn::Decoder& model, int64_t block) {
  StatisticsObserver observer(exec, block);
  for (const auto& tokens : tiny_calibration()) nn::tiny_logits(exec, model, tokens, ElementType::Float32, &observer);
  return observer.statistics;
}

/// Runs `pass` over `model`: prepare, every block with its statistics, finish.
inline void run_pass(ExecContext& exec, nn::Decoder& model, CompressPass& pass, const std::string& sites = "blocks.*") {
  const SiteSelector selector(sites);
  CompressContext context{exec, model, selector};
  pass.prepare(context);
  for (int64_t block = 0; block < static_cast<int64_t>(model.blocks().size()); ++block)
    pass.compress_block(context, block, pass.needs().any() ? tiny_statistics(exec, model, block) : BlockStatistics{});
  pass.finish(context);
}

/// `model` after the method `name` with `options`.
inline void compress_tiny(ExecContext& exec, nn::Decoder& model, const Catalogue& catalogue, const std::string& name,
                          const OptionValues& options, const std::string& sites = "blocks.*") {
  run_pass(exec, model, *catalogue.make_compress_pass(name, options), sites);
}

/// The message with which method `name` refuses `options`; "accepted" when it does not.
inline std::string option_error(const Catalogue& catalogue, const std::string& name, const OptionValues& options) {
  try {
    catalogue.make_compress_pass(name, options);
  } catch (const InvalidArgument& problem) {
    return problem.what();
  }
  return "accepted";
}

/// Every value that the text and number options of method `name` must refuse, and an option that does not exist: the
/// refusals that went wrong, empty when all is well. A refusal names method, option and the accepted values.
inline std::string wrong_refusals(const Catalogue& catalogue, const std::string& name) {
  std::string wrong;
  const auto expect = [&](const std::string& option, const std::string& value, const std::string& accepted) {
    const std::string message = option_error(catalogue, name, {{option, value}});
    for (const std::string& part : {name, option, accepted})
      if (message.find(part) == std::string::npos) wrong += option + "=" + value + ": " + message + "\n";
  };
  expect("no_such_option", "1", catalogue.find(name).options.front().name);
  for (const auto& option : catalogue.find(name).options) {
    expect(option.name, "nonsense", option.accepted);
    expect(option.name, "", option.accepted);
    if (option.type != "int" && option.type != "float") continue;
    expect(option.name, "-1e9", option.accepted);
    expect(option.name, "1000000000", option.accepted);
    expect(option.name, "nan", option.accepted);
  }
  return wrong;
}

/// Mean squared difference of the logits from those of `reference`, over held-out tokens, with the caches the models
/// ask for; `reference` uses an f32 cache.
inline double logits_error(ExecContext& exec, const nn::Decoder& model, const nn::Decoder& reference) {
  double sum = 0;
  for (uint64_t sequence = 0; sequence < 4; ++sequence) {
    const auto tokens = nn::tiny_tokens(24, 1000 + sequence);
    const at::Tensor wanted = nn::tiny_logits(exec, reference, tokens);
    sum += (nn::tiny_logits(exec, model, tokens, model.kv_format()) - wanted).square().mean().item<double>() / 4;
  }
  return sum;
}

}  // namespace halftone
