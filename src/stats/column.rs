//! The table of statistics columns: names, order, tags and meaning.
//!
//! The order is HAProxy 2.6's, the module columns (`ssl_`, `h2_`, `h1_`) included; columns of our own come after them. CSV, typed and JSON
//! output and their descriptions all read this table.

/// What the table says of one column.
#[derive(Clone, Copy, Debug)]
pub struct ColumnInfo {
    /// Its title.
    pub name: &'static str,
    /// Origin, nature and scope of the value (HAProxy management guide section 9.2).
    pub tags: &'static str,
    /// Its meaning.
    pub description: &'static str,
}

macro_rules! columns {
    ($($variant:ident = $name:literal, $tags:literal, $description:literal;)*) => {
        /// A column of the statistics; its number is its position.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Column {
            $(#[doc = $description] $variant,)*
        }

        /// All columns, by position.
        pub const COLUMNS: &[ColumnInfo] = &[$(ColumnInfo { name: $name, tags: $tags, description: $description },)*];
    };
}

/// The columns before the `-` column, whose positions never change.
pub const FIXED_COLUMNS: usize = Column::AggCheckStatus as usize + 1;

columns! {
    PxName = "pxname", "KNS", "Name of the proxy";
    SvName = "svname", "KNS", "FRONTEND, BACKEND, or the name of the server or listener";
    QCur = "qcur", "MGP", "Sessions waiting in the queue";
    QMax = "qmax", "MMP", "Most sessions that waited in the queue";
    SCur = "scur", "MGP", "Sessions open now";
    SMax = "smax", "MMP", "Most sessions open at once";
    SLim = "slim", "CLP", "Limit of sessions: maxconn, for a backend fullconn";
    STot = "stot", "MCP", "Sessions so far";
    BIn = "bin", "MCP", "Bytes received from clients";
    BOut = "bout", "MCP", "Bytes sent to clients";
    DReq = "dreq", "MCP", "Requests denied by a rule";
    DResp = "dresp", "MCP", "Responses denied by a rule";
    EReq = "ereq", "MCP", "Requests with an error on the client side";
    ECon = "econ", "MCP", "Connections to servers that failed";
    EResp = "eresp", "MCP", "Responses with an error";
    WRetr = "wretr", "MCP", "Connection attempts that were repeated";
    WRedis = "wredis", "MCP", "Sessions sent to another server after a failure";
    Status = "status", "SGP", "State: OPEN, FULL, STOP, UP, DOWN, NOLB, MAINT, DRAIN, no check";
    Weight = "weight", "MaP", "Weight in effect, for a backend the sum over its usable servers";
    Act = "act", "SGP", "Usable servers that are no backups; 1 for a server that is none";
    Bck = "bck", "SGP", "Usable backup servers; 1 for a backup server";
    ChkFail = "chkfail", "MCP", "Checks that failed while the server was up";
    ChkDown = "chkdown", "MCP", "Transitions from up to down";
    LastChg = "lastchg", "MAP", "Seconds since the last change of state";
    DownTime = "downtime", "MCP", "Seconds spent down";
    QLimit = "qlimit", "CGS", "Limit of the server's own queue (maxqueue)";
    Pid = "pid", "KGP", "Number of the process, always 1";
    Iid = "iid", "KGS", "Number of the proxy";
    Sid = "sid", "KGS", "Number of the server or listener within the proxy";
    Throttle = "throttle", "MaP", "Percentage of its weight that a starting server is allowed";
    LbTot = "lbtot", "MCP", "Times chosen by load balancing";
    Tracked = "tracked", "CNS", "Server whose state this one follows";
    Type = "type", "CGS", "Kind of object: 0 frontend, 1 backend, 2 server, 3 listener";
    Rate = "rate", "MRP", "Sessions in the last second";
    RateLim = "rate_lim", "CLP", "Limit of new sessions per second";
    RateMax = "rate_max", "MMP", "Most sessions in a second";
    CheckStatus = "check_status", "MOP", "Outcome of the last check, with an asterisk while one runs";
    CheckCode = "check_code", "MOP", "Code that the last check was answered with";
    CheckDuration = "check_duration", "MDP", "Milliseconds the last check took";
    Hrsp1xx = "hrsp_1xx", "MCP", "HTTP responses with status 100 to 199";
    Hrsp2xx = "hrsp_2xx", "MCP", "HTTP responses with status 200 to 299";
    Hrsp3xx = "hrsp_3xx", "MCP", "HTTP responses with status 300 to 399";
    Hrsp4xx = "hrsp_4xx", "MCP", "HTTP responses with status 400 to 499";
    Hrsp5xx = "hrsp_5xx", "MCP", "HTTP responses with status 500 to 599";
    HrspOther = "hrsp_other", "MCP", "HTTP responses with another status";
    HanaFail = "hanafail", "MOP", "Checks that failed by observed traffic";
    ReqRate = "req_rate", "MRP", "HTTP requests in the last second";
    ReqRateMax = "req_rate_max", "MMP", "Most HTTP requests in a second";
    ReqTot = "req_tot", "MCP", "HTTP requests so far";
    CliAbrt = "cli_abrt", "MCP", "Sessions ended early by the client";
    SrvAbrt = "srv_abrt", "MCP", "Sessions ended early by the server";
    CompIn = "comp_in", "MCP", "Bytes given to the compressor";
    CompOut = "comp_out", "MCP", "Bytes that left the compressor";
    CompByp = "comp_byp", "MCP", "Bytes that went around the compressor";
    CompRsp = "comp_rsp", "MCP", "Compressed HTTP responses";
    LastSess = "lastsess", "MAP", "Seconds since the last session, -1 for none";
    LastChk = "last_chk", "MOP", "What the last check saw";
    LastAgt = "last_agt", "MOP", "What the last agent check saw";
    QTime = "qtime", "MaP", "Milliseconds in the queue, mean of about the last 1024 sessions";
    CTime = "ctime", "MaP", "Milliseconds to connect, mean of about the last 1024 sessions";
    RTime = "rtime", "MaP", "Milliseconds to the response, mean of about the last 1024 sessions; 0 in tcp mode";
    TTime = "ttime", "MaP", "Milliseconds in total, mean of about the last 1024 sessions";
    AgentStatus = "agent_status", "MOP", "Outcome of the last agent check";
    AgentCode = "agent_code", "MOP", "Code that the agent answered with";
    AgentDuration = "agent_duration", "MDP", "Milliseconds the last agent check took";
    CheckDesc = "check_desc", "MOP", "Outcome of the last check in words";
    AgentDesc = "agent_desc", "MOP", "Outcome of the last agent check in words";
    CheckRise = "check_rise", "CGS", "Checks that must pass to come up";
    CheckFall = "check_fall", "CGS", "Checks that must fail to go down";
    CheckHealth = "check_health", "CGS", "Counter of checks: below rise the server is down";
    AgentRise = "agent_rise", "CGS", "Agent checks that must pass to come up";
    AgentFall = "agent_fall", "CGS", "Agent checks that must fail to go down";
    AgentHealth = "agent_health", "CGS", "Counter of agent checks";
    Addr = "addr", "CGS", "Address of the server or listener; hidden from level user";
    Cookie = "cookie", "CNS", "Cookie of the server, or its name at the backend; hidden from level user";
    Mode = "mode", "CGS", "Protocol level of the proxy";
    Algo = "algo", "CGS", "Balancing method; hidden from level user";
    ConnRate = "conn_rate", "MRP", "Connections in the last second";
    ConnRateMax = "conn_rate_max", "MMP", "Most connections in a second";
    ConnTot = "conn_tot", "MCP", "Connections so far";
    Intercepted = "intercepted", "MCP", "Requests answered by the proxy itself";
    DCon = "dcon", "MCP", "Connections denied by a rule";
    DSes = "dses", "MCP", "Sessions denied by a rule";
    WRew = "wrew", "MCP", "Header rewrites that failed";
    Connect = "connect", "MCP", "Attempts to connect to a server";
    Reuse = "reuse", "MCP", "Uses of an idle server connection";
    CacheLookups = "cache_lookups", "MCP", "Lookups in the cache";
    CacheHits = "cache_hits", "MCP", "Lookups that the cache could answer";
    SrvICur = "srv_icur", "MGP", "Idle connections to the server";
    SrvILim = "src_ilim", "CLP", "Limit of idle connections to the server";
    QTimeMax = "qtime_max", "MMP", "Longest time in the queue, milliseconds";
    CTimeMax = "ctime_max", "MMP", "Longest time to connect, milliseconds";
    RTimeMax = "rtime_max", "MMP", "Longest time to the response, milliseconds; 0 in tcp mode";
    TTimeMax = "ttime_max", "MMP", "Longest total time, milliseconds";
    EInt = "eint", "MCP", "Internal errors";
    IdleConnCur = "idle_conn_cur", "MGP", "Idle connections that only their own client may use";
    SafeConnCur = "safe_conn_cur", "MGP", "Idle connections that any client may use";
    UsedConnCur = "used_conn_cur", "MGP", "Connections in use that could be used again";
    NeedConnEst = "need_conn_est", "MGP", "Connections that are likely to be needed";
    UWeight = "uweight", "MaP", "Weight as set by the operator, for a backend the sum over its usable servers";
    AggServerStatus = "agg_server_status", "MGP", "Servers by state; always 0 here, for metrics collectors";
    AggServerCheckStatus = "agg_server_check_status", "MGP", "Servers by state of their check; always 0 here, for metrics collectors";
    AggCheckStatus = "agg_check_status", "MGP", "Servers by outcome of their check; always 0 here, for metrics collectors";
    SslSess = "ssl_sess", "MCP", "TLS sessions";
    SslReusedSess = "ssl_reused_sess", "MCP", "TLS sessions that were resumed";
    SslFailedHandshake = "ssl_failed_handshake", "MCP", "TLS handshakes that failed";
    H2HeadersRcvd = "h2_headers_rcvd", "MCP", "HTTP/2 HEADERS frames received";
    H2DataRcvd = "h2_data_rcvd", "MCP", "HTTP/2 DATA frames received";
    H2SettingsRcvd = "h2_settings_rcvd", "MCP", "HTTP/2 SETTINGS frames received";
    H2RstStreamRcvd = "h2_rst_stream_rcvd", "MCP", "HTTP/2 RST_STREAM frames received";
    H2GoawayRcvd = "h2_goaway_rcvd", "MCP", "HTTP/2 GOAWAY frames received";
    H2ConnErrors = "h2_detected_conn_protocol_errors", "MCP", "HTTP/2 protocol errors of connections";
    H2StreamErrors = "h2_detected_strm_protocol_errors", "MCP", "HTTP/2 protocol errors of streams";
    H2RstStreamResp = "h2_rst_stream_resp", "MCP", "HTTP/2 RST_STREAM frames sent";
    H2GoawayResp = "h2_goaway_resp", "MCP", "HTTP/2 GOAWAY frames sent";
    H2OpenConnections = "h2_open_connections", "MGP", "HTTP/2 connections open now";
    H2OpenStreams = "h2_backend_open_streams", "MGP", "HTTP/2 streams open now";
    H2TotalConnections = "h2_total_connections", "MCP", "HTTP/2 connections so far";
    H2TotalStreams = "h2_backend_total_streams", "MCP", "HTTP/2 streams so far";
    H1OpenConnections = "h1_open_connections", "MGP", "HTTP/1 connections open now";
    H1OpenStreams = "h1_open_streams", "MGP", "HTTP/1 streams open now";
    H1TotalConnections = "h1_total_connections", "MCP", "HTTP/1 connections so far";
    H1TotalStreams = "h1_total_streams", "MCP", "HTTP/1 streams so far";
    H1BytesIn = "h1_bytes_in", "MCP", "HTTP/1 bytes received";
    H1BytesOut = "h1_bytes_out", "MCP", "HTTP/1 bytes sent";
    H1SplicedBytesIn = "h1_spliced_bytes_in", "MCP", "HTTP/1 bytes received by splicing";
    H1SplicedBytesOut = "h1_spliced_bytes_out", "MCP", "HTTP/1 bytes sent by splicing";
}
