"""From a collection with labels to a registered model: dataset, fit, calibration, thresholds."""
