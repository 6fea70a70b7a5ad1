"""Exact and near duplicates, and what splits share."""
