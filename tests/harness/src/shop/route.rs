//! The work of the shop's services for a visitor: call trees, from the storefront to the databases.

use Step::{Call, Query, Work};

/// One service of the shop, by its place in [`SERVICES`].
pub type Service = usize;

/// The shop's services, by `service.name`.
pub const SERVICES: [&str; 8] = [
    "frontend",
    "checkout",
    "payment",
    "cart",
    "catalog",
    "inventory",
    "shipping",
    "email",
];

const FRONTEND: Service = 0;
const CHECKOUT: Service = 1;
const PAYMENT: Service = 2;
const CART: Service = 3;
const CATALOG: Service = 4;
const INVENTORY: Service = 5;
const SHIPPING: Service = 6;
const EMAIL: Service = 7;

/// One endpoint of a service, and its steps when it is called.
#[derive(Debug)]
pub(super) struct Endpoint {
    pub(super) service: Service,
    pub(super) method: &'static str,
    pub(super) route: &'static str,
    pub(super) steps: &'static [Step],
}

/// One step of an endpoint, which becomes a span.
#[derive(Debug)]
pub(super) enum Step {
    /// Calls another service: a client span here, a server span there.
    Call(&'static Endpoint),
    /// Queries a database.
    Query {
        system: &'static str,
        text: &'static str,
    },
    /// Works by itself.
    Work(&'static str),
}

const fn endpoint(
    service: Service,
    method: &'static str,
    route: &'static str,
    steps: &'static [Step],
) -> Endpoint {
    Endpoint {
        service,
        method,
        route,
        steps,
    }
}

const fn sql(text: &'static str) -> Step {
    Query {
        system: "postgresql",
        text,
    }
}

const fn redis(text: &'static str) -> Step {
    Query {
        system: "redis",
        text,
    }
}

static FEATURED: Endpoint = endpoint(
    CATALOG,
    "GET",
    "/featured",
    &[sql("SELECT id, name, price FROM product WHERE featured")],
);
static PRODUCT: Endpoint = endpoint(
    CATALOG,
    "GET",
    "/products/{id}",
    &[sql("SELECT * FROM product WHERE id = $1")],
);
static STOCK: Endpoint = endpoint(
    INVENTORY,
    "GET",
    "/stock/{id}",
    &[sql("SELECT count FROM stock WHERE product = $1")],
);
static RESERVE: Endpoint = endpoint(
    INVENTORY,
    "POST",
    "/reservations",
    &[
        sql("UPDATE stock SET count = count - $2 WHERE product = $1"),
        Work("publish reservation"),
    ],
);
static CART_READ: Endpoint = endpoint(CART, "GET", "/carts/{id}", &[redis("HGETALL cart")]);
static CART_ADD: Endpoint = endpoint(
    CART,
    "POST",
    "/carts/{id}/items",
    &[Call(&STOCK), redis("HSET cart")],
);
static CHARGE: Endpoint = endpoint(
    PAYMENT,
    "POST",
    "/charges",
    &[
        Work("check card"),
        Work("authorize"),
        sql("INSERT INTO charge VALUES ($1, $2, $3)"),
    ],
);
static QUOTE: Endpoint = endpoint(SHIPPING, "POST", "/quotes", &[Work("pick carrier")]);
static CONFIRM: Endpoint = endpoint(
    EMAIL,
    "POST",
    "/messages",
    &[Work("render template"), Work("hand over to the relay")],
);
static ORDER: Endpoint = endpoint(
    CHECKOUT,
    "POST",
    "/orders",
    &[
        Call(&CART_READ),
        Call(&RESERVE),
        Call(&QUOTE),
        Call(&CHARGE),
        sql("INSERT INTO orders VALUES ($1, $2)"),
        Call(&CONFIRM),
    ],
);

pub(super) static HOME_PAGE: Endpoint = endpoint(
    FRONTEND,
    "GET",
    "/",
    &[Call(&FEATURED), Work("render home page")],
);
static PRODUCT_PAGE: Endpoint = endpoint(
    FRONTEND,
    "GET",
    "/products/{id}",
    &[Call(&PRODUCT), Call(&STOCK), Work("render product page")],
);
static CART_PAGE: Endpoint = endpoint(
    FRONTEND,
    "GET",
    "/cart",
    &[Call(&CART_READ), Call(&PRODUCT), Work("render cart page")],
);
static ADD_TO_CART: Endpoint = endpoint(
    FRONTEND,
    "POST",
    "/cart",
    &[Call(&PRODUCT), Call(&CART_ADD)],
);
static PLACE_ORDER: Endpoint = endpoint(
    FRONTEND,
    "POST",
    "/checkout",
    &[Call(&ORDER), Work("render receipt")],
);

/// The endpoints that visitors ask for, each with its share of a hundred visits.
pub(super) const VISITS: [(u32, &Endpoint); 5] = [
    (28, &HOME_PAGE),
    (34, &PRODUCT_PAGE),
    (12, &CART_PAGE),
    (16, &ADD_TO_CART),
    (10, &PLACE_ORDER),
];
