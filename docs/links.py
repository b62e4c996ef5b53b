"""Hook of MkDocs: links of a page to files outside of docs/, which the site does not contain.

With `repo_url` in mkdocs.yml they lead to the file in the repository, without it they become text.
A target that does not exist stays a link, and fails the strict build.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
_LINK = re.compile(r"(?<!!)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(((?:\.\./)[^)\s]+)\)")


def on_page_markdown(markdown: str, *, page: Any, config: Any, files: Any) -> str:
    """Called by MkDocs for each page."""
    return rewritten(markdown, page.file.src_uri, config.get("repo_url") or "")


def rewritten(markdown: str, source: str, repository: str) -> str:
    """The page `source` (relative to docs/) with links that leave docs/ replaced."""

    def replace(link: re.Match[str]) -> str:
        text, target = link.groups()
        path, _, heading = target.partition("#")
        whole = posixpath.normpath(posixpath.join("docs", posixpath.dirname(source), path))
        if whole.startswith("docs/") or not (ROOT / whole).exists():
            return link[0]
        if not repository:
            return text
        kind = "tree" if (ROOT / whole).is_dir() else "blob"
        anchor = f"#{heading}" if heading else ""
        return f"[{text}]({repository.rstrip('/')}/{kind}/main/{whole}{anchor})"

    return _LINK.sub(replace, markdown)
