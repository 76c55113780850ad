// What the parts of a decoder block are called in GGUF files and in Hugging Face checkpoints.
#pragma once

#include <array>
#include <string>
#include <string_view>

namespace halftone::models {

/// One linear layer or norm of a block under its three names.
struct PartName {
  std::string_view site;  ///< ours, after "blocks.N."
  std::string_view gguf;  ///< after "blk.N."
  std::string_view hf;    ///< after "model.layers.N."
};

/// In the order of DecoderBlock::linears().
inline constexpr std::array<PartName, 7> kLinearNames = {{{"attn.q_proj", "attn_q", "self_attn.q_proj"},
                                                          {"attn.k_proj", "attn_k", "self_attn.k_proj"},
                                                          {"attn.v_proj", "attn_v", "self_attn.v_proj"},
                                                          {"attn.o_proj", "attn_output", "self_attn.o_proj"},
                                                          {"mlp.gate_proj", "ffn_gate", "mlp.gate_proj"},
                                                          {"mlp.up_proj", "ffn_up", "mlp.up_proj"},
                                                          {"mlp.down_proj", "ffn_down", "mlp.down_proj"}}};

/// In the order of norms_of() in storage_io.h: attn, ffn, q, k, post-attn, post-ffn.
inline constexpr std::array<PartName, 6> kNormNames = {
    {{"attn_norm", "attn_norm", "input_layernorm"},
     {"ffn_norm", "ffn_norm", "post_attention_layernorm"},
     {"q_norm", "attn_q_norm", "self_attn.q_norm"},
     {"k_norm", "attn_k_norm", "self_attn.k_norm"},
     {"post_attn_norm", "post_attention_norm", ""},
     {"post_ffn_norm", "post_ffw_norm", "post_feedforward_layernorm"}}};

/// Gemma gives two of these names another meaning: its norm before the feed-forward network has a name of its own, and
/// "post_attention_layernorm" really follows the attention.
inline constexpr std::string_view kGemmaHfFfnNorm = "pre_feedforward_layernorm";
inline constexpr std::string_view kGemmaHfPostAttnNorm = "post_attention_layernorm";

inline std::string site_name(int64_t block, std::string_view part) {
  return "blocks." + std::to_string(block) + "." + std::string(part);
}

}  // namespace halftone::models
