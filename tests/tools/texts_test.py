"""tools/texts keeps sentences and drops what is not prose, and gives the same bytes each time."""

import pathlib
import subprocess
import sys
import tempfile
import unittest

TOOL = pathlib.Path(__file__).resolve().parents[2] / "tools" / "texts"
FOLDERS = {"developers-reference": "usr/share/developers-reference",
           "debian-history": "usr/share/doc/debian-history/docs",
           "debian-faq": "usr/share/doc/debian/FAQ"}
FILLER = " It goes on for a while, as sentences in a manual do, so that a paragraph is long enough to be kept as it is."


def page(package, number):
    """HTML with one paragraph to keep, and one of each kind to drop."""
    kept = f"Paragraph number {number} of {package} says \u201csomething\u201d about <em>its</em>&nbsp;subject.{FILLER}"
    return f"""<html><head><title>Dropped title.{FILLER}</title></head><body>
      <div class="toc other"><p>Dropped contents.{FILLER}</p></div><h1>Dropped heading.{FILLER}</h1>
      <p>{kept}</p><p>{kept}</p><pre>Dropped code.{FILLER}</pre><table><tr><td><p>Dropped cell.{FILLER}</p></td></tr></table>
      <p>Dropped, for it is short.</p><p>Dropped for its link http://a.b/c.{FILLER}</p>
      <ul><li><p>dropped, for it begins in the middle.{FILLER}</p></li></ul></body></html>"""


def run(folder, pages=900):
    for package, path in FOLDERS.items():
        for start in range(0, pages, 100):
            target = pathlib.Path(folder, "packages", package, path, f"part{start}.en.html")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text("".join(page(package, i) for i in range(start, start + min(pages, 100))), encoding="utf-8")
    done = subprocess.run([sys.executable, TOOL, "--packages", pathlib.Path(folder, "packages"), "--out", folder],
                          capture_output=True, text=True, check=False)
    return done


class Texts(unittest.TestCase):
    def test_prose_is_kept_once_and_the_rest_dropped(self):
        with tempfile.TemporaryDirectory() as folder:
            done = run(folder)
            self.assertEqual(done.returncode, 0, done.stderr)
            paragraphs = pathlib.Path(folder, "calibration.txt").read_text(encoding="utf-8").rstrip("\n").split("\n\n")
            self.assertEqual(paragraphs, [f'Paragraph number {i} of developers-reference says "something" about its subject.{FILLER}'
                                          for i in range(900)])
            evaluation = pathlib.Path(folder, "evaluation.txt").read_bytes()
            self.assertNotIn(b"Dropped", evaluation)
            self.assertNotIn(b"developers-reference", evaluation)
            run(folder)
            self.assertEqual(pathlib.Path(folder, "evaluation.txt").read_bytes(), evaluation)

    def test_too_little_prose_is_an_error_that_leaves_no_file(self):
        with tempfile.TemporaryDirectory() as folder:
            done = run(folder, pages=3)
            self.assertEqual(done.returncode, 1)
            self.assertIn("wanted 150000", done.stderr)
            self.assertFalse(pathlib.Path(folder, "calibration.txt").exists())


if __name__ == "__main__":
    unittest.main()
