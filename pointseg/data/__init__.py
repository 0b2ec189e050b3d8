"""Prepared scenes, voxel grids, sparse labels and the classes they are labelled with."""
