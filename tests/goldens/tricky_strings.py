"""Strings that tokenizers stumble over, shared by the scripts that make goldens."""


def plain_strings():
    s = []
    s += ["", " ", "  ", "   ", "\n", "\n\n", "\n\n\n", "\t", "\t\t", "\r\n", "\r\n\r\n", " \n", "\n ", " \n \n ", "a"]
    s += ["Hello", " Hello", "Hello ", "  Hello  ", "Hello world", "Hello, world!", "hello  world", "hello   world"]
    s += [" " * n + "x" for n in (4, 7, 8, 15, 16, 17, 31, 32, 33, 64, 100)]
    s += ["x" + " " * n for n in (2, 5, 16, 40)]
    s += ["\n" * n for n in (4, 10, 30, 31, 32, 33, 65)] + ["\t" * n for n in (3, 8, 31, 32, 40)]
    s += ["0", "12", "123", "1234", "12345", "1234567890", "3.14159", "1,000,000", "-42", "+1 234", "1e-10", "0x1F", "²³¼Ⅷ"]
    s += ["٣٤٥", "१२३", "２０２６", "2026-01-31T23:59:59Z", "v1.2.3-rc4", "50%", "$9.99", "€5", "№7", "a1b2c3", "x²+y²=z²"]
    s += ["it's", "IT'S", "It'S we'Ve", "don't", "DON'T", "I'm you're they've we'll he'd", "I'M YOU'RE THEY'VE WE'LL HE'D"]
    s += ["'s", "'S", " 's", "''s", "'tis", "rock'n'roll", "O'Neil", "l'été", "’s it’s", "can't've", "'ſ", "'K"]
    s += ["你好", "你好，世界！", "日本語のテキスト", "こんにちは世界", "カタカナ", "한국어 문장입니다.", "中文English混合text", "《红楼梦》"]
    s += ["Привет, мир!", "Ελληνικά", "עברית שלום", "مرحبا بالعالم", "हिन्दी में", "ภาษาไทย", "Tiếng Việt", "İstanbul ıIiİ"]
    s += ["😀", "😀😀", "👍🏽", "👨‍👩‍👧‍👦", "🏳️‍🌈", "🇩🇪🇫🇷", "☃️", "a😀b", " 😀 ", "😀text", "❤️‍🔥", "🧑🏿‍🚀 in space", "1️⃣2️⃣"]
    s += ["e\u0301", "é", "cafe\u0301 café", "n\u0303o", "a\u0308\u0323", "Z\u0351\u036b\u0343a\u0322l\u0334g\u0318o\u0358", "ﬁ ﬂ ﬀ"]
    s += ["\u00a0", "a\u00a0b", "\u00a0\u00a0x", "a \u00a0 b", "\u2003em", "\u3000全角", "\u200b", "a\u200bb", "\ufeffBOM", "\u2028\u2029", "\u0085x"]
    s += ["\u180e", "a\u180eb", "\u00adsoft", "\u202eRTL\u202c", "\u2066x\u2069", "\u1680ogham", "\u202fthin", "\u205fmath", "\u200d", "\u2060"]
    s += ["\u0000", "a\u0000b", "\u0001\u0002\u0003", "\u0004\u0006", "\u001b[31mred\u001b[0m", "\u007f", "\u0080\u009f", "\b\f\v"]
    s += ["\ufffd", "a\ufffdb", "\ufffd\ufffd", "\ufffe", "\uffff", "\U0001fffe", "\U0010ffff", "\U000e0041", "\ue000", "\ud7ff"]
    s += ["def f(x):\n    return x**2\n", "for (int i = 0; i < n; ++i) {\n\tsum += a[i];\n}\n", "<div class=\"a\">x</div>"]
    s += ["#include <stdio.h>\r\nint main(void) { return 0; }\r\n", "SELECT * FROM t WHERE a='b';", "{\"k\": [1, 2.5, null, true]}"]
    s += ["https://example.org/a/b?c=d&e=f#g", "user@example.org", "C:\\Windows\\System32", "../../etc", "a_b_c", "camelCaseWord", "snake_case_word"]
    s += ["$\\frac{1}{2}$", "x := y != z", "->=><==>", "!!!", "???", "...", "…", "——", "--", "“quoted”", "«guillemets»", "(a)[b]{c}<d>"]
    s += ["!@#$%^&*()_+-=[]{}|;:,.<>/?`~", " !", "! !", "\"'`", "a.b,c;d:e", "^^^", "~~~~", "||||", "$$$", "====", "<<<>>>", "+-+-"]
    s += ["word " * 20, "a" * 50, "a" * 1000, "ab" * 300, "=" * 200, "x\n" * 30, "é" * 100, "漢" * 64, "😀" * 20, "Aa1 " * 25]
    s += ["Pneumonoultramicroscopicsilicovolcanoconiosis", "Donaudampfschifffahrtsgesellschaftskapitän", "supercalifragilistic" * 40]
    s += ["▁", "▁▁", " ▁ ", "a▁b", "Ġ", "ĠĠx", "Ċ", "<0x0A>", "<0xFF>", "<0x", "<unk>", "<unused0>", "<pad>x", "<s></s>", "[multimodal]"]
    s += ["\n\nHuman: hi\n\nAssistant:", "1. one\n2. two\n\n- a\n- b\n", "| a | b |\n|---|---|\n", "    indented\n        more\n", "\tx\t\ty\n\n\n\nz"]
    s += [" leading", "trailing ", "\nleading", "trailing\n", " \t mixed \t ", "a\n b\n  c", "a \n b", "x\r y\r\nz", "end of line   \n   next"]
    s += ["The quick brown fox jumps over the lazy dog.", "Call me Ishmael. Some years ago—never mind how long precisely—"]
    return s


def special_strings():
    s = ["<|im_start|>user\nHi<|im_end|>\n", "<|im_start|><|im_end|>", "a<|im_end|>b", "<|im_end", "<|im_start|>", "<|endoftext|>"]
    s += [" <|im_end|> ", "<bos>", "<bos>text<eos>", "<start_of_turn>user\nHi<end_of_turn>\n", "<end_of_turn>", " <eos>", "<<bos>>"]
    s += ["<start_of_image>", "x<start_of_image>y", "<unused42>", "<file_sep>a<file_sep>", "<|im_start|>system\n\n\n\nx<|im_end|>", "<|IM_END|>"]
    return s
