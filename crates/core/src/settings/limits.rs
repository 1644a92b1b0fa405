//! Settings that several parts of the server share: limits, and the heartbeat of its connections.

use super::{FaultList, OrZero, Size, Span};
use crate::section;

section! {
    /// The heartbeat of WebSockets.
    #[derive(Copy)]
    pub struct Heartbeat {
        /// Time between two pings of a WebSocket.
        #[range(Span::from_secs(1)..=Span::from_secs(300))]
        interval: Span = Span::from_secs(25),
        /// Time without any frame after which a WebSocket is closed (4408).
        #[range(Span::from_secs(2)..=Span::from_secs(900))]
        timeout: Span = Span::from_secs(60),
    }
}

impl Heartbeat {
    /// Reports a timeout that would end every connection.
    pub fn check(&self, faults: &mut FaultList) {
        if self.timeout <= self.interval {
            faults
                .add("heartbeat.timeout", "has to be longer than heartbeat.interval, or every client is disconnected");
        }
    }
}

section! {
    /// Limits of a client, an address, a user, a tenant and the server.
    #[derive(Copy)]
    pub struct Limits {
        /// Streams and held polls at once; 0 means as many as the descriptor limit allows.
        max_connections: usize = 0,
        /// Streams and held polls from one address (an IPv6 network of 64 bits), and as many other connections; trusted proxies
        /// are not counted. 0 means no limit.
        max_connections_per_address: usize = 1_000,
        /// Streams and held polls of one user with a token; 0 means no limit.
        max_connections_per_user: usize = 50,
        /// New streams per second from one address, which is also the burst; 0 means no limit.
        handshakes_per_second_per_address: u32 = 50,
        /// Changes of orders, customers, visits, dashboards and alert rules per second by one user (without tokens: one address),
        /// with bursts of ten times as many. More are refused with 429. 0 means no limit.
        changes_per_second_per_user: u32 = 500,
        /// Time within which a WebSocket has to send a token, or it is closed (4401), and a Socket.IO client has to join a namespace.
        /// 0 means no limit.
        #[range(Span::ZERO..=Span::from_secs(600))]
        auth_timeout: Span = Span::from_secs(10),
        /// Subscriptions of one connection; 0 means no limit.
        max_subscriptions: usize = 100,
        /// Largest WebSocket message of a client; 0 means no limit.
        max_message: Size = Size(64 << 10),
        /// Bad messages within a minute that close a WebSocket (4500); 0 means no limit.
        max_bad_messages: usize = 20,
        /// Messages per second of one WebSocket, on average; 0 means no limit.
        messages_per_second: u32 = 20,
        /// Messages of one WebSocket at once. A client that continues after five bursts were refused within a minute is closed
        /// (4429).
        message_burst: u32 = 40,
        /// Requests of one WebSocket that may be pending; 0 means no limit.
        max_requests: usize = 32,
        /// Largest request body, and largest value of one channel, also after a merge.
        #[range(Size(1)..=Size::mebibytes(1 << 10))]
        max_body: Size = Size::mebibytes(1),
        /// Lines of one push, or members of its array; 0 means no limit.
        max_lines: usize = 10_000,
        /// Pushed channels of one tenant; 0 means no limit.
        max_channels: usize = 10_000,
        /// Bytes of pushed values of one tenant, all channels together, and of its series of samples; 0 means no limit.
        max_state: Size = Size::mebibytes(256),
        /// Bytes of pushed values and series of all tenants together; 0 means no limit.
        max_state_total: Size = Size::mebibytes(1 << 10),
        /// Bytes of pushed metrics in the snapshot, all together; 0 means no limit.
        max_snapshot: Size = Size::mebibytes(4),
        /// Tenants of one server; 0 means no limit.
        max_tenants: usize = 1_000,
        /// Time after which a tenant without pushed data, alert rules, users today and connections is released, and at the limit
        /// before another tenant is refused; 0 means only at the limit.
        tenant_idle: Span = Span::from_secs(600),
        /// Series of samples of one tenant, one per field and set of labels; 0 means no limit.
        max_series: usize = 10_000,
        /// Time without a write after which a pushed channel or a series of samples ends; `channel_ttls` may set other times by
        /// pattern, and a push one for its channel (`ttl`). 0 means that they stay.
        #[range(OrZero(Span::from_secs(1)..=Span::from_days(366)))]
        channel_ttl: Span = Span::ZERO,
        /// Events of one tenant that may wait to be published while the log can't be written; beyond it changes of orders and
        /// dashboards are refused with 503 until the log can be written again. 0 means no limit.
        max_pending_events: usize = 1_000_000,
        /// Orders of one tenant. More are refused with 429; none is deleted by itself. 0 means no limit.
        max_orders: usize = 10_000_000,
        /// Customers of one tenant. More are refused with 429; none is deleted by itself. 0 means no limit.
        max_customers: usize = 10_000_000,
        /// Machine keys of one tenant; 0 means no limit.
        max_keys: usize = 1_000,
        /// Largest database file in `data_dir`; beyond it changes are refused with 503. 0 means no limit.
        max_store: Size = Size::mebibytes(32 << 10),
        /// Longest time for a request's headers, including the first request of a new connection.
        #[range(Span::from_secs(1)..=Span::from_secs(300))]
        header_timeout: Span = Span::from_secs(5),
        /// Longest time that an idle connection is kept for the next request. It should be longer than that of a proxy in front, so
        /// that the proxy never sends a request into a connection that is being closed.
        #[range(Span::from_secs(1)..=Span::from_secs(3_600))]
        keep_alive: Span = Span::from_secs(75),
        /// Longest time for a request's body.
        #[range(Span::from_secs(1)..=Span::from_secs(300))]
        body_timeout: Span = Span::from_secs(15),
        /// Time after which the kernel disconnects a client that reads nothing from its socket.
        #[range(Span::from_secs(1)..=Span::from_secs(900))]
        stall_timeout: Span = Span::from_secs(60),
        /// Time to take pending data beyond which a client is slow. The backpressure level of a slow client rises step by step:
        /// notified; values at most this often; values at most every five times this, and events wait; closed (4413). 0 means
        /// that no client is slow.
        #[range(Span::ZERO..=Span::from_secs(600))]
        slow_after: Span = Span::from_secs(2),
        /// Shortest time between two changes of the backpressure level.
        #[range(Span::from_millis(10)..=Span::from_secs(600))]
        slow_step: Span = Span::from_secs(5),
    }
}
