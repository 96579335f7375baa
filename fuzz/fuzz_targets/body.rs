#![no_main]

#[path = "../checks/orders.rs"]
#[allow(dead_code, reason = "each program uses its part")]
mod checks;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| checks::body(bytes));
