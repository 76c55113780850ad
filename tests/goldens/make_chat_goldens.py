#!/usr/bin/env python3
"""Writes tests/goldens/chat_renders.json: chat templates rendered by the real Jinja 3 as transformers sets it up.

Usage: make_chat_goldens.py MODELS_FOLDER      (needs jinja2 and gguf)

Besides the template in SmolLM2's GGUF file, the templates below are our own, written after the idioms that published
ones use. A render that raises is recorded as an error; ours must raise too.
"""
import datetime
import json
import pathlib
import sys

import jinja2
from gguf import GGUFReader
from jinja2.sandbox import ImmutableSandboxedEnvironment

TEMPLATES = {
    "chatml": """{% for m in messages %}
{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>' + '\\n' }}
{%- endfor %}
{% if add_generation_prompt %}
{{ '<|im_start|>assistant\\n' -}}
{% endif %}
""",
    "llama3": """{{- bos_token }}
{%- if custom is defined %}
    {%- set date = custom %}
{%- elif strftime_now is defined %}
    {%- set date = strftime_now("%d %b %Y") %}
{%- endif %}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\\n\\n" }}
{%- if tools is not none and tools is defined %}
    {{- "Environment: ipython\\n" }}
{%- endif %}
{{- "Today: " + date + "\\n\\n" + system_message + "<|eot_id|>" }}
{%- for message in messages %}
    {%- if not (message.role == 'ipython' or message.role == 'tool' or 'tool_calls' in message) %}
        {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' + message['content'] | trim + '<|eot_id|>' }}
    {%- elif 'tool_calls' in message %}
        {%- if not message.tool_calls|length == 1 %}
            {{- raise_exception("This model only supports single tool-calls at once!") }}
        {%- endif %}
        {%- set call = message.tool_calls[0].function %}
        {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n{"name": "' + call.name + '", "parameters": ' }}
        {{- call.arguments | tojson }}{{- "}<|eot_id|>" }}
    {%- elif message.role == "tool" or message.role == "ipython" %}
        {{- "<|start_header_id|>ipython<|end_header_id|>\\n\\n" }}
        {%- if message.content is mapping or message.content is iterable %}{{- message.content | tojson }}{% else %}{{- message.content }}{% endif %}
        {{- "<|eot_id|>" }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{%- endif %}
""",
    "gemma": """{{ bos_token }}
{%- if messages[0]['role'] == 'system' -%}
    {%- if messages[0]['content'] is string -%}
        {%- set first_user_prefix = messages[0]['content'] + '\\n\\n' -%}
    {%- else -%}
        {%- set first_user_prefix = messages[0]['content'][0]['text'] + '\\n\\n' -%}
    {%- endif -%}
    {%- set loop_messages = messages[1:] -%}
{%- else -%}
    {%- set first_user_prefix = "" -%}
    {%- set loop_messages = messages -%}
{%- endif -%}
{%- for message in loop_messages -%}
    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) -%}
        {{ raise_exception("Roles must alternate user/assistant") }}
    {%- endif -%}
    {%- set role = "model" if (message['role'] == 'assistant') else message['role'] -%}
    {{ '<start_of_turn>' + role + '\\n' + (first_user_prefix if loop.first else "") }}
    {%- if message['content'] is string -%}
        {{ message['content'] | trim }}
    {%- elif message['content'] is iterable -%}
        {%- for item in message['content'] -%}
            {%- if item['type'] == 'image' -%}{{ '<start_of_image>' }}
            {%- elif item['type'] == 'text' -%}{{ item['text'] | trim }}{%- endif -%}
        {%- endfor -%}
    {%- else -%}{{ raise_exception("Invalid content type") }}{%- endif -%}
    {{ '<end_of_turn>\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}{{'<start_of_turn>model\\n'}}{%- endif -%}
""",
    "qwen2_tools": """{%- if tools %}
    {{- '<|im_start|>system\\n' }}
    {%- if messages[0].role == 'system' %}{{- messages[0].content + '\\n\\n' }}{%- endif %}
    {{- "# Tools\\n\\n<tools>" }}
    {%- for tool in tools %}
        {{- "\\n" }}
        {{- tool | tojson }}
    {%- endfor %}
    {{- "\\n</tools><|im_end|>\\n" }}
{%- elif messages[0].role == 'system' %}
    {{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}
{%- endif %}
{%- set ns = namespace(multi_step_tool=true, last_query_index=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.multi_step_tool and message.role == "user" and message.content is string and not(message.content.startswith('<tool_response>') and message.content.endswith('</tool_response>')) %}
        {%- set ns.multi_step_tool = false %}
        {%- set ns.last_query_index = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- set content = message.content if message.content is string else '' %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) %}
        {{- '<|im_start|>' + message.role + '\\n' + content + '<|im_end|>' + '\\n' }}
    {%- elif message.role == "assistant" %}
        {%- set reasoning = '' %}
        {%- if '</think>' in content %}
            {%- set reasoning = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
            {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
        {%- endif %}
        {{- '<|im_start|>' + message.role }}
        {%- if loop.index0 > ns.last_query_index and (loop.last or reasoning) %}
            {{- '\\n<think>\\n' + reasoning.strip('\\n') + '\\n</think>\\n\\n' + content }}
        {%- else %}{{- '\\n' + content }}{%- endif %}
        {%- if message.tool_calls %}
            {%- for tool_call in message.tool_calls %}
                {%- if tool_call.function %}{%- set tool_call = tool_call.function %}{%- endif %}
                {{- '\\n<tool_call>\\n{"name": "' ~ tool_call.name ~ '", "arguments": ' }}
                {%- if tool_call.arguments is string %}{{- tool_call.arguments }}{%- else %}{{- tool_call.arguments | tojson }}{%- endif %}
                {{- '}\\n</tool_call>' }}
            {%- endfor %}
        {%- endif %}
        {{- '<|im_end|>\\n' }}
    {%- elif message.role == "tool" %}
        {%- if loop.first or (messages[loop.index0 - 1].role != "tool") %}{{- '<|im_start|>user' }}{%- endif %}
        {{- '\\n<tool_response>\\n' }}{{- content }}{{- '\\n</tool_response>' }}
        {%- if loop.last or (messages[loop.index0 + 1].role != "tool") %}{{- '<|im_end|>\\n' }}{%- endif %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}
""",
    "mistral": """{%- if messages[0]["role"] == "system" %}{%- set system_message = messages[0]["content"] %}{%- set loop_messages = messages[1:] %}
{%- else %}{%- set loop_messages = messages %}{%- endif %}
{%- set user_messages = loop_messages | selectattr("role", "equalto", "user") | list %}
{%- set ns = namespace() %}
{%- set ns.index = 0 %}
{%- for message in loop_messages %}
    {%- if not (message.role == "tool" or (message.tool_calls is defined and message.tool_calls is not none)) %}
        {%- if (message["role"] == "user") != (ns.index % 2 == 0) %}
            {{- raise_exception("After the optional system message, conversation roles must alternate user/assistant/user/assistant/...") }}
        {%- endif %}
        {%- set ns.index = ns.index + 1 %}
    {%- endif %}
{%- endfor %}
{{- bos_token }}
{%- for message in loop_messages %}
    {%- if message["role"] == "user" %}
        {%- if loop.last and system_message is defined %}{{- "[INST] " + system_message + "\\n\\n" + message["content"] + "[/INST]" }}
        {%- else %}{{- "[INST] " + message["content"] + "[/INST]" }}{%- endif %}
        {%- if message == user_messages[-1] %}{{- "(last)" }}{%- endif %}
    {%- elif message["role"] == "assistant" %}{{- " " + message["content"]|trim + eos_token }}
    {%- else %}{{- raise_exception("Only user and assistant roles are supported!") }}{%- endif %}
{%- endfor %}
""",
    "macros": """{%- macro field(name, value, quote='"') -%}
{{ name }}={{ quote }}{{ value | replace(quote, '') }}{{ quote }}
{%- endmacro -%}
{%- macro turn(m) %}
[{{ field('role', m.role | upper) }} {{ field(name='n', value=m.content | length, quote="'") }}]
{% endmacro -%}
{% for m in messages if m.role != 'system' -%}
{{ turn(m) }}
{%- else -%}
nobody
{%- endfor %}
{% set body %}
  {% for m in messages %}{{ loop.index }}/{{ loop.length }}:{{ m.role | capitalize }}{{ ', ' if not loop.last }}{% endfor %}
{% endset %}
<{{ body | trim }}>
{% with a = 1, b = 2 %}{{ a + b }}{% endwith %}
""",
    "types": """{{ [1, 2.0, 'x', "it's", none, true, {'k': [1]}] }} {{ 7 // 2 }} {{ -7 // 2 }} {{ -7 % 3 }} {{ 7 / 2 }} {{ 2 ** 10 }} {{ 1e3 }} {{ 1.5e-7 }}
{{ 'a' ~ 1 ~ none ~ true ~ 1.0 }} {{ 'ab' * 3 }} {{ [1] * 2 + [3] }} {{ 'b' in 'abc' }} {{ 1 in [1] and 4 not in [1] }} {{ not true or false }}
{{ 'hello world'[1:5] }} {{ 'hello'[::-1] }} {{ [1,2,3,4][-2:] }} {{ [1,2,3,4][::2] }} {{ 'äöü'[1] }} {{ 'héllo' | upper }} {{ 'x' if false }}|
{{ messages | map(attribute='role') | join('+') }} {{ messages | length > 1 }} {{ [3,1,2] | sort | first }} {{ [3,1,2] | last }} {{ {'b': 1, 'a': 2} | dictsort }}
{{ {'a': 1, 'b': {'c': [true, none, 'é\\n"']}} | tojson }} {{ {'a': [1, {}], 'b': []} | tojson(indent=2) }}
{{ '5' | int + 1 }} {{ 'zz' | int(7) }} {{ 3.7 | int }} {{ '2.5' | float }} {{ -3 | abs }} {{ undefined_thing | default('dflt') }} {{ '' | default('e', true) }}
{{ undefined_thing is defined }} {{ messages is iterable }} {{ 'x' is string }} {{ {} is mapping }} {{ 1 is number }} {{ true is boolean }} {{ none is none }} {{ 3 is odd }} {{ 4 is divisibleby 2 }}
{{ ' a,b ,c ' | trim }}|{{ 'a,b,c'.split(',') }} {{ ' x  y '.split() }} {{ 'a-b-c'.split('-', 1) }} {{ 'Title case-word' | title }} {{ 'abc'.replace('b', 'XX') }} {{ 'abc' | replace('', '-') }}
{% for k, v in {'x': 1, 'y': 2}.items() %}{{ k }}={{ v }};{% endfor %} {{ {'x': 1}.get('x') }} {{ {'x': 1}.get('z', 'no') }} {{ {'x': 1}.keys() | list }} {{ range(3) | list }} {{ range(5, 1, -2) | list }}
{% set ns = namespace(total=0) %}{% for i in range(5) %}{% if i == 1 %}{% continue %}{% endif %}{% if i == 4 %}{% break %}{% endif %}{% set ns.total = ns.total + i %}{% endfor %}{{ ns.total }}
{% set a, b = 1, 'two' %}{{ a }}{{ b }} {# a comment #} {% raw %}{{ raw }} {% x %}{% endraw %} {{ '{{' }} {{ "\\u00e9\\x41\\t|" }} {{ 'a' 'b' }} {{ 'line1\\nline2' | indent(2) }}
{{ ['b', 'A', 'c'] | sort }} {{ [1, 2, 3, 4] | select('odd') | list }} {{ [1, 2, 3, 4] | reject('gt', 2) | list }} {{ ['a', 'b'] | map('upper') | list }} {{ 10 | string | length }} {{ [1,1,2] | unique | list }}
{{ 'x' == 'x' }} {{ 1 == 1.0 }} {{ true == 1 }} {{ [1,2] == [1,2] }} {{ 'a' < 'b' }} {{ (1, 2) | length }} {{ ('a',) | first }} {{ 1 if none else 2 }} {{ 'abc' | first }} {{ 'abc'|list }}
""",
    "whitespace": """  {% if true %}
    kept
  {% endif %}
a {% if true %} b {% endif %} c
{%+ if true +%}
 plus
{%- endif -%}


x {# gone #}
{#- gone too -#}
  y {{- 1 -}}   z {{ 2 }}
	{% for i in [1, 2] %}
	- {{ i }}
	{%- endfor %}

{%- raw -%}
   {% raw inside %}
   {%- endraw +%}
  end

""",
    "errors": """{{ messages[0].content.nothing.more }}""",
    "old_style": """{% if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}{% endif %}{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% set system_message = messages[0]['content'] %}{% else %}{% set loop_messages = messages %}{% set system_message = false %}{% endif %}{% for message in loop_messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}{% if loop.index0 == 0 and system_message != false %}{% set content = '<<SYS>>\\n' + system_message + '\\n<</SYS>>\\n\\n' + message['content'] %}{% else %}{% set content = message['content'] %}{% endif %}{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}{% elif message['role'] == 'assistant' %}{{ ' '  + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}""",
}

