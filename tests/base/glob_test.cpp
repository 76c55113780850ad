// Patterns over site names.
#include "base/glob.h"

#include <gtest/gtest.h>

#include <string>

namespace halftone {
namespace {

TEST(Glob, MatchesWholeNames) {
  EXPECT_TRUE(glob_match("lm_head", "lm_head"));
  EXPECT_FALSE(glob_match("lm_head", "lm_head2"));
  EXPECT_FALSE(glob_match("lm_head2", "lm_head"));
  EXPECT_FALSE(glob_match("head", "lm_head"));
  EXPECT_TRUE(glob_match("", ""));
  EXPECT_FALSE(glob_match("", "a"));
}

TEST(Glob, StarsAndQuestionMarks) {
  EXPECT_TRUE(glob_match("*", ""));
  EXPECT_TRUE(glob_match("*", "blocks.3.attn.q_proj"));
  EXPECT_TRUE(glob_match("blocks.*.attn.q_proj", "blocks.31.attn.q_proj"));
  EXPECT_TRUE(glob_match("blocks.*.q_proj", "blocks.31.attn.q_proj"));
  EXPECT_FALSE(glob_match("blocks.*.attn.q_proj", "blocks.31.mlp.q_proj"));
  EXPECT_TRUE(glob_match("blocks.?.attn", "blocks.3.attn"));
  EXPECT_FALSE(glob_match("blocks.?.attn", "blocks.31.attn"));
  EXPECT_FALSE(glob_match("?", ""));
  EXPECT_TRUE(glob_match("**a**", "a"));
  EXPECT_TRUE(glob_match("*ab*ab", "abxabab"));
  EXPECT_TRUE(glob_match("a*b?d*", "axxbbd"));
  EXPECT_FALSE(glob_match("a*b?d", "axxbdd_"));
}

TEST(Glob, AlternativesAndExclusionsInAnyOrder) {
  EXPECT_TRUE(glob_match("*.q_proj,*.k_proj", "blocks.0.attn.k_proj"));
  EXPECT_FALSE(glob_match("*.q_proj,*.k_proj", "blocks.0.attn.v_proj"));
  EXPECT_FALSE(glob_match("*,!lm_head", "lm_head"));
  EXPECT_FALSE(glob_match("!lm_head,*", "lm_head"));
  EXPECT_TRUE(glob_match("*,!lm_head", "blocks.0.mlp.up"));
  EXPECT_FALSE(glob_match("!lm_head", "blocks.0.mlp.up")) << "an exclusion alone selects nothing";
}

TEST(Glob, ManyStarsStayFast) {
  std::string pattern, name(2000, 'a');
  for (int i = 0; i < 30; ++i) pattern += "*a";
  EXPECT_TRUE(glob_match(pattern, name));
  EXPECT_FALSE(glob_match(pattern + "b", name));
}

}  // namespace
}  // namespace halftone
