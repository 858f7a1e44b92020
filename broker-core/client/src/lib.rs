//! A small asynchronous Remoting client.
