import doctest
import re
from pathlib import Path

README = Path(__file__).resolve().parents[2] / "README.md"


def test_example_gives_what_the_readme_says():
    blocks = re.findall(r"```python\n(>>> .*?)```", README.read_text(), re.DOTALL)
    examples = "\n".join(blocks)
    test = doctest.DocTestParser().get_doctest(examples, {}, README.name, str(README), 0)
    assert len(test.examples) >= 5
    assert sum(example.want != "" for example in test.examples) >= 1
    report: list[str] = []
    failed = doctest.DocTestRunner(verbose=False).run(test, out=report.append).failed
    assert failed == 0, "".join(report)
