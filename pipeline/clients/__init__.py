"""Protocols, one module each: HTTP itself, Europeana's APIs, the Annotation API, WITH. No business rules."""
