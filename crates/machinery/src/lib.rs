//! What all objects share: JSON tree, schema, metadata, selectors, quantities, patches, Status errors
