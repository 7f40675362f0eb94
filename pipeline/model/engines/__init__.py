"""What runs a network: Keras, which is the measure, and libraries that do the same sums faster on a CPU.

Which of them serves a version is chosen by trying them (`trial`) and kept beside the version (`record`). None of them is
imported before it is opened: a task that is served by another library never starts TensorFlow.
"""
