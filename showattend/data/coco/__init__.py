"""MS-COCO: reading annotations, and downloading and preparing a subset."""
