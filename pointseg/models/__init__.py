"""Networks on sparse voxels."""
