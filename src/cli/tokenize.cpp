// halftone tokenize MODEL TEXT
#include "base/atomic_file.h"
#include "base/json.h"
#include "cli/command.h"
#include "engine/generate/prompt.h"
#include "engine/model.h"

namespace halftone::cli {
namespace {

struct Options {
  std::string model, text;
  bool no_bos = false, plain = false;
};

int run(const CommonOptions& common, const Options& options) {
  const std::string text = options.text == "-" ? read_text("-") : options.text;
  const auto tokenizer = engine::load_tokenizer(options.model);
  const auto pieces = engine::tokenize(*tokenizer, text, {.add_bos = !options.no_bos, .parse_special = !options.plain});
  if (common.json) {
    Json json = {{"tokens", Json::array()}, {"pieces", Json::array()}, {"count", pieces.size()}};
    for (const auto& piece : pieces) {
      json["tokens"].push_back(piece.id);
      json["pieces"].push_back(piece.text);
    }
    print_json(json);
    return kSuccess;
  }
  for (const auto& piece : pieces) print_text(fmt::format("{:>7}  {}\n", piece.id, engine::quote_piece(piece.text)));
  return kSuccess;
}

}  // namespace

void add_tokenize(Program& program) {
  auto options = std::make_shared<Options>();
  CLI::App& command = program.add("tokenize", "Shows the tokens of a text",
                                  [&program, options] { return run(program.common(), *options); });
  add_model(command, options->model);
  command.add_option("TEXT", options->text, "the text; - reads standard input, all of it")
      ->required()
      ->option_text(" ");
  command.add_flag("--no-bos", options->no_bos, "leave out the token that the model puts before texts");
  command.add_flag("--plain", options->plain, "read names of control tokens in the text as plain text");
}

}  // namespace halftone::cli
