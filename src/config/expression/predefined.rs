//! ACLs that exist without being declared (HAProxy manual section 7.4).

/// Names and criteria of those that work in tcp mode.
pub const TCP: &[(&str, &str)] = &[
    ("TRUE", "always_true"),
    ("FALSE", "always_false"),
    ("LOCALHOST", "src 127.0.0.1/8 ::1"),
    ("REQ_CONTENT", "req.len gt 0"),
    ("RDP_COOKIE", "req.rdp_cookie_cnt gt 0"),
    ("WAIT_END", "wait_end"),
];

/// Those that look at HTTP.
pub const HTTP: &[&str] = &[
    "HTTP",
    "HTTP_1.0",
    "HTTP_1.1",
    "HTTP_2.0",
    "HTTP_3.0",
    "HTTP_CONTENT",
    "HTTP_URL_ABS",
    "HTTP_URL_SLASH",
    "HTTP_URL_STAR",
    "METH_CONNECT",
    "METH_DELETE",
    "METH_GET",
    "METH_HEAD",
    "METH_OPTIONS",
    "METH_POST",
    "METH_PUT",
    "METH_TRACE",
];
