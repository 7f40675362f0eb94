"""The only room that knows Keras: preprocessing, networks, the bundle a model travels in, the registry, prediction.

Keras and TensorFlow are imported inside functions: parsing the DAGs must not load them, and no process may fork
after they started.
"""
