//! Settings of logs.

use crate::{section, settings::Size, span::Span};

section! {
    /// Events that are kept for clients that resume.
    #[derive(Copy)]
    pub struct LogConfig {
        /// Events kept for clients that resume.
        #[range(1..)]
        events: usize = 10_000,
        /// Bytes of events kept for clients that resume.
        #[range(Size(1)..)]
        bytes: Size = Size::mebibytes(16),
        /// Ends of channels of one tenant that are kept for clients that resume, each for a day at most.
        #[range(1..=1_000_000)]
        ends: usize = 10_000,
        /// Time within which a Socket.IO client that lost its connection gets its subscriptions back.
        #[range(Span::from_secs(1)..=Span::from_secs(86_400))]
        recovery: Span = Span::from_secs(120),
    }
}
