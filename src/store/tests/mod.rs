//! Claims about the store, on the simulated disk.

mod basics;
mod world;
