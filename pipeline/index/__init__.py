"""Similarity search over embeddings."""
