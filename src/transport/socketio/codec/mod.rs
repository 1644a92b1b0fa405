//! The formats of Engine.IO (protocol 4) and Socket.IO (protocol 5). Pure: text and bytes in, packets out.

#[cfg(test)]
mod differential;
pub mod engine;
pub mod packet;
