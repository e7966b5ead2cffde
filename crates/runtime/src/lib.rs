//! Containers: images, layers, sandboxes, processes, behind one trait
