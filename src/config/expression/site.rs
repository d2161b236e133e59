//! Where expressions stand, and what can be looked at there (HAProxy manual section 7.3, layers).

use ringmain_model::{Expression, Needs};
use ringmain_policy::expression::fetch;

/// A place of expressions and conditions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Site {
    /// What messages call it.
    pub name: &'static str,
    /// What can be looked at.
    pub available: Needs,
}

const ADDRESSES: Needs = Needs::CLIENT_ADDRESS.and(Needs::LOCAL_ADDRESS).and(Needs::TABLE);
const BACK: Needs = ADDRESSES.and(Needs::BACKEND);

impl Site {
    /// `tcp-request connection`.
    pub const CONNECTION: Self = Self { name: "tcp-request connection", available: ADDRESSES };
    /// `tcp-request session`.
    pub const SESSION: Self = Self { name: "tcp-request session", available: ADDRESSES };
    /// `tcp-request content` of a frontend.
    pub const FRONTEND_CONTENT: Self = Self { name: "tcp-request content of a frontend", available: ADDRESSES.and(Needs::REQUEST) };
    /// `use_backend`.
    pub const ROUTE: Self = Self { name: "use_backend", available: ADDRESSES.and(Needs::REQUEST) };
    /// `tcp-request content` of a backend.
    pub const BACKEND_CONTENT: Self = Self { name: "tcp-request content of a backend", available: BACK.and(Needs::REQUEST) };
    /// `use-server`, `balance hash`, `stick match|on|store-request`, `force-persist`, `ignore-persist`.
    pub const SERVER_CHOICE: Self = Self { name: "the choice of a server", available: BACK.and(Needs::REQUEST) };
    /// `tcp-response content`, `stick store-response`.
    pub const RESPONSE: Self = Self { name: "tcp-response content", available: BACK.and(Needs::SERVER).and(Needs::RESPONSE) };
    /// `log-format` and its relatives.
    pub const LOG: Self = Self { name: "a log format", available: BACK.and(Needs::SERVER).and(Needs::END) };

    /// What an expression means here: `payload` is of the response where a response is looked at.
    pub fn seen_from(self, expression: Expression) -> Expression {
        let is_response = self.available.intersects(Needs::RESPONSE) && !self.available.intersects(Needs::REQUEST);
        if is_response { fetch::of_response(expression) } else { expression }
    }

    /// Names of what is needed but not to be had here.
    pub fn missing(self, needs: Needs) -> Option<&'static str> {
        let unmet = |(need, _): &&(Needs, &str)| needs.intersects(*need) && !self.available.intersects(*need);
        NAMES.iter().find(unmet).map(|(_, name)| *name)
    }
}

const NAMES: [(Needs, &str); 8] = [
    (Needs::CLIENT_ADDRESS, "the client's address"),
    (Needs::LOCAL_ADDRESS, "the address that the client connected to"),
    (Needs::REQUEST, "the client's data"),
    (Needs::RESPONSE, "the server's data"),
    (Needs::TABLE, "stick tables"),
    (Needs::BACKEND, "the backend"),
    (Needs::SERVER, "the server"),
    (Needs::END, "the end of the session"),
];
