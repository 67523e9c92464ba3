"""The benchmark of fits: photos and videos of people never trained on, against rendered truth."""
