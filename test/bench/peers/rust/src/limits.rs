pub const MAX_MESSAGE: usize = 64 << 20;
/// The windows that Envoy gives too, so that bodies do not wait for WINDOW_UPDATE.
pub const STREAM_WINDOW: u32 = 16 << 20;
pub const CONNECTION_WINDOW: u32 = 24 << 20;
/// A connection of Envoy has as many streams as requests are under way.
pub const MAX_STREAMS: u32 = 100_000;
/// Envoy ends its streams with RST_STREAM; the guards against floods of them would close its connections.
pub const MAX_RESETS: usize = 100_000;
