//! The request pipeline: from a socket to the store and back
