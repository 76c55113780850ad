// Cutting a text into the windows that are scored.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/evaluate/evaluate.h"
#include "models/language/language_model.h"

namespace halftone::engine {

/// Token ids of each window, in text order, at least two in each; the first of a window is not scored.
/// Throws InvalidArgument for a window below 2 or above the model's context, and for a text of fewer than two tokens.
std::vector<std::vector<int32_t>> make_windows(const models::LanguageModel& model, const EvaluateRequest& request);

/// Throws InvalidArgument naming the first property in which the tokenizers differ, when they may give other ids for
/// the same text. Names and chat templates may differ.
void check_same_tokenizer(const models::LanguageModel& reference, const models::LanguageModel& other);

}  // namespace halftone::engine
