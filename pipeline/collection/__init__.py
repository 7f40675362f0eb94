"""The collection format: a folder of pictures with a `metadata.csv`.

Columns: `record_id,image_file,title,creator,year,provider,data_provider,rights,concepts,split`, optionally
`not_annotated,group`; unknown columns are ignored. `concepts` and `not_annotated` are `;`-separated slugs or URIs.
`not_annotated` means *unknown*, not *absent*. An empty `image_file` is a record without a picture.
"""

from pipeline.collection.reader import Collection, CollectionRow, read_collection

__all__ = ["Collection", "CollectionRow", "read_collection"]
