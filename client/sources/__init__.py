"""Data as people have it - folders, tables, arrays, datasets - as what a pool takes."""
