//! Claims about the store, on the simulated disk.

mod basics;
mod crash;
mod damage;
mod model;
mod records;
mod tools;
mod world;
