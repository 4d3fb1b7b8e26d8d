"""An audit log for taskd."""
