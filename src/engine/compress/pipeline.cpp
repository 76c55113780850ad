// The compress flow, step by step: load -> prepare -> calibrate and compress block after block -> finish -> save.
#include <fmt/format.h>

#include <chrono>

#include "base/atomic_file.h"
#include "base/error.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/progress.h"
#include "engine/compress/calibration.h"
#include "engine/compress/checkpoint.h"
#include "engine/compress/compress.h"
#include "engine/interrupted.h"
#include "models/language/language_model.h"

namespace halftone::engine {
namespace {

constexpr int64_t kMaxWindow = 1 << 16;

void check_request(const CompressRequest& request) {
  if (request.window < 2 || request.window > kMaxWindow)
    throw InvalidArgument("calibration window {} must lie in 2 .. {} tokens", request.window, kMaxWindow);
  if (request.calibration_tokens < 1)
    throw InvalidArgument("{} calibration tokens are too few; use at least 1", request.calibration_tokens);
  const auto folder = request.output.has_parent_path() ? request.output.parent_path() : std::filesystem::path(".");
  if (!std::filesystem::is_directory(folder))
    throw IoError("cannot write {}: there is no folder {}", request.output.string(), folder.string());
  std::error_code ignored;
  if (std::filesystem::equivalent(request.model, request.output, ignored))
    throw InvalidArgument("the output {} is the model itself; choose another name", request.output.string());
}

std::string calibration_text(const CompressRequest& request, const CalibrationNeeds& needs) {
  if (!needs.any()) return {};
  if (request.calibration.empty())
    throw InvalidArgument("method {} calibrates on text; name a file with --calibrate", request.method);
  return read_text(request.calibration);
}

/// All that determines the result: what an artifact records, and what a resumed run must find unchanged.
Json provenance_of(const CompressRequest& request, const std::string& text) {
  return Json{{"model", fmt::format("{:016x}", hash_file(request.model))},
              {"method", request.method},
              {"options", request.method_options},
              {"sites", request.sites},
              {"calibration", text.empty() ? Json() : Json(fmt::format("{:016x}", hash_bytes(text)))},
              {"calibration_tokens", request.calibration_tokens},
              {"window", request.window},
              {"seed", request.seed}};
}

bool writes_gguf(const CompressRequest& request) { return request.output.extension() == ".gguf"; }

void stop_if_cancelled(const CompressRequest& request, int64_t done, size_t blocks) {
  if (request.cancelled && request.cancelled())
    throw Interrupted(
        fmt::format("interrupted after {} of {} blocks, which {}.partial keeps; run the same command again{} to resume",
                    done, blocks, request.output.string(), request.resume ? "" : " without --no-resume"));
}

/// `check` runs after every block, so that what cannot be saved is known after the first.
template <class Check>
void compress_blocks(CompressContext& context, CompressPass& pass, const CompressCheckpoint& checkpoint,
                     const CompressRequest& request, const CalibrationTokens& tokens, CompressReport& report,
                     const Check& check) {
  auto& blocks = context.model.blocks();
  const CalibrationNeeds needs = pass.needs();
  CalibrationState state(context.exec, context.model, tokens);
  Progress progress("compress", static_cast<int64_t>(blocks.size()));
  for (int64_t i = 0; i < static_cast<int64_t>(blocks.size()); ++i) {
    stop_if_cancelled(request, i, blocks.size());
    if (checkpoint.has_block(i)) {
      blocks[i] = checkpoint.load_block(i);
      ++report.resumed_blocks;
    } else {
      pass.compress_block(context, i, state.observe(context.exec, context.model, i, needs));
      checkpoint.save_block(i, blocks[i]);
    }
    check();
    if (needs.any()) state.advance(context.exec, context.model, i);
    progress.update(i + 1, fmt::format("blocks.{}", i));
  }
}

void save(const models::LanguageModel& model, const CompressRequest& request, const Json& provenance) {
  if (writes_gguf(request))
    models::save_gguf(model, request.model, request.output);
  else
    models::save_artifact(model, provenance, request.output);
}

}  // namespace

CompressReport compress(ExecContext& exec, const Catalogue& catalogue, const CompressRequest& request) {
  const auto start = std::chrono::steady_clock::now();
  const auto pass = catalogue.make_compress_pass(request.method, request.method_options);
  check_request(request);
  const std::string text = calibration_text(request, pass->needs());
  const Json provenance = provenance_of(request, text);

  models::LanguageModel model = models::load_language_model(request.model, {models::Weights::Float32});
  CompressReport report{.original_bytes = model.decoder.parameters() * static_cast<int64_t>(sizeof(float))};
  const SiteSelector sites(request.sites);
  sites.check_matches(model.decoder);
  CalibrationTokens tokens;
  if (!text.empty()) tokens = calibration_tokens(model.tokenizer, text, request.window, request.calibration_tokens);

  CompressContext context{exec, model.decoder, sites, request.seed};
  const auto check_output = [&] {
    if (writes_gguf(request)) models::check_gguf_output(model);
  };
  pass->prepare(context);
  check_output();
  const CompressCheckpoint checkpoint(request.output, provenance.dump(), request.resume);
  compress_blocks(context, *pass, checkpoint, request, tokens, report, check_output);
  pass->finish(context);
  save(model, request, provenance);
  checkpoint.remove();

  report.compressed_bytes = model.decoder.weight_bytes();
  report.bits_per_weight =
      8.0 * static_cast<double>(report.compressed_bytes) / static_cast<double>(model.decoder.parameters());
  report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return report;
}

}  // namespace halftone::engine
