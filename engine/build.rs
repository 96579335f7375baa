//! Migrations are part of the binary; cargo would not notice a new one by itself.

fn main() {
    println!("cargo:rerun-if-changed=migrations");
}
