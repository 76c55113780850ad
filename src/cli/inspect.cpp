// halftone inspect MODEL
#include "engine/inspect/inspect.h"

#include "base/json.h"
#include "cli/command.h"
#include "engine/model.h"
#include "engine/report/table.h"

namespace halftone::cli {
namespace {

struct InspectOptions {
  std::string model;
  bool kernels = false;
  bool tensors = false;
  int64_t prefill = 512;
  models::Weights weights = models::Weights::Stored;
};

std::string shape_text(const Json& shape) {
  std::string text;
  for (const auto& size : shape) text += (text.empty() ? "" : " x ") + std::to_string(size.get<int64_t>());
  return text;
}

engine::Table formats_table(const Json& formats) {
  engine::Table table{{"format", "tensors", "bytes", "in memory"}, {}};
  for (const auto& f : formats)
    table.rows.push_back(
        {f["format"], std::to_string(f["tensors"].get<int64_t>()), engine::group_digits(f["bytes"]), f["loaded"]});
  return table;
}

engine::Table tensors_table(const Json& tensors) {
  engine::Table table{{"tensor", "format", "shape", "bytes", "in memory"}, {}};
  for (const auto& t : tensors)
    table.rows.push_back(
        {t["name"], t["format"], shape_text(t["shape"]), engine::group_digits(t["bytes"]), t["loaded"]});
  return table;
}

void print_summary(const Json& m) {
  const Json& tokenizer = m["tokenizer"];
  print_text(fmt::format("{}\n  {} ({}), {} bytes\n", m["name"].get<std::string>(), m["path"].get<std::string>(),
                         m["source"].get<std::string>(), engine::group_digits(m["file_bytes"])));
  print_text(fmt::format("architecture  {}: {} blocks, width {}, feed-forward {}, {} heads of {}, {} key-value heads\n",
                         m["architecture"].get<std::string>(), m["blocks"].get<int64_t>(), m["width"].get<int64_t>(),
                         m["ffn_width"].get<int64_t>(), m["heads"].get<int64_t>(), m["head_dim"].get<int64_t>(),
                         m["kv_heads"].get<int64_t>()));
  const Json& window = m["sliding_window"];
  print_text(fmt::format("context       {} tokens{}\n", m["context_length"].get<int64_t>(),
                         window["blocks"] == 0
                             ? std::string()
                             : fmt::format("; {} blocks see the last {} only", window["blocks"].get<int64_t>(),
                                           window["tokens"].get<int64_t>())));
  print_text(fmt::format("parameters    {}; the head is {}\n", engine::group_digits(m["parameters"]),
                         m["tied_head"].get<bool>() ? "the embedding" : "a matrix of its own"));
  print_text(fmt::format("weights       {} bytes in the file, {:.3f} bits per weight; {} bytes loaded\n",
                         engine::group_digits(m["weight_bytes"]), m["bits_per_weight"].get<double>(),
                         engine::group_digits(m["loaded"]["weight_bytes"])));
  print_text(fmt::format("KV cache      {} bytes per token in {}\n", engine::group_digits(m["kv_bytes_per_token"]),
                         m["kv_format"].get<std::string>()));
  print_text(fmt::format("tokenizer     {} ({}), {} tokens, {} merges, BOS {}{}, chat template: {}\n",
                         tokenizer["kind"].get<std::string>(), tokenizer["pre"].get<std::string>(),
                         tokenizer["vocabulary"].get<int64_t>(), tokenizer["merges"].get<int64_t>(),
                         tokenizer["bos_id"].get<int64_t>(), tokenizer["add_bos"].get<bool>() ? " (added)" : "",
                         tokenizer["chat_template"].get<bool>() ? "yes" : "no"));
  if (!m["provenance"].is_null()) print_text("provenance    " + m["provenance"].dump() + "\n");
}

void print_kernels(const Json& explanation) {
  print_text(fmt::format("\nkernels at {}\n", explanation["isa"].get<std::string>()));
  for (const auto& row : explanation["kernels"]) {
    print_text(fmt::format("{:8}{:10}{:>3} x {}\n    {} from {} on\n", row["phase"].get<std::string>(),
                           row["operation"].get<std::string>(), row["layers"].get<int64_t>(),
                           row["kernel"].get<std::string>(), row["problem"].get<std::string>(),
                           row["first_site"].get<std::string>()));
    for (const auto& rejected : row["rejected"])
      print_text(
          fmt::format("    not {}: {}\n", rejected["kernel"].get<std::string>(), rejected["why"].get<std::string>()));
  }
}

}  // namespace

void add_inspect(Program& program) {
  auto options = std::make_shared<InspectOptions>();
  CLI::App& command =
      program.add("inspect", "Shows architecture, sizes, tensor formats and tokenizer of a model", [&program, options] {
        Json json = engine::inspect(options->model, {options->weights});
        if (options->kernels) {
          const auto model = engine::load_model(options->model, {options->weights});
          const int64_t context = std::min<int64_t>(options->prefill, json["context_length"].get<int64_t>() - 1);
          json["kernels"] = engine::explain_kernels(*model, usable_isa(), options->prefill, context);
        }
        if (program.common().json) {
          print_json(json);
          return kSuccess;
        }
        print_summary(json);
        print_text("\n" +
                   engine::to_text(options->tensors ? tensors_table(json["tensors"]) : formats_table(json["formats"])));
        if (options->kernels) print_kernels(json["kernels"]);
        return kSuccess;
      });
  add_model(command, options->model);
  command.add_flag("--tensors", options->tensors, "list every tensor (always in --json)");
  command.add_flag("--kernels", options->kernels,
                   "show which kernel serves each layer, and why those before it do not");
  add_weights(command, options->weights);
  add_number(command, "--prefill", options->prefill, {1, 1 << 20}, "prompt tokens that --kernels assumes");
}

}  // namespace halftone::cli
