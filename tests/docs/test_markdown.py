"""What is read out of pages: blocks, marks, links, and the commands of shell blocks."""

from __future__ import annotations

import pytest

from docs.commands import commands_of, module_of
from docs.markdown import anchors_of, blocks_of, links_of, needs_of, with_outputs, with_part

PAGE = """# A page

Needs: [search](search.md), [fuse](../fuse.md)

<!-- not run: needs AWS -->
```sh
ray up cluster.yaml   # [not](a-link.md)
```

See [the other](other.md#a-heading) ![picture](p.png).

```sh
echo a
```

<!-- output -->
```text
a
```

```python
1 + 1
```
"""


def test_blocks_and_their_marks() -> None:
    one, two, output, three = blocks_of(PAGE)
    assert (one.not_run, one.is_shell, one.line) == ("needs AWS", True, 6)
    assert (two.not_run, two.text, two.is_output) == (None, "echo a\n", False)
    assert (output.is_output, output.is_shell, output.text) == (True, False, "a\n")
    assert (three.is_python, three.is_output, three.mark) == (True, False, "")
    with pytest.raises(ValueError, match="line 2 is not closed"):
        blocks_of("a\n```sh\nb\n")


def test_outputs_and_generated_parts_are_put_in_place() -> None:
    line = blocks_of(PAGE)[2].line
    changed = with_outputs(PAGE, {line: "b\nc\n"})
    assert changed == PAGE.replace("```text\na\n", "```text\nb\nc\n")
    assert with_outputs(changed, {line: "a\n"}) == PAGE
    page = "a\n<!-- x -->\nold\n<!-- end of x -->\nb\n"
    assert with_part(page, "x", "new\n") == page.replace("old", "new")
    with pytest.raises(ValueError, match="<!-- y -->"):
        with_part(page, "y", "new\n")


def test_links() -> None:
    assert links_of(PAGE) == ["search.md", "../fuse.md", "other.md#a-heading", "p.png"]
    assert needs_of(PAGE) == ["search.md", "../fuse.md"]
    assert needs_of("It needs: [nothing](x.md)") == []
    assert anchors_of("# One\n\n## `a_b` and c: (d)\n") == {"one", "a_b-and-c-d"}


SCRIPT = """
cat > a.jsonl <<'EOF'
{"text": "python -m jobs.nothing; it's no command"}
EOF
export A=1; .venv/bin/python -m jobs.encode --input a.jsonl \\
    --output out/$(date -d yesterday +\\%F)   # a comment; with a semicolon
ray job submit --address http://localhost:8265 -- python -m jobs.search --text-columns a,b --queries 'q r' && ls | wc
.venv/bin/python -c "print(1)
print(2)"
"""


def test_commands_of_a_script() -> None:
    commands = commands_of(SCRIPT)
    assert [module_of(command) for command in commands if module_of(command)] == [
        ("jobs.encode", ["--input", "a.jsonl", "--output", "out/substituted-1"]),
        ("jobs.search", ["--text-columns", "a,b", "--queries", "q r"]),
    ]
    assert ["export", "A=1"] in commands
    assert ["ls"] in commands
    assert ["wc"] in commands
    assert commands[-1] == [".venv/bin/python", "-c", "print(1)\nprint(2)"]
