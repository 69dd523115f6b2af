//! What the servers have in common: what they answer, and where they listen.

pub mod address;
pub mod answers;
pub mod instructions;
pub mod limits;
pub mod one_thread;
pub mod service;
