"""Searching tables of embeddings: nearest neighbors, outliers and near duplicates."""
