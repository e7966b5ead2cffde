//! The table of built-in resources, one file each