USER = {"role": "user", "content": "Hi there!"}
CALL = {"type": "function", "function": {"name": "get_weather", "arguments": {"city": "Zürich", "days": 3}}}
CONVERSATIONS = {
    "user": [USER],
    "system": [{"role": "system", "content": " Be brief.\n"}, USER],
    "turns": [USER, {"role": "assistant", "content": "  Hello! \n"}, {"role": "user", "content": "2+2?\n\n漢字 😀 \"q\" <b>"}],
    "full": [{"role": "system", "content": "S"}, USER, {"role": "assistant", "content": "<think>\nhm\n</think>\n\nA"}, {"role": "user", "content": ""}],
    "twice_user": [USER, USER],
    "tool": [USER, {"role": "assistant", "content": None, "tool_calls": [CALL]}, {"role": "tool", "name": "get_weather", "content": "12 °C"}, {"role": "tool", "name": "x", "content": "rain"}],
    "parts": [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": " What is this? "}]}],
    "assistant_last": [USER, {"role": "assistant", "content": "x</think>y"}],
}
TOOLS = [{"type": "function", "function": {"name": "get_weather", "description": "It's <weather> & more", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}}]
UNIX_TIME = 1767268800  # noon UTC, so that the date is the same in all but the outermost time zones


def raise_exception(message):
    raise jinja2.exceptions.TemplateError(message)


def tojson(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def render(source, variables):
    env = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"])
    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    env.globals["strftime_now"] = lambda fmt: datetime.datetime.fromtimestamp(UNIX_TIME).strftime(fmt)
    try:
        return {"text": env.from_string(source).render(**variables)}
    except Exception as error:  # whatever Jinja or Python objects to
        return {"error": f"{type(error).__name__}: {error}"}


def main():
    folder = pathlib.Path(sys.argv[1])
    reader = GGUFReader(folder / "SmolLM2-135M-Instruct.Q4_1.gguf")
    templates = {"smollm2": reader.fields["tokenizer.chat_template"].contents(), **TEMPLATES}
    cases = []
    for name in templates:
        for conversation in ["user"] if name in ("types", "whitespace", "errors") else CONVERSATIONS:
            for prompt in (True, False):
                for tools in (None, TOOLS) if name in ("qwen2_tools", "llama3") else (None,):
                    extra = {} if tools is None else {"tools": tools}
                    variables = {"messages": CONVERSATIONS[conversation], "add_generation_prompt": prompt, "bos_token": "<s>", "eos_token": "</s>", **extra}
                    cases.append({"template": name, "conversation": conversation, "add_generation_prompt": prompt, "extra": extra, **render(templates[name], variables)})
    path = pathlib.Path(__file__).parent / "chat_renders.json"
    document = {"unix_time": UNIX_TIME, "templates": templates, "conversations": CONVERSATIONS, "cases": cases}
    path.write_text(json.dumps(document, ensure_ascii=True, indent=1) + "\n")
    print(f"{path.name}: {len(cases)} renders, {sum('error' in c for c in cases)} of them errors")


if __name__ == "__main__":
    main()
