"""A collection of pictures that the program draws itself, so that everything runs without network or data.

`scenes.py` draws subjects, `media.py` makes paintings, drawings, photographs and posters of them, `surfaces.py` and
`objects.py` draw works that are their own subject, `shipped.py` adds real photographs out of installed packages,
`broken.py` what is wrong on purpose, `catalogue.py` the words, and `writer.py` puts it in a folder.
"""

from pipeline.sandbox.builtin.writer import write_builtin_collection

__all__ = ["write_builtin_collection"]
