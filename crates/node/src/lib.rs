//! The node agent: from a pod's spec to running containers and back to its status
