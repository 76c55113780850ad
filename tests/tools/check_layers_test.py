"""tools/check_layers catches each kind of breach in a small tree made for it, and passes the tree without it."""

import pathlib
import subprocess
import sys
import tempfile
import unittest

TOOL = pathlib.Path(__file__).resolve().parents[2] / "tools" / "check_layers"
LAYERS = """# low to high
halftone_layer(base LIBRARIES fmt::fmt)
halftone_layer(numerics DEPENDS base)
if(HALFTONE_TORCH)
  halftone_layer(tensor DEPENDS numerics base
                 LIBRARIES LibTorch::LibTorch)
  halftone_methods(DEPENDS tensor base)
  halftone_layer(engine DEPENDS methods tensor base)
  halftone_program(halftone DIRECTORY cli DEPENDS engine base)
endif()
"""
SOUND = {
    "CMakeLists.txt": LAYERS,
    "base/error.h": "#pragma once\n#include <string>\n",
    "numerics/half.h": '#pragma once\n#include "base/error.h"\n',
    "tensor/storage.h": '#pragma once\n#include <ATen/core/Tensor.h>\n#include "numerics/half.h"\n',
    "tensor/storage.cpp": '#include "tensor/storage.h"\n#include <ATen/ATen.h>\n',
    "methods/compress/rtn/CMakeLists.txt": "halftone_method(rtn SEAM compress)\n",
    "methods/compress/rtn/rtn.h": '#pragma once\n#include "tensor/storage.h"\n',
    "methods/compress/rtn/rtn.cpp": '#include "methods/compress/rtn/rtn.h"\n#include "rtn.h"\n',
    "methods/compress/gptq/CMakeLists.txt": "halftone_method(gptq SEAM compress)\n",
    "methods/compress/gptq/gptq.cpp": '#include "tensor/storage.h"\n',
    "engine/flow.cpp": '#include "tensor/storage.h"\n// "rtn" in a comment is no name\n',
    "cli/main.cpp": '#include "engine/flow.h"\n',
}


def check(files=None):
    """Runs the tool on SOUND with FILES (path -> content) put over it; returns its exit status and its lines."""
    with tempfile.TemporaryDirectory() as folder:
        for name, content in {**SOUND, **(files or {})}.items():
            path = pathlib.Path(folder, "src", name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content, encoding="utf-8")
        done = subprocess.run([sys.executable, TOOL, folder], capture_output=True, text=True, check=False)
        return done.returncode, done.stdout.splitlines()


class CheckLayers(unittest.TestCase):
    def assert_breach(self, path, content, where, what):
        """CONTENT at PATH gives exactly one breach, at WHERE, whose text holds WHAT."""
        status, lines = check({path: content})
        self.assertEqual(status, 1, lines)
        self.assertEqual(len(lines), 2, lines)
        self.assertTrue(lines[0].startswith(f"src/{where}: "), lines[0])
        self.assertIn(what, lines[0])

    def test_sound_tree_passes_and_is_counted(self):
        status, lines = check()
        self.assertEqual(status, 0, lines)
        self.assertEqual(len(lines), 1)
        # storage.cpp and the three that see its header: rtn.cpp, gptq.cpp, flow.cpp.
        self.assertIn("6 layers, 2 methods; 4 sources see ATen", lines[0])

    def test_upward_include(self):
        self.assert_breach("base/bad.cpp", '#include "base/error.h"\n#include "numerics/half.h"\n', "base/bad.cpp:2",
                           "layer 'base' includes 'numerics'")

    def test_skipped_layer(self):
        self.assert_breach("cli/bad.cpp", '#include "tensor/storage.h"\n', "cli/bad.cpp:1", "it may include engine, base")

    def test_relative_path_does_not_hide_an_upward_include(self):
        self.assert_breach("base/bad.cpp", '#  include "../numerics/half.h"\n', "base/bad.cpp:1",
                           "layer 'base' includes 'numerics'")

    def test_unknown_quoted_include(self):
        self.assert_breach("base/bad.cpp", '#include "nowhere.h"\n', "base/bad.cpp:1", "no file under src/")

    def test_folder_that_is_no_layer(self):
        self.assert_breach("stray/a.cpp", "\n", "stray/a.cpp:1", "no layer")

    def test_method_includes_method(self):
        self.assert_breach("methods/compress/gptq/bad.cpp", '#include "methods/compress/rtn/rtn.h"\n',
                           "methods/compress/gptq/bad.cpp:1", "compress/rtn")

    def test_engine_includes_method(self):
        self.assert_breach("engine/bad.cpp", '#include "methods/compress/rtn/rtn.h"\n', "engine/bad.cpp:1", "compress/rtn")

    def test_engine_names_method(self):
        self.assert_breach("engine/bad.cpp", '\nauto name = "rtn";\n', "engine/bad.cpp:2", "'rtn'")

    def test_libtorch_below_tensor(self):
        for include in ("<ATen/core/Tensor.h>", '"torch/torch.h"', "<c10/util/Half.h>"):
            self.assert_breach("numerics/bad.cpp", f"#include {include}\n", "numerics/bad.cpp:1", "free of libtorch")

    def test_libtorch_in_cuda_file(self):
        self.assert_breach("tensor/bad.cu", "#include <ATen/core/Tensor.h>\n", "tensor/bad.cu:1", "free of libtorch")

    def test_heavy_header_in_header(self):
        self.assert_breach("tensor/bad.h", "#include <ATen/ATen.h>\n", "tensor/bad.h:1", "ATen/core/Tensor.h")

    def test_length_limits(self):
        self.assert_breach("base/long.h", "\n" * 251, "base/long.h:251", "251 lines, at most 250")
        self.assert_breach("base/long.cpp", "\n" * 451, "base/long.cpp:451", "451 lines, at most 450")
        self.assertEqual(check(files={"base/long.cpp": "\n" * 450})[0], 0)

    def test_arrow_up_in_the_layer_list(self):
        self.assert_breach("CMakeLists.txt", LAYERS.replace("numerics DEPENDS base", "numerics DEPENDS base engine"),
                           "CMakeLists.txt:1", "'engine', which is not below it")

    def test_budgets(self):
        many = {f"tensor/t{i}.cpp": "#include <torch/torch.h>\n" for i in range(10)}
        status, lines = check(files=many)
        self.assertEqual(status, 1)
        self.assertIn("10 sources include torch/torch.h", lines[0])
        status, lines = check(files={f"tensor/a{i}.cpp": '#include "tensor/storage.h"\n' for i in range(56)})
        self.assertEqual(status, 1)
        self.assertIn("60 sources see ATen", lines[0])


if __name__ == "__main__":
    unittest.main()
