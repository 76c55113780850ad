// Hostile chat templates: each must be refused with a line, or render, within the limits; none may crash or hang.
#include <gtest/gtest.h>

#include "../fuzz/text_targets.h"

namespace halftone {
namespace {

std::string times(int count, std::string_view text) {
  std::string out;
  for (int i = 0; i < count; ++i) out += text;
  return out;
}

std::vector<std::string> refused_templates() {
  std::vector<std::string> t{"{{",
                             "{%",
                             "{#",
                             "{{ 'x",
                             "{{ \"x",
                             "{% if",
                             "{% if 1 %}",
                             "{% for %}",
                             "{% for x %}",
                             "{% for x in %}",
                             "{% endif %}",
                             "{% endfor %}",
                             "{% else %}",
                             "{% elif 1 %}",
                             "{% for x in [1] %}",
                             "{% raw %}",
                             "{% raw %}{% endra %}",
                             "{% macro %}",
                             "{% macro f( %}",
                             "{% macro f() %}",
                             "{% set %}",
                             "{% set x %}",
                             "{% set x = %}",
                             "{% set 1 = 2 %}",
                             "{% break %}",
                             "{% continue %}",
                             "{{ }}",
                             "{{ ) }}",
                             "{{ ( }}",
                             "{{ [1, }}",
                             "{{ {1: } }}",
                             "{{ {1} }}",
                             "{{ a..b }}",
                             "{{ a[ }}",
                             "{{ a[] }}",
                             "{{ 1 + }}",
                             "{{ | }}",
                             "{{ x | }}",
                             "{{ x is }}",
                             "{{ not }}",
                             "{{ f(a=1, 2) }}",
                             "{{ f(*a) }}",
                             "{{ 99999999999999999999 }}",
                             "{{ 9223372036854775807 + 1 }}",
                             "{{ -9223372036854775807 - 2 }}",
                             "{{ 3 ** 99 }}",
                             "{{ 9223372036854775807 * 9223372036854775807 }}",
                             "{{ 1 // 0 }}",
                             "{{ 1 % 0 }}",
                             "{{ 1.0 / 0 }}",
                             "{{ range(0, 9, 0) }}",
                             "{{ range(99999999999) }}",
                             "{{ range('x') }}",
                             "{{ range() }}",
                             "{{ 'x' * 99999999999 }}",
                             "{{ [1] * 99999999999 }}",
                             "{{ 'a' + 1 }}",
                             "{{ none + 1 }}",
                             "{{ nope + 1 }}",
                             "{{ nope.x }}",
                             "{{ nope[0] }}",
                             "{{ nope() }}",
                             "{{ 1() }}",
                             "{{ 1 < 'x' }}",
                             "{{ 1 in 2 }}",
                             "{{ 'x'.nope() }}",
                             "{{ 'x' | nope }}",
                             "{{ 'x' is nope }}",
                             "{{ [1] | items }}",
                             "{{ 1 | length }}",
                             "{{ 'x' | map }}",
                             "{{ ['x'] | sum }}",
                             "{{ raise_exception('no') }}",
                             "{{ raise_exception() }}",
                             "{{ strftime_now(1) }}",
                             "{{ strftime_now('" + times(300, "%c") + "') }}",
                             "{{ namespace(1) }}",
                             "{{ {[1]: 2} }}",
                             "{% set x.y = 1 %}",
                             "{% set a, b = [1] %}",
                             "{% for a, b in [1] %}{% endfor %}",
                             "{% for x in 5 %}{% endfor %}",
                             "{% include 'x' %}",
                             "{% extends 'x' %}",
                             "{% import 'x' as y %}",
                             "{% block x %}{% endblock %}",
                             "{% nonsense %}",
                             "{{ 'x'.split('') }}",
                             "{{ 'x'[::0] }}",
                             "{{ 1[1:2] }}",
                             "{{ '\\xZZ' }}",
                             "{{ '\\UFFFFFFFF' }}",
                             "{{ a ! b }}",
                             "{{ ` }}",
                             "{{ 1 < 2 < 3 }}",
                             "{{ messages | tojson(indent='x') }}",
                             "{{ range | tojson }}",
                             "{{ (" + times(50, "[") + ") }}"};
  t.push_back("{{ " + times(100000, "(") + "1" + times(100000, ")") + " }}");
  t.push_back("{{ " + times(100000, "[") + " }}");
  t.push_back("{{ " + times(100000, "not ") + "1 }}");
  t.push_back("{{ " + times(100000, "- ") + "1 }}");
  t.push_back("{{ 1" + times(100000, " + 1") + " }}");
  t.push_back("{{ 1" + times(100000, " if 1") + " }}");
  t.push_back("{{ 1" + times(100000, " is defined") + " }}");
  t.push_back("{{ x" + times(100000, ".x") + " }}");
  t.push_back("{{ 'x'" + times(100000, " | trim") + " }}");
  t.push_back(times(100000, "{% if 1 %}"));
  t.push_back(times(20000, "{% for x in [1] %}"));
  t.push_back("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}");
  t.push_back("{% macro f(x) %}{{ g(x) }}{% endmacro %}{% macro g(x) %}{{ f([x]) }}{% endmacro %}{{ f(1) }}");
  t.push_back("{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}");
  t.push_back("{% set n = namespace(x='ab') %}{% for i in range(99) %}{% set n.x = n.x ~ n.x %}{% endfor %}");
  t.push_back("{% set n = namespace(x=[1]) %}{% for i in range(9999) %}{% set n.x = [n.x] %}{% endfor %}");
  t.push_back("{% set n = namespace(x=[1]) %}{% for i in range(99) %}{% set n.x = n.x + n.x %}{% endfor %}");
  t.push_back("{% set n = namespace(x=[1]) %}{% for i in range(90) %}{% set n.x = [n.x, n.x] %}{% endfor %}{{ n.x }}");
  t.push_back(
      "{% set n = namespace(x=[1]) %}{% for i in range(90) %}{% set n.x = [n.x, n.x] %}{% endfor %}{{ n.x | tojson }}");
  t.push_back(
      "{% set n = namespace(x=[1], y=[1]) %}{% for i in range(90) %}{% set n.x = [n.x, n.x] %}{% set n.y = [n.y, n.y] "
      "%}"
      "{% endfor %}{{ n.x == n.y }}");
  t.push_back("{% set s = 'ab' * 9999999 %}{% for i in range(99999) %}{{ s == s }}{% endfor %}");
  t.push_back("{% set s = 'a' * 999999 %}{{ s | replace('a', s) }}");
  t.push_back("{% set s = 'a' * 999999 %}{{ s.replace('', s) }}");
  t.push_back("{% set s = 'a' * 99999 %}{{ range(9999) | join(s) }}");
  t.push_back("{% set s = '\\n' * 999999 %}{{ s | indent(1000, true, true) }}");
  t.push_back("{% for i in range(99999) %}{{ range(99999) | sort | unique | list | length }}{% endfor %}");
  t.push_back("{{ ['a'] | map(" + times(9999, "'map', ") + "'upper') | list }}");
  t.push_back(std::string(2 << 20, 'x'));
  return t;
}

std::vector<std::string> harmless_templates() {
  return {"",
          "{",
          "{ {",
          "}}",
          "%}",
          "#}",
          "{#-#}",
          "{{ '{{' }}",
          "\xFF\xFE{{ '\xC3' }}",
          std::string("\0{{ 1 }}\0", 9),
          "{{ x }}",
          "{{ [] }}",
          "{{ {} }}",
          "{{ () }}",
          "{{ -9223372036854775807 // -1 }}",
          "{{ 'x' * -5 }}",
          "{{ [][5] }}",
          "{{ 'abc'[-99:99:2] }}",
          "{{ 'abc'[99:-99:-1] }}",
          "{{ 1e308 * 1e308 }}",
          "{{ '' | first }}",
          "{{ [] | last }}",
          "{% set n = namespace() %}{% set n.n = n %}{{ n.n.n }}",
          "{{ range(3, 0) }}",
          "{{ '\\q' }}",
          "{%- raw -%}{{{%- endraw -%}",
          "{{ range(9223372036854775800, 9223372036854775807, 5) }}",
          "{{ nope | length }}",
          "{% for x in nope %}{% else %}e{% endfor %}"};
}

TEST(HostileTemplates, AreRefusedWithALine) {
  const auto templates = refused_templates();
  ASSERT_GE(templates.size(), 80u);
  for (const std::string& source : templates) {
    const std::string error = fuzz::run_template(source);
    EXPECT_TRUE(error.starts_with("chat template")) << source.substr(0, 120) << " -> " << error;
  }
}

TEST(HostileTemplates, OddOnesRender) {
  for (const std::string& source : harmless_templates())
    EXPECT_EQ(fuzz::run_template(source), "") << source.substr(0, 120);
}

// Every prefix of a real template, and every one with a byte struck out, ends in text or an Error.
TEST(HostileTemplates, DamagedRealTemplateNeverCrashes) {
  const std::string source =
      "{% set ns = namespace(i=0) %}{% for m in messages if m.role != 'x' %}{{- '<|' ~ m['role'] + '|>' }}{% if "
      "loop.last and "
      "not (m.content | trim).startswith('q') %}{{ m | tojson }}{% elif m.content[1:] is string %}{{ m.content.split(' "
      "')[-1] }}"
      "{% endif %}{% set ns.i = ns.i + 1 %}{% endfor %}{# c #}{{ ns.i if ns.i % 2 == 0 else [1, {'a': 2.5}] }}";
  EXPECT_EQ(fuzz::run_template(source), "");
  for (size_t i = 0; i < source.size(); ++i) {
    fuzz::run_template(std::string_view(source).substr(0, i));
    fuzz::run_template(source.substr(0, i) + source.substr(i + 1));
    for (const char c : {'{', '}', '(', '\'', '.', '-'}) {
      std::string changed = source;
      changed[i] = c;
      fuzz::run_template(changed);
    }
  }
}

}  // namespace
}  // namespace halftone
