"""The controlled vocabulary: concepts with their public URIs and labels, loaded from `vocab/concepts.yaml`."""

from pipeline.vocabulary.concepts import Concept, Vocabulary, canonical_uri, load_vocabulary

__all__ = ["Concept", "Vocabulary", "canonical_uri", "load_vocabulary"]
