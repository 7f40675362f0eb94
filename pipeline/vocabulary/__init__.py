"""The controlled vocabulary: concepts with their public URIs and labels, and the policy on them, loaded from `vocab/`."""

from pipeline.vocabulary.concepts import Concept, Vocabulary, canonical_uri, load_vocabulary
from pipeline.vocabulary.policy import Policy, load_policy

__all__ = ["Concept", "Policy", "Vocabulary", "canonical_uri", "load_policy", "load_vocabulary"]
