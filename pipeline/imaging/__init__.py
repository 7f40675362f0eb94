"""Pixels: is this a picture that people can look at, and its normalised derivative; and which addresses may be visited."""
