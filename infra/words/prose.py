"""Reads Markdown, and the Markdown in the doc comments of Rust, as sentences of plain text."""

import re

MOST_COLUMNS = 100
MOST_WORDS = 30
# A period behind one of these ends no sentence. So does one behind a single capital letter.
ABBREVIATIONS = {"e.g", "i.e", "etc", "cf", "vs", "approx", "no", "sec", "p", "al"}

FENCE = re.compile(r"\s*(```+|~~~+)")
ITEM = re.compile(r"\s*(?:[-*+]|\d+[.)])\s+")
HEADING = re.compile(r"\s{0,3}#{1,6}\s+")
REFERENCE = re.compile(r"\s*\[[^\]]+\]:\s+\S+\s*$")
CODE = re.compile(r"(?<!`)(`+)(?!`)(.+?)(?<!`)\1(?!`)", re.DOTALL)
TARGET = re.compile(r"\]\([^()\s]*(?:\([^()]*\)[^()\s]*)*\)")
COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
END = re.compile(r"""[.!?]["'”’)\]*_]*(?=\s|$)""")


class Block:
    """A text that ends where its sentences end: a paragraph, a list's item, a cell, a heading."""

    def __init__(self, line, text):
        self.line = line
        self.text = text

    def plain(self):
        """Returns the text with each code span as one word, and without links' targets.

        Line breaks stay, so that a position in the text still tells its line.
        """
        text = CODE.sub(lambda span: "Code" + "\n" * span[2].count("\n"), self.text)
        text = TARGET.sub("]", text)
        text = re.sub(r"<(https?://[^>\s]+)>", "Link", text)
        return re.sub(r"[\[\]*]|<[^>\n]+>", "", text)

    def sentences(self):
        """Yields each sentence as its line and its words."""
        text = self.plain()
        begin = 0
        for end in END.finditer(text):
            words = text[begin : end.start()].split()
            last = words[-1].lstrip("(\"'“‘").lower() if words else ""
            if text[end.start()] == "." and (
                last in ABBREVIATIONS or re.search(r"(?<![\w.])[A-Z]$", text[begin : end.start()])
            ):
                continue
            yield self._sentence(text, begin, end.end())
            begin = end.end()
        if text[begin:].strip():
            yield self._sentence(text, begin, len(text))

    def _sentence(self, text, begin, end):
        begin += len(text[begin:end]) - len(text[begin:end].lstrip())
        words = [word for word in text[begin:end].split() if re.search(r"\w", word)]
        return self.line + text.count("\n", 0, begin), words


def cells(row):
    """Splits a table's row into its cells: at each bar that is neither escaped nor in code."""
    hidden = CODE.sub(lambda span: "\0" * len(span[0]), row).replace("\\|", "\0\0")
    places = [place for place, character in enumerate(hidden) if character == "|"]
    return [row[a + 1 : b].strip() for a, b in zip(places, places[1:] + [len(row)])]


def blocks(lines):
    """Yields the blocks of a document. `lines` are pairs of a line's number and its text."""
    fence = None
    number = 0
    paragraph = []

    def flush():
        if paragraph:
            yield Block(number, "\n".join(paragraph))
            paragraph.clear()

    for at, line in lines:
        opening = FENCE.match(line)
        if fence or opening:
            yield from flush()
            if fence is None:
                fence = opening[1]
            elif opening and opening[1].startswith(fence) and line.strip() == opening[1]:
                fence = None
            continue
        line = re.sub(r"^\s*>\s?", "", line)
        if not line.strip() or REFERENCE.match(line):
            yield from flush()
        elif line.lstrip().startswith("|"):
            yield from flush()
            if not re.fullmatch(r"[\s|:-]+", line):
                for cell in cells(line):
                    if cell:
                        yield Block(at, cell)
        elif HEADING.match(line):
            yield from flush()
            yield Block(at, HEADING.sub("", line, count=1))
        else:
            if ITEM.match(line):
                yield from flush()
                line = ITEM.sub("", line, count=1)
            if not paragraph:
                number = at
            paragraph.append(line.strip())
    yield from flush()


