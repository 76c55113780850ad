// halftone generate MODEL -p PROMPT
#include "engine/generate/generate.h"

#include <cstdio>

#include "base/atomic_file.h"
#include "base/json.h"
#include "cli/sampling_options.h"
#include "engine/generate/prompt.h"

namespace halftone::cli {
namespace {

struct Options {
  std::string model, prompt;
  GenerateOptions generate;
  bool stream = false, chat = false, plain = false, ids = false;
};

/// The prompt itself, or standard input for "-", without the newline that ends it.
std::string prompt_text(const std::string& prompt) {
  if (prompt != "-") return prompt;
  std::string text = read_text("-");
  if (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

std::vector<int32_t> prompt_ids(const models::LanguageModel& model, const Options& options) {
  const std::string text = prompt_text(options.prompt);
  if (options.ids) return engine::parse_ids(model, text);
  if (!options.chat) return engine::encode_prompt(model, text, !options.plain);
  std::vector<ChatMessage> messages;
  if (!options.generate.system.empty()) messages.push_back({"system", options.generate.system});
  messages.push_back({"user", text});
  return engine::encode_chat(model, messages);
}

void print_result(const engine::GenerateResult& result, bool streamed) {
  print_text(streamed ? std::string() : result.text);
  print_text("\n");
}

Json to_json(const engine::GenerateResult& result) {
  return {{"text", result.text},
          {"tokens", result.tokens},
          {"finish_reason", result.finish_reason},
          {"prompt_tokens", result.prompt_tokens},
          {"generated_tokens", result.tokens.size()},
          {"prefill_seconds", result.prefill_seconds},
          {"decode_seconds", result.decode_seconds}};
}

int run(const CommonOptions& common, const Options& options) {
  OwnedExecContext exec(common.threads);
  const auto model = load_to_run(common, exec.get(), options.model, options.generate);
  catch_interrupts();  // from here on: nothing is lost where loading is cut short
  engine::GenerateRequest request = make_request(options.generate);
  request.prompt = prompt_ids(*model, options);
  const bool stream = options.stream && !common.json;
  if (stream)
    request.on_text = [](std::string_view piece) {
      print_text(piece);
      return std::fflush(stdout) == 0;
    };
  const auto result =
      engine::generate(exec.get(), *model, request, options.generate.context, options.generate.kv_format);
  if (common.json)
    print_json(to_json(result));
  else
    print_result(result, stream);
  if (!common.quiet && !common.json)
    fmt::print(stderr, "{} prompt tokens at {:.1f}/s, {} generated at {:.1f}/s, {}\n", result.prompt_tokens,
               static_cast<double>(result.prompt_tokens) / result.prefill_seconds, result.tokens.size(),
               static_cast<double>(result.tokens.size()) / result.decode_seconds, result.finish_reason);
  return interrupted() ? kInterrupted : kSuccess;
}

}  // namespace

void add_generate(Program& program) {
  auto options = std::make_shared<Options>();
  CLI::App& command =
      program.add("generate", "Continues a prompt", [&program, options] { return run(program.common(), *options); });
  add_model(command, options->model);
  command.add_option("-p,--prompt", options->prompt, "text to continue; - reads standard input, less its last newline")
      ->required()
      ->option_text("TEXT (needed)");
  add_generate_options(command, options->generate);
  command.add_flag("--stream", options->stream, "print text as it is generated (not with --json)");
  command.add_flag("--chat", options->chat, "put the prompt into the model's chat template as the user's message");
  command.add_option("--system", options->generate.system, "system message, with --chat")->option_text("TEXT");
  command.add_flag("--plain", options->plain, "read names of control tokens in the prompt as plain text");
  command.add_flag("--ids", options->ids, "the prompt is token ids, as `halftone tokenize --json` lists them")
      ->excludes("--chat");
}

}  // namespace halftone::cli
