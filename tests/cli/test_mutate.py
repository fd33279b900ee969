"""scripts/mutate.py: its list fits the code, and it tells what survives."""

import json

import pytest

from scripts.mutate import MUTATIONS, Mutation, outcome_of, read_mutations


def test_the_list_fits_the_code():
    mutations = read_mutations(MUTATIONS)
    assert len(mutations) > 20
    rooms = {mutation.file.split("/")[0] for mutation in mutations}
    assert rooms == {"losses", "metrics", "data", "managers", "networks"}


def test_entries_that_do_not_fit_are_all_named(tmp_path):
    (tmp_path / "code.py").write_text("a = 1\nb = 1\n")
    (tmp_path / "test_code.py").write_text("")
    entries = [("code.py", "= 1", "= 2", "test_code.py"), ("code.py", "c", "d", "test_code.py"),
               ("code.py", "a", "a", "test_code.py"), ("gone.py", "a", "b", "test_code.py"),
               ("code.py", "a", "b", "test_gone.py"), ("code.py", "b", "c", "test_code.py")]
    path = tmp_path / "mutations.json"
    path.write_text(json.dumps([{"file": file, "old": old, "new": new, "tests": [test]}
                                for file, old, new, test in entries]))
    with pytest.raises(ValueError) as refused:
        read_mutations(path, tmp_path)
    assert str(refused.value).splitlines()[1:] == [
        "code.py: '= 1' occurs 2 times, not once", "code.py: 'c' occurs 0 times, not once",
        "code.py: 'a' is not changed", "gone.py: 'a' occurs 0 times, not once",
        "code.py: no such tests: test_gone.py"]


@pytest.mark.parametrize(("test", "outcome"), [
    ("assert half(4) == 2", "noticed"), ("assert half(0) == 0", "SURVIVES"),
    ("this is no test", "NOT TESTED (pytest: 2)")])
def test_what_no_test_notices_survives(tmp_path, test, outcome):
    code = tmp_path / "code_to_change.py"
    code.write_text("def half(n):\n    return n // 2\n")
    (tmp_path / "test_code.py").write_text("from code_to_change import half\n\n\n"
                                           f"def test_half():\n    {test}\n")
    assert outcome_of(Mutation("code_to_change.py", "n // 2", "n // 3", ["test_code.py"]),
                      tmp_path) == outcome
    assert "n // 2" in code.read_text()
