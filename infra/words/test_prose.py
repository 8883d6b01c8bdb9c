"""Tests of prose.py. infra/words/check runs them each time, before it believes itself."""

import unittest

import prose

THIRTY = " ".join(["word"] * 30)
THIRTY_ONE = THIRTY + " more"


def counts(text):
    return [len(words) for block in prose.markdown(text) for _, words in block.sentences()]


def too_long(text):
    return [line for line, _ in prose.long_sentences(prose.markdown(text))]


class Sentences(unittest.TestCase):
    def test_thirty_words_are_enough(self):
        self.assertEqual(too_long(f"{THIRTY}.\n"), [])
        self.assertEqual(too_long(f"{THIRTY_ONE}.\n"), [1])

    def test_a_sentence_goes_on_over_lines_and_ends_in_the_middle_of_one(self):
        self.assertEqual(counts("One two\nthree. Four five.\nSix\n"), [3, 2, 1])
        self.assertEqual(too_long(f"A few words.\nThen {THIRTY}\nmore. End.\n"), [2])

    def test_neither_colon_nor_semicolon_ends_a_sentence(self):
        self.assertEqual(counts("One: two; three – four, five.\n"), [5])

    def test_a_code_span_is_one_word_and_may_begin_a_sentence(self):
        self.assertEqual(counts("Run `a b. C d` now. `e` f.\n"), [3, 2])
        self.assertEqual(counts("Run `a\nb` now. Ask ``c ` d``.\n"), [3, 2])
        self.assertEqual(too_long(f"Run `a\nb`.\n{THIRTY_ONE}\n"), [3])

    def test_numbers_and_abbreviations_end_no_sentence(self):
        self.assertEqual(counts("It has 1.5 s, e.g. or i.e. so. US East (N. Virginia) is it.\n"), [8, 6])
        self.assertEqual(counts("See file.rs, and go on. arm64 is next.\n"), [5, 3])

    def test_marks_behind_the_period_belong_to_the_sentence(self):
        self.assertEqual(counts("**One two.** (Three four.) \"Five six?\" Seven!\n"), [2, 2, 2, 1])

    def test_the_items_of_a_list_are_texts_of_their_own(self):
        self.assertEqual(counts("It needs:\n- one two\n  three\n- four\n\n1. five\n2) six\n"), [2, 3, 1, 1, 1])

    def test_the_cells_of_a_table_are_texts_of_their_own(self):
        table = f"| one | two three |\n|---|---|\n| `a|b` c | d \\| e |\n| x | {THIRTY_ONE} |\n"
        self.assertEqual(counts(table)[:4], [1, 2, 2, 2])
        self.assertEqual(too_long(table), [4])

    def test_code_and_comments_are_not_read(self):
        self.assertEqual(counts(f"```sh\n{THIRTY_ONE}\n```\n<!-- {THIRTY_ONE}\n-->\nOne.\n"), [1])
        self.assertEqual(counts(f"- one\n\n  ```\n  {THIRTY_ONE}\n  ```\n\ntwo\n"), [1, 1])

    def test_a_link_counts_as_its_text(self):
        self.assertEqual(counts("See [this one](../a/b.md#c-d) or <https://example.com/a.b>.\n"), [5])


class DocComments(unittest.TestCase):
    def test_they_are_read_as_markdown_and_other_comments_are_not(self):
        source = f"//! One two.\n//! Three.\n\n// {THIRTY_ONE}\n    /// - {THIRTY_ONE}.\n    /// - four\nfn f() {{}}\n"
        found = prose.doc_comments(source)
        self.assertEqual([line for line, _ in prose.long_sentences(found)], [5])
        self.assertEqual(len(found), 3)

    def test_code_in_them_is_not_read(self):
        self.assertEqual(list(prose.long_sentences(prose.doc_comments(f"/// ```\n/// {THIRTY_ONE}\n/// ```\n"))), [])


class Lines(unittest.TestCase):
    def test_a_hundred_columns_are_enough(self):
        self.assertEqual(list(prose.long_lines("ä" * 49 + " " + "b" * 50 + "\n")), [])
        self.assertEqual(list(prose.long_lines("ä" * 50 + " " + "b" * 50 + "\n")), [(1, 101)])

    def test_tables_code_and_links_may_be_wider(self):
        wide = "a " * 60
        self.assertEqual(list(prose.long_lines(f"| {wide}|\n```\n{wide}\n```\n[r]: {'a' * 99}\n")), [])
        self.assertEqual(list(prose.long_lines(f"A [link]({'a' * 99}) in a line.\n`{wide}`\n")), [])
        self.assertEqual(list(prose.long_lines(f"```\n```\n{wide}b\n")), [(3, 121)])


class Glossary(unittest.TestCase):
    TEXT = '# G\n\n### probe\nA probe asks.\n\nNot: "trial", "test\ncall".\n\n### trunk\nA trunk.\n'

    def test_terms_and_banned_words_are_read(self):
        terms, banned = prose.glossary(self.TEXT)
        self.assertEqual(terms, ["probe", "trunk"])
        self.assertEqual(banned, {"trial": "probe", "test call": "probe"})

    def test_a_banned_word_is_found_in_prose_only(self):
        _, banned = prose.glossary(self.TEXT)
        text = "A Trial.\nNo trials, no `trial`, no [a](trial), [trial.rs](a).\nA test\ncall.\n\nNot: \"trial\"\n"
        found = [(line, word) for line, word, _ in prose.banned_words(prose.markdown(text), banned)]
        self.assertEqual(found, [(1, "trial"), (3, "test call")])


class Links(unittest.TestCase):
    def test_links_within_the_repository_are_found(self):
        text = "[a](b.md#c), [d](#e) [f](https://g)\n```\n[h](i)\n```\n[j](k)\n"
        self.assertEqual(list(prose.links(text)), [(1, "b.md", "c"), (1, "", "e"), (5, "k", None)])

    def test_anchors_are_those_of_github(self):
        self.assertEqual(prose.anchors("# What it `Costs`, here\n## A\n## A\n"), {"what-it-costs-here", "a", "a-1"})

    def test_the_list_of_scripts_is_that_of_its_section(self):
        text = "## A\n| `no` | x |\n## The scripts\n| script | for |\n|---|---|\n| `a/b` | c `d` |\n## E\n| `f` | g |\n"
        self.assertEqual(prose.scripts(text), ["a/b"])


if __name__ == "__main__":
    unittest.main()