def without_comments(text):
    """Removes HTML comments, and keeps the numbers of the lines."""
    return COMMENT.sub(lambda comment: "\n" * comment[0].count("\n"), text)


def markdown(text):
    """Returns the blocks of a Markdown document."""
    return list(blocks(enumerate(without_comments(text).splitlines(), 1)))


def doc_comments(source):
    """Returns the blocks of the doc comments of a Rust source."""
    found = []
    group = []
    for at, line in enumerate(source.splitlines(), 1):
        comment = re.match(r"\s*//(?:/(?!/)|!) ?(.*)", line)
        if comment:
            group.append((at, comment[1]))
        else:
            found += blocks(group)
            group = []
    return found + list(blocks(group))


def long_sentences(found):
    """Yields line and words of each sentence that has too many words."""
    for block in found:
        for line, words in block.sentences():
            if len(words) > MOST_WORDS:
                yield line, words


def long_lines(text):
    """Yields number and width of each line that is too wide.

    Tables and code may be wide, and so may what cannot be broken: a link, or a single word.
    """
    fence = None
    for at, line in enumerate(without_comments(text).splitlines(), 1):
        opening = FENCE.match(line)
        if opening and (fence is None or line.strip() == fence):
            fence = None if fence else opening[1]
        elif fence is None and not line.lstrip().startswith("|") and not REFERENCE.match(line):
            line = TARGET.sub("]()", line)
            if len(line) > MOST_COLUMNS and len(CODE.sub("Code", line).split()) > 1:
                yield at, len(line)


def glossary(text):
    """Returns the terms of the glossary, in order, and the words not to use, with their terms."""
    terms = []
    banned = {}
    for heading, body in re.findall(r"^### (.+)\n((?:(?!^#).*\n?)*)", text, re.MULTILINE):
        terms.append(heading.strip())
        for line in re.findall(r"^Not: (.+(?:\n(?!\n).+)*)", body, re.MULTILINE):
            for word in re.findall(r'"([^"]+)"', line):
                banned[" ".join(word.lower().split())] = terms[-1]
    return terms, banned


def banned_words(found, banned):
    """Yields line, word and the term to use for each banned word, wherever it is no code."""
    if not banned:
        return
    words = sorted(banned, key=len, reverse=True)
    pattern = re.compile(
        # A file's name is no word of ours.
        r"(?<![\w-])(" + "|".join(re.escape(w).replace(r"\ ", r"\s+") for w in words) + r")(?![\w-]|\.\w)",
        re.IGNORECASE,
    )
    for block in found:
        if block.text.startswith("Not: "):
            continue
        text = block.plain()
        for match in pattern.finditer(text):
            word = " ".join(match[1].lower().split())
            yield block.line + text.count("\n", 0, match.start()), word, banned[word]


def anchors(text):
    """Returns the anchors of a document's headings, as GitHub makes them."""
    found = []
    for block in re.findall(r"^#{1,6}\s+(.+)$", re.sub(r"(?ms)^```.*?^```", "", text), re.MULTILINE):
        plain = TARGET.sub("]", block.strip().lower())
        anchor = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
        found.append(anchor if anchor not in found else f"{anchor}-{found.count(anchor)}")
    return set(found)


def links(text):
    """Yields line, path and anchor of each link that leads to a file or a heading here."""
    text = re.sub(r"(?ms)^\s*```.*?^\s*```", lambda code: "\n" * code[0].count("\n"), text)
    text = CODE.sub(lambda span: "\n" * span[0].count("\n"), text)
    for match in re.finditer(r"\]\(([^()\s#]*)(?:#([^()\s]+))?\)", text):
        if not re.match(r"[a-z]+:", match[1]):
            yield text.count("\n", 0, match.start()) + 1, match[1], match[2]


def scripts(text):
    """Returns the paths in the first column of the tables below the heading "The scripts"."""
    section = re.search(r"^## The scripts\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    return re.findall(r"^\| `([^`]+)` \|", section[1], re.MULTILINE) if section else []
