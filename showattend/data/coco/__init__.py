"""MS-COCO: its annotations, and how a subset of it is fetched and prepared."""
